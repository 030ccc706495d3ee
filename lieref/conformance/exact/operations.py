"""The operators of quantised networks that a backend can be asked for, each with its definition in integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from lieref._types import Array
from lieref.conformance.exact import elementwise, images, layers, softmax

EXACT_OPERATIONS: Final[dict[str, Callable[[Mapping[str, Array], Mapping[str, Any]], dict[str, Array]]]] = {
    "integer_conv": layers.conv,
    "integer_depthwise": layers.depthwise,
    "integer_dense": layers.dense,
    "integer_add": elementwise.add,
    "integer_mul": elementwise.mul,
    "integer_requantize": elementwise.requantize,
    "integer_hard_swish": elementwise.hard_swish,
    "integer_average_pool": images.average_pool,
    "integer_max_pool": images.max_pool,
    "integer_mean": images.mean,
    "integer_pad": images.pad,
    "integer_concat": images.concat,
    "integer_resize": images.resize,
    "integer_softmax": softmax.softmax,
}
"""Operation -> inputs and attributes by name -> outputs by name, every entry exact."""
