"""Training killed, and its disk failing, at every system call of a run with checkpoints: what is resumed ends the same.

    python -m tests.crash.checkpoints --least N [--seed S]

Prints one JSON object as `tests.crash.inject` does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from lieref.errors import LierefError
from lieref.train.checkpoint import FILE_NAME
from lieref.train.loop import fit
from lieref.train.sample_tasks import Classes
from tests.crash.disk import Disk
from tests.crash.inject import IN_MEMORY, Tally
from tests.crash.tracer import UNAVAILABLE, kill_at, record
from tests.train.toy_model import SoftmaxRegression, blobs

SETTINGS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "sgd with momentum": {"optimizer": "sgd", "schedule": "constant"},
    "best epoch of a validation set": {
        "validation": 0.25, "learning_rate": 0.1, "warmup_steps": 4, "clip_norm": 0.1, "task": Classes(0.1),
    },
}  # fmt: skip
"""Name -> what `fit` is told beside epochs, batch and seed."""
EPOCHS = 3


def train(folder: Path, settings: dict[str, Any]) -> str:
    """Train, or go on where a checkpoint says; return the SHA-256 of what comes out."""
    model = SoftmaxRegression()
    history = fit(model, *blobs(), epochs=EPOCHS, batch_size=16, seed=3, checkpoint=folder, resume=True, **settings)
    digest = hashlib.sha256()
    for name, array in sorted(model.parameters().items()):
        digest.update(name.encode() + array.tobytes())
    values = history.to_dict()
    del values["preparation_seconds"]
    for epoch in values["epochs"]:
        del epoch["seconds"], epoch["training_seconds"]
    digest.update(json.dumps(values).encode())
    return digest.hexdigest()


class Run:
    """One setting, in one folder, and the digest of what nobody disturbed."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.settings = name, SETTINGS[name]
        self.place = folder / "place"
        self.folder = self.place / "run"
        self.expected = train(folder / "undisturbed", self.settings)
        shutil.rmtree(folder / "undisturbed")

    def fresh(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()

    def work(self) -> int:
        warnings.simplefilter("ignore")
        try:
            train(self.folder, self.settings)
        except (OSError, LierefError):
            return 1
        return 0

    def check(self, tally: Tally, where: str, folder: Path | None = None) -> None:
        """Resume, and compare."""
        try:
            begun = "new" if (folder or self.folder).joinpath(FILE_NAME).exists() else "old"
            found = train(folder or self.folder, self.settings)
            if found != self.expected:
                begun = "neither"
                tally.wrong.append(f"{self.name}, {where}: other bits")
        except (OSError, LierefError) as error:
            begun = "neither"
            tally.wrong.append(f"{self.name}, {where}: {error!r}")
        tally.add(self.name, begun)


def run(least: int, seed: int, folder: Path) -> dict[str, Any]:
    """Inject into every setting, about `least` times in all."""
    rng = random.Random(seed)
    tally = Tally()
    each = max(1, least // len(SETTINGS))
    for name in SETTINGS:
        here = Run(folder, name)
        here.fresh()
        calls, _ = record(here.work)
        tally.calls.update(call.name for call in calls)
        stops = range(2 * len(calls) - 1)
        for stop in sorted(rng.sample(stops, min(each * 2 // 3, len(stops)))):
            here.fresh()
            if kill_at(stop, here.work).killed:
                here.check(tally, f"killed at stop {stop}")
        here.fresh()
        disk = Disk(here.place)
        disk.replay(record(here.work)[0])
        for _ in range(each // 3):
            done = rng.randrange(len(disk.operations) + 1)
            here.fresh()
            disk.after_power_cut(done, rng, here.place / "left")
            here.check(tally, f"power cut after {done} operations", here.place / "left" / "run")
        with suppress(FileNotFoundError):
            shutil.rmtree(here.place)
    return tally.report()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--least", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if UNAVAILABLE:
        raise SystemExit(UNAVAILABLE)
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if Path(IN_MEMORY).is_dir() else None) as name:
        print(json.dumps(run(options.least, options.seed, Path(name)), indent=1))


if __name__ == "__main__":
    main()
