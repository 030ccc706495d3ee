"""Laws of every operator in the registry: same answer as ONNX, adjoint derivative, dtypes, shapes, untouched inputs."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from lieref._types import Array
from lieref.errors import UnsupportedError
from lieref.numerics.gradcheck import adjoint_gap, inner, taylor_slope
from lieref.op.registry import OPERATORS, REQUIRED, check_attributes, resolve_attributes, supported
from lieref.op.spec import TensorSpec
from tests.op.examples import EXAMPLES, ORT, Example

STRAIGHT_THROUGH = {"FakeQuantize"}
"""No operators of ONNX, and their VJP is not that of their derivative: tests/op has them."""

every_example = pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)


def attributes(example: Example) -> dict[str, Any]:
    return resolve_attributes(example.op, example.attrs, example.opset)


def forward(example: Example, inputs: Any) -> Array:
    y: Array = OPERATORS[example.op].forward(*inputs, **attributes(example))
    return y


def as_dtype(inputs: Any, dtype: Any) -> list[Array | None]:
    return [a.astype(dtype) if a is not None and a.dtype.kind == "f" else a for a in inputs]


def differentiable(example: Example) -> dict[str, Array]:
    """Return the inputs that get a cotangent, by position."""
    positions = OPERATORS[example.op].differentiable
    return {
        str(i): a
        for i, a in enumerate(example.inputs)
        if a is not None and a.dtype.kind == "f" and (positions is None or i in positions)
    }


def onnx_output(example: Example, dtype: Any) -> Array | None:
    """Return what ONNX's evaluator or ONNX Runtime gives; None where it has no such operator in this type."""
    onnx = pytest.importorskip("onnx")
    names = [f"i{i}" if a is not None else "" for i, a in enumerate(example.inputs)]
    attrs = {k: onnx.numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v for k, v in example.attrs.items()}
    feeds = {n: a for n, a in zip(names, as_dtype(example.inputs, dtype), strict=True) if a is not None}
    infos = [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in feeds.items()
    ]
    mine = forward(example, as_dtype(example.inputs, dtype))
    free = [f"d{i}" for i in range(mine.ndim)]
    out = onnx.helper.make_tensor_value_info("y", onnx.helper.np_dtype_to_tensor_dtype(mine.dtype), free)
    before = [f"o{i}" for i in range(attrs.pop("output", 0))]
    fewest = onnx.defs.get_schema(example.op, example.opset).min_output
    behind = [f"o{i}" for i in range(len(before) + 1, fewest)]
    node = onnx.helper.make_node(example.op, names, [*before, "y", *behind], name="node", **attrs)
    graph = onnx.helper.make_graph([node], "g", infos, [out])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", example.opset)])
    model.ir_version = 9 if example.opset <= 21 else 11
    onnx.checker.check_model(model)
    if example.evaluator == ORT:
        runtime = pytest.importorskip("onnxruntime")
        try:
            session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        except runtime.capi.onnxruntime_pybind11_state.NotImplemented:
            return None
    else:
        session = pytest.importorskip("onnx.reference").ReferenceEvaluator(model)
    try:
        y: Array = session.run(None, feeds)[0]
    except Exception as error:  # of a class of ONNX Runtime's own, which says of LSTM and GRU only now what it has not
        if "double" not in str(error):
            raise
        return None
    return y


def test_every_operator_has_an_example_and_uses_every_attribute() -> None:
    assert {example.op for example in EXAMPLES.values()} == set(OPERATORS)
    for name, operator in OPERATORS.items():
        used = {key for example in EXAMPLES.values() if example.op == name for key in attributes(example)}
        # the opset forms of attributes that moved to inputs before opset 11
        assert used >= set(operator.attributes) - {"min", "max", "pads", "value"} or name not in ("Clip", "Pad")
        if name not in ("Clip", "Pad"):
            assert used == set(operator.attributes), name


def test_vjp_takes_what_forward_takes() -> None:
    for operator in OPERATORS.values():
        ahead = inspect.signature(operator.function).parameters
        back = inspect.signature(operator.function_vjp).parameters
        extra = {"y", "y_bar", "needs"}
        assert {n: p.default for n, p in ahead.items()} == {n: p.default for n, p in back.items() if n not in extra}
        assert [n for n in back if n in ("y", "y_bar")] == ["y", "y_bar"]


DTYPES = (np.float32, np.float64)


def told(example: Example, inputs: Any, hidden: tuple[int, int] | None = None) -> list[TensorSpec | None]:
    """Return what a rule is told of inputs: the numbers of constants, every extent but `hidden` (input, axis)."""
    specs: list[TensorSpec | None] = []
    for i, array in enumerate(inputs):
        if array is None:
            specs.append(None)
            continue
        shape = tuple(None if (i, axis) == hidden else extent for axis, extent in enumerate(array.shape))
        constant = array.dtype.kind != "f" or i in example.constants
        specs.append(TensorSpec(shape, array.dtype, array if constant else None))
    return specs


