"""Instructions of every family at the edges of a tile: one and more of all, turns of a row, what is left over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from lieref.kernel.simd.adapter import MAPS
from lieref.kernel.simd.cell import CELLS
from lieref.kernel.simd.combinations import COMBINATIONS
from lieref.kernel.simd.conv import SPARE
from lieref.kernel.simd.depthwise import BLOCK
from lieref.kernel.simd.epilogue import ADD, BIAS, CLAMP, MASK
from lieref.kernel.simd.frequency import FREQUENCY_STEPS
from lieref.kernel.simd.pointwise import ACTIVATIONS, DOT_VECTORS
from lieref.kernel.simd.row import float_bits
from tests.kernel.simd import channel_instructions
from tests.kernel.simd.instruction import ALL, BEFORE, HIGH, LOW, Instruction, ends, tensor


def pairs(pixels):
    """The fewest pixels of rows of two that are more than a tile has."""
    return (pixels + 2) // 2 * 2


def conv(tile, dtype) -> Iterator[Instruction]:
    """Whole tiles and one pixel more, runs of whole parts and of parts that reach behind the tensor."""
    pixels, vectors, steps, width = tile
    spare = steps - 1
    # (pixels, in a row, halo, taps, parts of each, spare, flags, blocks, together)
    for count, cols, halo, taps, parts, beyond, flags, blocks, together in (
        (pixels, pixels, 0, 1, 1, 0, 0, 1, 1),
        (pairs(pixels), 2, 1, 1, 2, spare, ALL, 2, 1),
        (2 * pixels + 1, 2 * pixels + 1, 2, 3, 1, spare, BIAS | CLAMP, 3, 2),
        (2 * pixels, pixels, 1, 2, 2, 1, ADD, 1, 1),
        (pixels, pixels, 0, 0, 1, 0, ADD | MASK, 1, 1),
    ):
        run = parts * steps - beyond
        depth, channels = taps * parts * steps, blocks * vectors * width
        row = (cols + halo) * run
        column = depth * width + 4
        # Of each tap the last rows, in every vector column.
        rows = [tap * parts * steps + run + i for tap in range(taps) for i in range(beyond)]
        zeros = [c * column + r * width + lane for c in range(blocks * vectors) for r in rows for lane in range(width)]
        yield Instruction(
            {
                "blocks": blocks, "channel": width, "column": column, "together": together, "count": count,
                "cols": cols, **tensor("in", row, run), "runs": BEFORE, "run_count": taps * parts, "weight": 0,
                **ends(flags, cols, channels + width + 3, halo),
            }, [tap * row + part * steps for tap in range(taps) for part in range(parts)], {"weight": zeros},
            {"in": beyond} if beyond and taps else {},
        )  # fmt: skip


def winograd_product(tile, dtype):
    """Whole runs, and channels that are none: the last run reaches into the next tile, its weights being zero."""
    pixels, vectors, width = tile
    for count, frequencies, runs, beyond, blocks, together in (
        (pixels, 1, 1, 0, 1, 1), (pixels + 1, 2, 2, 2, 2, 1), (2 * pixels, 3, 1, 0, 3, 2),
    ):  # fmt: skip
        depth, channels = runs * FREQUENCY_STEPS, blocks * vectors * width
        step, columns = blocks * vectors * depth * width, blocks * vectors
        zeros = [
            frequency * step + (c * depth + r) * width + lane
            for frequency in range(frequencies) for c in range(columns) for r in range(depth - beyond, depth)
            for lane in range(width)
        ]  # fmt: skip
        yield Instruction(
            {
                "frequencies": frequencies, "in_row": (count + 1) * depth, "out_row": count * channels + 5,
                "weight_step": step, "blocks": blocks, "column": depth * width, "together": together, "count": count,
                "in": 0, "in_pixel": depth - beyond, "runs": BEFORE, "run_count": runs, "weight": 0, "out": 0,
                "out_pixel": channels,
            }, [i * FREQUENCY_STEPS for i in range(runs)], {"weight": zeros},
        )  # fmt: skip


def gradient(tile, dtype):
    """One block and several, problems of their own, images with a halo and without, set and added to."""
    depth, vectors, width = tile
    # (repeats, rows, cols, halo, runs, first k, blocks of k, spare, channel blocks, begin, first)
    for repeats, rows, cols, halo, runs, start, blocks_k, beyond, blocks, begin, first in (
        (1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1),
        (2, 2, 3, 1, 2, 4, 2, depth - 1, 2, 1, 0),
        (1, 3, 2, 0, 1, 0, 1, 0, 1, 0, 1),
        (1, 1, 5, 2, 3, 0, 2, depth - 1, 3, 1, 1),
    ):
        run = start + blocks_k * depth - beyond
        run_rows, channels = start + blocks_k * depth + 1, blocks * vectors * width
        row, g_row = (cols + halo) * run, (cols + halo) * (channels + width)
        yield Instruction(
            {
                "repeats": repeats, "repeat_in": (rows + runs) * row, "repeat_g": rows * g_row,
                "repeat_out": blocks * vectors * runs * run_rows * width, "blocks": blocks, "channel": width,
                "column": runs * run_rows * width, "rows": rows, "cols": cols, **tensor("in", row, run),
                "runs": BEFORE, "run_count": runs, "run_rows": run_rows, "start": start, "run_blocks": blocks_k,
                **tensor("g", g_row, channels + width), "out": 0, "fresh": begin,
            }, [i * row for i in range(runs)], {}, {"in": beyond} if beyond else {}, {"fresh": first},
        )  # fmt: skip


def bias_gradient(tile, dtype):
    """One pixel and several, one vector and several, set and added to."""
    for blocks, rows, cols, halo, begin, first in ((1, 1, 1, 0, 1, 1), (2, 3, 4, 1, 1, 0), (3, 2, 5, 2, 0, 1)):
        pixel = (blocks + 1) * tile.width
        g = tensor("g", (cols + halo) * pixel, pixel)
        yield Instruction(
            {"blocks": blocks, "channel": tile.width, "rows": rows, "cols": cols, **g, "out": 0, "fresh": begin},
            context={"fresh": first},
        )


def depthwise(tile, dtype):
    """Taps in any order, weights of each channel and shared ones, and sums of many taps for a single pixel."""
    pixels, width = tile
    many = [1, BLOCK + 3, BLOCK * (BLOCK + 1) + 2] if pixels == 1 else [1, 5, 4]
    for count, cols, halo, taps, shared, flags, blocks in (
        (pixels, pixels, 0, many[0], False, 0, 1), (pairs(pixels), 2, 1, many[1], False, ALL, 2),
        (2 * pixels + 2, pixels + 1, 2, many[2], True, BIAS | CLAMP, 3), (pixels, pixels, 0, 0, False, ADD, 1),
    ):  # fmt: skip
        pixel = (blocks + 1) * width + 1
        yield Instruction(
            {
                "blocks": blocks, "channel": width, "count": count, "cols": cols,
                **tensor("in", (cols + halo) * pixel, pixel), "taps": BEFORE, "tap_count": taps, "weight": 0,
                "column": 0 if shared else taps * width, **ends(flags, cols, pixel, halo),
            }, [(7 * t) % max(taps, 1) * width for t in range(taps)],
        )  # fmt: skip


def depthwise3(tile, dtype):
    """Whole tiles along a row, and one pixel more."""
    pixels, stride, width = tile
    for rows, cols, halo, flags, blocks in ((1, pixels, 2, 0, 1), (3, pixels + 1, 3, ALL, 2), (2, 2 * pixels, 2, 3, 1)):
        pixel = blocks * width + 1
        row = (stride * cols + halo) * pixel
        yield Instruction(
            {
                "blocks": blocks, "channel": 0, "count": rows * cols, "cols": cols,
                **tensor("in", stride * row, stride * pixel), "taps": BEFORE, "tap_count": 9, "weight": 0,
                "column": 9 * width + 1, **ends(flags, cols, pixel, halo),
            }, [ky * row + kx * pixel for ky in range(3) for kx in range(3)],
        )  # fmt: skip


def depthwise_gradient(tile, dtype):
    """One block of taps and several, strips of rows with one left over, set and added to."""
    taps, width = tile
    for rows, cols, together, parts, blocks, begin, first in (
        (1, 1, 1, 1, 1, 1, 1), (3, 2, 2, 2, 2, 1, 1), (4, 3, 2, 3, 2, 1, 0), (2, 5, 3, 1, 3, 0, 1),
    ):  # fmt: skip
        pixel = (blocks + 1) * width
        count = taps * parts
        yield Instruction(
            {
                "blocks": blocks, "channel": width, "rows": rows, "cols": cols, "together": together,
                **tensor("in", (cols + 2) * pixel, pixel), "taps": BEFORE, "tap_blocks": parts,
                **tensor("g", cols * pixel + 3, pixel), "out": 0, "column": count * width, "fresh": begin,
            }, [(5 * t) % count * pixel for t in range(count)], context={"fresh": first},
        )  # fmt: skip


def load(tile, dtype):
    """Several samples of several channels, and one number."""
    for samples, channels, rows, cols in ((1, 1, 1, 1), (2, 5, 3, 4)):
        pixel, size = channels + 3, channels * rows * cols
        yield Instruction(
            {
                "samples": samples, "image": samples - 1, "sample": size,
                "channels": channels, "rows": rows, "cols": cols,
                **tensor("out", (cols + 1) * pixel, pixel), "out_sample": (rows + 1) * (cols + 1) * pixel,
            }, context={"image": 2},
        )  # fmt: skip


def load3(tile, dtype):
    """Rows of less than a vector, of whole ones, and of one pixel more."""
    for rows, cols in ((1, 1), (2, tile.width), (2, 2 * tile.width + 1)):
        ints = {"samples": 1, "image": rows - 1, "sample": 3 * rows * cols, "channels": 3, "rows": rows, "cols": cols}
        yield Instruction({**ints, "out_sample": 0, **tensor("out", 3 * cols + 6, 3)}, context={"image": 2})


def output(tile, dtype):
    """One sample and several, outputs of less than a vector, of whole ones, and of one more."""
    for samples, classes, positions in ((1, 1, 1), (2, tile.width, 3), (3, 2 * tile.width + 1, 2)):
        own = classes if tile.loss.startswith("cross_entropy") else classes * positions
        classes *= positions
        ints = {"samples": samples, "image": samples - 1, "classes": classes, "in": 0, "in_sample": classes + 2, "g": 0}
        ints |= {"first": own, "last": own}
        yield Instruction({**ints, "g_sample": classes + 1}, context={"image": 1, "scale": 0.3})


def batched_product(tile, dtype):
    """Whole tiles of rows and one row more, all lanes and one, factors that stand either way, sums over matrices."""
    rows, vectors, last, width = tile
    # (matrices, summed, rows, terms, blocks, lanes of the last vector, whether the left one is transposed, flags)
    for matrices, summed, count, inner, blocks, lanes, turned, flags in (
        (1, 1, rows, 1, 1, 1, False, 0), (3, 1, rows + 1, 5, 2, width - 1, True, ALL),
        (1, 3, 2 * rows + 1, 4, 3, width // 2, False, BIAS | CLAMP), (2, 2, rows, 3, 1, 2, True, ADD),
        (2, 1, rows, 0, 1, width - 1, False, ADD | MASK),
    ):  # fmt: skip
        blocks, lanes = (blocks, width) if last == "whole" else (1, min(lanes, width - 1))
        first = 2 * width if matrices == 3 else 0
        columns = first + (blocks * vectors - 1) * width + lanes
        row, column = (1, count + 2) if turned else (inner + 3, 1)
        size, right = (count + 2) * (inner + 3), (inner + 1) * (columns + 5)
        results = {
            f"{name}{end}": step for name, spare in (("out", 1), ("aux", 2), ("mask", 5))
            for end, step in (("", 0), ("_row", columns + spare), ("_matrix", count * (columns + spare) + 3))
        }  # fmt: skip
        yield Instruction(
            {
                "matrices": matrices, "summed": summed, "rows": count, "inner": inner, "columns": columns,
                "blocks": blocks, "channel": first, "in": 0, "in_matrix": summed * size, "in_summed": size,
                "in_row": row, "in_column": column, "other": 0, "other_matrix": summed * right, "other_summed": right,
                "other_row": columns + 5, "alpha": float_bits(0.7), "flags": flags, "bias": 0,
                "low": float_bits(LOW), "high": float_bits(HIGH), "step": 0, **results,
            }
        )  # fmt: skip


def batched_transpose(tile, dtype):
    """One square, and one number more either way; by numbers also rows that are no neighbours."""
    (side,) = tile
    for matrices, rows, columns in ((1, side, side), (2, side + 1, 2 * side + 1), (3, 2 * side, side + 2)):
        row = 3 if side == 1 else 1
        column = rows * row + 2
        yield Instruction(
            {
                "matrices": matrices, "rows": rows, "columns": columns, "in": 0, "in_matrix": columns * column + 1,
                "in_row": row, "in_column": column, "out": 0, "out_row": columns + 1,
                "out_matrix": rows * (columns + 1),
            }
        )  # fmt: skip


def transpose(tile, dtype):
    """One square and several each way."""
    square = tile.width**2
    for blocks, rows in ((1, 1), (2, 3)):
        steps = {"block_in": rows * square, "row_in": square, "block_out": square + 1, "row_out": 2 * (square + 1)}
        yield Instruction({"blocks": blocks, "rows": rows, **steps, "in": 0, "out": 0})


def permute(tile, dtype):
    """Any order, places that repeat among them."""
    for places in ([0], [4, 0, 2, 2, 9, 1, 7]):
        yield Instruction({"count": len(places), "places": BEFORE, "out": 0}, places)


def ordered(source, tile, dtype):
    """Less than what is worked at once, that, and one more."""
    for count in (1, 4, 9):
        yield Instruction({"count": count}, sizes={source: 11})


def clear(tile, dtype):
    """One vector and several."""
    for vectors in (1, 3):
        yield Instruction({"count": vectors * tile.width})


def zeros(tile, dtype):
    """One number, segments of whole vectors, and of one number more, the last with a tensor's slack."""
    for segments, count in ((1, 1), (2, tile.width), (3, 2 * tile.width + 1)):
        ints = {"out": 0, "count": count, "segments": segments, "step": count + 5}
        yield Instruction(ints, slack={"out": min(SPARE, count)})


