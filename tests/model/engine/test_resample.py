"""What is lowered to a resampling against the reference operators in float64: outputs and gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lieref.errors import UnsupportedError
from lieref.model.engine import compile_graph
from lieref.op.interpolation import ROUNDINGS, TRANSFORMATIONS
from lieref.op.resize import resize_shape
from lieref.op.spec import TensorSpec
from tests.model.engine.networks import Net, close, net_axes, net_const, reference, trainable

IMAGE, LINE = (3, 7, 6), (3, 9)
UP, DOWN, MIXED, LARGER = (1, 1, 2, 3), (1, 1, 0.6, 0.5), (1, 1, 1.7, 0.75), (1, 1, 1.9, 2.4)


def ending(net, size):
    """The outputs of what holds so many numbers a sample."""
    net.add("Flatten")
    net.gemm(4, size, scale=0.2)
    return replace(net.graph(), opset=19)


def resized(shape, scales=None, sizes=None, axes=None, roi=None, **attrs):
    net = Net(shape)
    net.conv(5, 3, (1,) * (len(shape) - 1))
    inputs = [net_const(net, roi) if roi else "", net_const(net, scales) if scales else ""]
    known = net.init[inputs[1]] if scales else None
    inputs.append(net_axes(net, *sizes) if sizes else "")
    attrs = {**attrs, **({"axes": axes} if axes else {})}
    specs = (TensorSpec.of(np.array(v)) if v is not None else None for v in (roi, known, sizes))
    out = resize_shape(TensorSpec((1, 5, *shape[1:]), np.dtype("f4")), *specs, **attrs)
    net.add("Resize", net.last, *inputs, **attrs)
    return ending(net, int(np.prod(out.shape)))


def upsampled(scales, mode):
    net = Net(IMAGE)
    net.add("Upsample", net.conv(5, 3, (1, 1)), net_const(net, scales), mode=mode)
    return ending(net, 5 * int(7 * scales[2]) * int(6 * scales[3]))


def padded(shape, amounts, size, **attrs):
    net = Net(shape)
    net.add("Pad", net.conv(5, 3, (1,) * (len(shape) - 1)), net_axes(net, *amounts), **attrs)
    return ending(net, 5 * size)


def filled():
    net = Net(IMAGE)
    net.add("Pad", net.conv(5, 3, (1, 1)), net_axes(net, 1, 2, 0, 3), net_const(net, -1.5), net_axes(net, -1, 2))
    return ending(net, 5 * 12 * 7)


def averaged(shape, size, **attrs):
    net = Net(shape)
    net.conv(5, 3, (1,) * (len(shape) - 1))
    net.add("AveragePool", **attrs)
    return ending(net, 5 * size)


def reduced(op, shape, size, axes, **attrs):
    net = Net(shape)
    net.conv(5, 3, (1,) * (len(shape) - 1))
    net.add(op, net.last, net_axes(net, *axes), **attrs)
    return ending(net, 5 * size)


def region(start_y, start_x, end_y, end_x):
    """A region of interest of an image of all samples and channels."""
    return (0.0, 0.0, start_y, start_x, 1.0, 1.0, end_y, end_x)


CROP = "tf_crop_and_resize"
CASES = {
    **{f"nearest, {rounding}": (resized, (IMAGE, MIXED), {"nearest_mode": rounding}) for rounding in ROUNDINGS},
    **{
        f"{mode}, {t}": (resized, (IMAGE, MIXED), {"mode": mode, "coordinate_transformation_mode": t})
        for mode in ("nearest", "linear", "cubic") for t in TRANSFORMATIONS if t != CROP
    },
    **{
        f"{mode}, {name}": (resized, (IMAGE, scales), {"mode": mode})
        for mode in ("nearest", "linear", "cubic")
        for name, scales in (("up", UP), ("down", DOWN), ("larger", LARGER), ("one axis", (1, 1, 1, 2)))
    },
    **{
        f"{mode}, crop": (resized, (IMAGE, None, (8, 5), (2, 3), (0.2, -0.25, 0.7, 1.25)), {
            "mode": mode, "coordinate_transformation_mode": CROP, "extrapolation_value": 1.5,
        }) for mode in ("nearest", "linear", "cubic")
    },
    "crop of all axes": (resized, (IMAGE, UP, None, None, region(0.1, 0.9, 0.8, 0.2)), {
        "mode": "linear", "coordinate_transformation_mode": CROP,
    }),
    "sizes": (resized, (IMAGE, None, (11, 4), (3, 2)), {"mode": "linear"}),
    "not larger": (resized, (IMAGE, None, (9, 13), (2, 3)), {"keep_aspect_ratio_policy": "not_larger"}),
    "cubic, excluded": (resized, (IMAGE, LARGER), {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5}),
    **{
        f"{mode}, antialiased": (resized, (IMAGE, (1, 1, 0.45, 1.5)), {"mode": mode, "antialias": 1})
        for mode in ("linear", "cubic")
    },
    "line, nearest": (resized, (LINE, (1, 1, 2)), {}),
    "line, linear": (resized, (LINE, (1, 1, 1.6)), {"mode": "linear"}),
    "upsampled": (upsampled, (UP, "nearest"), {}),
    "upsampled by any scale": (upsampled, (LARGER, "bilinear"), {}),
    "padded with zeros": (padded, (IMAGE, (0, 0, 1, 0, 0, 0, 2, 3), 10 * 9), {}),
    "cut": (padded, (IMAGE, (0, 0, -1, 2, 0, 0, -2, -1), 4 * 7), {}),
    "padded with a number": (filled, (), {}),
    **{
        mode: (padded, (IMAGE, (0, 0, 3, 2, 0, 0, 1, 5), 11 * 13), {"mode": mode})
        for mode in ("reflect", "edge", "wrap")
    },
    "line, padded": (padded, (LINE, (0, 0, 2, 0, 0, 3), 14), {"mode": "reflect"}),
    "means inside": (averaged, (IMAGE, 7 * 6), {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}),
    "means in ceil mode": (averaged, (IMAGE, 4 * 3), {"kernel_shape": (2, 3), "strides": (2, 2), "ceil_mode": 1}),
    "counted means in ceil mode": (averaged, (IMAGE, 5 * 4), {
        "kernel_shape": (3, 2), "strides": (2, 2), "pads": (2, 1, 1, 0), "ceil_mode": 1, "count_include_pad": 1,
    }),
    "means of the same size": (averaged, (IMAGE, 4 * 3), {
        "kernel_shape": (3, 3), "strides": (2, 2), "auto_pad": "SAME_UPPER",
    }),
    "line, means inside": (averaged, (LINE, 5), {"kernel_shape": (3,), "strides": (2,), "pads": (1, 1)}),
    "mean over rows": (reduced, ("ReduceMean", IMAGE, 6, (2,)), {}),
    "mean over columns": (reduced, ("ReduceMean", IMAGE, 7, (-1,)), {"keepdims": 0}),
    "sum over columns": (reduced, ("ReduceSum", IMAGE, 7, (3,)), {}),
}  # fmt: skip


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 5e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("case", CASES)
def test_it_does_what_the_reference_does(case, dtype, tolerance, rng):
    make, given, attrs = CASES[case]
    graph = make(*given, **attrs)
    wanted = trainable(graph)
    engine = compile_graph(graph, trainable=wanted, logits=graph.outputs[0], dtype=dtype)
    kinds = [layer.kind for layer in engine._plans.net.layers]
    assert "resample" in kinds
    assert "reference" not in kinds
    x, y = rng.standard_normal((3, *graph.inputs[0].shape[1:])).astype(dtype), rng.integers(0, 4, 3)
    loss, z, grads = engine.loss_and_grad(x, y)
    want_loss, want_z, want_grads = reference(graph, x, y, wanted, "cross_entropy")
    assert abs(loss - want_loss) <= tolerance * max(abs(want_loss), np.abs(want_z).max())
    assert close(z, want_z, tolerance)
    for key in wanted:
        assert close(grads[key], want_grads[key], tolerance), key


def sized_by_shape(*wanted, **attrs):
    """A Resize to sizes of which the first is the number of samples, as PyTorch writes it."""
    net = Net(IMAGE)
    a = net.conv(5, 3, (1, 1))
    samples = net.add("Slice", net.add("Shape", a), net_axes(net, 0), net_axes(net, 1))
    net.add("Resize", a, "", "", net.add("Concat", samples, net_axes(net, *wanted), axis=0), mode="linear", **attrs)
    return ending(net, 5 * wanted[-2] * wanted[-1])


def test_sizes_may_name_the_number_of_samples(rng):
    graph = sized_by_shape(5, 9, 11)
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], dtype="float64")
    assert [layer.kind for layer in engine._plans.net.layers] == ["conv", "resample", "conv"]
    x, y = rng.standard_normal((4, *IMAGE)), rng.integers(0, 4, 4)
    _, z, grads = engine.loss_and_grad(x, y)
    _, want_z, want_grads = reference(graph, x, y, trainable(graph), "cross_entropy")
    assert close(z, want_z, 1e-13)
    assert all(close(grads[key], want_grads[key], 1e-13) for key in want_grads)


def test_sizes_of_the_image_may_not_depend_on_the_number_of_samples():
    net = Net(IMAGE)
    a = net.conv(5, 3, (1, 1))
    samples = net.add("Slice", net.add("Shape", a), net_axes(net, 0), net_axes(net, 1))
    net.add("Resize", a, "", "", net.add("Concat", samples, net_axes(net, 9), axis=0), axes=(2, 3))
    net.add("GlobalAveragePool")
    graph = ending(net, 5)
    with pytest.raises(UnsupportedError, match="input 3 must not depend on the number of samples"):
        compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0])


@pytest.mark.parametrize(
    "graph", [resized(IMAGE, (1, 2, 1, 2)), padded(IMAGE, (0, 5, 0, 0, 0, 0, 0, 2), 2 * 7 * 8)], ids=["Resize", "Pad"]
)
def test_channels_are_not_resampled(graph):
    engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0])
    assert [layer.kind for layer in engine._plans.net.layers] == ["conv", "reference", "conv"]


def test_what_changes_nothing_is_no_layer():
    graph = resized(IMAGE, (1, 1, 1, 1), mode="cubic")
    engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0])
    assert [layer.kind for layer in engine._plans.net.layers] == ["conv", "conv"]
