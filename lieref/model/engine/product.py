"""Sums of products: the tiles that make up a product with packed weights, and the gradient of one.

The register tile of each span of vector columns is chosen here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.tiles import ConvTile, GradientTile
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.layout import Layout, TapPlace
from lieref.model.engine.tensor import Place, Taps, Tensor
from lieref.model.engine.tiling import conv_tiles, gradient_blocks, gradient_tiles, run_chunks, together
from lieref.model.engine.weights import Storage

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


def run_places(taps: Sequence[tuple[int, int]], together: int, rows: int, apart: int) -> list[TapPlace]:
    """Return where taps are in a matrix: `together` of them, of so many rows each, make a run of `apart` rows."""
    return [
        TapPlace(ky, kx, number // together * apart + number % together * rows)
        for number, (ky, kx) in enumerate(taps)
    ]  # fmt: skip


def padded_run(run: int) -> int:
    """Return the rows of a run with those of zeros behind it, so that whole chunks cover it."""
    return math.prod(run_chunks(run))


def multiply(
    storage: Storage, matrix: Layout, source: Place, taps: Taps, run: int, target: Place, size: tuple[int, int],
    epilogue: Epilogue, row: int = 0,
) -> list[Instruction]:  # fmt: skip
    """Return target = epilogue(sums over `taps` of runs of `run` elements of the source): one instruction a tile shape.

    Parameters
    ----------
    matrix : Layout
        Packed weights: runs of `padded_run(run)` rows.
    size : (pixels, pixels in a row)
    row : int
        Where the runs start in the matrix.
    """
    steps, chunks = run_chunks(run)
    depth = len(taps.pixels) * chunks * steps
    runs = {"runs": Taps(taps.tensor, taps.pixels, chunks, steps)}
    found = []
    for first, vectors, width in matrix.spans:
        done = 0
        for p, v, blocks in conv_tiles(storage.isa, size[0], vectors, depth):
            channel = first + done * width
            ints = {
                "blocks": blocks, "together": together(v * width * depth, blocks), "channel": channel,
                "column": matrix.depth * width, "count": size[0], "cols": size[1],
                "run_count": len(taps.pixels) * chunks,
                "weight": matrix.offset + channel * matrix.depth + row * width, **epilogue.fields(),
            }  # fmt: skip
            places = {"in": source, **epilogue.places(target)}
            found.append(Instruction(KernelName("conv", ConvTile(p, v, steps, width)), ints, places, runs))
            done += v * blocks
    return found


def gradient_run_rows(storage: Storage, run: int, channels: int) -> int:
    """Return how many rows of accumulators a run of `run` elements needs: whole blocks of them, as tiles are deep."""
    return max(
        sum(depth * count for depth, count in gradient_blocks(storage.isa, run, vectors))
        for _, vectors, _ in storage.columns(channels)
    )


WeightGradient = Callable[[FusedLayer, Storage, Tensor, Tensor], list[Instruction]]
"""Instructions of (layer, storage, input, gradient of the sums)."""

InputGradient = Callable[[FusedLayer, Storage, Tensor, Tensor, Epilogue], list[Instruction]]
"""Instructions of (layer, storage, gradient of the sums, gradient of the input, what is added to that)."""


def gradients(
    b: Builder, layer: FusedLayer, g: Tensor, of_weight: WeightGradient, of_input: InputGradient
) -> list[Instruction]:
    """Return the instructions of the gradients of a layer's weight and of its input, those that are wanted."""
    found: list[Instruction] = []
    if layer.weight in b.storage.trainable:
        found += of_weight(layer, b.storage, b.tensors[layer.x], g)
    if layer.x in b.needed:
        found += of_input(layer, b.storage, g, *b.target(layer.x))
    return found


ONE_PROBLEM = {"repeats": 1, "repeat_in": 0, "repeat_g": 0, "repeat_out": 0}
"""Fields of a gradient that is one problem."""


def multiply_gradient(
    storage: Storage, sums: Layout, source: Place, taps: Taps, run: int, g: Place, size: tuple[int, int],
    repeats: dict[str, int] | None = None, fresh: int = 1, row: int = 0,
) -> list[Instruction]:  # fmt: skip
    """Return instructions that add the gradient of what `multiply` makes with respect to its weights, one a tile shape.

    Parameters
    ----------
    sums : Layout
        Accumulators: runs of `gradient_run_rows` rows.
    g : Place
        Gradient of the product, where `target` was.
    size : (rows of output pixels, pixels in a row)
        Not all pixels first, as of a product.
    repeats : dict, optional
        The fields ``repeats`` and ``repeat_*``.
    fresh : int
        1 where no instruction of the sample before these adds to these accumulators.
    row : int
        Where the runs start in them.
    """
    run_rows, all_rows = gradient_run_rows(storage, run, sums.lanes), sums.depth
    found = []
    for first, vectors, width in sums.spans:
        start = 0
        for depth, count in gradient_blocks(storage.isa, run, vectors):
            done = 0
            for v, blocks in gradient_tiles(storage.isa, depth, vectors):
                channel = first + done * width
                ints = {
                    **(repeats or ONE_PROBLEM), "blocks": blocks, "channel": channel, "column": all_rows * width,
                    "rows": size[0], "cols": size[1], "run_count": len(taps.pixels), "run_rows": run_rows,
                    "start": start, "run_blocks": count, "out": sums.offset + channel * all_rows + row * width,
                    "fresh": fresh,
                }  # fmt: skip
                kernel = KernelName("gradient", GradientTile(depth, v, width))
                found.append(Instruction(kernel, ints, {"in": source, "g": g}, {"runs": taps}))
                done += v * blocks
            start += depth * count
    return found