def sum_parts(tile, dtype):
    """One part and several."""
    for parts in (1, 2, 4):
        size = 3 * tile.width
        yield Instruction({"count": size}, sizes={f"part {i}": size for i in range(1, parts)})


def tile_transform(size, tile, dtype):
    """One tile and several, one vector and several."""
    for rows, cols, blocks in ((1, 1, 1), (2, 3, 2)):
        pixel, into = (blocks + 1) * tile.width, blocks * tile.width
        row = (cols * tile.m + size(tile)) * pixel
        steps = {"in_tile_row": tile.m * row, "in_tile_pixel": tile.m * pixel}
        out = tensor("out", rows * cols * into + 3, into)
        ints = {"tile_rows": rows, "tile_cols": cols, "blocks": blocks, **tensor("in", row, pixel), **steps, **out}
        yield Instruction(ints)


def winograd_output(tile, dtype):
    """The same with an epilogue."""
    for rows, cols, blocks, flags in ((1, 1, 1, 0), (2, 3, 2, ALL), (1, 2, 1, ADD)):
        channels = blocks * tile.width
        source = tensor("in", rows * cols * channels + 1, channels)
        finish = ends(flags, cols * tile.m, channels + 1, 1)
        yield Instruction({"tile_rows": rows, "tile_cols": cols, "blocks": blocks, **source, **finish})


