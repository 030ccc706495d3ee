"""A perceptron that tells six activities of 30 users by their phones meets six users it has not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from validation.real_jobs.job import Job

USERS = 6
"""So many are left out of the base's training: every sixth of the users in order of their numbers."""

WINDOWS = 10
"""Labelled windows of each of them, drawn at random."""


def har(data: Path, work: Path, seed: int, *, windows: int = WINDOWS) -> Job:
    """Return the job: some windows of each new user are labelled, the others test."""
    x, y, user = read(data / "har_wisdm" / "WISDM_ar_v1.1_transformed.arff")
    numbers = np.unique(user)
    new = numbers[:: len(numbers) // USERS][:USERS]
    field = np.isin(user, new)
    base = work / "har.onnx"
    if not base.exists():
        _make_base(x[~field], y[~field], base)
    rng = np.random.default_rng(seed)
    chosen = np.sort(np.concatenate([rng.permutation(np.flatnonzero(user == number))[:windows] for number in new]))
    test = np.setdiff1d(np.flatnonzero(field), chosen)
    return Job("har", base, x[chosen], y[chosen], x[test], y[test])


def read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features (N, 43) float32, activities and users, integers; a feature that is missing is 0."""
    lines = path.read_text().partition("@data")[2].split("\n")
    rows = [line.strip().split(",") for line in lines if line.count(",") == 45]
    activities = sorted({row[-1] for row in rows})
    x = np.array([[0.0 if cell == "?" else float(cell) for cell in row[2:-1]] for row in rows], np.float32)
    y = np.array([activities.index(row[-1]) for row in rows], np.int64)
    return x, y, np.array([int(row[1].strip('"')) for row in rows], np.int64)


def _make_base(x: np.ndarray, y: np.ndarray, path: Path) -> None:
    import torch
    from torch import nn

    from validation.real_jobs.bases import train, write_onnx

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.BatchNorm1d(x.shape[1]), nn.Linear(x.shape[1], 64), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, int(y.max()) + 1),
    )  # fmt: skip
    train(net, x, y, epochs=30)
    write_onnx(net, x.shape[1:], path)
