"""Latency of one sample on one thread against ONNX Runtime, weights as they are (no adapter).

python -m validation.benchmarks.inference --winograd f2 f4
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lieref.model.engine import compile_graph
from lieref.model.graph import Graph
from validation.benchmarks._measure import alternate, summary, write
from validation.benchmarks._models import MODELS, batch

GOALS = {"ResNet-8": 1.0, "DS-CNN": 0.9, "MobileNet": 1.0, "FC-AE": 0.9}
"""Ratio of best times, ONNX Runtime / lieref, without a transform."""

WINOGRAD_GOALS = {"ResNet-8": 1.3}
"""The same with one."""


def as_proto(graph: Graph) -> ModelProto:
    """An ONNX file of a graph."""
    nodes = []
    for node in graph.nodes:
        attrs = {k: list(v) if isinstance(v, tuple) else v for k, v in node.attrs.items()}
        nodes.append(helper.make_node(node.op, list(node.inputs), list(node.outputs), node.name, **attrs))
    tensors = [numpy_helper.from_array(v, k) for k, v in graph.initializers.items()]
    shape = ["N", *graph.inputs[0].shape[1:]]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info(graph.outputs[0], TensorProto.FLOAT, ["N", None])
    return helper.make_model(
        helper.make_graph(nodes, "benchmark", [x], [y], tensors),
        opset_imports=[helper.make_opsetid("", graph.opset)], ir_version=9,
    )  # fmt: skip


def session(graph: Graph, threads: int) -> onnxruntime.InferenceSession:
    """ONNX Runtime's session of a graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    return onnxruntime.InferenceSession(as_proto(graph).SerializeToString(), options, ["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--winograd", nargs="+", default=["f2", "f4", "direct"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1])
    parser.add_argument("--seconds", type=float, default=1.5)
    options = parser.parse_args()
    rows = []
    for name in options.models:
        graph = MODELS[name]()
        peer = session(graph, 1)
        for size in options.batches:
            x = batch(graph, size)[0]
            variants = options.winograd if name == "ResNet-8" else options.winograd[:1]
            for w in variants:
                goal = GOALS[name] if w == "direct" else WINOGRAD_GOALS.get(name, GOALS[name])
                engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], winograd=w)
                want = peer.run(None, {"x": x})[0].reshape(size, -1)
                off = float(np.abs(engine.logits(x) - want).max() / np.abs(want).max())
                times = alternate(
                    {
                        "onnxruntime": lambda x=x, peer=peer: peer.run(None, {"x": x}),
                        "lieref": lambda x=x, engine=engine: engine.logits(x),
                    },
                    options.seconds,
                )
                found = {k: summary(v) for k, v in times.items()}
                ratio = found["onnxruntime"]["min_ms"] / found["lieref"]["min_ms"]
                median = found["onnxruntime"]["median_ms"] / found["lieref"]["median_ms"]
                rows.append({
                    "model": name, "batch": size, "winograd": w, "ratio": ratio, "ratio_median": median,
                    "goal": goal, "difference": off, "times": found,
                })  # fmt: skip
                print(
                    f"{name:10s} batch {size} {w:3s} onnxruntime {1e3 * found['onnxruntime']['min_ms']:7.1f} us lieref "
                    f"{1e3 * found['lieref']['min_ms']:7.1f} us ratio {ratio:4.2f} [{median:4.2f}] goal {goal} "
                    f"difference {off:.1e}",
                    flush=True,
                )
    write("inference", rows)


if __name__ == "__main__":
    main()
