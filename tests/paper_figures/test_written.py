"""The files beside a figure say what it shows and where it comes from."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from lieref.errors import FormatError
from paper_figures.drawn import HOLDS, Claim, Drawn
from paper_figures.index import write_index
from paper_figures.style import new_figure
from paper_figures.written import csv_bytes, read_described, write, write_absence

NAME = "cost_growth"


def small(value: float = 0.1, smaller: bool = False) -> Drawn:
    figure, axes = new_figure(2, 1.5)
    axes.plot([0, 1], [0, value], label="<series>")
    axes.set(xlabel="time, s", ylabel=r"size $\xi$")
    rows = [{"x": np.float64(value), "y": 1 / 3}, {"x": 2, "z": "a, b"}]
    claim = Claim("one & all", "a source", "1 < 2", "3", HOLDS)
    return Drawn(figure, rows, "A caption, x < y.", [claim], [Path(__file__)], seed=4, smaller=smaller)


def read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    lines = path.read_text().splitlines()
    return [x for x in lines if x.startswith("# ")], list(csv.DictReader(x for x in lines if not x.startswith("# ")))


def test_four_files_are_written_the_same_each_time(tmp_path: Path) -> None:
    paths = write(tmp_path / "a", NAME, "a title", small())
    again = write(tmp_path / "b", NAME, "a title", small())
    assert [path.name for path in paths] == [f"{NAME}.{suffix}" for suffix in ("pdf", "png", "csv", "json")]
    for one, other in zip(paths, again, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_fonts_are_in_the_pdf(tmp_path: Path) -> None:
    pdf = write(tmp_path, NAME, "a title", small())[0].read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


def test_numbers_of_the_csv_are_those_of_the_figure(tmp_path: Path) -> None:
    write(tmp_path, NAME, "a title", small())
    header, rows = read_csv(tmp_path / f"{NAME}.csv")
    assert [float(rows[0]["x"]), float(rows[0]["y"])] == [0.1, 1 / 3]
    assert rows[0]["z"] == ""
    assert rows[1] == {"x": "2", "y": "", "z": "a, b"}
    text = "\n".join(header)
    for part in ("seed: 4", '"matplotlib"', '"numpy"', "commit: ", "test_written.py", "quick: false"):
        assert part in text


def test_small_sizes_are_marked_in_the_figure_and_beside_it(tmp_path: Path) -> None:
    drawn = small(smaller=True)
    write(tmp_path, NAME, "a title", drawn)
    assert any(text.get_gid() == "quick" and "QUICK" in text.get_text() for text in drawn.figure.texts)
    assert json.loads((tmp_path / f"{NAME}.json").read_text())["quick"] is True
    write_index(tmp_path)
    assert f"Drawn with --quick, at smaller sizes: {NAME}." in (tmp_path / "index.html").read_text()


def test_a_full_figure_has_no_mark(tmp_path: Path) -> None:
    drawn = small()
    write(tmp_path, NAME, "a title", drawn)
    assert not drawn.figure.texts


def test_the_page_stands_alone_and_says_each_claim(tmp_path: Path) -> None:
    write(tmp_path, NAME, "a title", small())
    write_index(tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "one &amp; all" in page
    assert "1 &lt; 2" in page
    assert f'class="verdict holds">● {HOLDS}' in page
    assert 'src="data:image/png;base64,' in page
    assert "http" not in page
    assert "A caption, x &lt; y." in page


def test_an_absence_takes_the_place_of_an_earlier_figure(tmp_path: Path) -> None:
    write(tmp_path, NAME, "a title", small())
    write_absence(tmp_path, NAME, "a title", "x.json is not measured yet: python -m y")
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}.json"]
    write_index(tmp_path)
    assert "Not drawn: x.json is not measured yet: python -m y" in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99, "figure": "cost_growth"}', '{"format": 1}'])
def test_a_spoiled_description_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / f"{NAME}.json").write_text(text)
    with pytest.raises(FormatError, match=NAME):
        write_index(tmp_path)
    assert not (tmp_path / "index.html").exists()


def test_a_figure_without_its_numbers_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, NAME, "a title", small())
    (tmp_path / f"{NAME}.csv").unlink()
    with pytest.raises(FormatError, match=f"{NAME}.csv must be beside"):
        read_described(tmp_path, NAME)


def test_a_header_comes_before_the_columns() -> None:
    assert csv_bytes([{"a": 1}], {"figure": "x", "seed": None}) == b"# figure: x\n# seed: null\na\n1\n"
