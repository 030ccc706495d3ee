"""A fleet of simulated cameras: an adapter each, by processes and on a cluster that loses a worker, and rounds.

    python -m validation.fleet_jpeg --data DIR [--devices 200] [--rounds 10] [--jobs 2]

Each device has images of CIFAR-10 after JPEG, drawn by its number, and a shift of its own: brightness, colour cast,
noise, and JPEG once more. 60 labelled images are its own (a fifth of them is held out and decides what it gets), 100
others are for the report. The base is ResNet-8, pretrained on lossless images.

1. One adapter a device, by joblib and on a Dask cluster of two workers on loopback, one of which is killed when a third
   of the devices are done: adapters and numbers must be the same to the bit.
2. Federated rounds, averaged in the algebra and factor by factor, beside training on the images of all devices in one
   place for as many epochs. Their learning rate is chosen on what 10 devices hold out, for all three alike.
3. Warm starts of 50 devices from the adapter of the rounds: trained on, and composed with one of the device's own.

Nothing is chosen on the images for the report. Written to ``validation/results/fleet_jpeg.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lieref.adapter.model import load
from lieref.evaluate.fleet.device import Device, Job, load_files, merged_base
from lieref.evaluate.fleet.fleet import run_fleet
from lieref.evaluate.fleet.rounds import federate, pooled
from lieref.evaluate.fleet.source import Source
from lieref.evaluate.fleet.table import rows_of, summary_of
from lieref.evaluate.plan import Plan
from lieref.evaluate.problem import make_problem
from validation.record import environment, write_result

OWN, TESTED = 60, 100
"""Images of a device: its own, and those for the report."""
PLAN = Plan("liera", {"r": 2}, epochs=10, batch_size=24)
LADDER = (0.3, 1.0, 3.0)
"""Factors on the default rate."""
TUNED_ON = 10
WARM = 50
"""Devices that begin with the adapter of all."""


def make_device(images: dict[str, np.ndarray], seed: int, number: int) -> Device:
    """Return a device: its images, shifted by what it is, in the layout of the network."""
    rng = np.random.default_rng([seed, number])
    quality, brightness = int(rng.integers(15, 76)), rng.uniform(-50, 50)
    cast, noise = rng.uniform(0.75, 1.25, 3), rng.uniform(0, 16)

    def shifted(part: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = images[f"y_{part}"]
        chosen = rng.choice(len(labels), count, replace=False)
        seen = images[f"x_{part}"][chosen] * cast + brightness + rng.normal(0, noise, (count, 32, 32, 3))
        once_more = [jpeg(image, quality) for image in np.clip(np.rint(seen), 0, 255).astype(np.uint8)]
        return np.stack(once_more).transpose(0, 3, 1, 2), labels[chosen].astype(np.int64)

    return Device(f"camera-{number:03}", *shifted("train", OWN), *shifted("test", TESTED))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Return an image after JPEG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file))


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every adapter file of a fleet."""
    files = sorted((folder / "adapters").rglob("*.*"))
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p.is_file()}


