"""What an adapter of one weight is in its group, and the adapter of an element that has been computed.

theta --parameterise--> xi --map--> g is one-way: factors of another shape may make the same g, and most g have none of
a given kind. What is computed with elements therefore comes back as an algebra element, dense, or as low rank where the
group's structure leaves it low rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.algebra.matrix import transpose
from lieref.errors import UnsupportedError
from lieref.group.base import Group
from lieref.group.maps import Exp
from lieref.group.mode_action import MatrixOnMode
from lieref.group.registry import make_action, make_group
from lieref.param.combination import Combination
from lieref.param.low_rank import LowRank
from lieref.param.method import Method
from lieref.param.registry import get_method
from lieref.param.rotation import BlockRotation, Reflections

FAN_IN = MatrixOnMode("fan-in")

Adapter = tuple[Method, Params]
"""A method and its factors for one weight."""


@dataclass(frozen=True)
class Element:
    """An element of a group that acts on a weight.

    Attributes
    ----------
    group_name, action : str
        Texts for `make_group` and `make_action`.
    group : Group
    g : array
        float64, of the action's `algebra_shape`.
    xi : array or None
        With exp(xi) = g, where the adapter says one.
    """

    group_name: str
    action: str
    group: Group
    g: FloatArray
    xi: FloatArray | None

    def log(self) -> FloatArray:
        """Return xi with exp(xi) = g: the adapter's own, or the principal one.

        Raises
        ------
        NotInGroupError, DomainError
            If g has left the group, as a truncated map may, or has no principal logarithm.
        """
        return self.group.log(self.g) if self.xi is None else self.xi

    def power(self, exponent: float) -> FloatArray:
        """Return exp(exponent log(g)), on the one-parameter subgroup through g; raises as `log` does but for 1."""
        return self.g if exponent == 1 else self.group.exp(exponent * self.log())


def elements_of(function: str, adapters: Sequence[Adapter], shape: Shape, groups: int) -> list[Element]:
    """Return the elements of adapters in one group; their factors are float64.

    A rotation of the filters in blocks is the matrix of its blocks where all adapters have the same ones, else the
    whole matrix.

    Raises
    ------
    UnsupportedError
        If an adapter is no one element of a group, or they are not in the same group with the same action.
    """
    blocks = {_blocks(method, shape) for method, _ in adapters}
    together = blocks.pop() if len(blocks) == 1 else 1
    found = [_element(function, method, params, shape, groups, together) for method, params in adapters]
    kinds = {(element.group_name, element.action): None for element in found}
    if len(kinds) > 1:
        said = ", ".join(f"{group} on {action}" for group, action in kinds)
        raise UnsupportedError(f"{function}: `adapters` must share group and action; got {said}")
    return found


def dense_adapter(element: Element, xi: FloatArray, shape: Shape, groups: int) -> Adapter:
    """Return the adapter that is exp(xi), every number of xi its own factor."""
    method = get_method(f"dense+{element.group_name}+exp+{element.action}")
    assert isinstance(method, Combination)
    return method, {"xi": xi.reshape(method._factor_shape(shape, groups)[0])}


def low_rank_adapter(element: Element, xi: FloatArray, rank: int, shape: Shape, groups: int) -> Adapter | None:
    """Return the adapter exp(xi) of this rank, or None where xi is of no such rank or dense needs no more numbers.

    For GL+ and SO on one mode.
    """
    action = make_action(element.action, element.group_name)
    if element.group_name not in BEST or not isinstance(action, MatrixOnMode) or 2 * rank >= xi.shape[-1]:
        return None
    matrices = xi.reshape(-1, *xi.shape[-2:])
    b, a = BEST[element.group_name](matrices, rank)
    # What is of this rank but for rounding: of the n u that a product of n terms has, and the logarithm's condition.
    miss = np.abs(element.group.algebra.project(b @ a) - matrices).max(initial=0.0)
    if miss > 64 * xi.shape[-1] * np.finfo(np.float64).eps * np.abs(matrices).max(initial=0.0):
        return None
    method = get_method(f"low-rank+{element.group_name}+exp+{element.action}", r=rank)
    if method.num_params(shape, groups) != a.size + b.size:
        return None
    return method, {"lora_a": a.reshape(-1, a.shape[-1]), "lora_b": b.reshape(-1, rank)}


def best_rank(matrices: FloatArray, rank: int) -> tuple[FloatArray, FloatArray]:
    """Return B (..., m, rank) and A (..., rank, n) whose product is nearest to each matrix in the Frobenius norm.

    The singular value decomposition U S V^T cut off, B = U S and A = V^T (Eckart and Young).
    """
    u, s, vt = np.linalg.svd(matrices, full_matrices=False)
    return u[..., :rank] * s[..., None, :rank], vt[..., :rank, :]


# Derivation.  xi = -xi^T, so i xi is Hermitian: i xi z = theta z with z = (u + i v) / sqrt(2) gives xi u = theta v and
# xi v = -theta u, for orthonormal u, v.  Hence xi = sum over theta > 0 of theta (v u^T - u v^T), a sum over planes; it
# is the projection (M - M^T)/2 of M = sum of 2 theta v u^T, of half the rank.
def best_planes(matrices: FloatArray, rank: int) -> tuple[FloatArray, FloatArray]:
    """Return B and A with (B A - (B A)^T) / 2 nearest to each skew matrix among all rotations of `rank` planes."""
    theta, z = np.linalg.eigh(1j * matrices)
    theta, z = theta[..., ::-1][..., :rank], z[..., ::-1][..., :rank]
    scale = np.sqrt(2.0)
    return 2 * np.maximum(theta, 0.0)[..., None, :] * scale * z.imag, transpose(scale * z.real)


BEST = {"gl": best_rank, "so": best_planes}
"""How a matrix of the algebra is brought into low rank, by group."""


def is_low_rank(method: Method) -> bool:
    """Tell whether a method's algebra element is a low-rank product, conv groups apart."""
    recipe = method.parameterisation if isinstance(method, Combination) else None
    return isinstance(recipe, LowRank) and not recipe.share_groups


