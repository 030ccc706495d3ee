"""JSON Schemas of the vector files, one for each operation, and a validator for the part of the standard they use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

FORMAT: Final = "lieref-vectors/1"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class Signature(NamedTuple):
    """Names of inputs and outputs; those in brackets are optional, ``*`` stands for a number, ``...`` for any names."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: tuple[str, ...] = ()


_CONV = ("strides", "pads", "dilations", "groups")
_FACTORS = ("[lora_a]", "[lora_b]", "[core]", "[factor_*]", "[coefficients]", "[atoms]")
_FACTOR_BARS = ("[lora_a_bar]", "[lora_b_bar]", "[core_bar]", "[factor_*_bar]", "[atoms_bar]")
_PARTS = ("group",)
_NORMALISED = ("weight", "bias", "scale", "shift", "mean", "var")
_GEMM = ("alpha", "beta", "transA", "transB")
_POOL = ("kind", "kernel_shape", "strides", "pads", "dilations", "ceil_mode", "count_include_pad")
_METHOD = ("method", "options", "groups")
_ACTION = ("group", "action", "groups")
_PIPELINE = ("x", "base_weight", "bias", "target", "lora_a", "lora_b")

SIGNATURES: Final[dict[str, Signature]] = {
    "conv": Signature(("x", "weight", "[bias]"), ("y",), _CONV),
    "conv_vjp": Signature(("x", "weight", "y_bar"), ("x_bar", "weight_bar", "bias_bar"), _CONV),
    "hadamard": Signature(("base_weight", "delta"), ("weight",)),
    "hadamard_vjp": Signature(("base_weight", "delta", "weight_bar"), ("delta_bar",)),
    "hadamard_delta": Signature(("base_weight", "delta"), ("weight_delta",)),
    "taylor1": Signature(("base_weight", "delta"), ("weight",)),
    "taylor1_vjp": Signature(("base_weight", "delta", "weight_bar"), ("delta_bar",)),
    "expm": Signature(("a",), ("g",)),
    "expm_delta": Signature(("a",), ("g_minus_identity",)),
    "expm_frechet": Signature(("a", "a_dot"), ("g_dot",)),
    "expm_vjp": Signature(("a", "g_bar"), ("a_bar",)),
    "low_rank_expm": Signature(("lora_b", "lora_a"), ("g",)),
    "low_rank_expm_vjp": Signature(("lora_b", "lora_a", "g_bar"), ("lora_b_bar", "lora_a_bar")),
    "low_rank": Signature(("lora_b", "lora_a"), ("delta",), ("matricisation", "scaling", "groups", "shape")),
    "low_rank_vjp": Signature(
        ("lora_b", "lora_a", "delta_bar"), ("lora_b_bar", "lora_a_bar"), ("matricisation", "scaling", "groups", "shape")
    ),
    "tucker": Signature(("core", "factor_*"), ("delta",), ("scaling",)),
    "tucker_vjp": Signature(("core", "factor_*", "delta_bar"), ("core_bar", "factor_*_bar"), ("scaling",)),
    "atoms": Signature(("coefficients", "atoms"), ("delta",), ("shape",)),
    "atoms_vjp": Signature(("coefficients", "atoms", "delta_bar"), ("atoms_bar",), ("shape",)),
    "adapted_weight": Signature(("base_weight", *_FACTORS), ("weight",), ("parameterisation", "group")),
    "adapted_weight_vjp": Signature(
        ("base_weight", "weight_bar", *_FACTORS), _FACTOR_BARS, ("parameterisation", "group")
    ),
    "adapted_conv": Signature(_PIPELINE, ("y", "loss"), ("parameterisation", "group", "strides", "pads", "dilations")),
    "adapted_conv_vjp": Signature(
        _PIPELINE, ("lora_a_bar", "lora_b_bar"), ("parameterisation", "group", "strides", "pads", "dilations")
    ),
    "optimizer_step": Signature(
        ("param", "grad", "[velocity]", "[mean]", "[square]"),
        ("param", "[velocity]", "[mean]", "[square]"),
        ("optimizer", "learning_rate", "weight_decay"),
    ),
    "training": Signature(_PIPELINE, ("losses", "lora_a", "lora_b"), ("steps", "learning_rate", "momentum")),
    "merge": Signature(("base_weight", "[bias]", "[...]"), ("weight", "[bias]"), _METHOD),
    "merge_vjp": Signature(("base_weight", "[bias]", "weight_bar", "[bias_bar]", "[...]"), ("[...]",), _METHOD),
    "retract": Signature(("xi",), ("g",), (*_PARTS, "map")),
    "retract_vjp": Signature(("xi", "g_bar"), ("xi_bar",), (*_PARTS, "map")),
    "group_log": Signature(("g",), ("xi",), _PARTS),
    "group_compose": Signature(("g", "h"), ("gh",), _PARTS),
    "group_inverse": Signature(("g",), ("g_inverse",), _PARTS),
    "group_adjoint": Signature(("g", "xi"), ("eta",), _PARTS),
    "group_bracket": Signature(("xi", "eta"), ("zeta",), _PARTS),
    "act": Signature(("g", "base_weight", "[bias]"), ("weight", "[bias]"), _ACTION),
    "act_vjp": Signature(("g", "base_weight", "[bias]", "weight_bar", "[bias_bar]"), ("g_bar",), _ACTION),
    "low_rank_retract": Signature(("lora_b", "lora_a"), ("g",), ("group", "map")),
    "low_rank_retract_vjp": Signature(("lora_b", "lora_a", "g_bar"), ("lora_b_bar", "lora_a_bar"), ("group", "map")),
    "logm": Signature(("a",), ("x",)),
    "phi": Signature(("x",), ("y",), ("k",)),
    "matrix_phi": Signature(("a",), ("y",), ("k",)),
    "matrix_phi_vjp": Signature(("a", "y_bar"), ("a_bar",), ("k",)),
    "loss": Signature(("logits", "[targets]"), ("loss",), ("loss",)),
    "loss_vjp": Signature(("logits", "[targets]"), ("logits_bar",), ("loss",)),
    "clip_gradients": Signature(("[...]",), ("[...]",), ("max_norm",)),
    "learning_rate": Signature(("rate",), ("rates",), ("schedule", "total_steps", "warmup_steps")),
    "fold_batch_normalization": Signature(_NORMALISED, ("weight", "bias"), ("epsilon",)),
    "fold_batch_normalization_vjp": Signature(
        (*_NORMALISED, "weight_bar", "bias_bar"), tuple(f"{name}_bar" for name in _NORMALISED), ("epsilon",)
    ),
    "gemm": Signature(("a", "b", "[c]"), ("y",), _GEMM),
    "gemm_vjp": Signature(("a", "b", "[c]", "y_bar"), ("a_bar", "b_bar", "[c_bar]"), _GEMM),
    "pool": Signature(("x",), ("y",), _POOL),
    "pool_vjp": Signature(("x", "y_bar"), ("x_bar",), _POOL),
}
"""What each operation takes and returns."""