def numbers(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return records without times and machines."""
    plain = json.loads(json.dumps(records))
    for record in plain:
        del record["machine"], record["trial"]["seconds"]
    return plain


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Yield the address of a scheduler on loopback, and the processes of its two workers."""
    from distributed import Client

    file = folder / "scheduler.json"
    common = ["--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard"]
    own = ["--no-nanny", "--nthreads", "1", "--nworkers", "1"]
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    commands = [["scheduler", "--port", "0"], *(["worker", *own, "--local-directory", str(folder / n)] for n in "ab")]
    processes = []
    with (folder / "log.txt").open("wb") as log:
        try:
            for command in commands:
                full = [sys.executable, "-m", "dask", *command, *common]
                processes.append(subprocess.Popen(full, stdout=log, stderr=log, env=environ, start_new_session=True))
            while not file.exists():
                time.sleep(0.1)
            time.sleep(0.5)
            address = json.loads(file.read_text())["address"]
            with Client(address, set_as_default=False) as client:
                client.wait_for_workers(2, timeout=120)
            yield address, processes[1:]
        finally:
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def apart(job: Job, source: Source, folder: Path, jobs: int) -> dict[str, Any]:
    """Adapt every device by both engines, and return what came of it."""
    seconds = {}
    start = time.perf_counter()
    here = run_fleet(job, source, folder / "joblib", jobs=jobs)
    seconds["joblib"] = time.perf_counter() - start
    killed = []
    with cluster(folder) as (address, workers):

        def progress(done: int, total: int, _: str) -> None:
            if not killed and done >= total // 3:
                workers[0].kill()
                killed.append(done)

        start = time.perf_counter()
        there = run_fleet(job, source, folder / "dask", dask=address, progress=progress)
        seconds["dask"] = time.perf_counter() - start
        again: list[str] = []
        run_fleet(job, source, folder / "dask", dask=address, progress=lambda *state: again.append(state[2]))
    same = numbers(here) == numbers(there) and digests(folder / "joblib") == digests(folder / "dask")
    trained = sum(len(path.read_bytes().splitlines()) for path in (folder / "dask").glob("*.jsonl"))
    rows = rows_of(here)
    print(f"apart: {summary_of(rows)['mean_gain']:+.4f}, same numbers: {same}, seconds {seconds}", flush=True)
    return {
        "plan": job.plan.to_dict() if job.plan else None,
        "summary": summary_of(rows),
        "quantiles_of_gain": quantiles([row.gain for row in rows if row.gain is not None]),
        "same_by_joblib_and_dask": same,
        "killed_after_devices": killed,
        "records_after_kill_and_resume": trained,
        "seconds": seconds,
        "worst": [row.to_dict() for row in rows[:10]],
    }


def quantiles(values: list[float]) -> dict[str, float]:
    return {str(q): float(np.quantile(values, q)) for q in (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)}


def together(job: Job, source: Source, folder: Path, rounds: int, jobs: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the three ways to make one adapter of all devices, and the adapter of the rounds in the algebra."""
    some = Source(source.names[:TUNED_ON], source._read)

    def at(factor: float) -> Job:
        assert job.plan is not None
        return replace(job, plan=replace(job.plan, epochs=None, rate_factor=factor))

    tuning: dict[str, dict[str, dict[str, float]]] = {"algebra": {}, "factors": {}, "pooled": {}}
    for factor in LADDER:
        for mean in ("algebra", "factors"):
            _, made = federate(at(factor), some, folder / f"tune-{mean}-{factor}", rounds, mean=mean, jobs=jobs)
            tuning[mean][str(factor)] = {name: made[-1][name] for name in ("merit", "loss")}
        found_at = pooled(at(factor), some, rounds)[1]
        tuning["pooled"][str(factor)] = {name: found_at[name] for name in ("merit", "loss")}
    chosen = {way: float(max(t, key=lambda f: (t[f]["merit"], -t[f]["loss"]))) for way, t in tuning.items()}
    found: dict[str, Any] = {"tuning_held_out": tuning, "rate_factors": chosen}
    adapters = {}
    for way in ("algebra", "factors", "pooled"):
        begin, made = time.perf_counter(), []
        if way == "pooled":
            files, _ = pooled(at(chosen[way]), source, rounds)
        else:
            files, made = federate(at(chosen[way]), source, folder / way, rounds, mean=way, jobs=jobs)
        seconds = time.perf_counter() - begin
        adapters[way] = files
        records = run_fleet(job.judging(files), source, None, jobs=jobs)
        # The adapter of all on every device, whatever each would choose.
        test = [on_test(job, source, record, files) for record in records]
        found[way] = {"rounds": made, "test": float(np.mean(test)), "base": summary_of(rows_of(records))["base"],
                      "bytes": sum(map(len, files.values())), "seconds": seconds}  # fmt: skip
        print(f"{way}: test {found[way]['test']:.4f} (base {found[way]['base']:.4f}), {seconds:.0f} s", flush=True)
    return found, adapters["algebra"]


def on_test(job: Job, source: Source, record: dict[str, Any], files: dict[str, bytes]) -> float:
    """Return the accuracy of an adapter on the test images of a device."""
    from lieref.evaluate.fleet.device import judged_with

    if record["kept"] == "start":
        return float(record["kept_judged"]["merit"])
    device = source.get(record["device"])
    assert device is not None
    return judged_with(job.problem_of(device), files, device.x_test, device.y_test).score.merit


def warm(job: Job, source: Source, folder: Path, files: dict[str, bytes], jobs: int) -> dict[str, Any]:
    """Return what devices gain that begin with the adapter of all."""
    found = {}
    model = job.problem.model()
    load_files(model, files)
    merged = merged_base(model)
    model.unload()
    assert job.plan is not None
    on = replace(job, start=files, plan=replace(job.plan, method="start", options={}))
    for name, one in {"trained_on": on, "composed": replace(job, start=files, merged=merged)}.items():
        rows = rows_of(run_fleet(one, Source(source.names[:WARM], source._read), folder / name, jobs=jobs))
        found[name] = summary_of(rows)
        print(f"{name}: {found[name]['adapted']:.4f}, kept {found[name]['kept']}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mlperf_tiny/ and cifar10/")
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="fleet_jpeg")
    options = parser.parse_args()
    images: dict[str, np.ndarray] = {}
    for part in ("train", "test"):
        with np.load(options.data / "cifar10" / f"jpeg75_{part}.npz") as file:
            images |= {f"x_{part}": file["x"], f"y_{part}": file["y"]}
    base = options.data / "mlperf_tiny" / "resnet8.onnx"
    model = load(base)
    problem = make_problem(base, model, np.zeros((0, 1), np.float32), None)
    names = {f"camera-{number:03}": number for number in range(options.devices)}
    make = functools.partial(make_device, images, options.seed)
    source = Source(names, functools.cache(lambda name: make(names[name])))
    job = Job(problem, PLAN, options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = apart(job, source, folder, options.jobs)
        second, files = together(job, source, folder, options.rounds, options.jobs)
        third = warm(job, source, folder, files, options.jobs)
    settings = {
        "devices": options.devices,
        "rounds": options.rounds,
        "seed": options.seed,
        "own": OWN,
        "tested": TESTED,
    }
    write_result(options.name, {**environment(), **settings, "apart": first, "together": second, "warm": third})


if __name__ == "__main__":
    main()
