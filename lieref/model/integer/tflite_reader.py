"""From a .tflite file to a quantised network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lieref.errors import FormatError, UnsupportedError
from lieref.model.integer.flatbuffer import LARGEST
from lieref.model.integer.graph import Attribute, IntegerGraph, IntegerNode, IntegerTensor
from lieref.model.integer.shapes import check_shapes
from lieref.model.integer.tflite_file import RawModel, RawOperator, read_tflite_file
from lieref.model.integer.tflite_rules import check_tflite_rules
from lieref.model.integer.types import check_types

Attributes = dict[str, Attribute]
_ACTIVATIONS = ("none", "relu", "relu_n1_to_1", "relu6")
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_INT32 = 2
"""TFLite's number of the type."""


def read_tflite(content: bytes) -> IntegerGraph:
    """Return the network of a .tflite file.

    Parameters
    ----------
    content : bytes
        The whole file.

    Raises
    ------
    FormatError
        If the file is no .tflite one, truncated or damaged, or its parts do not fit together.
    UnsupportedError
        If it is no network of integers throughout, or has what lieref does not run; the message says what to do.
    MissingExtraError
        If the extra `int8` is not installed.
    """
    raw = read_tflite_file(content)
    _check_integers(raw)
    made = tuple(_node(raw, index, each) for index, each in enumerate(raw.operators))
    tensors = {tensor.name: tensor for tensor in raw.tensors}
    names = [tuple(raw.tensors[i].name for i in places) for places in (raw.inputs, raw.outputs)]
    graph = IntegerGraph(tensors, made, names[0], names[1], "tflite", content)
    check_shapes(graph)
    check_types(graph)
    check_tflite_rules(graph)
    return graph


def load_tflite(path: str | Path) -> IntegerGraph:
    """Return the network of a .tflite file on disk; see `read_tflite`."""
    try:
        size = Path(path).stat().st_size
        if size > LARGEST:
            raise FormatError(f"load_tflite: {path} must be smaller than 2 GiB; got {size} bytes")
        if Path(path).exists() and not Path(path).is_file():
            raise FormatError(f"load_tflite: `path` must be a regular file; got {path}")
        content = Path(path).read_bytes()
    except OSError as error:
        raise FormatError(
            f"load_tflite: `path` must be a file that can be read; got {path}: {error.strerror}"
        ) from error
    return read_tflite(content)


def _check_integers(raw: RawModel) -> None:
    """Refuse networks that compute in floating point, each kind with its own advice."""
    advice = "convert it to int8 throughout, with a representative data set and inference_input_type = int8"
    for each in raw.operators:
        inputs = [raw.tensors[i] for i in each.inputs if i >= 0]
        if each.kind in _LAYERS and len(inputs) > 1 and inputs[0].dtype == "float32":
            kind = (
                "a float network" if inputs[1].dtype == "float32" else "a dynamic-range one, of integer weights alone"
            )
            raise UnsupportedError(f"tflite: the network must compute in integers; got {kind}: {advice}")
    for index in raw.inputs:
        tensor = raw.tensors[index]
        if tensor.dtype not in ("int8", "uint8", "int16"):
            raise UnsupportedError(
                f"tflite: input {tensor.name} must be int8, uint8 or int16; got {tensor.dtype}: {advice}"
            )


def _node(raw: RawModel, index: int, each: RawOperator) -> IntegerNode:
    if each.kind not in _READERS:
        raise UnsupportedError(f"tflite: every operator must be one of {', '.join(_READERS)}; got {each.kind}")
    if len(each.outputs) != 1 or not each.inputs or each.inputs[0] < 0:
        raise FormatError(f"tflite: {each.kind} must have inputs and one output; got {each.inputs} and {each.outputs}")
    inputs = [raw.tensors[i] if i >= 0 else None for i in each.inputs]
    op, count, attributes = _READERS[each.kind](each, inputs, raw.tensors[each.outputs[0]])
    read = tuple("" if tensor is None else tensor.name for tensor in inputs[:count])
    return IntegerNode(f"{each.kind} {index}", op, read, (raw.tensors[each.outputs[0]].name,), attributes, "NHWC")


Inputs = list[IntegerTensor | None]
Made = tuple[str, int | None, Attributes]
"""Operation, number of the inputs that the node keeps (None: all), attributes."""


def _present(each: RawOperator, inputs: Inputs, place: int, axes: int | None = None) -> IntegerTensor:
    tensor = inputs[place] if place < len(inputs) else None
    if tensor is None or (axes is not None and len(tensor.shape) != axes):
        got = "none" if tensor is None else f"shape {tensor.shape}"
        rule = "be there" if axes is None else f"have {axes} axes"
        raise FormatError(f"tflite: input {place} of {each.kind} must {rule}; got {got}")
    return tensor


