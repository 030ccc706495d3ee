"""Is the merged ONNX file, run by ONNX Runtime, the adapted network lieref trained?

    python -m validation.merged_equivalence BASE.onnx ADAPTER_DIR DATA.npz

Both are float32 evaluations of one network with the same tensors, so each logit may differ by at most twice the certified
bound of `lieref.model.error_bound`; predictions may differ only where two logits lie closer than that. Prints the largest
difference in units of the bound and how many images are such ties, and fails if anything is outside.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import lieref
from lieref.model.error_bound import logit_error_bound
from validation.record import environment, write_result


def runtime_logits(path: Path, logits: str, x: np.ndarray, batch: int) -> np.ndarray:
    """Return the logits ONNX Runtime computes for a file, read from inside the graph."""
    proto = onnx.load(path)
    if logits not in [output.name for output in proto.graph.output]:
        proto.graph.output.append(onnx.helper.make_tensor_value_info(logits, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    name = proto.graph.input[0].name
    return np.concatenate([session.run([logits], {name: x[i : i + batch]})[0] for i in range(0, len(x), batch)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--batch", type=int, default=250)
    options = parser.parse_args()
    model = lieref.load(options.base).load_adapter(options.adapter)
    with np.load(options.data) as file:
        x, y = file["x"], file["y"]
    ours, bounds = [], []
    for i in range(0, len(x), options.batch):
        ours.append(model.logits(x[i : i + options.batch]))
        bounds.append(logit_error_bound(model, x[i : i + options.batch])[1])
    logits, bound = np.concatenate(ours), 2 * np.concatenate(bounds)
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / "merged.onnx"
        model.merge_and_unload().save(merged)
        x32 = np.concatenate([model.as_input(x[i : i + options.batch]) for i in range(0, len(x), options.batch)])
        theirs = runtime_logits(merged, model.logits_name, x32, options.batch)
    margin = np.abs(theirs.astype(np.float64) - logits) / bound
    order = np.sort(logits, axis=1)
    gap = order[:, -1] - order[:, -2]
    tie = gap <= 2 * bound.max(axis=1)
    differ = logits.argmax(axis=1) != theirs.argmax(axis=1)
    result = {
        "images": len(x),
        "largest_difference_over_bound": float(margin.max()),
        "largest_difference": float(np.abs(theirs - logits).max()),
        "median_bound": float(np.median(bound)),
        "largest_bound": float(bound.max()),
        "predictions_that_differ": int(differ.sum()),
        "images_with_two_logits_within_the_bound": int(tie.sum()),
        "accuracy_lieref": float((logits.argmax(axis=1) == y).mean()),
        "accuracy_onnxruntime": float((theirs.argmax(axis=1) == y).mean()),
    }
    for name, value in result.items():
        print(f"{name:42} {value:.4g}" if isinstance(value, float) else f"{name:42} {value}")
    write_result("merged_equivalence", {**environment(), **result})
    if not (margin <= 1).all() or (differ & ~tie).any():
        raise SystemExit("the merged file is not the adapted network within the certified bound")


if __name__ == "__main__":
    main()
