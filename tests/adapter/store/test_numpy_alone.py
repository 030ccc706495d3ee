"""A whole life of a store where nothing but Python's own modules, NumPy and lieref can be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.adapter.bundle.bundles import ADAPTER, KIND, UPDATE
from tests.adapter.store.bundles import write_bundle, write_root
from tests.adapter.store.device import Device

CODE = """
import sys
before = set(sys.modules)
class Only:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in sys.stdlib_module_names | {"numpy", "lieref"}:
            raise ImportError(f"{name} is not on a device")
sys.meta_path.insert(0, Only())
import json
from lieref.adapter.store import Store
from lieref.adapter.store.__main__ import main
store, base, root, following, *bundles = sys.argv[1:]
said = [main(["init", "--store", store, "--base", base, "--trust", root, "--tries", "1"])]
for bundle in bundles:
    said.append(main(["install", bundle, "--store", store, "--self-test", "true"]))
    said.append(main(["start", "--store", store]))
    said.append(main(["mark-good", "--store", store]))
for verb in (["rollback"], ["install", bundles[0]], ["status", "--json"], ["trust", following], ["history"]):
    said.append(main([*verb, "--store", store]))
weights = [] if base.endswith(".tflite") else Store(store).merged_weights()
print(json.dumps({"said": said, "weights": sorted(weights)}), file=sys.stderr)
print(sorted({name.split(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names), file=sys.stderr)
"""


def test_it_needs_numpy_alone(device: Device, tmp_path: Path, kind: str) -> None:
    bundles = [write_bundle(tmp_path / f"lasting-{n}", device.base, n, expires=None) for n in (1, 2)]
    both = write_root(tmp_path / "2.json", 2, ("a", "b"), root=("b",), bundle=("b",))
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "new"), str(device.base), str(device.root), str(both),
         *map(str, bundles)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    report, modules = done.stderr.splitlines()[-2:]
    weights = ["conv/w"] if kind == ADAPTER else []
    assert json.loads(report) == {"said": [0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0], "weights": weights}
    assert modules == "['lieref', 'numpy']"
    assert "refused: counter" in done.stdout


LEAN = """
import json, runpy, sys
import numpy
before = set(sys.modules)
try:
    runpy.run_module("lieref.adapter.store", run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
modules = {name: module for name, module in sys.modules.items() if name not in before}
classes = {c for m in modules.values() for c in vars(m).values() if hasattr(c, "__dataclass_fields__")}
compiled = sorted(c.__qualname__ for c in classes if c.__module__ in modules and c.__dataclass_params__.init)
print(json.dumps({"modules": sorted(modules), "compiled": compiled}), file=sys.stderr)
"""

HEAVY = {
    "argparse", "bz2", "gettext", "inspect", "locale", "lzma", "platform", "shutil", "subprocess", "tempfile",
    "lieref.numerics.expm", "lieref.group.matrix", "lieref.adapter.store.parser",
}  # fmt: skip
"""What takes a millisecond or more to import on a small machine, and an installation of additions to weights needs not.

`platform` and `tempfile` are NumPy's own in some of its versions: those count where NumPy alone does not bring them.
"""


def test_an_installation_imports_little_and_compiles_no_dataclass(device: Device) -> None:
    """Half of its processor time goes into imports: each module counts, and each dataclass of the standard library."""
    bundle = write_bundle(device.folder / "lasting", device.base, 1, expires=None)
    done = subprocess.run(
        [sys.executable, "-c", LEAN, "install", str(bundle), "--store", str(device.store.folder)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert done.stdout == "installed: version v1 (counter 1), on trial for 2 starts\n"
    found = json.loads(done.stderr.splitlines()[-1])
    assert "lieref.adapter.merge.merging" in found["modules"]  # the merged weights were checked too
    assert HEAVY.intersection(found["modules"]) == set()
    assert found["compiled"] == []
    assert sum(name.startswith("lieref") for name in found["modules"]) <= 64


def test_an_installation_of_an_update_imports_as_little(tmp_path: Path, kind: str) -> None:
    """No reader of networks above all, and nothing of the merging of adapters."""
    KIND[0] = UPDATE
    device = Device(tmp_path)
    bundle = write_bundle(device.folder / "lasting", device.base, 1, expires=None)
    done = subprocess.run(
        [sys.executable, "-c", LEAN, "install", str(bundle), "--store", str(device.store.folder)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    found = json.loads(done.stderr.splitlines()[-1])
    assert "lieref.adapter.integer.places" in found["modules"]
    assert HEAVY.intersection(found["modules"]) == set()
    assert [name for name in found["modules"] if name.startswith(("lieref.adapter.merge", "lieref.op"))] == []
    assert [name for name in found["modules"] if name.startswith("lieref.model.")] == [
        "lieref.model.integer", "lieref.model.integer.detect",
    ]  # fmt: skip
    assert found["compiled"] == []
    assert sum(name.startswith("lieref") for name in found["modules"]) <= 50
