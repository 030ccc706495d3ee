"""Imports inside lieref go down the ranks only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lieref

ROOT = Path(lieref.__file__).parent
RANKS = {
    **dict.fromkeys(("errors", "rng", "references"), 0),
    **dict.fromkeys(("_api", "_atomic", "_cache", "_check", "_lazy", "_compiling", "_flat", "_jit"), 0),
    **dict.fromkeys(("_llvm", "_lock", "_record", "_table", "_text", "_threads", "_types", "_wire"), 0),
    "numerics": 1, "kernel": 2, "linalg": 3, "algebra": 3, "group": 4, "param": 5, "lie": 6, "op": 6,
    "model": 7, "train": 8, "adapter": 9, "conformance": 10, "golden": 11, "evaluate": 11, "cli": 12, "__main__": 13,
}  # fmt: skip
FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms of lieref that a file imports, at the top or inside a function, by `import` or by `from`."""
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the full name"
            module = node.module or ""
            if module == "lieref":
                rooms |= {alias.name for alias in node.names}
            elif module.startswith("lieref."):
                rooms.add(module.split(".")[1])
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("lieref.")}
    return rooms


def upward(path: Path) -> set[str]:
    """Return what a file imports from its own rank, in another room, or from above."""
    own, rooms = RANKS[room(path)], imported_rooms(path)
    if own == 0:
        return {name for name in rooms if RANKS.get(name, -1) > 0}
    return {name for name in rooms if name != room(path) and RANKS.get(name, -1) >= own}


def test_imports_go_down_only() -> None:
    assert {str(path.relative_to(ROOT)): found for path in FILES if (found := upward(path))} == {}


def test_every_room_has_a_rank() -> None:
    rooms = {room(path) for path in FILES}
    assert rooms <= set(RANKS), f"no rank for {sorted(rooms - set(RANKS))}"


def test_top_level_holds_what_the_design_names() -> None:
    checkout = ROOT.parent
    if not (checkout / "pyproject.toml").exists():
        pytest.skip("not a checkout: lieref is installed without its repository")
    names = {p.name for p in checkout.iterdir() if not p.name.startswith(".") and p.name not in {"build", "dist"}}
    names = {n for n in names if not n.endswith(".egg-info")} - {"lieref-demo", "figures-out"}
    assert names == {"pyproject.toml", "README.md", "LICENSE", "lieref", "tests", "validation", "paper_figures"}
