"""Rows of normalisations and softmax against the reference operators in float64, over random geometries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref.kernel.simd import isa as isa_module
from lieref.model.engine.kinds import KINDS
from lieref.model.engine.layer import Epilogue, FusedLayer, Window
from lieref.model.engine.weights import Storage
from lieref.op import normalization as norm
from lieref.op import softmax as soft
from tests.model.engine.rows import OneLayer, make_tensor, run_rows, view

TARGETS = [(isa, dtype) for isa in isa_module.available() for dtype in ("float32", "float64")]
SIZES = st.tuples(st.sampled_from([1, 3, 8, 12, 17, 33, 64]), st.integers(1, 6), st.integers(1, 9))
EPSILON = 0.25


def pixels(x):
    """(C, H, W) as pixels x channels."""
    return np.ascontiguousarray(x.reshape(len(x), -1).T)


def image(rows, like):
    return rows.T.reshape(like.shape)


def draw(seed, dtype, size):
    """Input, gradient, what is added to that of the input, scale and bias."""
    rng = np.random.default_rng(seed)
    x, bar, more = (rng.standard_normal(size).astype(dtype) for _ in range(3))
    return x, bar, more, *(rng.standard_normal(size[0]).astype(dtype) for _ in range(2))


def run(kind, isa, dtype, arrays, **layer):
    """Run a layer forward and backward; return output, gradient of the input with `more`, and of the scale."""
    x, bar, more, *scale_and_bias = arrays
    tensors = x_t, out, g, x_bar, aux = [make_tensor(*x.shape, isa, dtype) for _ in range(5)]
    for tensor in tensors[1:3]:
        tensor.need_halo(1, 0, 1, 2)
    storage = Storage(isa, dtype, frozenset({"w"} if kind != "softmax" else ()))
    own = FusedLayer(kind, "x", "y", Window(), len(x), weight="w" if scale_and_bias else "", **layer)
    one = OneLayer(storage, {"x": x_t, "y": out}, {"x": x_bar}, Epilogue(aux=aux))
    bias = storage.add_bias("b", len(x), out.pixel) if scale_and_bias else -1
    rows = [*KINDS[kind].forward(one, own, out, Epilogue(bias)), *KINDS[kind].backward(one, own, g)]
    weights = dict(zip(("w", "b"), scale_and_bias, strict=False))
    arena, sums = run_rows(rows, storage, {x_t: x, g: bar, aux: more}, weights)
    found = {acc.name: acc.read(sums) for acc in storage.accumulators}
    return view(arena, out), view(arena, x_bar), found.get("w")


def near(got, want, dtype, size, operations):
    """Whether each number is within so many roundings of the size of what it is made of."""
    off = np.abs(got.astype("f8") - want)
    assert np.all(off <= operations * np.finfo(dtype).eps / 2 * size + 1e-300), (off / size).max()


# With this epsilon r is at most two, and |d| at most 2 |x|: the size of each term follows, and no difference but d
# cancels. A statistic of n numbers takes n roundings and a few more, and enters a result a few times.


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@settings(max_examples=25)
@given(size=SIZES, centred=st.booleans(), seed=st.integers(0, 2**16))
def test_rows_are_normalised(isa, dtype, size, centred, seed):
    arrays = draw(seed, dtype, size)
    x, bar, more, scale, bias = (a.astype("f8") for a in arrays)
    name = "layer_normalization" if centred else "rms_normalization"
    got = run("row_normalization", isa, dtype, arrays, function=name, numbers=(EPSILON, 0.0))
    if centred:
        want = norm.layer_normalization(pixels(x), scale, bias, epsilon=EPSILON)
        bars = norm.layer_normalization_vjp(pixels(x), scale, bias, y=want, y_bar=pixels(bar), epsilon=EPSILON)
    else:
        want = norm.rms_normalization(pixels(x), scale, epsilon=EPSILON)
        bars = norm.rms_normalization_vjp(pixels(x), scale, y=want, y_bar=pixels(bar), epsilon=EPSILON)
        want = want + bias
    check(got, image(want, x), image(bars[0], x) + more, bars[1], arrays, dtype, size[0])


def check(got, want, x_bar, scale_bar, arrays, dtype, numbers):
    """Compare with the reference, `numbers` being summed for each statistic."""
    x, bar, more, scale, bias = (np.abs(a).astype("f8") for a in arrays)
    many, most = 8 * (numbers + 8), 4 * (x.max() + 1)
    near(got[0], want, dtype, most * scale.max() + bias.max(), many)
    near(got[1], x_bar, dtype, most**2 * 8 * scale.max() * bar.max() + more.max(), many)
    near(got[2], scale_bar, dtype, most * bar.sum((1, 2)), many + x[0].size)


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@settings(max_examples=25)
@given(size=SIZES, groups=st.sampled_from([1, 2, 3, 4, 64]), seed=st.integers(0, 2**16))
def test_columns_are_normalised(isa, dtype, size, groups, seed):
    groups = groups if size[0] % groups == 0 else size[0]
    arrays = draw(seed, dtype, size)
    x, bar, more, scale, bias = (a.astype("f8") for a in arrays)
    got = run("column_normalization", isa, dtype, arrays, groups=groups, numbers=(EPSILON, 0.0))
    known = {"num_groups": groups, "epsilon": EPSILON}
    want = norm.group_normalization(x[None], scale, bias, **known)
    bars = norm.group_normalization_vjp(x[None], scale, bias, y=want, y_bar=bar[None], **known)
    check(got, want[0], bars[0][0] + more, bars[1], arrays, dtype, x.size // groups)


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@settings(max_examples=25)
@given(size=SIZES, logarithm=st.booleans(), spread=st.sampled_from([1.0, 50.0]), seed=st.integers(0, 2**16))
def test_softmax_and_its_logarithm(isa, dtype, size, logarithm, spread, seed):
    """Some numbers are minus infinity, as a mask leaves them."""
    x, bar, more, *_ = draw(seed, dtype, size)
    x *= np.dtype(dtype).type(spread)
    hidden = np.random.default_rng(seed).random(size) < 0.3
    hidden[0] = False  # each pixel has a number
    x[hidden] = -np.inf
    name = "log_softmax" if logarithm else "softmax"
    got = run("softmax", isa, dtype, (x, bar, more), function=name)
    forward, vjp = (getattr(soft, f"{name}{end}") for end in ("", "_vjp"))
    wide = pixels(x.astype("f8"))
    want = forward(wide)
    x_bar = image(vjp(wide, y=want, y_bar=pixels(bar.astype("f8")))[0], x) + more
    want, many, g = image(want, x), 4 * (size[0] + 16), np.abs(bar).astype("f8")
    assert np.all(got[0][hidden] == (-np.inf if logarithm else 0))
    # x - max x is rounded at its own size, and so is what it is the exponential of.
    largest = np.broadcast_to(2 * np.abs(np.where(hidden, 0, x)).max(0).astype("f8") + 2, size)
    near(got[0][~hidden], want[~hidden], dtype, largest[~hidden], many)
    near(got[1], x_bar, dtype, g + largest * g.sum(0) + np.abs(more), many)


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@pytest.mark.parametrize("logarithm", [False, True])
def test_pixels_without_a_number_give_what_the_reference_gives(isa, dtype, logarithm):
    x, bar, more, *_ = draw(0, dtype, (5, 2, 7))
    x[:, 0, 3], x[2, 1, 1], x[3, 1, 4] = -np.inf, np.nan, np.inf
    name = "log_softmax" if logarithm else "softmax"
    got, *_ = run("softmax", isa, dtype, (x, bar, more), function=name)
    with np.errstate(invalid="ignore"):
        want = image(getattr(soft, name)(pixels(x)), x)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    assert np.isnan(want).sum() == 15
