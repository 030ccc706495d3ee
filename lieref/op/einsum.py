"""Einsum: a sum of products, written with letters for axes."""

from __future__ import annotations

import string
from typing import NamedTuple

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError, ShapeError
from lieref.kernel.broadcast import sum_to_shape
from lieref.op.axes import check_size
from lieref.op.spec import Extents, TensorSpec, broadcast_extents, check_dtypes, differ, specs, text

NAME = "Einsum"
DOTS = "..."


class Terms(NamedTuple):
    """An equation with its dots written out: a string of letters for each input, and one for the output.

    Of the dots' letters an input has the last ones, as many as it has axes there; they broadcast.
    """

    inputs: tuple[str, ...]
    output: str
    dots: str

    @property
    def equation(self) -> str:
        """The equation in NumPy's form."""
        return f"{','.join(self.inputs)}->{self.output}"


def einsum(*inputs: Array, equation: str) -> Array:
    """Return the sum over all letters that the output lacks of the products of the inputs' entries.

    Parameters
    ----------
    inputs
        One dtype; an axis for each letter of its term.
    equation
        Terms of letters, one for each input, separated by commas; behind an arrow those of the output. Without one it
        has the letters that come once, in the order of the alphabet, behind the dots. Three dots stand for any number
        of axes, which broadcast. A letter that comes twice in a term is its diagonal.

    Raises
    ------
    DomainError
        If the equation is none, or is not for so many inputs.
    ShapeError
        If an input has other axes than its term, or two axes of a letter differ.
    """
    einsum_shape(*specs(*inputs), equation=equation)
    return np.asarray(np.einsum(_terms(equation, [a.ndim for a in inputs]).equation, *inputs))


# y = sum of a_1 ... a_k over the letters that y lacks is linear in each input, so a_i_bar is the same sum with y_bar in
# the place of a_i, over the letters that a_i lacks. A letter of a_i alone was summed: its cotangent is repeated along
# it. One that comes twice in a_i read its diagonal: the cotangent is written there, the rest is zero.
def einsum_vjp(*inputs: Array, y: Array, y_bar: Array, equation: str) -> tuple[Array, ...]:
    """Return the cotangent of each input."""
    terms = _terms(equation, [a.ndim for a in inputs])
    bars = []
    for i, (letters, a) in enumerate(zip(terms.inputs, inputs, strict=True)):
        others = [(term, b) for j, (term, b) in enumerate(zip(terms.inputs, inputs, strict=True)) if j != i]
        known = set(terms.output).union(*(term for term, _ in others))
        own = "".join(dict.fromkeys(letters))
        found = "".join(letter for letter in own if letter in known)
        sources = ",".join([terms.output, *(term for term, _ in others)])
        bar = np.einsum(f"{sources}->{found}", y_bar, *(b for _, b in others))
        bar = bar.reshape([bar.shape[found.index(letter)] if letter in found else 1 for letter in own])
        extents = [a.shape[letters.index(letter)] for letter in own]
        repeated = tuple(1 if m == 1 else n for m, n in zip(bar.shape, extents, strict=True))
        bar = np.broadcast_to(sum_to_shape(bar, repeated), extents)
        a_bar = np.zeros(a.shape, a.dtype)
        np.einsum(f"{letters}->{own}", a_bar)[...] = bar  # of one array einsum gives a view, which can be written
        bars.append(a_bar)
    return tuple(bars)


def einsum_shape(*inputs: TensorSpec, equation: str) -> TensorSpec:
    """Return an extent for each letter of the output."""
    check_dtypes(NAME, *inputs)
    terms = _terms(equation, [spec.ndim for spec in inputs])
    extents: dict[str, int | None] = {}
    dots: list[TensorSpec] = []
    for letters, spec in zip(terms.inputs, inputs, strict=True):
        inside: Extents = ()
        for letter, extent in zip(letters, spec.shape, strict=True):
            if letter in terms.dots:
                inside += (extent,)
            elif differ(extents.setdefault(letter, extent), extent):
                raise ShapeError(f"{NAME}: the axes {letter} of {equation!r} must agree; got {_shapes(inputs)}")
            elif extents[letter] is None:
                extents[letter] = extent
        dots.append(TensorSpec(inside, spec.dtype))
    extents.update(zip(terms.dots, broadcast_extents(NAME, *dots), strict=True))
    shape = tuple(extents[letter] for letter in terms.output)
    check_size(NAME, shape)
    return TensorSpec(shape, inputs[0].dtype)


def _shapes(inputs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(text(spec.shape) for spec in inputs)


def _terms(equation: str, ranks: list[int]) -> Terms:
    """Return the terms of an equation for inputs of so many axes."""
    plain = equation.replace(" ", "")
    left, arrow, right = plain.partition("->")
    sides = [*left.split(","), right]
    letters = [side.replace(DOTS, "", 1) for side in sides]
    if not all(set(each) <= set(string.ascii_letters) for each in letters):
        raise DomainError(
            f"{NAME}: `equation` must hold letters, commas, dots by threes and one arrow; got {equation!r}"
        )
    if len(sides) - 1 != len(ranks):
        raise DomainError(f"{NAME}: `equation` must have {len(ranks)} terms, one an input; got {equation!r}")
    extra = []
    for side, own, rank in zip(sides, letters, ranks, strict=False):
        if len(own) > rank or (len(own) < rank and DOTS not in side):
            raise ShapeError(f"{NAME}: the term {side!r} of `equation` must have {rank} axes; got {equation!r}")
        extra.append(rank - len(own))
    free = [letter for letter in string.ascii_letters if letter not in plain]
    most = max(extra, default=0)
    if most > len(free):
        raise DomainError(f"{NAME}: `equation` must have at most {len(string.ascii_letters)} axes; got {equation!r}")
    dots = "".join(free[:most])
    inputs = tuple(
        side.replace(DOTS, dots[most - count :] if count else "") for side, count in zip(sides, extra, strict=False)
    )
    every = "".join(letters[:-1])
    if not arrow:
        output = dots + "".join(sorted(letter for letter in set(every) if every.count(letter) == 1))
    elif len(set(letters[-1])) != len(letters[-1]) or not set(letters[-1]) <= set(every):
        raise DomainError(f"{NAME}: the output of `equation` must have letters of the inputs, once; got {equation!r}")
    elif most and DOTS not in right:
        raise DomainError(f"{NAME}: the output of `equation` must have the dots of the inputs; got {equation!r}")
    else:
        output = right.replace(DOTS, dots)
    return Terms(inputs, output, dots)
