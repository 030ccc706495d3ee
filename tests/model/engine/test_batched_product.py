"""Products of matrices that are activations, wherever these stand in their tensors, against their definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref.kernel.simd import isa as isa_module
from lieref.model.engine import batched_product
from lieref.model.engine.batched_product import TERMS
from lieref.model.engine.layer import Epilogue, FusedLayer, Window
from lieref.model.engine.strided import BatchedProduct, Counts, strided
from lieref.model.engine.weights import Storage
from tests.model.engine.rows import OneLayer, make_tensor, run_rows, view, within

TARGETS = [(isa, dtype) for isa in isa_module.available() for dtype in ("float32", "float64")]

ORDERS = {
    "rows": ((2, 0, 1), 0),  # channels are columns, and each row of pixels a matrix
    "heads": ((0, 2, 1), 1),  # channels are columns too, those of each matrix after those of the one before
    "turned rows": ((1, 0, 2), 0),
    "turned heads": ((0, 1, 2), 1),
    "columns of pixels": ((2, 1, 0), 0),
}
"""How (matrices, rows, columns) stand as (channels, height, width): which axes, and whether the first two are one."""


def place_matrices(order, shape, spare):
    """Return the size of a tensor with `spare` channels before and behind matrices, and their places in it."""
    axes, heads = ORDERS[order]
    numbers = np.arange(np.prod(shape)).reshape(shape).transpose(axes)
    image = numbers.reshape(-1, 1, numbers.shape[2]) if heads else numbers
    channels, height, width = image.shape
    size = (channels + 2 * spare, height, width)
    places = np.empty(numbers.size, np.int64)
    places[image.ravel()] = np.arange(spare * height * width, (spare + channels) * height * width)
    return size, places.reshape(shape)


COUNTS = st.tuples(*[st.integers(1, 4), st.integers(1, 21), st.integers(1, 19), st.integers(1, 37)])
PLACES = st.tuples(st.sampled_from([*ORDERS]), st.integers(0, 3))


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@settings(max_examples=60)
@given(
    counts=COUNTS, left=PLACES, right=PLACES, out=PLACES, shared=st.sampled_from(["", "left", "right"]),
    halo=st.tuples(*[st.integers(0, 2)] * 4), more=st.booleans(), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_products_and_their_gradients(isa, dtype, counts, left, right, out, shared, halo, more, seed):
    check(isa, dtype, counts, (left, right, out), shared, halo, more, seed)


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("counts", [(2, 24, 2 * TERMS + 3, 17), (3, 2 * TERMS + 8, 5, 40), (1, 7, 19, 2 * TERMS)])
def test_sums_of_many_terms(isa, dtype, counts, more):
    check(isa, dtype, counts, (("heads", 0), ("heads", 2), ("rows", 0)), "", (0, 1, 0, 2), more, 3)


def check(isa, dtype, counts, orders, shared, halo, more, seed):
    """Run a product and its gradients; compare with their definition."""
    left, right, out = orders
    matrices, rows, inner, columns = counts
    shapes = {
        "left": (1 if shared == "left" else matrices, rows, inner),
        "right": (1 if shared == "right" else matrices, inner, columns), "out": (matrices, rows, columns),
    }  # fmt: skip
    tensors, places, where = {}, {}, {}
    for name, (order, spare) in {"left": left, "right": right, "out": (out[0], 0)}.items():
        size, places[name] = place_matrices(order, shapes[name], spare)
        where[name] = strided(places[name], size)
        tensors[name], tensors[f"{name}_bar"], tensors[f"{name}_more"] = (
            make_tensor(*size, isa, dtype) for _ in range(3)
        )
    for name in ("left", "right", "out", "left_bar"):
        tensors[name].need_halo(*halo)
    rng = np.random.default_rng(seed)
    names = ("left", "right", "out_bar", *(("left_more", "right_more", "out_more") if more else ()))
    given_values = {t: rng.standard_normal((t.channels, t.height, t.width)) for t in (tensors[name] for name in names)}
    given_values = {t: v.astype(dtype) for t, v in given_values.items()}
    product = BatchedProduct(Counts(matrices, 1, rows, inner, columns), *where.values(), 0.75)
    layer = FusedLayer(
        "batched_product", "left", "out", Window(), tensors["out"].channels, others=("right",), matrices=product
    )

    class One(OneLayer):
        def target(self, name, over=None):
            return self._gradients[name], Epilogue(aux=tensors[f"{name}_more"] if more else None)

    storage = Storage(isa, dtype, frozenset())
    one = One(storage, tensors, {name: tensors[f"{name}_bar"] for name in ("left", "right")})
    epilogue = Epilogue(aux=tensors["out_more"], clamp=(-2.0, 2.5)) if more else Epilogue()
    rows_of_plan = batched_product.forward(one, layer, tensors["out"], epilogue)
    rows_of_plan += batched_product.backward(one, layer, tensors["out_bar"])
    arena, _ = run_rows(rows_of_plan, storage, given_values, {})

    def matrices_of(name, source):
        return given_values[tensors[source]].astype("f8").ravel()[places[name]]

    a, b, g = matrices_of("left", "left"), matrices_of("right", "right"), matrices_of("out", "out_bar")
    ta, tb = (np.swapaxes(x, 1, 2) for x in (a, b))
    want = {"out": 0.75 * a @ b, "left": 0.75 * g @ tb, "right": 0.75 * ta @ g}
    bound = {
        "out": 0.75 * abs(a) @ abs(b), "left": 0.75 * abs(g) @ abs(tb), "right": 0.75 * abs(ta) @ abs(g),
    }  # fmt: skip
    for name, terms in (("out", inner), ("left", columns), ("right", rows)):
        if shared == name:
            want[name], bound[name] = (x[name].sum(0, keepdims=True) for x in (want, bound))
            terms *= matrices
        target = tensors[name if name == "out" else f"{name}_bar"]
        whole, size = np.zeros((2, target.channels * target.height * target.width))
        whole[places[name]], size[places[name]] = want[name], bound[name]
        if more:
            extra = given_values[tensors[f"{name}_more"]].ravel()
            whole, size = whole + extra, size + abs(extra)
            if name == "out":
                whole = np.clip(whole, -2.0, 2.5)
        within(view(arena, target).ravel(), whole, size, terms + 3, dtype)


def test_matrices_that_are_no_fixed_step_apart():
    size, places = place_matrices("rows", (3, 5, 7), 1)
    assert strided(places, size) is not None
    assert strided(places[[0, 2, 1]], size) is None
    assert strided(places[:, [0, 1, 3]], size) is None
    assert strided(places[:, :, [0, 1, 2, 5]], size) is None
