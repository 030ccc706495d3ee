"""What the families do that work on all channels of a pixel, or on all pixels of a channel, from their definitions.

What only fills the last vector of channels is written too: as zero, before an epilogue.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from tests.kernel.simd.bounded import Bounded, total
from tests.kernel.simd.state import Write
from tests.kernel.simd.walks import finish, image, pixels


def _filled(f, tile):
    """All channels and what fills their vectors."""
    return np.arange(-(-f["channels"] // tile.width) * tile.width)


def _padded(value, tile):
    """Numbers (..., channels) with zeros that fill their last vector."""
    beyond = [(0, 0)] * (value.value.ndim - 1) + [(0, -value.value.shape[-1] % tile.width)]
    return Bounded(np.pad(value.value, beyond), np.pad(value.error + 0 * value.value, beyond), value.dtype)


def _at(f, s, tensor):
    """A tensor's pixels x channels."""
    return s.read("arena", pixels(f, tensor)[:, None] + np.arange(f["channels"]))


def _end(f, tile, s, value):
    return finish(f, s, _padded(value, tile), _filled(f, tile), partial(pixels, f))


def _normalised(f, s, centred):
    """d and r of h = r d, r with one channel."""
    d, share = _at(f, s, "in"), s.number(f["share"])
    share = Bounded(share, 0.0, s.dtype)
    if centred:
        d = d - (total(d, 1) * share).spread(1)
    square = (total(d * d, 1) * share + s.number(f["epsilon"])).spread(1)
    return d, 1.0 / square.sqrt()


def _scale(f, s):
    return s.read("weights", f["weight"] + np.arange(f["channels"]))


def normalization(centred, f, tile, table, s):
    """out = epilogue(scale r d)."""
    d, r = _normalised(f, s, centred)
    return _end(f, tile, s, d * r * _scale(f, s))


def normalization_gradient(centred, f, tile, table, s):
    """out = epilogue(r (w - mean w - d r^2 mean(d w))), w = scale g."""
    d, r = _normalised(f, s, centred)
    share = Bounded(s.number(f["share"]), 0.0, s.dtype)
    w = _at(f, s, "other") * _scale(f, s)
    along = (total(w * d, 1) * share).spread(1) * r * r
    if centred:
        w = w - (total(w, 1) * share).spread(1)
    return _end(f, tile, s, (w - d * along) * r)


def normalization_scale(centred, f, tile, table, s):
    """scale_bar[c] += sum over the pixels of g h."""
    d, r = _normalised(f, s, centred)
    place = f["out"] + np.arange(f["channels"])
    before = None if s.fresh(f) else s.read("gradients", place)
    sums = total(_at(f, s, "other") * (d * r), 0, before)
    return [Write("gradients", f["out"] + _filled(f, tile), _padded(sums, tile))]


def _shifted(f, s):
    x = _at(f, s, "in")
    return x - x.value.max(1, keepdims=True)


def softmax(logarithm, f, tile, table, s):
    """out = e / sum e, or its logarithm."""
    shifted = _shifted(f, s)
    sums = total(shifted.exp(), 1).spread(1)
    if logarithm:
        ends = Bounded(np.log(sums.value), 0.0, s.dtype).rounded(sums.error / (sums.value - sums.error), 16)  # 8 ulp
        y = shifted - ends
    else:
        y = shifted.exp() * (1.0 / sums)
    return [Write("arena", pixels(f, "out")[:, None] + _filled(f, tile), _padded(y, tile))]


def softmax_gradient(logarithm, f, tile, table, s):
    """out = epilogue(y (g - sum y g)), or epilogue(g - exp(y) sum g)."""
    g, y = _at(f, s, "in"), _at(f, s, "other")
    if logarithm:
        return _end(f, tile, s, g - y.exp() * total(g, 1).spread(1))
    return _end(f, tile, s, y * (g - total(y * g, 1).spread(1)))


def _vectors(f, s, tensor, count, channels):
    """So many numbers of each channel."""
    return [s.read("arena", f[tensor] + i * f[f"{tensor}_pixel"] + channels) for i in count]


def _of_groups(f, s, sums):
    """Sums of each channel, added up in its group, over the group's numbers."""
    groups = sums.reshape(-1, f["group"])
    found = total(groups, 1).spread(1)
    found = Bounded(np.repeat(found.value, f["group"], 1), np.repeat(found.error, f["group"], 1), s.dtype)
    return found.reshape(-1) * Bounded(s.number(f["share"]), 0.0, s.dtype)


def _image(f, s, tensor):
    return s.read("arena", image(f, tensor)[:, None] + np.arange(f["channels"]))


def _write(f, tile, vectors):
    filled = _filled(f, tile)
    return [
        Write("arena", f["out"] + i * f["out_pixel"] + filled, _padded(vector, tile))
        for i, vector in enumerate(vectors)
    ]  # fmt: skip


def column_statistics(f, tile, table, s):
    """The means and r of each channel's group."""
    x = _image(f, s, "in")
    mean = _of_groups(f, s, total(x, 0))
    d = x - mean
    square = _of_groups(f, s, total(d * d, 0)) + s.number(f["epsilon"])
    return _write(f, tile, [mean, 1.0 / square.sqrt()])


def column_sums(f, tile, table, s):
    """scale_bar, r mean w and r^2 mean(w h) of each channel."""
    channels = np.arange(f["channels"])
    mean, r = _vectors(f, s, "statistics", range(2), channels)
    g, scale = _image(f, s, "other"), _scale(f, s)
    bars = total((_image(f, s, "in") - mean) * g, 0) * r
    plain, along = _of_groups(f, s, total(g, 0) * scale) * r, _of_groups(f, s, bars * scale) * r * r
    return _write(f, tile, [bars, plain, along])


def _known(f, tile, s):
    channels = np.arange(f["blocks"] * tile.width)
    mean, r = _vectors(f, s, "statistics", range(2), channels)
    d = s.read("arena", pixels(f, "in")[:, None] + channels) - mean
    return channels, d, r * s.read("weights", f["weight"] + channels)


def column_normalization(f, tile, table, s):
    """out = epilogue(scale r d)."""
    channels, d, slope = _known(f, tile, s)
    return finish(f, s, d * slope, channels, partial(pixels, f))


def column_normalization_gradient(f, tile, table, s):
    """out = epilogue(r w - plain - d along)."""
    channels, d, slope = _known(f, tile, s)
    plain, along = _vectors(f, s, "sums", (1, 2), channels)
    g = s.read("arena", pixels(f, "other")[:, None] + channels)
    return finish(f, s, g * slope - plain - d * along, channels, partial(pixels, f))


MEANINGS = {
    **{
        f"{name}_normalization{end}": partial(meaning, name == "layer")
        for name in ("layer", "rms")
        for end, meaning in (
            ("", normalization), ("_gradient", normalization_gradient), ("_scale", normalization_scale),
        )
    },
    **{
        f"{name}{end}": partial(meaning, name == "log_softmax")
        for name in ("softmax", "log_softmax")
        for end, meaning in (("", softmax), ("_gradient", softmax_gradient))
    },
    "column_statistics": column_statistics,
    "column_sums": column_sums,
    "column_normalization": column_normalization,
    "column_normalization_gradient": column_normalization_gradient,
}  # fmt: skip
"""What the instructions of each family do."""
