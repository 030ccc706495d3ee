from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from lieref.adapter.folder import encode_adapter
from lieref.adapter.state import canonical_shape
from lieref.errors import DomainError, LierefWarning, UnsupportedError
from lieref.evaluate.fleet.average import Mean, mean_adapter
from lieref.evaluate.fleet.device import Files, load_files
from lieref.evaluate.fleet.rounds import exact_mean
from lieref.evaluate.problem import Problem
from tests.evaluate.jobs import problem

WEIGHTS = (1.0, 3.0)


def adapters(method: str, seeds: tuple[int, ...] = (0, 1), **options: Any) -> tuple[Problem, list[Files]]:
    """Return adapters of one base with every factor drawn."""
    job, found = problem(), []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        model = job.model()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LierefWarning)  # so small a net has layers with fewer numbers
            model.attach(method, seed=seed, **options)
        for value in model.parameters().values():
            value[...] = rng.normal(size=value.shape) / 4
        found.append(encode_adapter(*model.adapter_state()))
    return job, found


def elements(job: Problem, files: Files) -> dict[str, np.ndarray]:
    """Return xi of each tensor."""
    model = job.model()
    load_files(model, files)
    return {
        name: site.method.delta(  # type: ignore[attr-defined]
            {n: p.astype(np.float64) for n, p in site.params.items()}, canonical_shape(site, model.graph), site.groups
        )
        for name, site in model.sites.items()
    }


def expected(job: Problem, updates: list[Files]) -> dict[str, np.ndarray]:
    each = [elements(job, files) for files in updates]
    return {name: np.average([one[name] for one in each], axis=0, weights=WEIGHTS) for name in each[0]}


def relative(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> float:
    def norm(values: dict[str, np.ndarray]) -> float:
        return float(np.sqrt(sum((value**2).sum() for value in values.values())))

    return norm({name: found[name] - wanted[name] for name in wanted}) / norm(wanted)


def mean_of(job: Problem, updates: list[Files], mean: str) -> Mean:
    return mean_adapter(job, zip(updates, WEIGHTS, strict=True), mean)


@pytest.mark.parametrize("method", ["liera", "lora"])
def test_the_mean_is_taken_of_xi_and_brought_back_to_the_rank(method: str) -> None:
    job, updates = adapters(method, r=1)
    wanted = expected(job, updates)
    made = mean_of(job, updates, "algebra")
    found = elements(job, made.files)
    # What is left out is the second of two singular values, of the matrix of one filter a row.
    left = 0.0
    for name, xi in wanted.items():
        singular = np.linalg.svd(xi.reshape(len(xi), -1), compute_uv=False)
        left += (singular[1:] ** 2).sum()
        assert np.linalg.matrix_rank(found[name].reshape(len(xi), -1), tol=1e-5) == 1
    norm = np.sqrt(sum((xi**2).sum() for xi in wanted.values()))
    assert made.rank_error == pytest.approx(np.sqrt(left) / norm, rel=1e-9)
    assert made.rank_error > 0.1
    assert relative(found, wanted) == pytest.approx(made.rank_error, rel=1e-5)  # factors are float32


def test_the_mean_of_factors_misses_the_mean_by_what_is_reported() -> None:
    job, updates = adapters("liera", r=1)
    wanted = expected(job, updates)
    made = mean_of(job, updates, "factors")
    error = relative(elements(job, made.files), wanted)
    assert made.factor_error == pytest.approx(error, rel=1e-5)
    assert made.factor_error > made.rank_error  # nothing of the rank is nearer than the cut singular values
    tensors = dict(made.tensors)
    assert tensors.keys() == wanted.keys()
    assert tensors["head.weight"] == pytest.approx(
        relative({"h": elements(job, made.files)["head.weight"]}, {"h": wanted["head.weight"]}), rel=1e-5
    )


def test_the_exact_mean_has_the_ranks_of_all_or_is_dense() -> None:
    job, updates = adapters("liera", r=1)
    made = exact_mean(job, list(zip(updates, WEIGHTS, strict=True)))
    assert relative(elements(job, made.files), expected(job, updates)) < 1e-6
    assert made.rank_error == 0


@pytest.mark.parametrize("method", ["scale", "ia3", "full"])
def test_of_dense_and_diagonal_factors_both_means_are_the_same(method: str) -> None:
    job, updates = adapters(method)
    made = mean_of(job, updates, "algebra")
    assert (made.rank_error, made.factor_error) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert relative(elements(job, made.files), expected(job, updates)) < 1e-6
    assert made.files == mean_of(job, updates, "factors").files


def test_equal_adapters_are_their_own_mean() -> None:
    job, (one, _) = adapters("liera", r=2)
    made = mean_of(job, [one, one], "algebra")
    assert relative(elements(job, made.files), elements(job, one)) < 1e-6
    assert made.rank_error < 1e-7


def test_statistics_are_those_of_all_samples_together() -> None:
    rng = np.random.default_rng(0)
    job, updates, seen = problem(), [], []
    for count in (8, 24):  # in the ratio of WEIGHTS
        x = rng.normal(size=(count, 2, 6, 5)).astype(np.float32) * count
        model = job.model()
        model.attach("norm-stats")
        model.estimate_statistics(x)
        updates.append(encode_adapter(*model.adapter_state()))
        seen.append(x)
    model = job.model()
    model.attach("norm-stats")
    model.estimate_statistics(np.concatenate(seen))
    wanted = {name: value.copy() for name, value in model.statistics.items()}
    model = job.model()
    load_files(model, mean_of(job, updates, "algebra").files)
    assert model.statistics.keys() == wanted.keys()
    for name, value in wanted.items():
        assert model.statistics[name] == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("method", ["flora", "oft"])
def test_a_method_without_such_a_mean_is_refused_by_name(method: str) -> None:
    job, updates = adapters(method)
    with pytest.raises(UnsupportedError, match=f"for their mean to have the same form; got {method}"):
        mean_of(job, updates, "algebra")


def test_what_cannot_be_averaged_is_refused() -> None:
    job, (one, _) = adapters("liera", r=1)
    _, (two, _) = adapters("liera", r=2)
    with pytest.raises(UnsupportedError, match="must have the same method and rank"):
        mean_of(job, [one, two], "algebra")
    with pytest.raises(DomainError, match="must hold an adapter"):
        mean_adapter(job, [])
    with pytest.raises(DomainError, match="weights must be above 0; got 0"):
        mean_adapter(job, [(one, 0.0)])
    with pytest.raises(DomainError, match="`mean` must be one of algebra, factors"):
        mean_adapter(job, [(one, 1.0)], "exact")
