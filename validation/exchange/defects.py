"""What PEFT and LyCORIS compute wrongly themselves, each reproduced by a script of its own.

    python -m validation.exchange.defects [NAME ...]

A module ``defects_<name>.py`` beside this one holds a `DEFECT` and `run`, which returns figures: of the defect, and of
a control, the same code where the defect cannot show. The comparisons of `validation.exchange` leave these cases out.
All are written to validation/results/exchange_defects.json; the oracles of matrix functions have a file of their own,
validation/results/defects.json.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from validation.record import environment, write_result


@dataclass(frozen=True)
class Defect:
    """What is wrong.

    Attributes
    ----------
    library : str
        Of the package.
    what : str
        A sentence.
    trigger, control : str
        What shows it, and what does not.
    """

    library: str
    what: str
    trigger: str
    control: str


def names() -> list[str]:
    """Return the names of all scripts."""
    return sorted(path.stem.removeprefix("defects_") for path in Path(__file__).parent.glob("defects_*.py"))


def reproduce(name: str) -> dict[str, Any]:
    """Return what one script finds, `seen` being whether the figures show the defect and the control does not."""
    module = importlib.import_module(f"validation.exchange.defects_{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figures = module.run()
    limit = figures.get("limit", 1e-9)
    seen = figures["defect"] > limit >= figures["control"]
    return {"name": name, **asdict(module.DEFECT), "version": version(module.DEFECT.library), "seen": seen, **figures}


def main(wanted: list[str]) -> int:
    """Run scripts, all by default, write the result of all, and return 1 if one is not seen."""
    rows = []
    for name in wanted or names():
        rows.append(reproduce(name))
        row = rows[-1]
        state = "seen" if row["seen"] else "NOT SEEN"
        print(f"{state:9} {row['library']:16} {name:24} {row['defect']:9.3g}  control {row['control']:9.3g}")
    if not wanted:
        packages = {name: version(name) for name in ("peft", "torch", "lycoris-lora") if _installed(name)}
        write_result("exchange_defects", {**environment(), "packages": packages, "defects": rows})
    return int(not all(row["seen"] for row in rows))


def _installed(name: str) -> bool:
    try:
        version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
