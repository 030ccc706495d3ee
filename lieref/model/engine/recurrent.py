"""Recurrent layers: LSTM, GRU and RNN along the pixels of one row, each pixel a step, in one direction or both.

What the input gives to all steps is one product, and so are the gradients of the weights: only the states wait for each
other. In z, the sums of all gates and directions, each gate of a direction has whole vectors of its own, as it has in
the lanes of packed weights:

    z[t] = W x[t] + bias,   then h[t] = cell(z[t] + R h[t-1] + bias, ...) step by step, and, with a walk back for a_bar:
    x_bar[t] = W^T z_bar[t],   W_bar = sum_t z_bar[t] x[t]^T,   R_bar = sum_t a_bar[t] h[t-1]^T,   biases: sums over t.

z_bar, what the input's side has as a gradient, is a_bar but for a reset gate that acts on the product R h, and the last
block of R takes r h in the place of h where the reset gate acts on the state. States are what a walk reads of the pixel
before, so that a halo of zeros is the first state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref.kernel.simd.cell import CELLS
from lieref.kernel.simd.isa import ISAS
from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.tiles import WALK_SAMPLES, WalkTile, WidthTile
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer, Recurrence
from lieref.model.engine.layout import Block, Layout, part_blocks
from lieref.model.engine.product import gradient_run_rows, multiply, multiply_gradient, padded_run
from lieref.model.engine.select import take
from lieref.model.engine.tensor import Place, Taps, Tensor
from lieref.model.engine.weights import Storage

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder

BAND_STEPS = 512
"""Steps whose products are summed by themselves in a gradient, which bounds the rounding error of long sequences."""


def forward(b: Builder, layer: FusedLayer, out: Tensor, _: Epilogue) -> list[Instruction]:
    """Return the instructions of the states of all steps, the directions side by side."""
    storage, x, r = b.storage, b.tensors[layer.x], _recurrence(layer)
    cell, size, lanes = CELLS[r.cell], _size(storage, r), _lanes(storage, r)
    axes = layer.weights[layer.weight]
    matrix = storage.add_matrix(layer.weight, axes, padded_run(x.pixel), lanes, part_blocks(axes, size))
    states = storage.add_matrix(r.weight, r.axes, size, lanes, part_blocks(r.axes, size))
    if r.bias:
        elements = 2 * r.axes.shape[0]
        bias, added = (storage.add_vector(r.bias, elements, lanes, blocks) for blocks in _bias_blocks(r, size))
    else:
        bias, added = -1, storage.repeated(0.0, lanes // storage.lanes)
    z = _steps(x, lanes, f"{layer.out}: sums")
    pixels = (x.width, x.width)
    found = multiply(
        storage, matrix, Place(x), Taps(x, ((0, 0),)), x.pixel, Place(z), pixels, Epilogue(bias=bias)
    )  # fmt: skip
    hidden = [_hidden(storage, r, d, out) for d in range(len(r.reverse))]
    for d, reverse in enumerate(r.reverse):
        places = {"in": _walk(z, reverse, d * cell.gates * size), "out": _walk(hidden[d], reverse)}
        _need_state(hidden[d], reverse)
        if cell.kept:
            kept = b.tensors[f"{layer.out}: kept {d}"] = _steps(x, cell.kept * size, f"{layer.out}: kept {d}")
            _need_state(kept, reverse)
            places["kept"] = _walk(kept, reverse)
        b.tensors[f"{layer.out}: states {d}"] = hidden[d]
        start = d * cell.gates * size
        ints = {
            "samples": 1, "count": x.width, "vectors": size // storage.lanes, "column": size * storage.lanes,
            "weight": states.offset + start * size, "bias": added + start,
        }  # fmt: skip
        found.append(Instruction(KernelName(r.cell, _tile(storage)), ints, places))
    if not _in_place(storage, r):
        sources = [(Place(h), _own_channels(r, d)) for d, h in enumerate(hidden)]
        found += take(storage, sources, Place(out), (1, out.width), Epilogue())
    return found


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return the instructions of the gradients of the weights, the biases and the input."""
    storage, x, r = b.storage, b.tensors[layer.x], _recurrence(layer)
    cell, size, lanes = CELLS[r.cell], _size(storage, r), _lanes(storage, r)
    matrix = storage.add_matrix(r.weight, r.axes, lanes, size, part_blocks(r.axes, size, backward=True))
    z_bar = _steps(x, lanes, f"gradient of {layer.out}: sums")
    a_bar = _steps(x, lanes, f"gradient of {layer.out}: products") if cell.sides else z_bar
    found: list[Instruction] = []
    for d, reverse in enumerate(r.reverse):
        start, back = d * cell.gates * size, not reverse
        g_bar = _hidden(storage, r, d, g)
        if not _in_place(storage, r):
            found += take(storage, [(Place(g), _places(r, d, size))], Place(g_bar), (1, g.width), Epilogue())
        hidden = b.tensors[f"{layer.out}: states {d}"]
        carry = Tensor(cell.carried * size, 1, 1, cell.carried * size, scratch=True, name=f"{layer.out}: carry {d}")
        known = {"h": _walk(hidden, back), "before": _walk(hidden, back, beyond=1)}
        if cell.kept:
            known["kept"] = _walk(b.tensors[f"{layer.out}: kept {d}"], back)
        places = {"g": _walk(g_bar, back), "out": _walk(z_bar, back, start), "carry": Place(carry)}
        places |= {name: known[name] for name in cell.read}
        places |= {name: _walk(a_bar, back, start) for name in cell.sides}
        ints = {
            "samples": 1, "count": x.width, "vectors": size // storage.lanes, "column": lanes * storage.lanes,
            "weight": matrix.offset + start * storage.lanes,
        }  # fmt: skip
        found.append(Instruction(KernelName(f"{r.cell}_back", _tile(storage)), ints, places))
    found += _weight_gradients(b, layer, z_bar, a_bar)
    if layer.x in b.needed:
        axes = layer.weights[layer.weight]
        x_bar, epilogue = b.target(layer.x)
        blocks = part_blocks(axes, size, backward=True)
        matrix = storage.add_matrix(layer.weight, axes, padded_run(lanes), x.pixel, blocks)
        one = Taps(z_bar, ((0, 0),))
        found += multiply(storage, matrix, Place(z_bar), one, lanes, Place(x_bar), (x.width, x.width), epilogue)
    return found


