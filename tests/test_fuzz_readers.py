"""Thirty thousand inputs: every reader answers or refuses each with one clear error, in little time and memory.

`validation.coverage_fuzz` searches for millions by the coverage they reach. Most of the count here are tensor files
and configurations, a few microseconds each; archives and images take a few hundred.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lieref
from lieref.adapter.strict_json import format_json, parse_json
from lieref.adapter.tensor_file import DTYPES, decode_tensors, encode_tensors
from lieref.errors import FormatError, LierefError
from validation import coverage_fuzz
from validation.fuzzing import allocation, mutate
from validation.fuzzing.target import Target, pack, unpack
from validation.fuzzing.target_table import SHARES, TARGETS
from validation.fuzzing.targets import archived
from validation.fuzzing.watch import Watch

INPUTS = {
    "safetensors": 15_000, "statement": 4_000, "envelope": 4_000, "adapter-config": 2_000, "store-state": 800,
    "lycoris": 800, "onnx": 1_000, "weights": 900, "root": 700, "peft": 350, "adapter": 350, "npz": 350, "image": 350,
    "checkpoint": 300, "bundle": 250,
}  # fmt: skip
"""Inputs of each target."""

TRACED = 20
"""Inputs of each whose memory is followed allocation by allocation, which makes them ten times slower."""

pytestmark = pytest.mark.filterwarnings("ignore")


@cache
def seeds_of(name: str) -> list[bytes]:
    target = TARGETS[name]()
    return [data for data in target.seeds() if len(data) <= target.max_length]


def opened(name: str, folder: Path) -> tuple[Target, Callable[[bytes], None], list[bytes]]:
    target = TARGETS[name]()
    return target, target.open(folder), seeds_of(name)


def inputs(target: Target, seeds: list[bytes], count: int) -> Any:
    rng, generator = np.random.default_rng(0), random.Random(0)
    for number in range(count):
        yield target.mutate(seeds[number % len(seeds)], lambda data: mutate.alter(data, generator), rng)


def test_thirty_thousand_in_all() -> None:
    assert INPUTS.keys() == TARGETS.keys() == SHARES.keys()
    assert sum(INPUTS.values()) >= 30_000


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_are_read_or_refused(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target, read, seeds = opened(name, tmp_path)
    watch = Watch(read, target.limit)
    whole = Counter(watch(data) for data in seeds)
    assert whole["read"] > 0.9 * len(seeds)
    outcomes = Counter(watch(data) for data in inputs(target, seeds, INPUTS[name]))
    assert {outcome for outcome in outcomes if outcome not in ("read", "refused")} == set()
    # Deep enough: some are still accepted, and by far not all are.
    assert 0 < outcomes["read"] < 0.9 * INPUTS[name]
    capfd.readouterr()  # what libraries of image formats say


@pytest.mark.parametrize("name", TARGETS)
def test_memory_is_bounded_by_the_input(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """All that Python and NumPy hold at once, not only the largest block."""
    target, read, seeds = opened(name, tmp_path)
    watch = Watch(read, target.limit)
    for data in seeds:
        watch(data)
    peaks = {}
    for data in inputs(target, seeds, TRACED):
        tracemalloc.start()
        watch(data)
        peaks[data] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert {peak for data, peak in peaks.items() if peak > target.limit(len(data))} == set()
    capfd.readouterr()


# Structures made by Hypothesis, where damage to whole files seldom gets

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)
SIZES = st.integers(-1, 9) | st.sampled_from([2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64])
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*DTYPES, "BF16", "F8_E4M3", ""]) | SCALARS,
        "shape": st.lists(SIZES, max_size=4) | SCALARS,
        "data_offsets": st.lists(SIZES, min_size=2, max_size=2) | VALUES,
    }
)
LIGHT = settings(max_examples=50, suppress_health_check=list(HealthCheck), deadline=None)


def answers(read: Callable[[bytes], Any], data: bytes) -> bool:
    """Read an input; return whether it is accepted, and let everything through that is no LierefError."""
    try:
        read(data)
    except LierefError:
        return False
    return True


@LIGHT
@given(st.dictionaries(st.text(max_size=3) | st.just("__metadata__"), ENTRIES | VALUES, max_size=3), st.binary())
def test_any_header_of_a_tensor_file(header: dict[str, Any], body: bytes) -> None:
    text = json.dumps(header).encode()
    answers(decode_tensors, len(text).to_bytes(8, "little") + text + body)


@LIGHT
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 3), max_size=4)),
        max_size=4,
    ),
    st.randoms(use_true_random=False),
)
def test_tensors_that_are_written_are_read_to_the_bit(kinds: dict[str, Any], generator: random.Random) -> None:
    tensors = {}
    for name, (code, shape) in kinds.items():
        dtype = DTYPES[code]
        raw = generator.randbytes(int(np.prod(shape, dtype=int)) * dtype.itemsize)
        array = np.frombuffer(raw, np.uint8) if dtype.kind != "b" else np.frombuffer(raw, np.uint8) % 2
        tensors[name] = array.view(dtype).reshape(shape)
    found, _ = decode_tensors(encode_tensors(tensors))
    assert {name: (array.dtype, array.shape, array.tobytes()) for name, array in found.items()} == {
        name: (array.dtype.newbyteorder("="), array.shape, array.tobytes()) for name, array in tensors.items()
    }


@LIGHT
@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_json_that_is_written_is_read_as_the_same(value: dict[str, Any]) -> None:
    try:
        written = format_json(value)
    except FormatError:
        return
    if answers(lambda data: parse_json(data, "x"), written):
        assert parse_json(written, "x") == value


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _, read, seeds = opened(name, tmp_path)

    @settings(max_examples=15, suppress_health_check=list(HealthCheck), deadline=None)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        whole = data.draw(st.sampled_from(seeds))
        at = data.draw(st.integers(0, len(whole)))
        answers(read, whole[:at] + data.draw(st.binary(max_size=40)) + whole[at + data.draw(st.integers(0, 40)) :])

    run()
    capfd.readouterr()


# Pickles

RAN: list[str] = []


def _run() -> None:
    RAN.append("ran")


class _Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return _run, ()


@pytest.mark.parametrize("name", TARGETS)
def test_no_reader_runs_a_pickle(name: str, tmp_path: Path) -> None:
    _, read, _ = opened(name, tmp_path)
    head = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        trap = pickle.dumps(_Trap(), protocol)
        archives = [archived({name: data}, 0) for name, data in (("x.npy", head + trap), ("data.pkl", trap))]
        for data in (trap, b"\0" + pack(trap, trap), *archives):
            assert not answers(read, data)
        assert RAN == []
        pickle.loads(trap)  # it would have been seen
        assert RAN.pop() == "ran"


UNPICKLERS = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
OWN = {"_jit.py", "on_processes.py", "on_dask.py"}
"""Read no file that comes from elsewhere: the machine code that Numba made here, in the user's own cache folder, and
what is sent to one's own workers, as joblib and Dask send it."""