_LAYER = ("x", "weight", "[bias]", "x_scale", "weight_scale", "y_scale", "[multiplier]", "[shift]")
_SINGLE = ("x", "x_scale", "y_scale")
_PAIR = ("a", "b", "a_scale", "b_scale", "y_scale")
_ENDS = ("semantics", "y_zero_point", "y_type", "clamp")
_RESCALED = (*_ENDS, "scale", "rounding", "x_zero_point")

EXACT_SIGNATURES: Final[dict[str, Signature]] = {
    "integer_conv": Signature(_LAYER, ("y",), (*_RESCALED, *_CONV)),
    "integer_depthwise": Signature(_LAYER, ("y",), (*_RESCALED, *_CONV)),
    "integer_dense": Signature(_LAYER, ("y",), _RESCALED),
    "integer_add": Signature(_PAIR, ("y",), (*_ENDS, "addition", "a_zero_point", "b_zero_point")),
    "integer_mul": Signature(_PAIR, ("y",), (*_ENDS, "scale", "rounding", "a_zero_point", "b_zero_point")),
    "integer_requantize": Signature(_SINGLE, ("y",), (*_ENDS, "rounding", "x_zero_point")),
    "integer_hard_swish": Signature(_SINGLE, ("y",), (*_ENDS, "x_zero_point")),
    "integer_average_pool": Signature(_SINGLE, ("y",), (*_ENDS, "pooling", "kernel", "strides", "pads")),
    "integer_max_pool": Signature(_SINGLE, ("y",), (*_ENDS, "kernel", "strides", "pads")),
    "integer_mean": Signature(_SINGLE, ("y",), (*_ENDS, "mean", "axes", "x_zero_point")),
    "integer_pad": Signature(_SINGLE, ("y",), (*_ENDS, "before", "after")),
    "integer_concat": Signature(_PAIR, ("y",), (*_ENDS, "rounding", "axis", "a_zero_point", "b_zero_point")),
    "integer_resize": Signature(_SINGLE, ("y",), (*_ENDS, "resizing", "size", "align_corners", "half_pixel_centers")),
    "integer_softmax": Signature(_SINGLE, ("y",), (*_ENDS, "softmax", "beta")),
}
"""The same of quantised operators."""


def _named(names: tuple[str, ...], item: str) -> dict[str, Any]:
    """Return the schema of an object with these names, each an `item`."""
    exact = [name for name in names if "*" not in name and "..." not in name]
    patterns = [
        name.strip("[]").replace("*", "[0-9]+").replace("...", "[a-z][a-z0-9_]*") for name in names if name not in exact
    ]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name.strip("[]"): {"$ref": item} for name in exact},
        "required": [name for name in exact if not name.startswith("[")],
        "additionalProperties": False,
    }
    if patterns:
        schema["patternProperties"] = {f"^{pattern}$": {"$ref": item} for pattern in patterns}
    return schema


