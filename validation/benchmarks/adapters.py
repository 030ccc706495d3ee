"""Latency of changing adapters on ResNet-8: which is active, swapped in place, disabled, merged; and what it compiles.

python -m validation.benchmarks.adapters [--method liera] [--rank 4] [--adapters 8]
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import copy
import itertools
import tempfile
import time
import warnings
from pathlib import Path
from unittest import mock

import numpy as np

import lieref
from lieref.errors import LierefWarning
from lieref.model import backend
from lieref.model.identity import tensors_digest
from lieref.train.loss import CrossEntropy
from validation.benchmarks._measure import alternate, summary, write

DATA = Path(os.environ.get("LIEREF_DATA_DIR", "../shared/data")) / "mlperf_tiny" / "resnet8.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="liera")
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--adapters", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--cycles", type=int, default=1000)
    options = parser.parse_args()
    warnings.simplefilter("ignore", LierefWarning)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        base = lieref.load(DATA)
        for seed in range(options.adapters):
            model = copy.copy(base).attach(options.method, r=options.rank, seed=seed)
            for parameter in model.parameters().values():
                parameter += (0.02 * rng.standard_normal(parameter.shape)).astype(parameter.dtype)
            model.save_adapter(Path(place) / str(seed))
        model = copy.copy(base)
        model.threads = 1
        names = [str(seed) for seed in range(options.adapters)]
        for name in names:
            model.load_adapter(Path(place) / name, name)
        shape = tuple(extent or 1 for extent in model.input_shape)
        x, y = rng.standard_normal((1, *shape[1:])).astype(np.float32), np.array([1])
        loss = CrossEntropy()
        started = time.perf_counter()
        model.predict(x)
        first = time.perf_counter() - started
        model.loss_and_grad(x, y, loss)
        turn = itertools.cycle(names)
        folders = itertools.cycle([Path(place) / name for name in names[1:]])

        def swap() -> lieref.Model:
            return model.set_adapter("0").hotswap_adapter(next(folders), "0")

        def disabled() -> None:
            with model.disable_adapter():
                pass

        with mock.patch.object(backend, "compile_graph", wraps=backend.compile_graph) as compiled:
            times = alternate(
                {
                    "predict": lambda: model.predict(x),
                    "set_adapter": lambda: model.set_adapter(next(turn)),
                    "set_adapter, predict": lambda: model.set_adapter(next(turn)).predict(x),
                    "hotswap_adapter": swap,
                    "hotswap_adapter, predict": lambda: swap().predict(x),
                    "set_adapter, training step": lambda: model.set_adapter(next(turn)).loss_and_grad(x, y, loss),
                    "training step": lambda: model.loss_and_grad(x, y, loss),
                    "disable_adapter and back": disabled,
                    "merge_adapter, unmerge_adapter": lambda: model.merge_adapter().unmerge_adapter(),
                },
                options.seconds,
            )  # fmt: skip
            compilations = compiled.call_count
        digest, wanted = tensors_digest(model.graph.initializers), model.set_adapter("1").predict(x)
        off = 0
        for _ in range(options.cycles):
            model.set_adapter("2").merge_adapter().unmerge_adapter().set_adapter("1")
            off += not np.array_equal(model.predict(x), wanted)
        rows = {name: summary(measured) for name, measured in times.items()}
        for name, row in rows.items():
            print(f"{name:32} " + "  ".join(f"{key} {row[key]:8.3f}" for key in ("min_ms", "median_ms", "cpu_ms")))
        print(f"compiled during all of this: {compilations}; first prediction {1e3 * first:.1f} ms")
        same = tensors_digest(model.graph.initializers) == digest
        print(f"{options.cycles} cycles of merge, unmerge, switch: {off} predictions off, base the same: {same}")
        write(
            "adapters", [{"what": name, **row} for name, row in rows.items()],
            method=options.method, rank=options.rank, adapters=options.adapters, first_prediction_ms=1e3 * first,
            compilations_after_the_first_step=compilations, cycles=options.cycles, predictions_off_after_cycles=off,
            base_unchanged=same,
        )  # fmt: skip


if __name__ == "__main__":
    main()
