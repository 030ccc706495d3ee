"""Which networks of PyTorch's exporters, and of others, does lieref take, and how far?

    python -m validation.exporters [--only TEXT] [--exporter NAME] [--limit SECONDS] [--resume | --report]
                                   [--keras FOLDER]

Each architecture of `networks` has random weights and small samples, and is written by both exporters. Of each file:
does it load; do its predictions agree with ONNX Runtime's, within twice the certified bound n u S where there is one;
are the float64 gradients of all weights those of autograd on a twin of the file, which itself agrees with the module;
do ten steps of AdamW follow float64 PyTorch; does the merged file run in ONNX Runtime and agree; and what is compiled.
Agreement is shown as the part of the tolerance that is used. A file has a process and a time limit of its own. Set
LIEREF_DATA_DIR for the files that are no exports of PyTorch's, and --keras for the folder that `keras_networks` wrote
in an environment that has Keras and tf2onnx.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import torch

import lieref
from validation.exporters.checks import checked
from validation.exporters.export import DATA, EXPORTERS, FILES, Exported, export, of_file, sklearn_perceptron
from validation.exporters.networks import NETWORKS
from validation.exporters.table import counts, markdown
from validation.record import RESULTS, environment, write_result

Row = dict[str, Any]
Make = Callable[[Path], Exported]
ROWS = Path(tempfile.gettempdir()) / "lieref_exporters.jsonl"


def jobs(keras: Path | None = None) -> list[tuple[str, str, Make]]:
    """Return network, exporter, and how its file comes to be; with the files of a folder that tf2onnx wrote."""
    found: list[tuple[str, str, Make]] = [
        (name, exporter, lambda path, name=name, exporter=exporter: export(name, exporter, path))
        for exporter in EXPORTERS
        for name in NETWORKS
    ]
    found.append(("MLPClassifier", "skl2onnx", sklearn_perceptron))
    files = sorted(keras.glob("*.onnx")) if keras else []
    found += [(file.stem, "tf2onnx", lambda _, file=file: of_file(file)) for file in files]
    present = {name: DATA / file for name, file in FILES.items() if (DATA / file).is_file()}
    return found + [(name, "as it is", lambda _, at=at: of_file(at)) for name, at in present.items()]


def row_of(make: Make, answers: Any) -> None:
    """Answer the questions about one file; this is the child."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = make(Path(folder) / "net.onnx")
        except ModuleNotFoundError as error:
            answers.put({"skipped": str(error)})
            return
        except Exception as error:
            answers.put({"load": False, "errors": {"export": f"{type(error).__name__}: {error}"[:400]}})
            return
        answers.put(checked(file, Path(folder) / "merged.onnx"))


def within(make: Make, limit: float) -> Row:
    """Return the row of a file, from a process that is stopped after the limit."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=row_of, args=(make, answers))
    child.start()
    end = time.monotonic() + limit
    while time.monotonic() < end:
        try:
            row: Row = answers.get(timeout=1)
            child.join(5)
            return row
        except Empty:
            if not child.is_alive() and answers.empty():
                return {"load": False, "errors": {"process": f"ended with status {child.exitcode}"}}
    child.kill()
    return {"load": False, "errors": {"process": f"took more than {limit:.0f} s"}}


def warm() -> None:
    """Load what every child needs, once: the exporters, ONNX Runtime and lieref's machine code."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for exporter in EXPORTERS:
            file = export("1-D CNN", exporter, Path(folder) / "net.onnx")
            for dtype in ("float32", "float64"):
                model = lieref.load(file.path, dtype=dtype).attach("full")
                model.threads = 1  # a thread would not live on in a child
                model.predict(*file.inputs)
                lieref.fit(model, *file.inputs, np.arange(len(file.inputs[0])), epochs=1, threads=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of the names of the networks to take")
    parser.add_argument("--exporter", default="", help="the one to take")
    parser.add_argument("--keras", type=Path, help="folder of files of tf2onnx")
    parser.add_argument("--limit", type=float, default=150, help="seconds for a file")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    parser.add_argument("--report", action="store_true", help="ask nothing, write what a run that was stopped has")
    arguments = parser.parse_args()
    if not (arguments.resume or arguments.report):
        ROWS.unlink(missing_ok=True)
    files = jobs(arguments.keras)
    if not arguments.report:
        ask(files, arguments.only, arguments.exporter, arguments.limit)
    rows = written()
    left_out = [f"{row['network']}: {row['skipped']}" for row in rows if "skipped" in row]
    rows = [row for row in rows if "skipped" not in row]
    table = markdown(rows)
    print("\n" + table)
    if arguments.report or not (arguments.only or arguments.exporter):
        known = {(row["network"], row["exporter"]) for row in rows}
        left_out += [f"{name}, {exporter}: not asked" for name, exporter, _ in files if (name, exporter) not in known]
        (RESULTS / "exporters.md").write_text(table + "\n")
        write_result("exporters", {**environment(), "counts": counts(rows), "left_out": left_out, "rows": rows})


def written() -> list[Row]:
    """Return the rows so far."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def ask(files: list[tuple[str, str, Make]], only: str, exporter: str, limit: float) -> None:
    """Write a row for each file that has none."""
    done = {(row["network"], row["exporter"]) for row in written()}
    warm()
    for name, by, make in files:
        if only.lower() not in name.lower() or (exporter and by != exporter) or (name, by) in done:
            continue
        start = time.monotonic()
        row = {"network": name, "exporter": by, **within(make, limit), "seconds": round(time.monotonic() - start, 1)}
        with ROWS.open("a") as file:  # a run that is stopped leaves what it has
            file.write(json.dumps(row) + "\n")
        print(markdown([row]).splitlines()[2], f"{row['seconds']:.0f} s", row.get("errors") or "", flush=True)


if __name__ == "__main__":
    main()