_HEXADECIMAL: Final = r"^-?0x[01](\.[0-9a-f]+)?p[+-][0-9]+$"
_ARRAY: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "string", "pattern": "^([a-z0-9_]+\\.npz)?#[0-9]+/[A-Za-z0-9_.]+$"},
        {
            "type": "object",
            "properties": {
                "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                "dtype": {"enum": ["float32", "float64"]},
                "hex": {"type": "array", "items": {"type": "string", "pattern": _HEXADECIMAL}},
            },
            "required": ["shape", "dtype", "hex"],
            "additionalProperties": False,
        },
    ]
}
_EXPECTED: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        **{name: {"$ref": "#/$defs/array"} for name in ("hi", "lo", "rad", "S", "C", "floor")},
        "n": {"type": "integer", "minimum": 1},
    },
    "required": ["hi", "lo", "rad", "S", "C", "n"],
    "additionalProperties": False,
}


_INTEGER_ARRAY: Final[dict[str, Any]] = {
    "anyOf": [
        *_ARRAY["anyOf"],
        {
            "type": "object",
            "properties": {
                "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                "dtype": {"enum": ["int8", "uint8", "int16", "int32", "int64"]},
                "int": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["shape", "dtype", "int"],
            "additionalProperties": False,
        },
    ]
}
_EXACT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"exact": {"$ref": "#/$defs/array"}},
    "required": ["exact"],
    "additionalProperties": False,
}


def schema_of(op: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a test group of one operation."""
    is_exact = op in EXACT_SIGNATURES
    signature = EXACT_SIGNATURES[op] if is_exact else SIGNATURES[op]
    test = {
        "type": "object",
        "properties": {
            "tcId": {"type": "integer", "minimum": 1},
            "comment": {"type": "string"},
            "flags": {"type": "array", "items": {"type": "string"}},
            "result": {"enum": ["valid", "invalid", "acceptable"]},
            "zeroMean": {"type": "boolean"},
            "in": _named(signature.inputs, "#/$defs/array"),
            "out": {"anyOf": [_named(signature.outputs, "#/$defs/expected"), {"type": "object", "maxProperties": 0}]},
        },
        "required": ["tcId", "comment", "flags", "result", "zeroMean", "in", "out"],
        "additionalProperties": False,
    }
    return {
        "$schema": _DIALECT,
        "$id": f"{FORMAT}/{op}",
        "title": f"Test group of {op}",
        "type": "object",
        "properties": {
            "type": {"const": op},
            "dtype": {"enum": ["i8", "u8", "i16"] if is_exact else ["f32", "f64"]},
            "attrs": {"type": "object", "required": list(signature.attrs)},
            "tests": {"type": "array", "items": test},
        },
        "required": ["type", "dtype", "attrs", "tests"],
        "additionalProperties": False,
        "$defs": {"array": _INTEGER_ARRAY if is_exact else _ARRAY, "expected": _EXACT if is_exact else _EXPECTED},
    }


_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def violations(
    value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None, path: str = "$"
) -> Iterator[str]:
    """Yield where a JSON value breaks a schema; only the keywords used above are known."""
    root = root or schema
    if "$ref" in schema:
        yield from violations(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, path)
        return
    if "anyOf" in schema:
        found = [list(violations(value, option, root, path)) for option in schema["anyOf"]]
        if all(found):
            yield min(found, key=len)[0]
        return
    kind = schema.get("type")
    if kind and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        yield f"{path} must be of type {kind}; got {type(value).__name__}"
        return
    if "const" in schema and value != schema["const"]:
        yield f"{path} must be {schema['const']!r}; got {value!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path} must be one of {schema['enum']}; got {value!r}"
    if "minimum" in schema and value < schema["minimum"]:
        yield f"{path} must be at least {schema['minimum']}; got {value}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{path} must match {schema['pattern']}; got {value[:40]!r}"
    if "maxProperties" in schema and len(value) > schema["maxProperties"]:
        yield f"{path} must have at most {schema['maxProperties']} entries; got {len(value)}"
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path} must have `{name}`"
    if "items" in schema and not _all_match(value, schema["items"]):
        for index, item in enumerate(value):
            yield from violations(item, schema["items"], root, f"{path}[{index}]")
    if kind == "object":
        yield from _property_violations(value, schema, root, path)


def _all_match(values: Any, schema: dict[str, Any]) -> bool:
    """Return whether these are strings that match a pattern and need nothing else: most of a file, in one go."""
    if schema.keys() != {"type", "pattern"} or schema["type"] != "string":
        return False
    search = re.compile(schema["pattern"]).search
    return all(isinstance(value, str) and search(value) for value in values)


def _property_violations(value: Any, schema: dict[str, Any], root: dict[str, Any], path: str) -> Iterator[str]:
    for name, item in value.items():
        below = schema.get("properties", {}).get(name)
        for pattern, candidate in schema.get("patternProperties", {}).items():
            if below is None and re.search(pattern, name):
                below = candidate
        if below is not None:
            yield from violations(item, below, root, f"{path}.{name}")
        elif schema.get("additionalProperties") is False:
            yield f"{path} must not have `{name}`"
