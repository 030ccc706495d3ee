"""The ports on a GPU against the golden vectors, under the profile each setting declares.

    python -m validation.gpu.run

Settings: torch in float32, with TF32 off and on, in bfloat16, in channels_last, with cudnn.benchmark; a Triton kernel
for W exp(s B A) and its backward; JAX and CuPy where they are installed with a GPU. Writes validation/results/gpu.json,
with device, driver and versions. Without a GPU it says so, writes nothing and exits with status 3.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lieref.conformance.report import Report
from lieref.golden import check

RESULTS = Path(__file__).parents[1] / "results" / "gpu.json"
NO_DEVICE = 3
Backend = Callable[[str, dict[str, Any], dict[str, Any]], dict[str, Any]]
CONVOLUTIONS = ["conv", "conv_vjp", "depthwise", "depthwise_vjp", "adapted_conv"]


@dataclass
class Setting:
    name: str
    backend: Backend
    profile: str | None
    families: list[str] | None
    bitwise: bool = False


def only(dtype: str, backend: Backend) -> Backend:
    """Return a backend that covers one dtype."""

    def run(op: str, inputs: dict[str, Any], attrs: dict[str, Any]) -> dict[str, Any]:
        if any(value.dtype != np.dtype(dtype) for value in inputs.values()):
            raise NotImplementedError
        return backend(op, inputs, attrs)

    return run


@contextmanager
def torch_flags(tf32: bool = False, benchmark: bool = False) -> Iterator[None]:
    """Set the switches that change the arithmetic of convolutions and products, and set them back."""
    import torch

    cudnn, cublas = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, cublas.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32, cublas.allow_tf32, cudnn.benchmark = tf32, tf32, benchmark
    try:
        yield
    finally:
        cudnn.allow_tf32, cublas.allow_tf32, cudnn.benchmark = before


def torch_settings(device: str = "cuda") -> Iterator[Setting]:
    import torch

    from validation.against_torch import backend as port

    port.DEVICE = device

    def flagged(**flags: bool) -> Backend:
        def run(op: str, inputs: dict[str, Any], attrs: dict[str, Any]) -> dict[str, Any]:
            with torch_flags(**flags):
                return port.run(op, inputs, attrs)

        return run

    def converted(dtype: Any, layout: Any = None) -> Backend:
        """Return a backend that computes in a dtype or a memory layout and returns float32."""

        def run(op: str, inputs: dict[str, Any], attrs: dict[str, Any]) -> dict[str, Any]:
            if op not in ("conv", "conv_vjp") or (layout is not None and inputs["x"].ndim != 4):
                raise NotImplementedError
            tensors = {name: torch.from_numpy(value).to(device, dtype) for name, value in inputs.items()}
            if layout is not None:
                tensors = {name: t.to(memory_format=layout) if t.ndim == 4 else t for name, t in tensors.items()}
            with torch_flags():
                outputs = port.OPERATIONS[op](tensors, attrs)
            return {name: value.detach().float().cpu().numpy() for name, value in outputs.items()}

        return run

    yield Setting("torch float32 and float64", flagged(), None, None)
    yield Setting("torch float32, bit for bit", only("float32", flagged()), None, CONVOLUTIONS, bitwise=True)
    yield Setting("torch TF32", only("float32", flagged(tf32=True)), "tf32", CONVOLUTIONS)
    yield Setting("torch cudnn.benchmark", only("float32", flagged(benchmark=True)), None, CONVOLUTIONS)
    plain = CONVOLUTIONS[:4]
    yield Setting("torch bfloat16", only("float32", converted(torch.bfloat16)), "bf16", plain)
    channels_last = converted(torch.float32, torch.channels_last)
    yield Setting("torch channels_last", only("float32", channels_last), None, plain)
    if device == "cuda" and importlib.util.find_spec("triton"):
        yield Setting("triton", only("float32", triton_backend), None, ["adapted_weight"])


def triton_backend(op: str, inputs: dict[str, Any], attrs: dict[str, Any]) -> dict[str, Any]:
    """Compute the multiplicative low-rank update in the `unfold` and `view` layouts."""
    import torch

    from validation.gpu.triton_hadamard import hadamard_exp

    known = attrs.get("parameterisation") == "low-rank" and attrs.get("map") == "exp"
    if not known or attrs["matricisation"] == "structured" or attrs.get("groups", 1) != 1:
        raise NotImplementedError
    tensors = {name: torch.from_numpy(value).cuda() for name, value in inputs.items()}
    base, b, a = (tensors[name] for name in ("base_weight", "lora_b", "lora_a"))
    matrix = base.reshape(len(b), a.shape[1])
    if op == "adapted_weight":
        return {"weight": hadamard_exp(matrix, b, a, attrs["scaling"]).reshape(base.shape).cpu().numpy()}
    b.requires_grad_(), a.requires_grad_()
    weight = hadamard_exp(matrix, b, a, attrs["scaling"])
    with torch_flags():
        weight.backward(tensors["weight_bar"].reshape(matrix.shape))
    return {"lora_b_bar": b.grad.cpu().numpy(), "lora_a_bar": a.grad.cpu().numpy()}


def jax_settings() -> Iterator[Setting]:
    import jax

    if jax.default_backend() != "gpu":
        print("jax is installed without a GPU: skipped", file=sys.stderr)
        return
    from validation.against_jax import backend as port

    yield Setting("jax, highest precision", port.run, None, None)


def cupy_settings() -> Iterator[Setting]:
    import cupy

    def run(op: str, inputs: dict[str, Any], attrs: dict[str, Any]) -> dict[str, Any]:
        x = {name: cupy.asarray(value) for name, value in inputs.items()}
        if op == "hadamard":
            return {"weight": cupy.asnumpy(x["base_weight"] * cupy.exp(x["delta"]))}
        if op == "hadamard_vjp":
            return {"delta_bar": cupy.asnumpy(x["weight_bar"] * x["base_weight"] * cupy.exp(x["delta"]))}
        if op == "expm" and x["a"].ndim == 2:
            from cupyx.scipy.linalg import expm

            return {"g": cupy.asnumpy(expm(x["a"]))}
        raise NotImplementedError

    yield Setting("cupy", run, None, ["hadamard", "hadamard_vjp", "expm"])


def device() -> dict[str, str] | None:
    """Return name and driver of the GPU, or None."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    if not said:
        return None
    name, driver = said.splitlines()[0].split(", ")
    return {"name": name, "driver": driver}


