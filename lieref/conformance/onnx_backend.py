"""lieref as an ONNX backend, so that the official `onnx.backend.test` suite can judge its operators.

    backend_test = onnx.backend.test.BackendTest(lieref.conformance.onnx_backend.LierefBackend, __name__)

This runs single operators and small graphs with any number of inputs and outputs; networks are loaded with
`lieref.load`. An operator whose meaning changes in a later opset fails its test here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from onnx import helper, numpy_helper
from onnx.backend.base import Backend, BackendRep

from lieref._types import Array
from lieref.errors import UnsupportedError
from lieref.op.registry import OPERATORS, check_attributes, check_inputs, resolve_attributes, supported

EXCLUDED: Final[dict[str, str]] = {
    r"test_cast(like)?_\w*_to_BFLOAT16(_expanded)?": "NumPy has no bfloat16",
    r"test_cast(like)?_\w*_to_(FLOAT4E2M1|FLOAT8E\w+|U?INT[24])(_expanded)?": "NumPy has no such narrow numbers",
    r"test_cast_e8m0_FLOAT(16)?_to_FLOAT8E8M0": "NumPy has no such narrow numbers",
    r"test_celu_bfloat16(_expanded)?|test_attention_\w*bf16\w*_expanded": "NumPy has no bfloat16",
    r"test_(attention_\w*(fp16|float16|softmax_precision)\w*|causal_conv_with_state_(silu_)?fp16)_expanded": (
        "products are computed in float32 and float64, not in 16 bits"
    ),
    r"test_flexattention_fp16_expanded_ver26": "networks compute in float32 and float64, not in 16 bits",
    r"test_batchnorm_\w+_training_mode": "batch statistics are frozen: networks are adapted, not trained from nothing",
    r"test_dropout_default_mask(_ratio)?": "the mask of a dropout that drops nothing is not computed",
    r"test_training_dropout_\w+|test_training_dropout": "dropout of a network file is off; adapters have their own",
    r"test_identity_(opt|sequence)": "sequences and optional values are no arrays",
    r"test_maxpool_with_argmax_2d_precomputed_(pads|strides)": "the positions of the maxima are not computed",
    r"test_operator_(add_\w*broadcast|addconstant|addmm|mm)|test_Linear|test_Softsign": (
        "a model of opset 6 that broadcasts by attributes; opsets from 7 on are read"
    ),
    r"test_PReLU_[123]d_multiparam": "a model of opset 6 whose slopes are those of channels; opsets from 7 on are read",
    r"test_BatchNorm(1d_3d_input|2d|2d_momentum|3d|3d_momentum)_eval": (
        "a model of opset 6 with an attribute that went with opset 7; opsets from 7 on are read"
    ),
    r"test_operator_(pow|sqrt)|test_mod_float_edge_cases_\w+": (
        "the expected output holds NaN; inputs outside the domain are refused instead"
    ),
    r"test_attention_(?!\w*(qk_matmul|past|nonpad|padded|window))\w+_(fp16|bf16)": (
        "networks compute in float32 and float64, not in 16 bits"
    ),
    r"test_einsum_(batch_matmul|sum)_bfloat16": "networks compute in float32 and float64, not in 16 bits",
    r"test_attention_(?!\w*_expanded)\w*(with_past|qk_matmul|nonpad|padded_kv)\w*": (
        "caches of keys and values, lengths of samples and scores that are given out serve generation, not training"
    ),
    r"test_attention_(?!\w*(_expanded|with_past|qk_matmul))\w*window\w*": (
        "windows of keys came with opset 25; windows of keys are not supported"
    ),
    r"test_resize_downsample_scales_(linear|cubic)_align_corners": (
        "the expected numbers divide by 2.4, an extent that is no integer; the text of the standard by the output's"
    ),
}
"""Tests of operators lieref has that it does not run: pattern of the test's name -> reason."""


class LierefRep(BackendRep):
    """A model ready to run."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._graph = model.graph
        self._opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self._constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self._attrs = [_attributes(node, self._opset) for node in model.graph.node]

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Array, ...]:
        """Return the outputs for inputs given in the order of the graph."""
        names = [value.name for value in self._graph.input if value.name not in self._constants]
        given = [inputs] if isinstance(inputs, np.ndarray) else inputs
        values: dict[str, Array] = {**self._constants, **dict(zip(names, map(np.asarray, given), strict=False))}
        for node, attrs in zip(self._graph.node, self._attrs, strict=True):
            operands = [values[name] if name else None for name in node.input]
            operator = OPERATORS[node.op_type]
            for place, name in enumerate(node.output):
                if name:
                    which = {"output": place} if operator.outputs > 1 else {}
                    values[name] = operator.forward(*operands, **attrs, **which)
        return tuple(values[output.name] for output in self._graph.output)


class LierefBackend(Backend):
    """The operators of `lieref.op`, on the CPU."""

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> LierefRep:
        """Return the model ready to run.

        Raises
        ------
        UnsupportedError
            If it uses an operator, an attribute or an output lieref does not have.
        """
        for node in model.graph.node:
            if node.domain not in ("", "ai.onnx") or not supported(node.op_type):
                raise UnsupportedError(f"LierefBackend: operator {node.op_type} must be one lieref has")
            if any(node.output[OPERATORS[node.op_type].outputs :]):
                raise UnsupportedError(f"LierefBackend: {node.op_type} must have no further outputs; got {node.output}")
            check_inputs(node.op_type, node.input, node.name or node.op_type)
        return LierefRep(model)

    @classmethod
    def run_model(cls, model: Any, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Array, ...]:
        """Return the outputs of a model."""
        return cls.prepare(model, device).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Return whether this is the CPU."""
        return device.upper().startswith("CPU")


def _attributes(node: Any, opset: int) -> dict[str, Any]:
    """Return the attributes of a node in the forms that operators take, checked."""
    attrs = {a.name: _plain(helper.get_attribute_value(a)) for a in node.attribute}
    check_attributes(node.op_type, attrs, node.name or node.op_type)
    return resolve_attributes(node.op_type, attrs, opset)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "raw_data"):
        return numpy_helper.to_array(value)
    return tuple(map(_plain, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


__all__ = ["EXCLUDED", "LierefBackend", "LierefRep"]