def _numbers(each: RawOperator, inputs: Inputs, place: int) -> tuple[int, ...]:
    """Return the integers of a constant input."""
    tensor = _present(each, inputs, place)
    if tensor.data is None or tensor.dtype not in ("int32", "int64", "int8", "uint8", "int16"):
        raise UnsupportedError(f"tflite: input {place} of {each.kind} must be integers in the file; got {tensor}")
    if tensor.data.size > 64:
        raise FormatError(f"tflite: input {place} of {each.kind} must hold a few numbers; got {tensor.data.size}")
    return tuple(int(v) for v in tensor.data.ravel())


def _activation(each: RawOperator, slot: int) -> str:
    code = each.option(slot, "b", 0)
    if not 0 <= code < len(_ACTIVATIONS):
        raise UnsupportedError(
            f"tflite: the activation of {each.kind} must be one of {_ACTIVATIONS}; got number {code}"
        )
    return _ACTIVATIONS[code]


def _window(each: RawOperator, x: IntegerTensor, kernel: tuple[int, int], dilation_slot: int | None) -> Attributes:
    """Return strides, dilations and pads of a window over images."""
    strides = (each.option(2, "i", 0), each.option(1, "i", 0))
    dilations = (1, 1)
    if dilation_slot is not None:
        dilations = (each.option(dilation_slot + 1, "i", 1), each.option(dilation_slot, "i", 1))
    padding = each.option(0, "b", 0)
    if min(*strides, *dilations, *kernel) < 1 or max(*strides, *dilations, *kernel) > 1 << 16 or padding not in (0, 1):
        raise FormatError(
            f"tflite: window, strides and dilations of {each.kind} must be 1 to 65536, its padding SAME or VALID; got "
            f"{kernel}, {strides}, {dilations}, {padding}"
        )
    pads = [(0, 0), (0, 0)]
    if padding == 0:  # SAME: as many windows as strides fit, the odd pixel of the border below and right
        for axis in range(2):
            size = x.shape[axis + 1] or 0
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            total = max((-(-size // strides[axis]) - 1) * strides[axis] + reach - size, 0)
            pads[axis] = (total // 2, total - total // 2)
    border = (pads[0][0], pads[1][0], pads[0][1], pads[1][1])
    window: Attributes = {"strides": strides, "pads": border}
    return window if dilation_slot is None else {**window, "dilations": dilations}


def _check_bias(each: RawOperator, inputs: Inputs, slot: int | None) -> None:
    """Refuse an int32 bias beside int16 activations that is not announced: a runtime reads it as int64."""
    bias = inputs[2] if len(inputs) > 2 else None
    x = inputs[0]
    if bias is None or x is None or x.dtype != "int16" or bias.dtype != "int32":
        return
    if slot is None or each.option(slot, "b", 0) != _INT32:
        raise UnsupportedError(
            f"tflite: the bias of {each.kind} must be int64 beside int16 activations, or announced as int32 by "
            f"quantized_bias_type; got {bias}"
        )


def _conv(each: RawOperator, inputs: Inputs, _: IntegerTensor) -> Made:
    x, weight = _present(each, inputs, 0, 4), _present(each, inputs, 1, 4)
    kernel = (weight.shape[1] or 0, weight.shape[2] or 0)
    depth = weight.shape[3] or 1
    window = _window(each, x, kernel, 4)
    _check_bias(each, inputs, 6)
    return "Conv", 3, {**window, "groups": (x.shape[3] or 0) // depth, "activation": _activation(each, 3)}


def _depthwise(each: RawOperator, inputs: Inputs, _: IntegerTensor) -> Made:
    x, weight = _present(each, inputs, 0, 4), _present(each, inputs, 1, 4)
    window = _window(each, x, (weight.shape[1] or 0, weight.shape[2] or 0), 5)
    _check_bias(each, inputs, None)
    return "DepthwiseConv", 3, {**window, "activation": _activation(each, 4)}


def _dense(each: RawOperator, inputs: Inputs, _: IntegerTensor) -> Made:
    if each.option(1, "b", 0):
        raise UnsupportedError("tflite: weights of FULLY_CONNECTED must be in the usual order; got a shuffled one")
    _check_bias(each, inputs, 4)
    return "FullyConnected", 3, {"activation": _activation(each, 0), "keep_axes": int(each.option(2, "B", 0) != 0)}


def _pool(op: str) -> Callable[[RawOperator, Inputs, IntegerTensor], Made]:
    def read(each: RawOperator, inputs: Inputs, _: IntegerTensor) -> Made:
        kernel = (each.option(4, "i", 0), each.option(3, "i", 0))
        window = _window(each, _present(each, inputs, 0, 4), kernel, None)
        return op, 1, {**window, "kernel": kernel, "activation": _activation(each, 5)}

    return read


def _element_wise(op: str) -> Callable[[RawOperator, Inputs, IntegerTensor], Made]:
    def read(each: RawOperator, inputs: Inputs, _: IntegerTensor) -> Made:
        x = _present(each, inputs, 0)
        if op != "Mul" and x.dtype == "int16" and each.option(1, "B", 1):
            raise UnsupportedError(f"tflite: {each.kind} of int16 must have pot_scale_int16 = false; got true")
        return op, 2, {"activation": _activation(each, 0)}

    return read


def _concat(each: RawOperator, inputs: Inputs, out: IntegerTensor) -> Made:
    axis = each.option(0, "i", 0)
    return "Concat", None, {"axis": axis + len(out.shape) if axis < 0 else axis, "activation": _activation(each, 1)}


def _pad(each: RawOperator, inputs: Inputs, _: IntegerTensor) -> Made:
    numbers = _numbers(each, inputs, 1)
    value = None
    if each.kind == "PADV2":
        held = _present(each, inputs, 2)
        if held.dtype != _present(each, inputs, 0).dtype:
            raise FormatError(f"tflite: the border of PADV2 must have the type of its input; got {held}")
        value = next(iter(_numbers(each, inputs, 2)), None)
    return "Pad", 1, {"before": numbers[::2], "after": numbers[1::2], "value": value}


def _resize(each: RawOperator, inputs: Inputs, _: IntegerTensor) -> Made:
    nearest = each.kind == "RESIZE_NEAREST_NEIGHBOR"
    first = 0 if nearest else 2
    flags = [int(each.option(slot, "B", 0) != 0) for slot in (first, first + 1)]
    mode = "nearest" if nearest else "bilinear"
    return "Resize", 1, {"mode": mode, "align_corners": flags[0], "half_pixel_centers": flags[1]}


def _softmax(each: RawOperator, inputs: Inputs, _: IntegerTensor) -> Made:
    beta = float(each.option(0, "f", 0.0))
    if not 0 < beta <= 1e6:
        raise FormatError(f"tflite: beta of SOFTMAX must be a positive number up to 1e6; got {beta}")
    return "Softmax", 1, {"beta": beta}


def _mean(each: RawOperator, inputs: Inputs, _: IntegerTensor) -> Made:
    rank = len(_present(each, inputs, 0).shape)
    axes = tuple(dict.fromkeys(axis + rank if axis < 0 else axis for axis in _numbers(each, inputs, 1)))
    return "Mean", 1, {"axes": axes, "keepdims": int(each.option(0, "B", 0) != 0)}


def _quantize(each: RawOperator, inputs: Inputs, _: IntegerTensor) -> Made:
    return ("Quantize" if _present(each, inputs, 0).dtype == "float32" else "Requantize"), 1, {}


def _plain(op: str) -> Callable[[RawOperator, Inputs, IntegerTensor], Made]:
    def read(each: RawOperator, inputs: Inputs, _: IntegerTensor) -> Made:
        return op, 1, {}

    return read


def _two(op: str) -> Callable[[RawOperator, Inputs, IntegerTensor], Made]:
    def read(each: RawOperator, inputs: Inputs, _: IntegerTensor) -> Made:
        return op, 2, {}

    return read


_READERS: dict[str, Callable[[RawOperator, Inputs, IntegerTensor], Made]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "AVERAGE_POOL_2D": _pool("AveragePool"),
    "MAX_POOL_2D": _pool("MaxPool"),
    "ADD": _element_wise("Add"),
    "SUB": _element_wise("Sub"),
    "MUL": _element_wise("Mul"),
    "MAXIMUM": _two("Maximum"),
    "MINIMUM": _two("Minimum"),
    "CONCATENATION": _concat,
    "PAD": _pad,
    "PADV2": _pad,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "SOFTMAX": _softmax,
    "MEAN": _mean,
    "HARD_SWISH": _plain("HardSwish"),
    "LOGISTIC": _plain("Sigmoid"),
    "TANH": _plain("Tanh"),
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _plain("Dequantize"),
    "RESHAPE": _plain("Reshape"),
    "SQUEEZE": _plain("Reshape"),
    "EXPAND_DIMS": _plain("Reshape"),
}
"""How each operator of TFLite becomes an operation."""
