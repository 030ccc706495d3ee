"""Every format of ``lieref export`` on real networks: bytes, what a C compiler and ONNX Runtime make of it, the cost.

    python -m validation.exported_formats [--networks ResNet-8 ...] [--seconds 2]

LieRA of rank 4 on every layer. ResNet-8's is trained for two epochs on JPEG images; the others' factors are drawn
numbers, which changes no bytes and no time, but makes the errors of the nearest LoRA those of noise: they say nothing
of trained adapters. Fails if a header does not compile without a warning or does not pass its self-check, or if an
adapter that is off is not the base to the bit, where ONNX Runtime computes both as the files say.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import shutil
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

import lieref
from lieref.adapter.folder import adapter_bytes
from lieref.adapter.out.outputs import drawn_samples
from lieref.adapter.out.registry import FORMATS, Exported, export
from lieref.adapter.out.source import Source, read_source
from validation.benchmarks._measure import alternate, summary
from validation.benchmarks._models import dscnn
from validation.benchmarks.inference import as_proto
from validation.record import environment, write_result

DATA = Path(os.environ.get("LIEREF_DATA_DIR", Path(__file__).resolve().parents[2] / "shared" / "data"))
FILES = {
    "ResNet-8": DATA / "mlperf_tiny/resnet8.onnx",
    "MobileNet": DATA / "mlperf_tiny/mobilenet_v1_025_vww.onnx",
    "DS-CNN": None,
    "stories encoder": DATA / "stories260k/stories260k_encoder.onnx",
}
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
OWN = ("onnx", "delta", "lora", "ort-adapter", "c-header")


def prepared(name: str, folder: Path) -> tuple[Path, Path]:
    """Return a base and an adapter of it."""
    base = FILES[name]
    if base is None:
        base = folder / "base.onnx"
        onnx.save(as_proto(dscnn()), base)
    model = lieref.load(base).attach("liera", r=4)
    if name == "ResNet-8":
        with np.load(DATA / "cifar10/jpeg75_train.npz") as file:
            lieref.fit(model, file["x"][:4000], file["y"][:4000], epochs=2)
    else:
        rng = np.random.default_rng(0)
        for array in model.parameters().values():
            array += 0.05 * rng.standard_normal(array.shape).astype(array.dtype)
    model.save_adapter(folder / "adapter")
    return base, folder / "adapter"


def in_c(header: bytes, folder: Path) -> dict[str, Any]:
    """Return seconds of compiling and checking a header, without and with optimisation."""
    compiler = shutil.which("cc")
    if compiler is None:
        return {"skipped": "no cc"}
    (folder / "x.h").write_bytes(header)
    (folder / "x.c").write_text('#include "x.h"\n')
    found: dict[str, Any] = {"header_bytes": len(header)}
    for level in ("-O0", "-O2"):
        start = time.perf_counter()
        command = [compiler, *FLAGS, level, "-DX_SELF_CHECK_MAIN", "x.c", "-o", "x"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"the header does not compile: {done.stderr[:500]}")
        compiled = time.perf_counter()
        done = subprocess.run([folder / "x"], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"the self-check fails: {done.stdout}")
        found[level] = {"compile_s": compiled - start, "check_s": time.perf_counter() - compiled}
    found["program_bytes"] = (folder / "x").stat().st_size
    return found


def session(proto: bytes, *, plain: bool = False) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")  # of constant weights alone
    return onnxruntime.InferenceSession(proto, options, ["CPUExecutionProvider"])


def in_runtime(source: Source, exported: Exported, folder: Path, seconds: float) -> dict[str, Any]:
    """Return latencies of one sample on one thread, and how outputs differ."""
    assert not isinstance(exported.data, bytes)
    (folder / "a.onnx_adapter").write_bytes(exported.data["adapter.onnx_adapter"])
    start = time.perf_counter()
    adapter = onnxruntime.LoraAdapter()
    adapter.Load(str(folder / "a.onnx_adapter"))
    loading = time.perf_counter() - start
    active = onnxruntime.RunOptions()
    active.add_active_adapter(adapter)
    file = source.base.read_bytes()
    drawn = drawn_samples(source.model, 1)
    assert isinstance(drawn, np.ndarray)
    feed = {source.model.graph.inputs[0].name: drawn[:1]}
    off_bits = session(exported.data["base.onnx"], plain=True).run(None, feed)[0]
    if off_bits.tobytes() != session(file, plain=True).run(None, feed)[0].tobytes():
        raise SystemExit("without its adapter the base is another network")
    merged, plain, base = (
        session(each) for each in (source.proto.SerializeToString(), file, exported.data["base.onnx"])
    )
    calls = {
        "base file": lambda: plain.run(None, feed),
        "merged file": lambda: merged.run(None, feed),
        "base.onnx, adapter off": lambda: base.run(None, feed),
        "base.onnx, adapter on": lambda: base.run(None, feed, active),
    }
    outputs = {name: call()[0].astype(np.float64) for name, call in calls.items()}
    times = {name: summary(each) for name, each in alternate(calls, seconds).items()}
    return {
        "latency": times,
        "adapter_load_s": loading,
        "cost_of_adapter_on": times["base.onnx, adapter on"]["min_ms"] / times["merged file"]["min_ms"],
        "cost_of_adapter_off": times["base.onnx, adapter off"]["min_ms"] / times["base file"]["min_ms"],
        "on_against_merged": float(np.abs(outputs["base.onnx, adapter on"] - outputs["merged file"]).max()),
        "off_against_base": float(np.abs(outputs["base.onnx, adapter off"] - outputs["base file"]).max()),
        "adapter_changes": float(np.abs(outputs["merged file"] - outputs["base file"]).max()),
    }


def measured(name: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Return what one network gives."""
    base, adapter = prepared(name, folder)
    source = read_source(adapter, base)
    weights = sum(change.after.size for change in source.changes)
    row: dict[str, Any] = {"base_bytes": base.stat().st_size, "adapter_bytes": adapter_bytes(adapter),
                           "changed_numbers": weights, "formats": {}}  # fmt: skip
    for fmt in (each for each in OWN if each in FORMATS):
        start = time.perf_counter()
        exported = export(source, fmt, **({"stem": "x"} if fmt == "c-header" else {}))
        entry: dict[str, Any] = {"bytes": exported.size, "seconds": time.perf_counter() - start}
        if not isinstance(exported.data, bytes):
            entry["files"] = {key: len(value) for key, value in exported.data.items()}
        if fmt == "delta":
            entry["replaced_numbers"] = exported.facts["replaced_numbers"]
        elif fmt == "lora":
            errors = sorted(each["relative_error"] for each in exported.facts["layers"].values())
            ranks = {str(r): _lora(source, r) for r in (1, 4, 16, 64)}
            entry |= {"relative_error": exported.facts["relative_error"], "layer_errors": errors,
                      "outputs": exported.facts["outputs"], "ranks": ranks}  # fmt: skip
        elif fmt == "c-header":
            assert isinstance(exported.data, bytes)
            entry |= in_c(exported.data, folder)
        elif fmt == "ort-adapter":
            entry |= in_runtime(source, exported, folder, seconds)
            whole = export(source, fmt, weights="merged")
            entry["merged weights as inputs"] = {"bytes": whole.size, **in_runtime(source, whole, folder, seconds)}
        row["formats"][fmt] = entry
        print(name, fmt, {key: value for key, value in entry.items() if not isinstance(value, (dict, list))})
    return row


def _lora(source: Source, rank: int) -> dict[str, Any]:
    exported = export(source, "lora", rank=rank)
    found = exported.facts["outputs"]
    return {
        "bytes": exported.size,
        "weights": exported.facts["relative_error"],
        "outputs": found["rms_error"] / found["rms_change"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(FILES), choices=list(FILES))
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = {}
    for name in options.networks:
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = measured(name, Path(folder), options.seconds)
    write_result("exported_formats", {**environment(), "networks": rows})


if __name__ == "__main__":
    main()
