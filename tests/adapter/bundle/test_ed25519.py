"""Ed25519: the vectors of RFC 8032, agreement with the cryptography library, and what must not be accepted."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha512

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref.adapter.bundle.ed25519 import D, L, P, check_public_key, verify
from lieref.errors import DomainError

# Section 7.1: secret, public, message, signature.
RFC8032 = {
    "TEST 1": (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    "TEST 2": (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "TEST 3": (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    "TEST SHA(abc)": (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
}
# Encodings of the eight points whose order divides 8, from the curve's equation: (0, 1), (0, -1), (+-i, 0) and the four
# of order 8, whose y**2 solves d y**4 + 2 y**2 - 1 = 0 (doubling one gives (+-i, 0)).
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)


def square_root(a: int) -> int | None:
    root = pow(a, (P + 3) // 8, P)
    if root * root % P != a % P:
        root = root * ROOT_OF_MINUS_1 % P
    return root if root * root % P == a % P else None


def encode(x: int, y: int) -> bytes:
    return (y | (x & 1) << 255).to_bytes(32, "little")


def small_points() -> list[bytes]:
    points = [(0, 1), (0, P - 1), (ROOT_OF_MINUS_1, 0), (P - ROOT_OF_MINUS_1, 0)]
    inner = square_root(1 + D)
    assert inner is not None
    for sign in (1, -1):
        y = square_root((-1 + sign * inner) * pow(D, -1, P))
        if y is not None:
            x = square_root((y * y - 1) * pow(D * y * y + 1, -1, P))
            assert x is not None
            points += [(s * x % P, t * y % P) for s in (1, -1) for t in (1, -1)]
    assert len(points) == 8
    return [encode(x, y) for x, y in points]


def openssl(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@pytest.mark.parametrize("name", RFC8032)
def test_vectors_of_rfc_8032(name: str) -> None:
    secret, public, message, signature = map(bytes.fromhex, RFC8032[name])
    assert Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw() == public
    assert verify(public, signature, message)
    assert not verify(public, signature, message + b"\0")


def test_a_message_of_1023_bytes() -> None:
    """The key of TEST 1024 in RFC 8032; the library signs another message of that length here."""
    key = Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5")
    )
    public = bytes.fromhex("278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e")
    message = bytes(range(256)) * 4
    assert verify(public, key.sign(message[:1023]), message[:1023])


@settings(max_examples=40)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80))
def test_agrees_with_the_library_on_random_keys(secret: bytes, message: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(secret)
    public, signature = key.public_key().public_bytes_raw(), key.sign(message)
    check_public_key(public)
    assert verify(public, signature, message)


@settings(max_examples=40)
@given(st.binary(min_size=32, max_size=32), st.integers(0, 8 * 96 - 1))
def test_agrees_with_the_library_on_one_wrong_bit(secret: bytes, place: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(secret)
    parts = bytearray(key.public_key().public_bytes_raw() + key.sign(b"m"))
    parts[place // 8] ^= 1 << place % 8
    public, signature = bytes(parts[:32]), bytes(parts[32:])
    assert verify(public, signature, b"m") == openssl(public, signature, b"m") == False  # noqa: E712


@settings(max_examples=40)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_agrees_with_the_library_on_random_bytes(public: bytes, signature: bytes) -> None:
    assert verify(public, signature, b"") == openssl(public, signature, b"") == False  # noqa: E712


def signed() -> tuple[bytes, bytes]:
    key = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
    return key.public_key().public_bytes_raw(), key.sign(b"message")


def test_every_wrong_bit_of_a_signature() -> None:
    public, signature = signed()
    for place in range(512):
        wrong = bytearray(signature)
        wrong[place // 8] ^= 1 << place % 8
        assert not verify(public, bytes(wrong), b"message")


def test_the_other_form_of_s_is_refused() -> None:
    """S + L fits the equation as well as S does: accepting it would give a signature a second form."""
    public, signature = signed()
    s = int.from_bytes(signature[32:], "little")
    assert s + L < 2**256
    other = signature[:32] + (s + L).to_bytes(32, "little")
    assert not verify(public, other, b"message")
    assert not openssl(public, other, b"message")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_lengths(length: int) -> None:
    public, signature = signed()
    assert not verify((public * 2)[:length], signature, b"message")
    assert not verify(public, (signature * 2)[: 2 * length], b"message")
    with pytest.raises(DomainError, match="`public` must be a point of the curve"):
        check_public_key((public * 2)[:length])


@pytest.mark.parametrize("point", small_points(), ids=lambda point: point.hex()[:8])
def test_keys_of_small_order_are_refused(point: bytes) -> None:
    """With the key (0, 1) the signature R = S B fits any message; the library accepts that."""
    forged = (b"\x01" + bytes(31)) + bytes(32)  # R = (0, 1), S = 0: fits whenever k A = 0
    assert not verify(point, forged, b"any message")
    with pytest.raises(DomainError, match="not of small order"):
        check_public_key(point)


def test_the_library_accepts_a_forgery_that_is_refused_here() -> None:
    forged = (b"\x01" + bytes(31)) + bytes(32)
    assert openssl(b"\x01" + bytes(31), forged, b"any message")
    assert not verify(b"\x01" + bytes(31), forged, b"any message")


def test_an_r_of_small_order_is_refused() -> None:
    """R = (0, 1) and S = k a fit the equation for the key a B: only who knows a can make it, and no signer does."""
    secret = b"\2" * 32
    key = Ed25519PrivateKey.from_private_bytes(secret)
    public = key.public_key().public_bytes_raw()
    digest = bytearray(sha512(secret).digest()[:32])
    digest[0] &= 248
    digest[31] = (digest[31] & 127) | 64
    r = b"\x01" + bytes(31)
    k = int.from_bytes(sha512(r + public + b"m").digest(), "little")
    s = k * int.from_bytes(digest, "little") % L
    assert openssl(public, r + s.to_bytes(32, "little"), b"m")
    assert not verify(public, r + s.to_bytes(32, "little"), b"m")


NOT_CANONICAL: dict[str, bytes] = {
    "y = P, which is 0": P.to_bytes(32, "little"),
    "y = P + 1, which is 1": (P + 1).to_bytes(32, "little"),
    "y = 2**255 - 1": (2**255 - 1).to_bytes(32, "little"),
    "x = 0 with a sign, y = 1": encode(1, 1),
    "x = 0 with a sign, y = -1": encode(1, P - 1),
    "no point of the curve": next(
        y.to_bytes(32, "little") for y in range(2, 99) if square_root((y * y - 1) * pow(D * y * y + 1, -1, P)) is None
    ),
}


@pytest.mark.parametrize("where", ["key", "R"])
@pytest.mark.parametrize("data", NOT_CANONICAL.values(), ids=NOT_CANONICAL.keys())
def test_encodings_that_are_not_canonical_are_refused(data: bytes, where: str) -> None:
    public, signature = signed()
    if where == "key":
        assert not verify(data, signature, b"message")
        with pytest.raises(DomainError, match="canonically encoded"):
            check_public_key(data)
    else:
        assert not verify(public, data + signature[32:], b"message")


MALFORMED: dict[str, Callable[[bytes], bytes]] = {
    "S = 0": lambda s: s[:32] + bytes(32),
    "S = L": lambda s: s[:32] + L.to_bytes(32, "little"),
    "S = L - 1": lambda s: s[:32] + (L - 1).to_bytes(32, "little"),
    "S of all ones": lambda s: s[:32] + b"\xff" * 32,
    "R with the other sign": lambda s: s[:31] + bytes([s[31] ^ 128]) + s[32:],
    "R and S exchanged": lambda s: s[32:] + s[:32],
    "all zeros": lambda s: bytes(64),
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED.keys())
def test_agrees_with_the_library_on_malformed_signatures(change: Callable[[bytes], bytes]) -> None:
    public, signature = signed()
    assert not openssl(public, change(signature), b"message")
    assert not verify(public, change(signature), b"message")
