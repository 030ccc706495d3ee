"""Some thousand damaged .tflite files; `validation.integer_fuzz` reads a million."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from validation.integer.fuzzing import damage, outcome, seeds

pytest.importorskip("tflite")

FILES = 3000


def test_every_damaged_file_is_refused_or_runs():
    whole = seeds()
    counts: Counter[str] = Counter()
    for number in range(FILES):
        rng = np.random.default_rng((99, number))
        counts[outcome(damage(whole[number % len(whole)], rng), rng)] += 1
    assert sum(counts.values()) == FILES
    assert counts["refused"] > FILES // 2
    assert counts["run"] > FILES // 50


def test_whole_files_run(rng):
    for content in seeds(1):
        assert outcome(content, rng) == "run"