@every_example
def test_rule_gives_the_shape_and_dtype_of_the_output(example: Example) -> None:
    check_attributes(example.op, example.attrs, "node")
    for dtype in DTYPES:
        inputs = as_dtype(example.inputs, dtype)
        y = forward(example, inputs)
        found = OPERATORS[example.op].shape(*told(example, inputs), **attributes(example))
        assert (found.shape, found.dtype) == (y.shape, y.dtype)
    without_an_extent_it_contradicts_nothing(example)


def without_an_extent_it_contradicts_nothing(example: Example) -> None:
    y = forward(example, example.inputs)
    for position, array in enumerate(example.inputs):
        for axis in range(np.ndim(array) if array is not None else 0):
            specs = told(example, example.inputs, (position, axis))
            try:
                found = OPERATORS[example.op].shape(*specs, **attributes(example))
            except UnsupportedError as error:
                assert "known" in str(error)  # noqa: PT017
                continue
            assert len(found.shape) == y.ndim
            assert all(a in (None, b) for a, b in zip(found.shape, y.shape, strict=True))


@every_example
def test_forward_is_what_onnx_says(example: Example) -> None:
    if example.op in STRAIGHT_THROUGH:
        pytest.skip("no operator of ONNX")
    told_of = [is_what_onnx_says(example, dtype) for dtype in DTYPES]
    if not any(told_of):
        pytest.skip(f"ONNX Runtime has no {example.op}")


def is_what_onnx_says(example: Example, dtype: Any) -> bool:
    """Return whether there is such an operator in this type, where it agrees."""
    inputs = as_dtype(example.inputs, dtype)
    y = forward(example, inputs)
    want = onnx_output(example, dtype)
    if want is None:
        return False
    assert y.dtype == want.dtype
    assert y.shape == want.shape
    # n roundings on either side, each at most u times the largest partial result
    floats = [abs(a) for a in inputs if a is not None and a.dtype.kind == "f"]
    n = 4 + max((a.size for a in floats), default=0)
    largest = max([np.abs(y).max(initial=0), *(a.max(initial=0) for a in floats)])
    if example.multilinear and example.op != "Div":
        largest = max(largest, forward(example, [a if a is None else abs(a) for a in inputs]).max())
    unit = float(np.finfo(np.float32 if example.float32_constant else dtype).eps) / 2
    tolerance = 2 * n * unit * largest
    np.testing.assert_allclose(y, want, rtol=0, atol=tolerance)
    return True


@every_example
def test_vjp_is_the_adjoint_of_the_derivative(example: Example, rng: np.random.Generator) -> None:
    point = differentiable(example)
    y = forward(example, example.inputs)
    if not point or not y.size or y.dtype.kind != "f" or example.op in STRAIGHT_THROUGH:
        pytest.skip("nothing to differentiate")

    def at(x: Any) -> list[Array | None]:
        return [x.get(str(i), a) for i, a in enumerate(example.inputs)]

    def f(x: Any) -> Array:
        return forward(example, at(x))

    def f_vjp(x: Any, y_bar: Array) -> dict[str, Array]:
        bars = OPERATORS[example.op].vjp(*at(x), y=f(x), y_bar=y_bar, **attributes(example))
        assert len(bars) == len(example.inputs)
        for i, bar in enumerate(bars):
            assert (bar is not None) == (str(i) in x), f"cotangent of input {i}"
        return {name: bars[int(name)] for name in x}

    # five points 1e-3 apart: rounding leaves u / 1e-3 = 1e-13 and truncation 1e-12 times the fifth derivative
    assert adjoint_gap(f, f_vjp, point, rng) <= 1e-9

    y_bar = rng.standard_normal(f(point).shape)
    x_dot = {name: rng.standard_normal(a.shape) for name, a in point.items()}
    # steps small enough to stay on one side of every kink and tie
    slope = taylor_slope(lambda x: inner(f(x), y_bar), point, f_vjp(point, y_bar), x_dot, steps=(2e-3, 4e-4))
    assert slope >= 1.9


@every_example
def test_cotangents_have_the_shape_and_dtype_of_their_input(example: Example) -> None:
    for dtype in DTYPES:
        inputs = as_dtype(example.inputs, dtype)
        before = [None if a is None else a.copy() for a in inputs]
        y = forward(example, inputs)
        y_bar = np.ones_like(y)
        bars = OPERATORS[example.op].vjp(*inputs, y=y, y_bar=y_bar, **attributes(example))
        for a, bar in zip(inputs, bars, strict=True):
            if bar is not None and a.dtype.kind == "f":
                assert bar.dtype == a.dtype == dtype
                assert bar.shape == a.shape
                assert np.isfinite(bar).all()
        for a, b in zip(inputs, before, strict=True):
            if a is not None:
                np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(y_bar, np.ones_like(y))