def row(setting: Setting, report: Report) -> dict[str, Any]:
    return {
        "setting": setting.name,
        "profile": setting.profile or "as the dtype",
        "counts": dict(report.counts),
        "diagnoses": report.diagnoses(),
        "failures": {r.verdict.case.id: r.verdict.reason for r in report.failures()},
    }


def main() -> int:
    gpu = device()
    if gpu is None:
        print("no GPU found (nvidia-smi gave none): nothing was run and nothing was written", file=sys.stderr)
        return NO_DEVICE
    packages = {}
    rows = []
    for package, settings in (("torch", torch_settings), ("jax", jax_settings), ("cupy", cupy_settings)):
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed: skipped", file=sys.stderr)
            continue
        packages[package] = importlib.metadata.version(package) if package != "cupy" else __import__("cupy").__version__
        if package == "torch" and not __import__("torch").cuda.is_available():
            print("torch is installed without CUDA: skipped", file=sys.stderr)
            continue
        for setting in settings():
            report = check(setting.backend, profile=setting.profile, families=setting.families, bitwise=setting.bitwise)
            rows.append(row(setting, report))
            print(f"{setting.name}: {report.to_text().splitlines()[-1]}", file=sys.stderr)
    if not rows:
        print("no installed framework can use the GPU: nothing was written", file=sys.stderr)
        return NO_DEVICE
    result = {"device": gpu, "versions": packages, "python": sys.version.split()[0], "settings": rows}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