def test_nothing_that_reads_files_can_unpickle() -> None:
    for path in sorted(Path(lieref.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert path.name in OWN or not {name.partition(".")[0] for name in names} & UNPICKLERS, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("np.load", "numpy.load", "np.fromfile", "torch.load", "eval", "exec"), path
                allowed = [key.value for key in node.keywords if key.arg == "allow_pickle"]
                assert all(isinstance(value, ast.Constant) and value.value is False for value in allowed), path
                if called.startswith("np.lib.format."):
                    assert called == "np.lib.format.magic" or allowed, path


# The tool itself


def test_files_are_packed_into_one_input() -> None:
    assert unpack(pack(b"a", b"", b"bc"), 3) == [b"a", b"", b"bc"]
    assert unpack(b"\xff\xff\xff\xffab", 2) == [b"ab", b""]
    assert unpack(b"", 3) == [b"", b"", b""]


LARGEST = """
from validation.fuzzing.allocation import counters
reset, largest = counters()
kept = bytes(2**22)
before = largest()
reset()
bytes(2**20)
print(before >= 2**22, 2**20 <= largest() < 2**21)
"""


def test_the_largest_allocation_is_seen(tmp_path: Path) -> None:
    if shutil.which("cc") is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler and the C library of Linux")
    variables = {**os.environ, "LD_PRELOAD": str(allocation.build(tmp_path))}
    done = subprocess.run([sys.executable, "-c", LARGEST], capture_output=True, text=True, env=variables)
    assert done.stdout.split() == ["True", "True"], done.stderr


def test_a_round_counts_and_keeps_its_state(tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None or shutil.which("cc") is None:
        pytest.skip("needs atheris and a C compiler")
    result = coverage_fuzz.run_round("safetensors", tmp_path, 1, 1)
    assert result["inputs"] == result["read"] + result["refused"] > 100
    assert result["faults"] == 0
    assert result["edges"] > 20
    assert list((tmp_path / "safetensors" / "faults").iterdir()) == []
    assert len(list((tmp_path / "safetensors" / "corpus").iterdir())) > 2