def _weight_gradients(b: Builder, layer: FusedLayer, z_bar: Tensor, a_bar: Tensor) -> list[Instruction]:
    """Return those of the gradients of both weights and of both biases, which are wanted."""
    storage, x, r = b.storage, b.tensors[layer.x], _recurrence(layer)
    cell, size, lanes = CELLS[r.cell], _size(storage, r), _lanes(storage, r)
    found: list[Instruction] = []
    if layer.weight in storage.trainable:
        axes = layer.weights[layer.weight]
        rows = gradient_run_rows(storage, x.pixel, lanes)
        (sums,) = storage.add_accumulator(layer.weight, axes.elements, rows, lanes, [part_blocks(axes, size)])
        found += _sum_over_steps(storage, sums, Place(x), z_bar)
    if r.weight in storage.trainable:
        rows = max(gradient_run_rows(storage, size, len(part.gates) * size) for part in cell.forward)
        blocks = part_blocks(r.axes, size)
        (sums,) = storage.add_accumulator(r.weight, r.axes.elements, rows, lanes, [blocks])
        for d, reverse in enumerate(r.reverse):
            own = blocks[d * cell.gates : (d + 1) * cell.gates]
            before = Place(b.tensors[f"{layer.out}: states {d}"], x=1 if reverse else -1)
            first = 0
            for part in cell.forward:  # each with what its gates multiply
                gates, first = own[first : first + len(part.gates)], first + len(part.gates)
                source = before
                if part.source is not None:
                    source = Place(b.tensors[f"{layer.out}: kept {d}"], channel=part.source * size)
                found += _sum_over_steps(storage, sums.restricted(gates), source, a_bar, size)
    if r.bias in storage.trainable:
        elements = 2 * r.axes.shape[0]
        both = storage.add_accumulator(r.bias, elements, 1, lanes, _bias_blocks(r, size))
        for sums, bar in zip(both, (z_bar, a_bar), strict=True):
            for first, count, width in sums.spans:
                ints = {
                    "blocks": count, "channel": first, "rows": 1, "cols": x.width, "out": sums.offset, "fresh": 1,
                }  # fmt: skip
                found.append(Instruction(KernelName("bias_gradient", WidthTile(width)), ints, {"g": Place(bar)}))
    return found


