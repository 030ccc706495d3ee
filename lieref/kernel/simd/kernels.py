"""The list of all kernels: families, each with its tiles, what emits one and what it accesses.

Families are compiled in groups, each when a network first wants a kernel of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from llvmlite import ir

from lieref.kernel.simd import (
    adapter,
    batched_product,
    batched_transpose,
    column_normalization,
    conv,
    depthwise,
    flat,
    frequency,
    lookup,
    maximum,
    move,
    pointwise,
    recurrent,
    resample,
    row_normalization,
    sample,
    select,
    softmax,
    weight_gradient,
    zeros,
)
from lieref.kernel.simd import cut as cutting
from lieref.kernel.simd import winograd as wino
from lieref.kernel.simd.access import Access, Numbers, Slack
from lieref.kernel.simd.adamw import emit_adamw
from lieref.kernel.simd.combinations import COMBINATIONS
from lieref.kernel.simd.isa import Isa
from lieref.kernel.simd.row import Fields
from lieref.kernel.simd.run import emit_run, emit_shared_run
from lieref.kernel.simd.tiles import (
    CONV_STEPS,
    CONV_TILES,
    DEPTHWISE3_STRIDES,
    DEPTHWISE3_TILES,
    DEPTHWISE_GRADIENT_TAPS,
    DEPTHWISE_TILES,
    GRADIENT_TILES,
    WALK_SAMPLES,
    ConvTile,
    Depthwise3Tile,
    FormTile,
    FrequencyTile,
    GradientTile,
    LoadTile,
    NoTile,
    OutputTile,
    PixelTile,
    ProductTile,
    SquareTile,
    TapTile,
    Tile,
    TransformTile,
    WalkTile,
    WidthTile,
    used_at,
    widths,
)


class Family(NamedTuple):
    """Kernels that do the same with other tiles.

    Attributes
    ----------
    group : str
        Those that are compiled together have the same.
    fields : Fields
        Names of an instruction's integers.
    tiles : callable
        Returns the tiles that exist for an instruction set and an element type.
    emit : callable
        Emits the kernel of a tile: (module, symbol, dtype, tile).
    accesses : callable
        Returns what an instruction reads and writes: (its integers, tile, table).
    slack : mapping of str to Slack
        How far behind an operand, by its field, a kernel may reach; no further than the operand where it is left out.
    cut : callable, optional
        Returns how an instruction is cut into pieces for several threads, or None: (its integers, tile).
    joint : bool
        Whether an instruction works at all samples of a group: its integers are `samples` and a pitch for each tensor.
    """

    group: str
    fields: Fields
    tiles: Callable[[Isa, str], Iterable[Tile]]
    emit: Callable[[ir.Module, str, str, Any], None]
    accesses: Callable[[Numbers, Any, Sequence[int]], list[Access]]
    slack: Mapping[str, Slack] = MappingProxyType({})
    cut: Callable[[Numbers, Any], cutting.Cut | None] | None = None
    joint: bool = False


class KernelName(NamedTuple):
    """A family, a key of `FAMILIES`, and one of its tiles; None where it is chosen when a script is written."""

    family: str
    tile: Tile | None

    @property
    def symbol(self) -> str:
        """Name of its machine code."""
        assert self.tile is not None  # a tile is chosen before the code is wanted
        return "_".join((self.family, *map(str, self.tile)))


def _conv_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    for width in widths(isa, dtype):
        for pixels, vectors in CONV_TILES[isa.registers]:
            for steps in CONV_STEPS if used_at(width, vectors, isa, dtype) else ():
                yield ConvTile(pixels, vectors, steps, width)


def _frequency_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    for width in widths(isa, dtype):
        for pixels, vectors in CONV_TILES[isa.registers]:
            if used_at(width, vectors, isa, dtype):
                yield FrequencyTile(pixels, vectors, width)


def _gradient_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    for width in widths(isa, dtype):
        for depth, vectors in GRADIENT_TILES[isa.registers]:
            if used_at(width, vectors, isa, dtype):
                yield GradientTile(depth, vectors, width)


def _product_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    for rows, vectors in CONV_TILES[isa.registers]:
        for last in ("whole", "some"):
            yield ProductTile(rows, vectors, last, isa.lanes(dtype))


def _square_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    return [SquareTile(side) for side in batched_transpose.SQUARES if side <= isa.lanes(dtype)]


def _depthwise_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    return [PixelTile(pixels, width) for width in widths(isa, dtype) for pixels in DEPTHWISE_TILES[isa.registers]]


def _depthwise3_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    for width in widths(isa, dtype):
        for pixels in DEPTHWISE3_TILES[isa.registers]:
            for stride in DEPTHWISE3_STRIDES:
                yield Depthwise3Tile(pixels, stride, width)


def _tap_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    return [TapTile(taps, width) for width in widths(isa, dtype) for taps in DEPTHWISE_GRADIENT_TAPS]


def _transform_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    return [TransformTile(m, width) for width in widths(isa, dtype) for m in wino.INPUT]


def _pixel_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    return [PixelTile(pixels, width) for width in widths(isa, dtype) for pixels in pointwise.POINTWISE_PIXELS]


def _line_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    return [PixelTile(lines, width) for width in widths(isa, dtype) for lines in resample.RESAMPLE_LINES]


def _form_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    return [FormTile(form, width) for width in widths(isa, dtype) for form in adapter.FORMS]


def _width_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    return [WidthTile(width) for width in widths(isa, dtype)]


def _whole_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    return [WidthTile(isa.lanes(dtype))]


def _walk_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    return [WalkTile(WALK_SAMPLES[isa.registers], isa.lanes(dtype))]


def _load_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    return [LoadTile(source, isa.lanes(dtype)) for source in (dtype, "uint8")]


def _output_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    return [OutputTile(loss, isa.lanes(dtype)) for loss in sample.LOSSES]


def _no_tiles(isa: Isa, dtype: str) -> Iterable[Tile]:
    return [NoTile()]


def _transform(
    emit: Callable[..., None], fields: Fields, accesses: Callable[..., list[Access]],
    cut: Callable[..., cutting.Cut] | None = None,
) -> Family:  # fmt: skip
    return Family("winograd", fields, _transform_tiles, emit, accesses, cut=cut)


def _pointwise(
    emit: Callable[..., None], accesses: Callable[..., list[Access]], cut: Callable[..., cutting.Cut | None]
) -> Family:
    return Family("pointwise", pointwise.POINTWISE_FIELDS, _pixel_tiles, emit, accesses, cut=cut)


def _select(fields: Fields, sources: Sequence[str]) -> Family:
    emit, accesses = partial(select.emit_select, sources), partial(select.select_accesses, sources=sources)
    return Family("pointwise", fields, _pixel_tiles, emit, accesses)


def _row_normalization(name: str, centred: bool) -> dict[str, Family]:
    own = row_normalization
    return {
        name: Family(
            "normalization", own.NORMALIZATION_FIELDS, _width_tiles, partial(own.emit_normalization, centred),
            own.normalization_accesses, cut=cutting.cut_channels,
        ),
        f"{name}_gradient": Family(
            "normalization", own.GRADIENT_FIELDS, _width_tiles, partial(own.emit_gradient, centred),
            own.gradient_accesses, cut=cutting.cut_channel_pairs,
        ),
        f"{name}_scale": Family(
            "normalization", own.SCALE_FIELDS, _width_tiles, partial(own.emit_scale, centred), own.scale_accesses
        ),
    }  # fmt: skip


def _column_normalization() -> dict[str, Family]:
    own, group = column_normalization, "column_normalization"
    return {
        "column_normalization": Family(
            group, own.NORMALIZATION_FIELDS, _pixel_tiles, own.emit_normalization, own.normalization_accesses,
            cut=cutting.cut_value,
        ),
        "column_normalization_gradient": Family(
            group, own.GRADIENT_FIELDS, _pixel_tiles, own.emit_gradient, own.gradient_accesses, cut=cutting.cut_pair
        ),
        "column_statistics": Family(
            group, own.STATISTICS_FIELDS, _width_tiles, own.emit_statistics, own.statistics_accesses
        ),
        "column_sums": Family(group, own.SUMS_FIELDS, _width_tiles, own.emit_sums, own.sums_accesses),
    }  # fmt: skip


def _softmax(name: str, logarithm: bool) -> dict[str, Family]:
    return {
        name: Family(
            "softmax", softmax.SOFTMAX_FIELDS, _width_tiles, partial(softmax.emit_softmax, logarithm),
            softmax.softmax_accesses, cut=cutting.cut_softmax,
        ),
        f"{name}_gradient": Family(
            "softmax", softmax.GRADIENT_FIELDS, _width_tiles, partial(softmax.emit_gradient, logarithm),
            softmax.gradient_accesses, cut=cutting.cut_channel_pairs,
        ),
    }  # fmt: skip


FAMILIES: dict[str, Family] = {
    "conv": Family(
        "core", conv.CONV_FIELDS, _conv_tiles, conv.emit_conv, conv.conv_accesses, conv.CONV_SLACK,
        cutting.cut_conv,
    ),
    "gradient": Family(
        "core", weight_gradient.WEIGHT_GRADIENT_FIELDS, _gradient_tiles, weight_gradient.emit_weight_gradient,
        weight_gradient.weight_gradient_accesses, weight_gradient.GRADIENT_SLACK, cutting.cut_gradient,
    ),
    "bias_gradient": Family(
        "core", weight_gradient.BIAS_GRADIENT_FIELDS, _width_tiles, weight_gradient.emit_bias_gradient,
        weight_gradient.bias_gradient_accesses,
    ),
    "depthwise": Family(
        "core", depthwise.DEPTHWISE_FIELDS, _depthwise_tiles, depthwise.emit_depthwise, depthwise.depthwise_accesses,
        cut=cutting.cut_depthwise,
    ),
    "load": Family("core", sample.LOAD_FIELDS, _load_tiles, sample.emit_load, sample.load_accesses),
    "load3": Family("core", sample.LOAD_FIELDS, _load_tiles, sample.emit_load3, sample.load3_accesses),
    "output": Family("core", sample.OUTPUT_FIELDS, _output_tiles, sample.emit_output, sample.output_accesses),
    "transpose": Family(
        "core", adapter.TRANSPOSE_FIELDS, _width_tiles, adapter.emit_transpose, adapter.transpose_accesses
    ),
    "permute": Family("core", adapter.PERMUTE_FIELDS, _no_tiles, adapter.emit_permute, adapter.permute_accesses),
    "gather": Family("core", flat.FLAT_FIELDS, _no_tiles, flat.emit_gather, flat.gather_accesses),
    "scatter": Family("core", flat.FLAT_FIELDS, _no_tiles, flat.emit_scatter, flat.scatter_accesses),
    "clear": Family("core", flat.FLAT_FIELDS, _whole_tiles, flat.emit_clear, flat.clear_accesses),
    "zeros": Family(
        "core", zeros.ZEROS_FIELDS, _whole_tiles, zeros.emit_zeros, zeros.zeros_accesses, zeros.ZEROS_SLACK
    ),
    "sum_parts": Family("core", flat.FLAT_FIELDS, _whole_tiles, flat.emit_sum_parts, flat.sum_parts_accesses),
    "depthwise3": Family(
        "depthwise", depthwise.DEPTHWISE_FIELDS, _depthwise3_tiles, depthwise.emit_depthwise3,
        depthwise.depthwise3_accesses, cut=cutting.cut_depthwise3,
    ),
    "depthwise_gradient": Family(
        "depthwise", depthwise.DEPTHWISE_GRADIENT_FIELDS, _tap_tiles, depthwise.emit_depthwise_gradient,
        depthwise.depthwise_gradient_accesses, cut=cutting.cut_depthwise_gradient,
    ),
    "winograd_input": _transform(wino.emit_input, wino.TILE_FIELDS, wino.input_accesses, cutting.cut_transform),
    "winograd_gradient": _transform(
        wino.emit_gradient, wino.TILE_FIELDS, wino.gradient_accesses, cutting.cut_transform
    ),
    "winograd_output": _transform(wino.emit_output, wino.OUTPUT_TILE_FIELDS, wino.output_accesses, cutting.cut_output),
    "winograd_weight": _transform(wino.emit_weight, wino.WEIGHT_FIELDS, wino.weight_accesses),
    "winograd_weight_back": _transform(wino.emit_weight_back, wino.WEIGHT_FIELDS, wino.weight_back_accesses),
    "winograd_product": Family(
        "winograd", frequency.FREQUENCY_FIELDS, _frequency_tiles, frequency.emit_frequency_products,
        frequency.frequency_accesses, cut=cutting.cut_frequency,
    ),
    **{
        name: _pointwise(partial(pointwise.emit_pointwise, one.value), pointwise.value_accesses, cutting.cut_value)
        for name, one in pointwise.ACTIVATIONS.items()
    },
    **{
        f"{name}_slope": _pointwise(partial(pointwise.emit_slope, one.slope), pointwise.pair_accesses, cutting.cut_pair)
        for name, one in pointwise.ACTIVATIONS.items()
    },
    "product": _pointwise(pointwise.emit_product, pointwise.pair_accesses, cutting.cut_pair),
    **{
        name: Family(
            one.group, pointwise.COMBINED_FIELDS, _pixel_tiles,
            partial(pointwise.emit_combination, one.apply, one.operands),
            partial(pointwise.combination_accesses, one.operands), cut=partial(cutting.cut_combination, one.operands),
        )
        for name, one in COMBINATIONS.items()
    },
    "dot": Family("pointwise", pointwise.POINTWISE_FIELDS, _width_tiles, pointwise.emit_dot, pointwise.dot_accesses),
    "select": _select(select.SELECT_FIELDS, ("in",)),
    "deal": Family("pointwise", select.DEAL_FIELDS, _pixel_tiles, select.emit_deal, select.deal_accesses),
    "undeal": Family(
        "pointwise", select.UNDEAL_FIELDS, _pixel_tiles, select.emit_undeal, select.undeal_accesses
    ),
    "select_pair": _select(select.PAIR_FIELDS, ("in", "other")),
    "resample": Family(
        "resample", resample.RESAMPLE_FIELDS, _line_tiles, resample.emit_resample, resample.resample_accesses,
        cut=cutting.cut_resample,
    ),
    "maximum": Family(
        "pointwise", maximum.MAXIMUM_FIELDS, _width_tiles, maximum.emit_maximum, maximum.maximum_accesses,
        cut=cutting.cut_maximum,
    ),
    "maximum_gradient": Family(
        "pointwise", maximum.MAXIMUM_GRADIENT_FIELDS, _width_tiles, maximum.emit_maximum_gradient,
        maximum.maximum_gradient_accesses,
    ),
    "embedding": Family(
        "lookup", lookup.EMBEDDING_FIELDS, _width_tiles, lookup.emit_embedding, lookup.embedding_accesses
    ),
    "embedding_gradient": Family(
        "lookup", lookup.EMBEDDING_GRADIENT_FIELDS, _width_tiles, lookup.emit_embedding_gradient,
        lookup.embedding_gradient_accesses,
    ),
    "constant": Family("lookup", lookup.CONSTANT_FIELDS, _width_tiles, lookup.emit_constant, lookup.constant_accesses),
    "move": Family("move", move.MOVE_FIELDS, _no_tiles, move.emit_move, move.move_accesses),
    "move_runs": Family("move", move.MOVE_FIELDS, _whole_tiles, move.emit_move_runs, move.move_accesses),
    "add_moved": Family("move", move.MOVE_FIELDS, _no_tiles, move.emit_add_moved, move.move_accesses),
    "add_moved_runs": Family("move", move.MOVE_FIELDS, _whole_tiles, move.emit_add_moved_runs, move.move_accesses),
    **_row_normalization("layer_normalization", centred=True),
    **_row_normalization("rms_normalization", centred=False),
    **_column_normalization(),
    **_softmax("softmax", logarithm=False),
    **_softmax("log_softmax", logarithm=True),
    "batched_product": Family(
        "batched", batched_product.PRODUCT_FIELDS, _product_tiles, batched_product.emit_batched_product,
        batched_product.batched_product_accesses, cut=cutting.cut_batched,
    ),
    "batched_transpose": Family(
        "batched", batched_transpose.TRANSPOSE_FIELDS, _square_tiles, batched_transpose.emit_batched_transpose,
        batched_transpose.batched_transpose_accesses,
    ),
    **{
        f"{name}{end}": Family("recurrent", fields, _walk_tiles, emit, accesses, joint=True)
        for name, walks in recurrent.WALKS.items()
        for end, (fields, emit, accesses) in zip(("", "_back"), walks, strict=True)
    },
    **{
        f"adapt_{name}": Family(
            name, adapter.ADAPT_FIELDS, _form_tiles, partial(adapter.emit_adapt, name), adapter.adapt_accesses
        )
        for name in adapter.MAPS
    },
    **{
        f"collect_{name}": Family(
            name, adapter.COLLECT_FIELDS, _form_tiles, partial(adapter.emit_collect, name),
            partial(adapter.collect_accesses, name),
        )
        for name in adapter.MAPS
    },
}  # fmt: skip
"""Families by name."""


def most_slack(sort: str) -> int:
    """Return how many elements of a sort any family reads behind an operand at most."""
    return max((s.elements for family in FAMILIES.values() for s in family.slack.values() if s.sort == sort), default=0)


def _emit_adamw(module: ir.Module, isa: Isa, dtype: str) -> None:
    emit_adamw(module, "adamw", dtype, isa.lanes(dtype))


def _emit_run(module: ir.Module, isa: Isa, dtype: str) -> None:
    emit_run(module, "run")


def _emit_shared_run(module: ir.Module, isa: Isa, dtype: str) -> None:
    emit_shared_run(module, "shared_run")


ROUTINES: dict[str, tuple[str, Callable[[ir.Module, Isa, str], None]]] = {
    "run": ("core", _emit_run),
    "shared_run": ("core", _emit_shared_run),
    "adamw": ("adamw", _emit_adamw),  # networks that run operator by operator want it alone
}
"""Compiled functions that no instruction names: their group, and what emits them."""

GROUPS = tuple(dict.fromkeys((*(one.group for one in FAMILIES.values()), *(group for group, _ in ROUTINES.values()))))
"""What is compiled together."""


def emit_group(group: str, module: ir.Module, isa: Isa, dtype: str) -> None:
    """Emit all kernels and routines of a group."""
    for name, family in FAMILIES.items():
        if family.group == group:
            for tile in family.tiles(isa, dtype):
                family.emit(module, KernelName(name, tile).symbol, dtype, tile)
    for own, emit in ROUTINES.values():
        if own == group:
            emit(module, isa, dtype)
