"""A few of the networks that `validation/guard_pages.py` runs by the thousand, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lieref.kernel.simd import isa as isa_module

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pages are protected by way of Linux's C library")


@pytest.mark.parametrize("kind", ["valid", "malformed"])
def test_no_access_leaves_its_buffer(kind):
    from validation.guard_pages import FINE, MALFORMED, outcomes

    first = MALFORMED if kind == "malformed" else 0
    found = [outcome for _, outcome in outcomes(range(first, first + 150))]
    assert len(found) == 150
    assert {outcome.split(":")[0] for outcome in found} <= set(FINE), found
    least = 20 if kind == "valid" else 5  # most of the others are refused
    assert found.count("forward and gradients") > least, "networks are run"


@pytest.mark.parametrize("offset", [64, -4096 - 1])
def test_a_page_beside_a_buffer_kills(offset):
    code = (
        "import ctypes; from validation.guard_pages import guarded; a = guarded(64, True);"
        f"ctypes.c_char.from_address(a.ctypes.data + {offset}).value"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode < 0


def test_networks_take_turns_in_everything():
    from validation.guard_pages import Case

    sets = isa_module.available()
    cases = {(Case(seed).isa, Case(seed).at_end, Case(seed).grouped) for seed in range(4 * len(sets))}
    assert len(cases) == 4 * len(sets)