def winograd_weight(taken, made, tile, dtype):
    """One vector and several, of one row and of several."""
    for blocks, rows in ((1, 1), (2, 3)):
        step, many = rows * tile.width, {"in": taken(tile), "out": made(tile)}
        columns = {f"{side}_column": n * (step + 1) for side, n in many.items()}
        yield Instruction(
            {"blocks": blocks, "rows": rows, "in": 0, "out": 0, "in_step": step, "out_step": step + 1, **columns}
        )


def pointwise(tile, dtype, pixels=None, vectors=(1, 2, 1)):
    """Whole tiles and one pixel more, of rows with a halo and without."""
    pixels = tile.pixels if pixels is None else pixels
    for count, cols, halo, flags, blocks in (
        (pixels, pixels, 0, 0, vectors[0]), (pairs(pixels), 2, 1, ALL, vectors[1]),
        (2 * pixels + 1, 2 * pixels + 1, 1, ADD, vectors[2]),
    ):  # fmt: skip
        pixel = (blocks + 1) * tile.width + 1
        yield Instruction(
            {
                "blocks": blocks, "channel": tile.width, "count": count, "cols": cols,
                **tensor("in", (cols + halo) * pixel, pixel), **tensor("other", (cols + 2) * (pixel + 1), pixel + 1),
                "alpha": float_bits(0.3), "beta": float_bits(0.4), **ends(flags, cols, pixel, halo),
            }
        )  # fmt: skip


