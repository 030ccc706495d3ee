"""Nodes that make an adapted weight of its base and of factors that are inputs: the formulas of methods in ONNX.

Every formula gives the base's very bits where the factors are their defaults: W0 - P with P = +0, which keeps negative
zeros, W0 g with g = 1. Factors carry the scaling alpha / r, and those that are subtracted its sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lieref._types import Array, FloatArray, Params, Shape
from lieref.group.action import ElementWise, ScaleMode
from lieref.group.maps import Bounded, Cayley, CayleyNeumann, Exp, Map, Taylor
from lieref.group.mode import mode_view
from lieref.model.layer import Layer
from lieref.model.site import Site
from lieref.param._base import Parameterisation, stack
from lieref.param.combination import Combination
from lieref.param.hadamard_low_rank import HadamardLowRank
from lieref.param.kronecker import Kronecker
from lieref.param.low_rank import LowRank
from lieref.param.principal import Principal


@dataclass(frozen=True)
class Input:
    """An input of the graph with a default.

    Attributes
    ----------
    value : float32 array
        The adapter's.
    default : float32 array
        The base's; of sizes that are free it is one.
    free : tuple of int
        Axes of any size: those of a rank.
    """

    value: FloatArray
    default: FloatArray
    free: tuple[int, ...] = ()


@dataclass
class Nodes:
    """Nodes, constants and inputs of one tensor.

    Attributes
    ----------
    stem : str
        What the names of all begin with.
    nodes : list of tuple
        Operator, inputs, output, attributes.
    constants : dict of str to array
    inputs : dict of str to Input
    turned : bool
        Whether products of two factors are made transposed.
    """

    stem: str
    nodes: list[tuple[str, tuple[str, ...], str, dict[str, Any]]] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    inputs: dict[str, Input] = field(default_factory=dict)
    turned: bool = False

    def add(self, op: str, *inputs: str, **attrs: Any) -> str:
        """Add a node and return the name of its output."""
        output = f"{self.stem}/{len(self.nodes)}"
        self.nodes.append((op, inputs, output, attrs))
        return output

    def number(self, value: float) -> str:
        """Return the name of a constant of one number."""
        return self._constant(np.array(value, np.float32))

    def reshape(self, tensor: str, *shape: int) -> str:
        """Add a Reshape."""
        return self.add("Reshape", tensor, self._constant(np.array(shape, np.int64)))

    def transpose(self, tensor: str, *perm: int) -> str:
        """Add a Transpose."""
        return self.add("Transpose", tensor, perm=list(perm))

    def input(self, name: str, value: FloatArray, default: FloatArray | None = None, free: tuple[int, ...] = ()) -> str:
        """Add an input, by default zeros, and return its name."""
        if default is None:
            default = np.zeros([1 if axis in free else size for axis, size in enumerate(value.shape)], np.float32)
        self.inputs[f"{self.stem}:{name}"] = Input(np.ascontiguousarray(value, np.float32), default, free)
        return f"{self.stem}:{name}"

    def _constant(self, value: Array) -> str:
        name = f"{self.stem}/c{len(self.constants)}"
        self.constants[name] = value
        return name


@dataclass(frozen=True)
class Formula:
    """How tensors of the file are made.

    Attributes
    ----------
    nodes : Nodes
    base : dict of str to str
        Names under which the nodes read the base's tensors, by the names of those.
    made : dict of str to str
        Names of what they make, by the same.
    """

    nodes: Nodes
    base: dict[str, str]
    made: dict[str, str]


def formula(site: Site, shape: Shape) -> Formula | None:
    """Return the nodes that make a site's tensors, None where its method has none.

    Parameters
    ----------
    site : Site
        Of float32.
    shape : tuple of int
        Of the weight, out channels first.
    """
    method, layer = site.method, site.layer
    if not isinstance(method, Combination) or layer is None:
        return None
    nodes = Nodes(site.tensor)
    base = {name: f"{name}/base" for name in site.tensors}
    if isinstance(method.action, ScaleMode):
        g = method.group_element(site.params, shape, site.groups).astype(np.float32)
        blocks, lead, size, trail = mode_view("export", method.action.mode, shape, site.groups)
        factor = nodes.input("g", g, np.ones_like(g))
        weight = nodes.reshape(_to_canonical(nodes, base[site.tensor], layer, shape), blocks, lead, size, trail)
        product = nodes.add("Mul", weight, nodes.reshape(factor, blocks, 1, size, 1))
        made = {site.tensor: _from_canonical(nodes, nodes.reshape(product, *shape), layer, shape)}
        if site.bias is not None:
            made[site.bias] = nodes.add("Mul", factor, base[site.bias])
        return Formula(nodes, base, made)
    build = _ELEMENTS.get(type(method.parameterisation))
    if build is None or not isinstance(method.action, ElementWise) or _power(method.map) is None:
        return None
    recipe, adds = method.parameterisation, method.action.adds
    groups = recipe.factor_groups(shape, site.groups)
    split = recipe.split(site.params, shape, site.groups)
    # What acts entry by entry acts in any layout: only xi is brought into that of the file, W0 is in it. A product of
    # factors is turned by turning the factors.
    is_product = len(shape) == 2 and groups == 1 and not isinstance(recipe, Kronecker)
    nodes.turned = is_product and layer.transposed
    xi, weight = build(nodes, recipe, split, shape, groups, -1.0 if adds else 1.0), base[site.tensor]
    if not nodes.turned:
        xi = _from_canonical(nodes, xi if is_product else nodes.reshape(xi, *shape), layer, shape)
    adapted = nodes.add("Sub", weight, xi) if adds else nodes.add("Mul", weight, _mapped(nodes, method.map, xi))
    return Formula(nodes, base, {site.tensor: adapted})


# Elements of the algebra: factors come with the conv groups as a leading axis.


def _low_rank(nodes: Nodes, recipe: LowRank, params: Params, shape: Shape, groups: int, sign: float) -> str:
    """Make s B A, laid out as the tensor."""
    b, a = sign * recipe.scaling * params["lora_b"].astype(np.float64), params["lora_a"]
    product = _product(nodes, "lora_b", b, "lora_a", a)
    one = (shape[0] // groups, *shape[1:])
    rows = b.shape[1] // one[0]
    if recipe.matricisation != "structured" or rows == 1:  # where it is "unfold"
        return product
    columns = math.prod(one[2:]) // rows
    apart = nodes.reshape(product, groups, one[0], rows, one[1], columns)
    return nodes.transpose(apart, 0, 1, 3, 2, 4)


def _principal(nodes: Nodes, recipe: Principal, params: Params, shape: Shape, groups: int, sign: float) -> str:
    """Make s (B A - B0 A0) as one product of twice the rank, [B - B0, B0] [A; A - A0]."""
    a, b, a0, b0 = (params[name].astype(np.float64) for name in ("lora_a", "lora_b", "start_a", "start_b"))
    joined = sign * recipe.scaling * np.concatenate([b - b0, b0], axis=2)
    return _product(nodes, "lora_b", joined, "lora_a", np.concatenate([a, a - a0], axis=1))


def _hadamard_low_rank(
    nodes: Nodes, recipe: HadamardLowRank, params: Params, shape: Shape, groups: int, sign: float
) -> str:
    """Make s (A1 B1) * (A2 B2)."""
    a1, b1, a2, b2 = (params[f"hada_{name}"].astype(np.float64) for name in ("w1_a", "w1_b", "w2_a", "w2_b"))
    first = _product(nodes, "hada_w1_a", sign * recipe.scaling * a1, "hada_w1_b", b1)
    return nodes.add("Mul", first, _product(nodes, "hada_w2_a", a2, "hada_w2_b", b2))


def _kronecker(nodes: Nodes, recipe: Kronecker, params: Params, shape: Shape, groups: int, sign: float) -> str:
    """Make s w1_ab w2_cdk at (a, c, b, d, k)."""
    w1 = sign * recipe.scaling * params["w1"].astype(np.float64)
    (_, a, b), kernel = w1.shape, math.prod(shape[2:])
    c, d = shape[0] // groups // a, shape[1] // b
    first = nodes.reshape(nodes.input("w1", stack(w1)), groups, a, 1, b, 1, 1)
    if "w2" in params:
        second = nodes.input("w2", stack(params["w2"]))
    else:
        second = _product(nodes, "w2_a", params["w2_a"], "w2_b", params["w2_b"])
    return nodes.add("Mul", first, nodes.reshape(second, groups, 1, c, 1, d, kernel))


_ELEMENTS: dict[type[Parameterisation], Callable[[Nodes, Any, Params, Shape, int, float], str]] = {
    LowRank: _low_rank,
    Principal: _principal,
    HadamardLowRank: _hadamard_low_rank,
    Kronecker: _kronecker,
}


def _product(nodes: Nodes, left: str, b: FloatArray, right: str, a: FloatArray) -> str:
    """Add the products of factors (groups, rows, R) and (groups, R, columns), of any R."""
    groups, rows, _ = b.shape
    first = nodes.input(left, stack(b), np.zeros((groups * rows, 1), np.float32), (1,))
    second = nodes.input(right, stack(a), np.zeros((groups, a.shape[2]), np.float32), (0,))
    if nodes.turned:
        return nodes.add("MatMul", nodes.transpose(second, 1, 0), nodes.transpose(first, 1, 0))
    if groups > 1:
        first, second = nodes.reshape(first, groups, rows, -1), nodes.reshape(second, groups, -1, a.shape[2])
    return nodes.add("MatMul", first, second)


# Maps of numbers, each exactly 1 at 0.


def _power(map_: Map) -> Callable[[Nodes, Any, str], str] | None:
    return _MAPS.get(type(map_))


def _mapped(nodes: Nodes, map_: Map, xi: str) -> str:
    return _MAPS[type(map_)](nodes, map_, xi)


def _exp(nodes: Nodes, map_: Exp, xi: str) -> str:
    return nodes.add("Exp", xi)


def _taylor(nodes: Nodes, map_: Taylor, xi: str) -> str:
    """Make 1 + xi (1 + xi / 2 (1 + xi / 3 ...))."""
    g = xi if map_.degree == 1 else nodes.add("Div", xi, nodes.number(map_.degree))
    g = nodes.add("Add", g, nodes.number(1))
    for k in range(map_.degree - 1, 0, -1):
        step = xi if k == 1 else nodes.add("Div", xi, nodes.number(k))
        g = nodes.add("Add", nodes.add("Mul", step, g), nodes.number(1))
    return g


def _bounded(nodes: Nodes, map_: Bounded, xi: str) -> str:
    """Make exp(c tanh(xi / c))."""
    squashed = nodes.add("Tanh", nodes.add("Div", xi, nodes.number(map_.bound)))
    return nodes.add("Exp", nodes.add("Mul", squashed, nodes.number(map_.bound)))


def _cayley(nodes: Nodes, map_: Cayley, xi: str) -> str:
    """Make (1 + xi / 2) / (1 - xi / 2)."""
    half = nodes.add("Mul", xi, nodes.number(0.5))
    return nodes.add("Div", nodes.add("Add", nodes.number(1), half), nodes.add("Sub", nodes.number(1), half))


def _neumann(nodes: Nodes, map_: CayleyNeumann, xi: str) -> str:
    """Make 1 + xi (1 + xi / 2 (1 + xi / 2 (... (1 + xi / 4))))."""
    g = nodes.number(1)
    for ratio in (0.25, *[0.5] * (map_.degree - 2), 1.0):
        step = xi if ratio == 1 else nodes.add("Mul", xi, nodes.number(ratio))
        g = nodes.add("Add", nodes.add("Mul", step, g), nodes.number(1))
    return g


_MAPS: dict[type[Map], Callable[[Nodes, Any, str], str]] = {
    Exp: _exp,
    Taylor: _taylor,
    Bounded: _bounded,
    Cayley: _cayley,
    CayleyNeumann: _neumann,
}


# Layouts: `lieref.model.layer.Layer.to_canonical` and `from_canonical` as nodes.


def _to_canonical(nodes: Nodes, stored: str, layer: Layer, shape: Shape) -> str:
    if layer.directions:
        return nodes.reshape(stored, *shape)
    if not layer.transposed:
        return stored
    return _exchanged(nodes, stored, layer.groups, (shape[1] * layer.groups, shape[0] // layer.groups, *shape[2:]))


def _from_canonical(nodes: Nodes, weight: str, layer: Layer, shape: Shape) -> str:
    if layer.directions:
        return nodes.reshape(weight, layer.directions, shape[0] // layer.directions, shape[1])
    return _exchanged(nodes, weight, layer.groups, shape) if layer.transposed else weight


def _exchanged(nodes: Nodes, tensor: str, groups: int, shape: Shape) -> str:
    """Exchange the first two axes in each group of a tensor of this shape."""
    kernel = tuple(range(2, len(shape)))
    if groups == 1:
        return nodes.transpose(tensor, 1, 0, *kernel)
    apart = nodes.reshape(tensor, groups, shape[0] // groups, *shape[1:])
    turned = nodes.transpose(apart, 0, 2, 1, *(axis + 1 for axis in kernel))
    return nodes.reshape(turned, groups * shape[1], shape[0] // groups, *shape[2:])