def _element(function: str, method: Method, params: Params, shape: Shape, groups: int, blocks: int) -> Element:
    if isinstance(method, (BlockRotation, Reflections)):
        return _rotation(method, params, shape, groups, blocks)
    if not isinstance(method, Combination):
        raise UnsupportedError(f"{function}: `adapters` must each be one group element; got {method.name}")
    group = method.group_for(shape, groups)
    xi = method.delta(params, shape, groups) if isinstance(method.map, Exp) or group.name == "additive" else None
    g = method.group_element(params, shape, groups)
    if (own := _blocks(method, shape)) == blocks or own == 1:
        return Element(method.group, method.action.spec, group, g, xi)
    wanted = FAN_IN.algebra_shape(shape, groups)
    whole = make_group("so", FAN_IN, shape, groups)
    spread = [None if each is None else _block_diagonal(each, own).reshape(wanted) for each in (g, xi)]
    assert spread[0] is not None
    return Element("so", FAN_IN.spec, whole, spread[0], spread[1])


def _block_diagonal(stack: FloatArray, blocks: int) -> FloatArray:
    """Return the matrices (groups blocks, b, b) as (groups, n, n) with the blocks of each on its diagonal."""
    b = stack.shape[-1]
    whole = np.zeros((len(stack) // blocks, blocks, b, blocks, b))
    at = np.arange(blocks)
    whole[:, at, :, at] = stack.reshape(-1, blocks, b, b).swapaxes(0, 1)
    return whole.reshape(-1, blocks * b, blocks * b)


def _blocks(method: Method, shape: Shape) -> int:
    """Return in how many blocks, side by side, a method rotates the filters; 1 where they are mixed."""
    n = math.prod(shape[1:])
    if isinstance(method, Combination) and method.group == "so" and isinstance(method.action, MatrixOnMode):
        return method.action.blocks if method.action.mode == FAN_IN.mode else 1
    if isinstance(method, BlockRotation) and len(at := method.parameterisation.positions(n)) == n // at.shape[1]:
        return len(at)
    return 1


# Derivation.  V' = V R^T for the rows V of each conv group; the identity in place of V gives R^T.  On the mode fan-in
# W'[o, i] = sum_j R[i, j] W[o, j], which is the same.
def _rotation(method: BlockRotation | Reflections, params: Params, shape: Shape, groups: int, blocks: int) -> Element:
    n = math.prod(shape[1:])
    recipe = method.parameterisation
    rotations = recipe.factor_groups(shape, groups)
    factors = recipe.split(params, (rotations * n, n), rotations)
    xi = None
    if isinstance(method, BlockRotation) and _blocks(method, shape) > 1 and isinstance(method.map, Exp) and blocks > 1:
        xi = method.parameterisation.full_blocks(factors["blocks"], n)
    eye = np.broadcast_to(np.eye(n), (rotations, n, n))
    r = transpose(eye + method.change(factors, eye.copy()))
    b = n // blocks
    cut = r.reshape(rotations, blocks, b, blocks, b)[:, np.arange(blocks), :, np.arange(blocks)].swapaxes(0, 1)
    name = method.group if isinstance(method, BlockRotation) else "so"
    action = make_action(FAN_IN.spec if blocks == 1 else f"{FAN_IN.spec}/{blocks}", name)
    wanted = action.algebra_shape(shape, groups)

    def laid_out(stack: FloatArray) -> FloatArray:
        """Return the matrices of each conv group; those that share one have it each."""
        return np.broadcast_to(stack, (groups, blocks, b, b)).reshape(wanted)

    group = make_group(name, action, shape, groups)
    return Element(name, action.spec, group, laid_out(cut), None if xi is None else laid_out(xi))
