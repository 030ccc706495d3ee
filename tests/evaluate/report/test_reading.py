"""A report of an earlier command: found in its folder, and refused with one clear error where it is broken."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lieref.errors import FormatError
from lieref.evaluate.report.compare_page import compare_page
from lieref.evaluate.report.decoding import page_of
from lieref.evaluate.report.finetune_page import finetune_page
from lieref.evaluate.report.forms import write_form
from lieref.evaluate.report.reading import page_from, read_page
from lieref.train.history import History
from tests.evaluate.report.results import HISTORY, QUANTISED, carried, comparison, demo, fleet, run


def put(path: Path, value: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_a_folder_or_its_file(tmp_path: Path) -> None:
    put(tmp_path / "c" / "comparison.json", comparison())
    assert read_page(tmp_path / "c") == read_page(tmp_path / "c" / "comparison.json") == compare_page(comparison())
    put(tmp_path / "f" / "report.json", run())
    assert read_page(tmp_path / "f") == finetune_page(run())
    put(tmp_path / "f" / "history.json", HISTORY)
    assert read_page(tmp_path / "f") == finetune_page(run(), History.from_dict(HISTORY))
    assert read_page(put(tmp_path / "fleet" / "fleet.json", fleet())).decision.headline == "Ship to 1 of 3 devices"


def test_its_own_json_is_read_again(tmp_path: Path) -> None:
    page = compare_page(comparison())
    path = tmp_path / "page.json"
    path.write_bytes(write_form(page, ".json"))
    assert read_page(path) == page


def test_results_of_before_are_read() -> None:
    """What is recorded today was not always recorded."""
    result = comparison()
    for name in ("ship", "classes", "command", "base_sha256", "parameters"):
        del result[name]
    for row in result["rows"]:
        for name in ("curve", "classes", "moved"):
            del row[name]
    result["conclusions"] = [
        "Best on these samples: wide r=2 (69.75 %); within 1 point of it and not told apart (p from 0.05, uncorrected)"
        ": slim. The smallest update among them is slim, 1,234 bytes of adapter."
    ]
    page = page_from(result, "it")
    assert page.decision.headline == "Ship the method slim"
    assert {section.id for section in page.sections} & {"classes", "moved"} == set()
    assert any("are not recorded in this comparison" in limit for limit in page.decision.limits)
    values = run()
    for name in ("moved", "flops", "inference_flops", "command", "samples_sha256", "test_outcomes"):
        del values[name]
    assert page_from(values, "it").decision.verdict == "open"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "must be strict JSON"),
        ('{"format": 1, "rows": [', "must be strict JSON"),
        ("[]", "must hold a JSON object"),
        ({}, "must be a result of compare, fleet, demo, carry or finetune, or a lieref-report; it has nothing"),
        ({"a": 1}, "it has a"),
        ({"format": "lieref-report", "version": 2}, "must be a lieref-report of version 1"),
        ({"format": "other", "version": 1}, "must be a lieref-report of version 1; got 'other'"),
        (comparison(format=2), "the format of a comparison must be 1; got 2"),
        (comparison(rows=[], ship=None), ""),
        (comparison(rows=3), "must hold what lieref "),
        (comparison(rows=[{}]), "must hold what lieref "),
        (comparison(metric=None), "must hold what lieref "),
        (fleet(summary=[]), "must hold what lieref "),
        (run(accuracy="high"), "must hold what lieref "),
    ],
)
def test_what_is_no_result_is_one_error(tmp_path: Path, value: Any, words: str) -> None:
    path = put(tmp_path / "x.json", value)
    if not words:
        assert read_page(path).decision.verdict == "open"
        return
    with pytest.raises(FormatError) as caught:
        read_page(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_without_a_result(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"must hold comparison\.json, fleet\.json or report\.json; it is empty"):
        read_page(tmp_path)
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(FormatError, match="must be finished; lieref compare --resume goes on"):
        read_page(tmp_path)
    (tmp_path / "study.json").unlink()
    for number in range(9):
        (tmp_path / f"a_long_name_of_{number}.onnx").touch()
    names = ", ".join(f"a_long_name_of_{number}.onnx" for number in range(3))
    with pytest.raises(FormatError, match=rf"; it has {names} and 6 more$"):
        read_page(tmp_path)
    with pytest.raises(FormatError, match=r"there is no such folder or file: .*none\.json"):
        read_page(tmp_path / "none.json")
    put(tmp_path / "f" / "report.json", run())
    put(tmp_path / "f" / "history.json", {"epochs": 3})
    with pytest.raises(FormatError, match="must be the history of a run"):
        read_page(tmp_path / "f")


def paths_of(value: Any, so_far: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every part of plain values."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [so_far, *(path for name, each in inner for path in paths_of(each, (*so_far, name)))]


@pytest.mark.parametrize("make", [comparison, run, fleet, demo, carried, partial(run, **QUANTISED)])
def test_nothing_but_a_format_error_comes_of_broken_results(make: Callable[[], dict[str, Any]]) -> None:
    """Each part in turn is taken away, or is of another kind: a page is made of what is left, or it is refused."""
    whole = make()
    for path in paths_of(whole)[1:]:
        for wrong in ("gone", None, []):
            broken = copy.deepcopy(whole)
            holder = broken
            for name in path[:-1]:
                holder = holder[name]
            if wrong == "gone":
                del holder[path[-1]]
            else:
                holder[path[-1]] = wrong
            with suppress(FormatError):
                write_form(page_from(broken, "it"), ".md")


def test_nothing_but_a_format_error_comes_of_broken_pages() -> None:
    whole = json.loads(write_form(compare_page(comparison()), ".json"))
    for path in paths_of(whole)[1::5]:
        broken = copy.deepcopy(whole)
        holder = broken
        for name in path[:-1]:
            holder = holder[name]
        holder[path[-1]] = {"an object": 1}
        with pytest.raises(FormatError):
            page_of(broken, "it")