def _sum_over_steps(storage: Storage, sums: Layout, source: Place, g: Tensor, run: int = 0) -> list[Instruction]:
    """Return those of sum_t g[t] source[t]^T, the first `run` channels of the source, by default all of them."""
    found = []
    one = Taps(source.tensor, ((0, 0),))
    for first in range(0, g.width, BAND_STEPS):
        size = 1, min(BAND_STEPS, g.width - first)
        here = Place(source.tensor, x=source.x + first, channel=source.channel)
        found += multiply_gradient(
            storage, sums, here, one, run or source.tensor.pixel, Place(g, x=first), size, fresh=int(first == 0)
        )
    return found


def _recurrence(layer: FusedLayer) -> Recurrence:
    assert layer.recurrence is not None  # of every layer of this kind
    return layer.recurrence


def _size(storage: Storage, r: Recurrence) -> int:
    """Return the elements of a gate or a state: whole vectors of the widest kind."""
    return -(-r.hidden // storage.lanes) * storage.lanes


def _tile(storage: Storage) -> WalkTile:
    return WalkTile(WALK_SAMPLES[ISAS[storage.isa].registers], storage.lanes)


def _lanes(storage: Storage, r: Recurrence) -> int:
    return r.axes.parts * _size(storage, r)


def _bias_blocks(r: Recurrence, size: int) -> tuple[tuple[Block, ...], tuple[Block, ...]]:
    """Return where the biases of the input and of the states are: of each direction all of one, then of the other."""
    gates = CELLS[r.cell].gates
    found = []
    for side in range(2):
        starts = [((2 * (part // gates) + side) * gates + part % gates) * r.hidden for part in range(r.axes.parts)]
        found.append(tuple(Block(0, 1, i * size, r.hidden, start, 1, 1) for i, start in enumerate(starts)))
    return found[0], found[1]


def _steps(x: Tensor, channels: int, name: str) -> Tensor:
    """Return a tensor whose kernels write whole pixels."""
    return Tensor(channels, 1, x.width, channels, name=name)


def _in_place(storage: Storage, r: Recurrence) -> bool:
    """Return whether the states of a direction are whole vectors, so that they are written where they come to stand."""
    return r.hidden % storage.lanes == 0


def _hidden(storage: Storage, r: Recurrence, d: int, t: Tensor) -> Tensor:
    """Return the states of a direction in the output, or in the gradient of it, or a tensor of their own."""
    if not _in_place(storage, r):
        return _steps(t, _size(storage, r), f"{t.name}: states {d}")
    return t.slice(r.hidden, d * r.hidden, f"{t.name}: states {d}")


def _need_state(t: Tensor, reverse: bool) -> None:
    """Widen the halo for the state before the first step."""
    t.need_halo(0, int(not reverse), 0, int(reverse))


def _walk(t: Tensor, reverse: bool, channel: int = 0, beyond: int = 0) -> Place:
    """Return where a walk meets the steps, from the first or from the last one on, or from so many beyond."""
    return Place(t, x=t.width - 1 - beyond if reverse else beyond, step_x=-1 if reverse else 1, channel=channel)


def _own_channels(r: Recurrence, d: int) -> list[int]:
    """Return which channel of a direction's states each channel of the output is, -1 for none."""
    return [
        c - d * r.hidden if d * r.hidden <= c < (d + 1) * r.hidden else -1 for c in range(len(r.reverse) * r.hidden)
    ]


def _places(r: Recurrence, d: int, size: int) -> list[int]:
    """Return which channel of the output each channel of a direction's states is."""
    return [d * r.hidden + c if c < r.hidden else -1 for c in range(size)]
