"""The public golden integer vectors of CMSIS-NN, computed by lieref's operators.

`data/cmsis_nn/README.md` says what each array is. A case gives multipliers and shifts themselves, so that these check
the integer arithmetic alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lieref.op.integer.add import add_fixed
from lieref.op.integer.average_pool import average_pool
from lieref.op.integer.convolution import convolution
from lieref.op.integer.depthwise import depthwise
from lieref.op.integer.extreme import maximum, minimum
from lieref.op.integer.fully_connected import fully_connected
from lieref.op.integer.max_pool import max_pool
from lieref.op.integer.multiplier import rescale_fixed, wrap
from lieref.op.integer.softmax import softmax
from lieref.op.integer.softmax16 import softmax16_fixed

FILES = (
    "convolve_s8", "depthwise_s8", "fully_connected_s8", "elementwise_s8", "pool_s8", "softmax_s8",
    "convolve_s16", "depthwise_s16", "fully_connected_s16", "elementwise_s16", "pool_s16", "softmax_s16",
)  # fmt: skip


def cases(folder: Path, file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the cases of a file by name; scalars are Python's."""
    held: dict[str, dict[str, Any]] = {}
    with np.load(folder / f"{file}.npz") as arrays:
        for key in arrays:
            case, word = key.split("/")
            value = arrays[key]
            held.setdefault(case, {})[word] = value if value.ndim else value.item()
    yield from held.items()


def compute(file: str, name: str, case: dict[str, Any], rounding: str = "double") -> Any:
    """Return the outputs of a case, flat as it has them."""
    return _COMPUTE[file.rsplit("_", 1)[0]](name, case, rounding)


def _pads(case: dict[str, Any], size: tuple[int, int], out: tuple[int, int], reach: tuple[int, int]) -> Any:
    """Return all four pads: those given above and left, and as much below and right as the output needs."""
    before = (case.get("PAD_Y", case.get("PADDING_H", 0)), case.get("PAD_X", case.get("PADDING_W", 0)))
    strides = (case.get("STRIDE_Y", case.get("STRIDE_H")), case.get("STRIDE_X", case.get("STRIDE_W")))
    after = [max((o - 1) * s + r - n - b, 0) for o, s, r, n, b in zip(out, strides, reach, size, before, strict=True)]
    return strides, (*before, *after)


def _ended(acc: Any, case: dict[str, Any], rounding: str) -> Any:
    """Return accumulators rescaled, offset and clamped."""
    wide = "biases" in case and case["biases"].dtype == np.int64
    multiplier = np.asarray(case.get("output_mult", case.get("OUTPUT_MULTIPLIER")), np.int64)
    shift = np.asarray(case.get("output_shift", case.get("OUTPUT_SHIFT")), np.int64)
    y = rescale_fixed(acc if wide else wrap(acc), multiplier, shift, "sixteen" if wide else rounding)
    return _clamped(y + case.get("OUTPUT_OFFSET", 0), case)


def _clamped(y: Any, case: dict[str, Any]) -> Any:
    low = case.get("OUT_ACTIVATION_MIN", case.get("ACTIVATION_MIN"))
    high = case.get("OUT_ACTIVATION_MAX", case.get("ACTIVATION_MAX"))
    return np.clip(y, low, high).ravel()


def _convolve(name: str, case: dict[str, Any], rounding: str) -> Any:
    n, h, w = case["INPUT_BATCHES"], case["INPUT_H"], case["INPUT_W"]
    x = case["input"].reshape(n, h, w, case["IN_CH"])
    kernel = (case["FILTER_Y"], case["FILTER_X"])
    weight = case["weights"].reshape(case["OUT_CH"], *kernel, -1)
    dilations = (case.get("DILATION_Y", 1), case.get("DILATION_X", 1))
    reach = ((kernel[0] - 1) * dilations[0] + 1, (kernel[1] - 1) * dilations[1] + 1)
    strides, pads = _pads(case, (h, w), (case["OUTPUT_H"], case["OUTPUT_W"]), reach)
    acc = convolution(
        x, weight, case.get("biases"), zero_point=-case["INPUT_OFFSET"], strides=strides, dilations=dilations,
        pads=pads, groups=case["IN_CH"] // weight.shape[3],
    )  # fmt: skip
    return _ended(acc[:, : case["OUTPUT_H"], : case["OUTPUT_W"]], case, rounding)


