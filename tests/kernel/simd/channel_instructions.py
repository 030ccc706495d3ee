"""Instructions of the families that work on all channels of a pixel, or on all pixels of a channel, at their edges."""

from __future__ import annotations

from functools import partial

from lieref.kernel.simd.channels import PIXELS
from lieref.kernel.simd.column_normalization import SUMMED, VECTORS
from lieref.kernel.simd.epilogue import ADD, BIAS, CLAMP
from lieref.kernel.simd.row import float_bits
from tests.kernel.simd.instruction import ALL, Instruction, ends, tensor


def _pixels(width):
    """Channels, pixels, pixels in a row, halo and flags: fewer than a vector, whole ones, and one more of all.

    The vectors are odd in number, so that none twice as wide fit.
    """
    yield from (
        (1, 1, 1, 0, 0), (width - 1, PIXELS, PIXELS // 2, 1, ALL), (3 * width, PIXELS + 1, PIXELS + 1, 0, ADD),
        (2 * width + 1, 2 * PIXELS + 2, 5, 2, BIAS | CLAMP),
    )  # fmt: skip


def _row(width):
    """The fields of an input of all channels, the pixels and the flags."""
    for channels, count, cols, halo, flags in _pixels(width):
        pixel = -(-channels // width) * width + 3
        yield {
            "channels": channels, "count": count, "cols": cols, **tensor("in", (cols + halo) * pixel, pixel),
        }, cols, pixel, halo, flags  # fmt: skip


def normalization(gradient, tile, dtype):
    """The forward pass, or the gradient of the input."""
    for ints, cols, pixel, halo, flags in _row(tile.width):
        numbers = {"share": float_bits(1 / ints["channels"]), "epsilon": float_bits(0.3), "weight": 0}
        other = tensor("other", (cols + 1) * (pixel + 1), pixel + 1) if gradient else {}
        yield Instruction({**ints, **numbers, **other, **ends(flags, cols, pixel, halo)})


def scale(tile, dtype):
    """The gradient of the scale, set and added to."""
    for (ints, cols, pixel, *_), begin, first in zip(_row(tile.width), (1, 1, 0, 1), (1, 0, 1, 1), strict=True):
        other = tensor("other", (cols + 1) * (pixel + 1), pixel + 1)
        numbers = {"share": float_bits(1 / ints["channels"]), "epsilon": float_bits(0.3), "out": 0, "fresh": begin}
        yield Instruction({**ints, **other, **numbers}, context={"fresh": first})


def softmax(tile, dtype):
    """The forward pass."""
    for ints, cols, pixel, *_ in _row(tile.width):
        yield Instruction({**ints, **tensor("out", (cols + 1) * (pixel + 1), pixel + 1)})


def softmax_gradient(tile, dtype):
    """The gradient of the input."""
    for ints, cols, pixel, halo, flags in _row(tile.width):
        yield Instruction({**ints, **tensor("other", cols * pixel, pixel), **ends(flags, cols, pixel, halo)})


def of_channels(sums, tile, dtype):
    """Numbers for each channel: one, fewer than a vector and more, by themselves and in groups."""
    width = tile.width
    for channels, group, rows, cols, halo in (
        (1, 1, 1, 1, 0), (width - 1, width - 1, 2, 3, 1), (3 * width, 1, 3, SUMMED + 1, 0),
        (2 * VECTORS * width + 2, 2, 2, SUMMED, 2), ((VECTORS + 1) * width, VECTORS + 1, 1, 5, 0),
    ):  # fmt: skip
        padded = -(-channels // width) * width
        pixel = padded + 3
        share = {"share": float_bits(1 / (group * rows * cols))}
        ints = {"channels": channels, "group": group, "rows": rows, "cols": cols, **share}
        ints |= {**tensor("in", (cols + halo) * pixel, pixel), "out": 0, "out_pixel": padded + 1}
        if sums:
            other = tensor("other", (cols + halo) * (pixel + 2), pixel + 2)
            yield Instruction({**ints, **other, "statistics": 0, "statistics_pixel": padded + 2, "weight": 0})
        else:
            yield Instruction({**ints, "epsilon": float_bits(0.3)})


def of_pixels(gradient, tile, dtype):
    """What each pixel becomes: whole tiles and one pixel more."""
    pixels, width = tile
    for blocks, rows, cols, halo, flags in (
        (1, 1, pixels, 0, 0), (2, 2, pixels + 1, 1, ALL), (3, 1, 2 * pixels + 1, 2, ADD),
    ):  # fmt: skip
        pixel = blocks * width + 1
        ints = {"blocks": blocks, "count": rows * cols, "cols": cols, "statistics": 0, "weight": 0}
        ints |= {**tensor("in", (cols + halo) * pixel, pixel), "statistics_pixel": pixel + 1}
        if gradient:
            ints |= {**tensor("other", cols * pixel + 2, pixel), "sums": 0, "sums_pixel": pixel + 2}
        yield Instruction({**ints, **ends(flags, cols, pixel, halo)})


FAMILIES = {
    **{
        f"{name}_normalization{end}": family
        for name in ("layer", "rms")
        for end, family in (
            ("", partial(normalization, False)), ("_gradient", partial(normalization, True)), ("_scale", scale),
        )
    },
    **{
        f"{name}{end}": family
        for name in ("softmax", "log_softmax")
        for end, family in (("", softmax), ("_gradient", softmax_gradient))
    },
    "column_statistics": partial(of_channels, False),
    "column_sums": partial(of_channels, True),
    "column_normalization": partial(of_pixels, False),
    "column_normalization_gradient": partial(of_pixels, True),
}  # fmt: skip
"""Instructions of each family, given a tile."""
