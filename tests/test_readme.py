"""The front page: what it tells a stranger to paste runs, what it shows is what comes, its numbers are recorded ones.

Not run here: the tests that it names, for they run this.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lieref.cli.demo_data import BASE_MODEL, camera_shift, load_digits
from tests.readmes import ALL, README, ROOT, Block, anchors, blocks, fixed, links, prose, shape, shell

DEMO = "pip install -e '.[app]' && lieref demo\n"
TESTS = "pip install -e '.[test]' && pytest -n auto\n"
APART = 2.0
"""Points: what lies closer may change its order on another machine."""


def write_images(folder: Path, count: int = 40) -> None:
    """Stand-ins of one's own network and images: the demo's network, and digits as images in folders."""
    shutil.copy(BASE_MODEL, folder / "net.onnx")
    _, train, test = load_digits()
    for name, part in {"train": train, "test": test}.items():
        pixels = np.clip(camera_shift(part.x[:count])[:, 0], 0, 255).astype(np.uint8)
        for i, (image, digit) in enumerate(zip(pixels, part.y[:count], strict=True)):
            place = folder / name / str(int(digit))
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{i}.png")


def shown(text: str, printed: str) -> None:
    """Check what is shown against what was printed, but for numbers; a line of three dots stands for any lines."""
    before, _, after = text.partition("...\n")
    lines, top, bottom = shape(printed), shape(before), shape(after)
    assert lines[: len(top)] == top
    assert not bottom or lines[-len(bottom) :] == bottom


def accuracies(table: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^│ (\w+) .*?([\d.]+) % ", table, re.MULTILINE)}


def test_demo_shows_what_is_pasted(tmp_path: Path) -> None:
    pasted = blocks(README)
    table = pasted[pasted.index(Block("sh", DEMO)) + 1].text
    printed = shell(DEMO.partition("&& ")[2], tmp_path)
    shown(table, printed)
    then, now = accuracies(table), accuracies(printed)
    assert list(then) == list(now) == ["base", "head", "lora", "liera", "full"]
    for one, other in [(one, other) for one in then for other in then if then[one] > then[other] + APART]:
        assert now[one] > now[other], f"README has {one} ahead of {other}"


def test_every_block_runs_as_it_stands(tmp_path: Path) -> None:
    write_images(tmp_path)
    command, printed, module = "", "", tmp_path
    for language, text in blocks(README):
        named = re.match(r"# (\w+\.py)", text)
        if language == "python" and named:
            module = tmp_path / named[1]
            module.write_text(text)
        elif language == "python":
            (tmp_path / "pasted.py").write_text(text)
            shell("python pasted.py", tmp_path)
        elif language == "sh" and text not in (DEMO, TESTS):
            command = text
            printed = shell(command, tmp_path, status=1 if "golden check" in command else 0)
        elif language == "diff":
            module.write_text(fixed(module.read_text(), README))
            printed = shell(command, tmp_path)
        elif language == "text" and "golden" in command:
            shown(text, printed)
        else:
            assert text in (DEMO, TESTS) or language == "text", f"what is this block? {text}"
    assert {"merged.onnx", "coupled.onnx", "figures", "store"} <= {path.name for path in tmp_path.iterdir()}


def test_a_parameterisation_of_ones_own_runs_as_it_stands(tmp_path: Path) -> None:
    write_images(tmp_path)
    (own,) = [text for language, text in blocks(ROOT / "lieref" / "param" / "README.md") if language == "python"]
    (tmp_path / "own.py").write_text(own)
    gap, title, *_ = shell("python own.py", tmp_path).splitlines()
    assert float(gap) < 1e-9
    assert title.endswith("row-plus-column+hadamard+exp")


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in links(path):
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{target} is not there"
        assert not anchor or anchor in anchors(file), f"{target}: no such heading"


def test_every_folder_readme_is_found_from_the_front_page() -> None:
    found, open_ = {README}, [README]
    while open_:
        here = open_.pop()
        there = {(here.parent / target.partition("#")[0]).resolve() for target in links(here)} & set(ALL)
        open_ += there - found
        found |= there
    assert found == set(ALL)


def test_every_script_of_validation_is_told() -> None:
    folder = ROOT / "validation"
    scripts = [path for path in folder.rglob("*.py") if '__name__ == "__main__"' in path.read_text(encoding="utf-8")]
    names = {".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__main__") for path in scripts}
    told = set(re.findall(r"`([\w.]+)[ `]", prose(folder / "README.md")))
    assert {name for name in names if not name.startswith("exchange.defects_")} - told == set()


def recorded(name: str) -> list[dict[str, Any]]:
    rows = json.loads((ROOT / "validation" / "results" / f"{name}.json").read_text())["rows"]
    assert isinstance(rows, list)
    return rows


def test_networks_are_those_that_were_tried() -> None:
    names = {"dynamo": "PyTorch, `dynamo`", "TorchScript": "PyTorch, TorchScript", "tf2onnx": "tf2onnx, from Keras"}
    counts: dict[str, list[int]] = {}
    for row in recorded("exporters"):
        asked = [True, *(row[key] for key in ("load", "agree", "gradients", "train", "merge")), row["share"] == 1.0]
        before = counts.setdefault(names.get(row["exporter"], "others"), [0] * len(asked))
        before[:] = [a + b for a, b in zip(before, asked, strict=True)]
    for name, values in counts.items():
        assert f"| {name} | {' | '.join(map(str, values))} |" in prose(README)


def test_speeds_are_those_that_were_measured() -> None:
    def best(times: dict[str, Any], start: str) -> float:
        return min(float(value["min_ms"]) for name, value in times.items() if name.startswith(start))

    lines: list[str] = []
    (sample,) = (r["times"] for r in recorded("inference") if r["model"] == "ResNet-8" and r["winograd"] == "f2")
    for row in recorded("training_step"):
        if (row["model"], row["threads"], row["winograd"]) == ("ResNet-8", 1, "f2") and row["batch"] in (1, 128):
            one = f"{best(row['times'], 'lieref f2'):.{2 if row['batch'] == 1 else 1}f} ms"
            other = f"{best(row['times'], 'torch'):.{2 if row['batch'] == 1 else 1}f} ms"
            last = f"{best(sample, 'lieref'):.2f} ms | {best(sample, 'onnx'):.2f} ms" if row["batch"] == 1 else " |"
            lines.append(f"| ResNet-8, {row['batch']} | {one} | {other} | | | {last} |")
    for row in recorded("ordinary_networks"):
        if row["model"] in ("ResNet-18", "EfficientNet-B0"):
            times, memory, samples = row["times"], row["peak_mb"], row["inference"]["times"]
            lines.append(
                f"| {row['model']} at 224 x 224, 8 | {times['lieref dynamo f2']['min_ms']:.0f} ms | "
                f"{best(times, 'torch'):.0f} ms | {memory['lieref']:.0f} MB | {memory['torch']:.0f} MB | "
                f"{samples['lieref']['min_ms']:.1f} ms | {samples['onnxruntime']['min_ms']:.1f} ms |"
            )
    for row in recorded("sequences"):
        times, memory = row["times"], row["peak_mb"]
        lines.append(
            f"| {row['network']}, {row['batch']} | {times['lieref']['min_ms']:.1f} ms | {times['torch']['min_ms']:.1f} "
            f"ms | {memory['lieref']:.0f} MB | {memory['torch']:.0f} MB | | |"
        )
    missing = [line for line in lines if re.sub(r"\|\s+", "| ", line) not in re.sub(r"\|[ ]+", "| ", prose(README))]
    assert len(lines) == 7
    assert not missing
