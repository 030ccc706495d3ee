"""Is the merged ONNX file, run by ONNX Runtime, the adapted network lieref trained?

    python -m validation.merged_equivalence BASE.onnx ADAPTER_DIR DATA.npz [--images 10000] [--all-logits 500]

Both are float32 evaluations of one network with the same tensors, so each of their logits must lie within the certified
bound of `lieref.model.error_bound` around the exact value, and two predictions may differ only where the two largest
logits lie closer than the bounds of both. The bound counts every ReLU whose argument changes its sign: both evaluations
show their activations. Fails if anything is outside.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import lieref
from lieref.model import executor
from lieref.model.error_bound import branch_residual, exact_values, logit_error_bound
from lieref.model.network import Network
from validation.record import environment, write_result


def runtime_session(path: Path, shown: list[str]) -> onnxruntime.InferenceSession:
    """Return ONNX Runtime for a file, with some inner tensors added to its outputs."""
    proto = onnx.load(path)
    for name in shown:
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def arguments_in_the_file(network: Network) -> dict[str, str]:
    """Return, for each ReLU's argument in the folded graph, the tensor of the file that it is."""
    file = {node.outputs[0]: node.inputs[0] for node in network.graph.nodes if node.op == "Relu"}
    return {node.inputs[0]: file[node.outputs[0]] for node in network.folded.nodes if node.op == "Relu"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument(
        "--all-logits", type=int, default=500, help="images on which every logit is bounded, not one form"
    )
    parser.add_argument("--batch", type=int, default=100)
    options = parser.parse_args()
    model = lieref.load(options.base).load_adapter(options.adapter)
    with np.load(options.data) as file:
        x, y = file["x"][: options.images], file["y"][: options.images]
    places = arguments_in_the_file(model)
    relus = {node.inputs[0]: node for node in model.folded.nodes if node.op == "Relu"}
    reached = dict.fromkeys(("lieref logits", "onnxruntime logits", "engine logits", "gap"), 0.0)
    counts = dict.fromkeys(("flipped ReLUs", "predictions that differ", "images with two logits within the bound"), 0)
    correct, widest, differences = [0, 0], [], []
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / "merged.onnx"
        lieref.load(options.base).load_adapter(options.adapter).merge_and_unload().save(merged)
        session = runtime_session(merged, [model.logits_name, *places.values()])
        for start in range(0, len(x), options.batch):
            part, labels = x[start : start + options.batch], y[start : start + options.batch]
            inputs = model.as_input(part)
            ours = executor.run(model.current_graph(), inputs, until=model.logits_name, threads=model.threads)
            shown = session.run([model.logits_name, *places.values()], {session.get_inputs()[0].name: inputs})
            theirs = dict(zip(["logits", *places], shown, strict=True))
            _, exact = exact_values(model, part)
            residuals = {}
            for name, node in relus.items():
                both = [branch_residual(node, exact[name], run[name]) for run in (ours, theirs)]
                counts["flipped ReLUs"] += sum(int((r > 0).sum()) for r in both)
                residuals[node.outputs[0]] = np.maximum(*both)
            logits = exact[model.logits_name]
            order = np.argsort(logits, axis=1)
            form = np.zeros((1, *logits.shape))
            np.put_along_axis(form[0], order[:, -1:], 1.0, axis=1)
            np.put_along_axis(form[0], order[:, -2:-1], -1.0, axis=1)
            gap, gap_bound = (v[0] for v in logit_error_bound(model, part, directions=form, residuals=residuals))
            here, there = ours[model.logits_name], theirs["logits"]
            for run in (here, there):
                moved = np.einsum("knc,nc->n", form, run.astype(np.float64))
                reached["gap"] = max(reached["gap"], float((np.abs(moved - gap) / gap_bound).max()))
            if start < options.all_logits:
                _, bound = logit_error_bound(model, part, residuals=residuals)
                widest.append(bound)
                for key, run in zip(reached, (here, there, model.logits(part)), strict=False):
                    reached[key] = max(reached[key], float((np.abs(run - logits) / bound.T).max()))
            ties = gap <= 2 * gap_bound
            differ = here.argmax(axis=1) != there.argmax(axis=1)
            counts["predictions that differ"] += int(differ.sum())
            counts["images with two logits within the bound"] += int(ties.sum())
            if (differ & ~ties).any():
                raise SystemExit(
                    f"a prediction differs outside the bound, image {start + int(np.argmax(differ & ~ties))}"
                )
            differences.append(float(np.abs(here - there).max()))
            correct = [
                correct[0] + int((here.argmax(1) == labels).sum()),
                correct[1] + int((there.argmax(1) == labels).sum()),
            ]
    result = {
        "images": len(x),
        "images_with_every_logit_bounded": min(options.all_logits, len(x)),
        **{f"largest error over bound, {name}": value for name, value in reached.items()},
        **counts,
        "median bound": float(np.median(np.concatenate(widest, axis=1))),
        "largest bound": float(np.max(np.concatenate(widest, axis=1))),
        "largest difference of two logits": max(differences),
        "accuracy, lieref": correct[0] / len(x),
        "accuracy, onnxruntime": correct[1] / len(x),
    }
    for name, value in result.items():
        print(f"{name:45} {value:.4g}" if isinstance(value, float) else f"{name:45} {value}")
    write_result("merged_equivalence", {**environment(), **result})
    if max(reached.values()) > 1:
        raise SystemExit("a logit lies outside the certified bound")


if __name__ == "__main__":
    main()
