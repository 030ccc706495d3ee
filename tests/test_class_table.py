"""`lieref._lazy`: tables whose classes are imported when they are asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lieref._lazy import ClassTable

PLACES = {"fraction": "fractions:Fraction", "decimal": "decimal:Decimal"}


def test_a_class_is_found_by_its_name_and_its_place() -> None:
    from decimal import Decimal
    from fractions import Fraction

    table: ClassTable[object] = ClassTable(PLACES)
    assert dict(table.items()) == {"fraction": Fraction, "decimal": Decimal}
    assert list(table) == ["fraction", "decimal"]
    assert len(table) == 2
    with pytest.raises(KeyError, match="other"):
        table["other"]


def test_rows_can_be_added_and_removed() -> None:
    table: ClassTable[object] = ClassTable(PLACES)
    table["list"] = list
    assert table["list"] is list
    assert "list" in table
    del table["list"]
    assert "list" not in table
    assert PLACES == {"fraction": "fractions:Fraction", "decimal": "decimal:Decimal"}


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys; from lieref._lazy import ClassTable\n"
        f"table = ClassTable({PLACES!r})\n"
        "assert 'decimal' in table and list(table) == ['fraction', 'decimal'] and 'fractions' not in sys.modules\n"
        "table['fraction']\n"
        "assert 'fractions' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_low_rank_addition_loads_no_matrix_group_and_no_other_parameterisation() -> None:
    code = (
        "import sys; from lieref.param.registry import get_method; get_method('lora', r=2)\n"
        "loaded = {name for name in sys.modules if name.startswith('lieref.')}\n"
        "print(*sorted(loaded & {'lieref.group.matrix', 'lieref.group.mode_action', 'lieref.algebra.matrix', "
        "'lieref.param.tucker', 'lieref.param.rotation', 'lieref.model.graph'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