def _depthwise(name: str, case: dict[str, Any], rounding: str) -> Any:
    n, h, w = case["INPUT_BATCHES"], case["INPUT_H"], case["INPUT_W"]
    x = case["input"].reshape(n, h, w, case["IN_CH"])
    kernel = (case["FILTER_Y"], case["FILTER_X"])
    weight = case["weights"].reshape(1, *kernel, case["OUT_CH"])
    dilations = (case.get("DILATION_Y", 1), case.get("DILATION_X", 1))
    reach = ((kernel[0] - 1) * dilations[0] + 1, (kernel[1] - 1) * dilations[1] + 1)
    strides, pads = _pads(case, (h, w), (case["OUTPUT_H"], case["OUTPUT_W"]), reach)
    acc = depthwise(
        x, weight, case.get("biases"), zero_point=-case["INPUT_OFFSET"], strides=strides, dilations=dilations, pads=pads
    )
    return _ended(acc[:, : case["OUTPUT_H"], : case["OUTPUT_W"]], case, rounding)


def _fully_connected(name: str, case: dict[str, Any], rounding: str) -> Any:
    depth = case["ACCUMULATION_DEPTH"]
    acc = fully_connected(
        case["input"].reshape(-1, depth), case["weights"].reshape(-1, depth), case.get("biases"),
        zero_point=-case["INPUT_OFFSET"], weight_zero_point=-case.get("FILTER_OFFSET", 0),
    )  # fmt: skip
    return _ended(acc, case, rounding)


def _elementwise(name: str, case: dict[str, Any], rounding: str) -> Any:
    if name.startswith(("maximum", "minimum")):
        axes = ("BATCH", "HEIGHT", "WIDTH", "CHANNEL")
        a, b = (case[f"input{i}"].reshape([case[f"{axis}_{i}"] for axis in axes]) for i in (1, 2))
        return _clamped((maximum if name.startswith("maximum") else minimum)(a, b), case)
    zeros = (-case["INPUT1_OFFSET"], -case["INPUT2_OFFSET"])
    if name.startswith("add"):
        multipliers = np.array([case["INPUT1_MULT"], case["INPUT2_MULT"], case["OUTPUT_MULT"]])
        shifts = np.array([case["INPUT1_SHIFT"], case["INPUT2_SHIFT"], case["OUTPUT_SHIFT"]])
        y = add_fixed(case["input1"], case["input2"], zeros, case["LEFT_SHIFT"], multipliers, shifts, rounding)
    else:
        product = (case["input1"].astype(np.int64) - zeros[0]) * (case["input2"].astype(np.int64) - zeros[1])
        y = rescale_fixed(product, np.asarray(case["OUTPUT_MULT"]), np.asarray(case["OUTPUT_SHIFT"]), rounding)
    return _clamped(y + case["OUTPUT_OFFSET"], case)


def _pool(name: str, case: dict[str, Any], rounding: str) -> Any:
    h, w = case["INPUT_H"], case["INPUT_W"]
    x = case["input"].reshape(case["BATCH_SIZE"], h, w, case["INPUT_C"])
    kernel = (case["FILTER_H"], case["FILTER_W"])
    out = (case["OUTPUT_H"], case["OUTPUT_W"])
    strides, pads = _pads(case, (h, w), out, kernel)
    pool = average_pool if name.startswith("avg") else max_pool
    return _clamped(pool(x, kernel, strides, pads)[:, : out[0], : out[1]], case)


def _softmax(name: str, case: dict[str, Any], rounding: str) -> Any:
    x = case["input"].reshape(case["NUM_ROWS"], case["ROW_SIZE"])
    if x.dtype == np.int16:
        return softmax16_fixed(x, case["INPUT_MULT"], case["INPUT_LEFT_SHIFT"]).ravel()
    y = softmax(x, case["INPUT_MULT"], case["INPUT_LEFT_SHIFT"], case["DIFF_MIN"], case["output_ref"].dtype)
    return y.ravel()


_COMPUTE = {
    "convolve": _convolve,
    "depthwise": _depthwise,
    "fully_connected": _fully_connected,
    "elementwise": _elementwise,
    "pool": _pool,
    "softmax": _softmax,
}
