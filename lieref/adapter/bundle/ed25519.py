"""Ed25519 signatures checked in plain Python, for devices that have no library for them (RFC 8032, section 5.1.7).

Strict: one signature has one form. S must be below the order L, points must be encoded canonically, and neither the key
nor R may be of small order, for such a key has signatures that fit almost anything. The equation is the one without the
cofactor, S B = R + k A, as OpenSSL has it. Everything that is computed on is public, so that nothing has to take the
same time. Signing is not here: that is for a library that keeps secrets.

A point (x, y) of the curve -x**2 + y**2 = 1 + d x**2 y**2 over the integers modulo P is kept as (X, Y, Z, T) with
x = X / Z, y = Y / Z and T = X Y / Z, so that no addition needs a division (RFC 8032, section 5.1.4).
"""

from __future__ import annotations

from hashlib import sha512

from lieref.errors import DomainError

P = 2**255 - 19
"""The prime of the field."""
L = 2**252 + 27742317777372353535851937790883648493
"""The order of the base point."""
D = -121665 * pow(121666, -1, P) % P
"""The curve's d."""

_ROOT = pow(2, (P - 1) // 4, P)  # of -1
_WIDTH = 5  # bits of a window: 2**(5 - 2) = 8 multiples of each point are made first

_Point = tuple[int, int, int, int]
_ZERO: _Point = (0, 1, 1, 0)


def verify(public: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether a signature fits a message and a public key; what is malformed does not fit.

    Parameters
    ----------
    public : bytes of length 32
    signature : bytes of length 64
        R and S, each 32 bytes, little-endian.
    message : bytes
    """
    if len(public) != 32 or len(signature) != 64:
        return False
    key, commitment = _decode(public), _decode(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or _is_small(key) or _is_small(commitment) or s >= L:
        return False
    k = int.from_bytes(sha512(signature[:32] + public + message).digest(), "little") % L
    # S B - k A = R, compared without a division.
    x, y, z, _ = _sum_of_multiples(s, _BASE, k, _negative(key))
    return (x - commitment[0] * z) % P == 0 and (y - commitment[1] * z) % P == 0


def check_public_key(public: bytes) -> None:
    """Raise `DomainError` unless 32 bytes are a key that `verify` can accept signatures of."""
    point = _decode(public) if len(public) == 32 else None
    if point is None or _is_small(point):
        raise DomainError(
            "check_public_key: `public` must be a point of the curve, canonically encoded and not of small order; got "
            f"{public.hex()[:80]}"
        )


def _decode(data: bytes) -> _Point | None:
    """Return the point that 32 bytes encode, with Z = 1, or None (RFC 8032, section 5.1.3)."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= P:
        return None
    # x**2 = u / v; the candidate is u v**3 (u v**7)**((P - 5) / 8), a root of u / v or of -u / v if there is one.
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    square = v * x * x % P
    if square != u:
        if square != P - u:
            return None
        x = x * _ROOT % P
    if x == 0 and sign:
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def _is_small(point: _Point) -> bool:
    """Tell whether eight times a point is zero."""
    x, y, z, _ = _double(_double(_double(point)))
    return x == 0 and y == z


def _negative(point: _Point) -> _Point:
    return P - point[0], point[1], point[2], P - point[3]


def _add(p: _Point, q: _Point) -> _Point:
    """Return p + q, for any two points (RFC 8032, section 5.1.4)."""
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * D * p[3] * q[3] % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _double(p: _Point) -> _Point:
    """Return 2 p (RFC 8032, section 5.1.4)."""
    a, b, c = p[0] * p[0] % P, p[1] * p[1] % P, 2 * p[2] * p[2] % P
    h = a + b
    e = h - (p[0] + p[1]) ** 2
    g = a - b
    f = c + g
    return e * f % P, g * h % P, f * g % P, e * h % P


def _sum_of_multiples(m: int, p: _Point, n: int, q: _Point) -> _Point:
    """Return m p + n q: both sums share the doublings, and few digits of either are not zero."""
    terms = [(_digits(m), _odd_multiples(p)), (_digits(n), _odd_multiples(q))]
    total = _ZERO
    for place in range(max(len(digits) for digits, _ in terms) - 1, -1, -1):
        total = _double(total)
        for digits, multiples in terms:
            digit = digits[place] if place < len(digits) else 0
            if digit > 0:
                total = _add(total, multiples[digit // 2])
            elif digit < 0:
                total = _add(total, _negative(multiples[-digit // 2]))
    return total


def _odd_multiples(p: _Point) -> list[_Point]:
    """Return p, 3 p, 5 p, ..."""
    twice, multiples = _double(p), [p]
    while len(multiples) < 2 ** (_WIDTH - 2):
        multiples.append(_add(multiples[-1], twice))
    return multiples


def _digits(n: int) -> list[int]:
    """Return n in the non-adjacent form of `_WIDTH` bits: sum of digit[i] 2**i, each digit zero or odd."""
    digits = []
    while n:
        digit = 0
        if n & 1:
            digit = n % 2**_WIDTH
            if digit >= 2 ** (_WIDTH - 1):
                digit -= 2**_WIDTH
            n -= digit
        digits.append(digit)
        n >>= 1
    return digits


def _base() -> _Point:
    # y = 4 / 5, and x is even.
    point = _decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    assert point is not None
    return point


_BASE = _base()