@every_example
def test_any_memory_layout_gives_the_same_numbers(example: Example) -> None:
    y = forward(example, example.inputs)
    y_bar = np.ones_like(y)
    bars = OPERATORS[example.op].vjp(*example.inputs, y=y, y_bar=y_bar, **attributes(example))

    def strided(a: Array) -> Array:
        wide = np.zeros((*a.shape, 2), a.dtype)[..., 0]
        wide[...] = a
        return wide

    def read_only(a: Array) -> Array:
        copy = a.copy()
        copy.flags.writeable = False
        return copy

    # the order in which NumPy sums may follow the strides: a few roundings of the largest partial sum
    for change in (lambda a: np.array(a, order="F"), strided, lambda a: a.astype(a.dtype.newbyteorder(">")), read_only):
        inputs = [None if a is None else change(a) for a in example.inputs]
        for a, b in zip(
            (forward(example, inputs), *OPERATORS[example.op].vjp(*inputs, y=y, y_bar=y_bar, **attributes(example))),
            (y, *bars),
            strict=True,
        ):
            if b is not None:
                scale = float(np.abs(b).max(initial=1)) * max(b.size, y.size) * 16
                np.testing.assert_allclose(a, b, rtol=0, atol=scale * np.finfo(float).eps)


def test_threads_change_nothing() -> None:
    threaded = [example for example in EXAMPLES.values() if OPERATORS[example.op].threaded]
    assert {example.op for example in threaded} == {"AveragePool", "Conv", "ConvTranspose", "Gemm", "MatMul", "MaxPool"}
    for example in threaded:
        operator, attrs = OPERATORS[example.op], attributes(example)
        y = operator.forward(*example.inputs, **attrs)
        np.testing.assert_array_equal(operator.forward(*example.inputs, **attrs, threads=4), y)
        one = operator.vjp(*example.inputs, y=y, y_bar=y, **attrs)
        for a, b in zip(operator.vjp(*example.inputs, y=y, y_bar=y, **attrs, threads=4), one, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_array_equal(a, b)


def test_only_the_cotangents_needed() -> None:
    selective = [example for example in EXAMPLES.values() if OPERATORS[example.op].selective]
    assert {example.op for example in selective} == {"Conv", "ConvTranspose"}
    for example in selective:
        operator, attrs = OPERATORS[example.op], attributes(example)
        y = forward(example, example.inputs)
        for i in range(len(example.inputs)):
            needs = tuple(j == i for j in range(len(example.inputs)))
            bars = operator.vjp(*example.inputs, y=y, y_bar=y, needs=needs, **attrs)
            assert [bar is not None for bar in bars] == list(needs)


@pytest.mark.parametrize(
    ("op", "attrs", "message"),
    [
        ("Loop", {}, r"operator Loop \(node n7\) must be one lieref has"),
        ("Relu", {"slope": 1}, r"attribute `slope` of operator Relu \(node n7\) must be one lieref knows; knows none"),
        (
            "Pad",
            {"mode": "mirror"},
            r"`mode` of operator Pad \(node n7\) must be one of constant, reflect, edge, wrap; got 'mirror'",
        ),
        ("BatchNormalization", {"training_mode": 1}, r"`training_mode` of operator BatchNormalization \(node n7\)"),
        ("MaxPool", {"kernel_shape": (2, 2), "storage_order": 1}, "`storage_order`"),
        ("MaxPool", {}, r"attribute `kernel_shape` of operator MaxPool \(node n7\) must be given"),
        ("Concat", {}, "`axis`"),
        ("Conv", {"auto_pad": "SAME"}, "`auto_pad`"),
        ("Gelu", {"approximate": "erf"}, "`approximate`"),
    ],
)
def test_unsupported_nodes_are_named(op: str, attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=f"^check_attributes: .*{message}"):
        check_attributes(op, attrs, "n7")


def test_required_operators_are_there() -> None:
    required = (
        "Conv Gemm MatMul Add Sub Mul Div Relu LeakyRelu Clip HardSwish HardSigmoid Sigmoid Tanh BatchNormalization "
        "MaxPool AveragePool GlobalAveragePool ReduceMean Flatten Reshape Transpose Squeeze Unsqueeze Concat Pad "
        "Softmax Identity Dropout Constant"
    ).split()
    assert all(supported(name) for name in required)
    assert not supported("Loop")
    assert OPERATORS["Concat"].attributes == {"axis": REQUIRED}
