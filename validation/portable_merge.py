"""Do two machines merge to the same bits, and how many ties does that take?

    python -m validation.portable_merge [--seeds 5]

Every method adapts ResNet-8 of MLPerf Tiny, its factors moved at random by 0.02 and by 0.1. The other machines are the
same formulas in a process that has no numba, whose matrix exponentials are computed another way, in other vector
instructions of NumPy and OpenBLAS (`NPY_DISABLE_CPU_FEATURES`, `OPENBLAS_CORETYPE`); and float64 results that are off
by twice the bound on their error in a random direction. Fails if any digest differs. Beside it: how many digests would
differ without ties.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import lieref
from lieref.adapter.merge.merging import merge_weights, merged_digest, merged_values
from lieref.adapter.merge.ties import PLACE, VALUE, _deltas, portable_ties, settled
from lieref.adapter.tensor_file import write_tensor_file
from lieref.adapter.weights import read_weights
from lieref.errors import UnsupportedError
from lieref.param.registry import METHODS
from validation.record import environment, write_result

DEVICE = """
import json, sys
for name in ("numba", "llvmlite", "scipy", "onnx", "click", "safetensors"):
    sys.modules[name] = None
from pathlib import Path
from lieref.adapter import read_adapter
from lieref.adapter.merge.merging import merge_weights, merged_digest
from lieref.adapter.tensor_file import read_tensor_file
from lieref.adapter.weights import read_weights
base, found = read_weights(sys.argv[2]), {}
for folder in sorted(Path(sys.argv[1]).iterdir()):
    tensors, config = read_adapter(folder)
    ties = read_tensor_file(folder / "ties.safetensors")[0]
    both = [merged_digest(merge_weights({**tensors, **each}, config, base)) for each in (ties, {})]
    found[folder.name] = both
print(json.dumps(found))
"""
MACHINES: dict[str, dict[str, str]] = {
    "without numba": {},
    "without numba and AVX-512": {
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "without numba, AVX2 and FMA": {
        "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
}


def on_another(folder: Path, base: Path, settings: dict[str, str]) -> dict[str, list[str]]:
    """Return the digests, with ties and without, that another machine finds."""
    command = [sys.executable, "-W", "ignore", "-c", DEVICE, str(folder), str(base)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **settings})
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def perturbed(state: Any, base: dict[str, Any], ties: dict[str, Any], seed: int) -> tuple[str, str]:
    """Return the digests, with ties and without, of results that are off by twice their bound."""
    rng = np.random.default_rng(seed)
    merge = merged_values(*state, base)
    delta = _deltas(merge, merge.values)
    off = {name: value + 2 * rng.choice([-1.0, 1.0], value.shape) * delta[name] for name, value in merge.values.items()}
    other = replace(merge, values=off)
    return merged_digest(settled(other, ties)), merged_digest(settled(other, {}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    path = Path(os.environ["LIEREF_DATA_DIR"]) / "mlperf_tiny" / "resnet8.onnx"
    base, rows = read_weights(path), []
    warnings.simplefilter("ignore")
    expected, plain = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for method in METHODS:
            model = lieref.load(path).attach(method)
            ties_of: list[int] = []
            bytes_of = wrong = without = 0
            for size in (0.02, 0.1):
                rng = np.random.default_rng(0)
                for array in model.parameters().values():
                    array += (size * rng.standard_normal(array.shape)).astype(array.dtype)
                state = model.adapter_state()
                try:
                    ties = portable_ties(*state, base)
                except UnsupportedError as error:
                    rows.append({"method": method, "size": size, "refused": str(error)})
                    continue
                key = f"{method}-{size}"
                model.save_adapter(folder / key)
                write_tensor_file(folder / key / "ties.safetensors", ties)
                expected[key] = merged_digest(merge_weights({**state[0], **ties}, state[1], base))
                plain[key] = merged_digest(merge_weights(*state, base))
                for seed in range(seeds):
                    with_ties, no_ties = perturbed(state, base, ties, seed)
                    wrong += with_ties != expected[key]
                    without += no_ties != expected[key]
                ties_of.append(len(ties.get(PLACE, ())))
                bytes_of = max(bytes_of, sum(ties[part].nbytes for part in (PLACE, VALUE) if part in ties))
            rows.append({"method": method, "ties": ties_of, "bytes": bytes_of, "digests": seeds * len(ties_of),
                         "differ": wrong, "differ without ties": without})  # fmt: skip
            print(rows[-1])
        machines = {}
        for machine, settings in MACHINES.items():
            found = on_another(folder, path, settings)
            machines[machine] = {
                "digests": len(found),
                "differ": sum(found[key][0] != expected[key] for key in expected),
                "differ without ties": sorted(key for key in expected if found[key][1] != plain[key]),
            }
            print(machine, machines[machine])
    write_result("portable_merge", {**environment(), "machines": machines, "methods": rows})
    assert not any(row.get("differ") for row in rows)
    assert not any(each["differ"] for each in machines.values())


if __name__ == "__main__":
    main()
