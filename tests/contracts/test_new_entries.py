"""A new registry entry is tested without a line of test code: broken ones are found by the laws as they stand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BROKEN = {
    "algebra": (
        "test_algebra_laws.py",
        """
from lieref.algebra.matrix import SpecialOrthogonal
from lieref.algebra.registry import ALGEBRAS
class Broken(SpecialOrthogonal):
    name = "broken"
    def bracket(self, xi, eta):
        return xi @ eta
ALGEBRAS["broken"] = Broken
""",
        "test_bracket",
    ),
    "group": (
        "test_group_laws.py",
        """
from lieref.group.matrix import SO
from lieref.group.registry import GROUPS
class Broken(SO):
    name = "broken"
    def left_jacobian(self, xi):
        return super().left_jacobian(-xi)
GROUPS["broken"] = Broken
""",
        "test_jacobians",
    ),
    "map": (
        "test_map_laws.py",
        """
from lieref.group.maps import Cayley
from lieref.group.registry import MAPS
class Broken(Cayley):
    name = "broken"
    order = 3
MAPS["broken"] = Broken
""",
        "test_order",
    ),
    "action": (
        "test_action_laws.py",
        """
from lieref.group.mode_action import MatrixOnMode
from lieref.group.registry import ACTIONS
class Broken(MatrixOnMode):
    name = "broken"
    def preserves(self, group):
        return super().preserves(group) | {"filter norms"}
ACTIONS["broken"] = Broken
""",
        "test_preserved",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_entry_is_found(kind: str, tmp_path: Path) -> None:
    laws, source, law = BROKEN[kind]
    (tmp_path / "broken_entry.py").write_text(source)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-m", "pytest", f"tests/contracts/{laws}", "-p", "broken_entry", "-k", "Broken"]
    done = subprocess.run([*command, "--tb=no", "-q"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert any(law in line for line in failed), done.stdout
    assert all("Broken" in line for line in failed)