def combination(operands, tile, dtype):
    """Pixels of whole vectors, of some channels less, and of a padding alone."""
    for number, instruction in enumerate(pointwise(tile, dtype)):
        ints, cols = instruction.ints, instruction.ints["cols"]
        pixel, end = ints["in_pixel"] + 3, (ints["blocks"] + 1) * tile.width
        third = tensor("third", (cols + 1) * pixel, pixel)
        absent = [name for name in ("in", "other", "third")[operands:]]
        ints = {**ints, **third, "real": (end, end - tile.width // 2 - 1, 0)[number]}
        yield Instruction({name: 0 if name.split("_")[0] in absent else n for name, n in ints.items()})


def select(inputs, tile, dtype):
    """Channels in any order, some of them none; of two inputs those of one are none of the other's."""
    fields = ("channels", "other_channels")[:inputs]
    for instruction in pointwise(tile, dtype):
        ints = {name: n for name, n in instruction.ints.items() if name not in ("alpha", "beta")}
        if inputs == 1:
            ints = {name: n for name, n in ints.items() if not name.startswith("other")}
        count = (ints["blocks"] + 1) * tile.width  # those before the first channel of the instruction too
        order = np.random.default_rng(count).permutation(count)
        order[::5] = -1
        tables = [[n if i % inputs == turn else -1 for i, n in enumerate(order.tolist())] for turn in range(inputs)]
        starts = {name: BEFORE + i * count for i, name in enumerate(fields)}
        yield Instruction({**ints, **starts}, [n for one in tables for n in one])


def deal(tile, dtype):
    """Channels of two inputs in turn."""
    for instruction in pointwise(tile, dtype):
        yield Instruction({name: n for name, n in instruction.ints.items() if name not in ("alpha", "beta")})


def undeal(tile, dtype):
    """Every channel, none of the first and of the last ones, and none at all."""
    for number, instruction in enumerate(pointwise(tile, dtype)):
        ints = {n: v for n, v in instruction.ints.items() if n not in ("alpha", "beta") and not n.startswith("other")}
        first, last = tile.width, (ints["blocks"] + 1) * tile.width
        begin, end = ((first, last), (first + 1, last - 2), (0, first))[number]
        yield Instruction({**ints, "begin": begin, "end": end})


def dot(tile, dtype):
    """Images of a row and of several; vectors that are summed at once, one more and one less."""
    for instruction in pointwise(tile, dtype, 3, (DOT_VECTORS - 1, DOT_VECTORS + 1, DOT_VECTORS)):
        ints = instruction.ints
        yield Instruction({**ints, "count": 3 * ints["cols"]})


def resample(tile, dtype):
    """Whole tiles and one line more, lines that are repeated, pixels of no tap, of one and of several; both turns."""
    lines, width = tile
    for rows, counts, flags, blocks, turned in (
        (lines, (1,), 0, 1, False), (2 * lines + 1, (2, 0, 3), ALL, 2, False), (lines + 1, (1, 4), ADD | BIAS, 1, True),
        (2 * lines, (0, 0), MASK, 1, True),
    ):  # fmt: skip
        pixel, cols, taps = (blocks + 1) * width + 1, len(counts), sum(counts)
        along, across = (rows * pixel + 3, pixel) if turned else (pixel, (cols + 1) * pixel)
        sources = [(5 * line) % rows // 2 * (taps + 1) * pixel for line in range(rows)]
        starts = [sum(counts[:i]) for i in range(cols + 1)]
        sizes = {"out": 0, "aux": 2, "mask": 5}
        places = {k: v for name, more in sizes.items() for k, v in tensor(name, across + more, along + more).items()}
        yield Instruction(
            {
                "blocks": blocks, "channel": width, "rows": rows, "cols": cols, "in": 0, "sources": BEFORE,
                "starts": BEFORE + rows, "taps": BEFORE + rows + cols + 1, "weight": 0, "flags": flags, "bias": 0,
                "low": float_bits(LOW), "high": float_bits(HIGH), "step": 0, **places,
            }, [*sources, *starts, *((7 * tap) % max(taps, 1) * pixel for tap in range(taps))],
        )  # fmt: skip


def maximum(backward, tile, dtype):
    """Windows that overlap, that stand apart, and that a padding cuts, one of them to nothing."""
    for rows, cols, strides, kernel, first, blocks, flags in (
        (1, 1, (1, 1), (1, 1), (0, 0), 1, 0), (3, 4, (1, 2), (3, 2), (1, 1), 2, MASK),
        (2, 2, (3, 1), (2, 3), (0, 2), 1, MASK),
    ):  # fmt: skip
        pixel = (blocks + 1) * tile.width
        width = cols * strides[1] + kernel[1]
        taps = [
            [(max(pad - i, 0), size - max(pad - i, 0)) for i in range(count)]
            for pad, size, count in zip(first, kernel, (rows, cols), strict=True)
        ]
        if not backward and rows > 1:
            taps[0][-1] = (0, 0)
        g_in = tensor("g_in", strides[0] * width * pixel, strides[1] * pixel)
        beyond = {
            **tensor("g", cols * pixel, pixel), **g_in, "g_tap_row": width * pixel, "g_tap_pixel": pixel,
            "flags": flags, "low": float_bits(LOW), "high": float_bits(HIGH),
        }  # fmt: skip
        yield Instruction(
            {
                "blocks": blocks, "channel": tile.width, "rows": rows, "cols": cols,
                **tensor("in", strides[0] * width * pixel, strides[1] * pixel), "tap_row": width * pixel,
                "tap_pixel": pixel, "row_taps": BEFORE, "col_taps": BEFORE + 2 * rows,
                **tensor("out", (cols + 1) * pixel, pixel), **(beyond if backward else {}),
            }, [n for axis in taps for pair in axis for n in pair],
        )  # fmt: skip


def embedding(backward, tile, dtype):
    """One number and several, some of no row; one vector and several; sums that are set and added to."""
    for blocks, rows, cols, depth, begin, first in ((1, 1, 1, 1, 1, 1), (2, 2, 3, 4, 1, 0), (3, 1, 5, 3, 0, 1)):
        pixel = (blocks + 1) * tile.width
        column = depth * tile.width + (0 if blocks == 1 else 4)
        ints = {
            "blocks": blocks, "channel": tile.width, "rows": rows, "cols": cols, **tensor("in", cols * 2 + 1, 2),
            **tensor("g" if backward else "out", (cols + 1) * pixel, pixel), "column": column, "depth": depth,
        }  # fmt: skip
        yield Instruction(
            {**ints, "sums": 0, "fresh": begin} if backward else {**ints, "weight": 0}, context={"fresh": first}
        )


def constant(tile, dtype):
    """One vector and several."""
    for vectors in (1, 3):
        yield Instruction({"count": vectors * tile.width, "weight": 0, "out": 0})


def move(runs, tile, dtype):
    """One number, runs with a rest, loops that go back, and targets that are met twice where that is allowed."""
    width = tile.width if runs else 4
    for outer, inner, a, b, starts in (
        (1, 1, (0, 0), (1, 1), [(0, 0)]), (3, 2 * width + 1, (70, -80), (1, 1), [(2, 300), (11, 600)]),
        (2, width + 3, (-40, 45), (1, 1) if runs else (3, -2), [(50, 90), (60, 200), (400, 400)]),
    ):  # fmt: skip
        table = [a[0], a[1], b[0], b[1], *(n for pair in starts for n in pair)]
        ints = {"count": len(starts), "outer": outer, "inner": inner, "in": 0, "out": 0, "moves": BEFORE}
        yield Instruction(ints, table)


def walk(name, back, tile, dtype):
    """One step and several, one vector of hidden units, as many as have their sums at once, and one more; both ways.

    One sample, as many as take a step together, and as many more as there are ways to take the rest.
    """
    cell = CELLS[name]
    blocks = {"in": cell.gates, "out": 1, "kept": cell.kept}
    if back:
        blocks = {"g": 1, "h": 1, "before": 1, "kept": cell.kept, "out": cell.gates, "recurrent": cell.gates}
        blocks = {n: count for n, count in blocks.items() if n in ("g", "out", *cell.read, *cell.sides)}
    for samples, count, vectors, sign in ((1, 1, 1, 1), (tile.samples, 3, 2, -1), (2 * tile.samples - 1, 2, 5, 1)):
        size = vectors * tile.width
        depth = size * (cell.gates if back else 1)
        tensors = {}
        for number, (operand, many) in enumerate((n, many) for n, many in blocks.items() if many):
            pixel = many * size + number
            tensors |= {operand: 0, f"{operand}_pixel": sign * pixel, f"{operand}_pitch": (count + 1) * pixel + number}
        further = {"carry": 0, "carry_pitch": cell.carried * size + 3} if back else {"bias": 0}
        ints = {
            "samples": samples,
            "count": count,
            "vectors": vectors,
            **tensors,
            "weight": 0,
            "column": (depth + 1) * tile.width,
        }
        yield Instruction({**ints, **further})


def adapter(backward, tile, dtype):
    """Rows and ranks of less than what is worked at once, of that, and of one more."""
    width = tile.width
    for blocks, rows, rank in ((1, 1, 1), (2, 4, 4), (3, 5, 6)):
        ints = {
            "blocks": blocks, "column": (rows + 1) * width, "rows": rows, "weight": 0, "rank": rank, "left": 0,
            "left_rank": rows + 3, "left_column": (rows + 2) * width, "right": 0, "right_rank": blocks * width + 2,
            "bound": float_bits(0.8),
        }  # fmt: skip
        yield Instruction({**ints, "gradient": 0, "gradient_column": rows * width} if backward else ints)


FAMILIES: dict[str, Callable[[Any, str], Iterator[Instruction]]] = {
    "conv": conv,
    "winograd_product": winograd_product,
    "gradient": gradient,
    "bias_gradient": bias_gradient,
    "depthwise": depthwise,
    "depthwise3": depthwise3,
    "depthwise_gradient": depthwise_gradient,
    "load": load,
    "load3": load3,
    "output": output,
    "transpose": transpose,
    "batched_product": batched_product,
    "batched_transpose": batched_transpose,
    "permute": permute,
    "gather": partial(ordered, "theta"),
    "scatter": partial(ordered, "factor_gradients"),
    "clear": clear,
    "zeros": zeros,
    "sum_parts": sum_parts,
    "winograd_input": partial(tile_transform, lambda tile: 2),
    "winograd_gradient": partial(tile_transform, lambda tile: 0),
    "winograd_output": winograd_output,
    "winograd_weight": partial(winograd_weight, lambda tile: 9, lambda tile: (tile.m + 2) ** 2),
    "winograd_weight_back": partial(winograd_weight, lambda tile: (tile.m + 2) ** 2, lambda tile: 9),
    **{f"{name}{end}": pointwise for name in ACTIVATIONS for end in ("", "_slope")},
    **{name: partial(combination, one.operands) for name, one in COMBINATIONS.items()},
    "product": pointwise,
    "select": partial(select, 1),
    "select_pair": partial(select, 2),
    "deal": deal,
    "undeal": undeal,
    "dot": dot,
    "embedding": partial(embedding, False),
    "embedding_gradient": partial(embedding, True),
    "constant": constant,
    "move": partial(move, False),
    "move_runs": partial(move, True),
    "add_moved": partial(move, False),
    "add_moved_runs": partial(move, True),
    "resample": resample,
    "maximum": partial(maximum, False),
    "maximum_gradient": partial(maximum, True),
    **channel_instructions.FAMILIES,
    **{name: partial(walk, name, False) for name in CELLS},
    **{f"{name}_back": partial(walk, name, True) for name in CELLS},
    **{f"adapt_{name}": partial(adapter, False) for name in MAPS},
    **{f"collect_{name}": partial(adapter, True) for name in MAPS},
}
"""Instructions of each family, given a tile."""
