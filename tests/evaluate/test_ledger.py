"""A ledger keeps what was added, whoever else writes, and however a writer ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lieref.errors import DomainError, FormatError, LierefWarning
from lieref.evaluate.ledger import Ledger


def test_records_are_there_for_whoever_opens_the_folder(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "new" / "folder", {"base": "b"})
    ledger.add({"id": "one", "loss": 0.1})
    ledger.add({"id": "two", "loss": 0.2})
    ledger.add({"id": "one", "loss": 0.3})
    again = Ledger(tmp_path / "new" / "folder", {"base": "b"})
    assert len(again) == 2
    assert "three" not in again
    assert again.get("one") == {"id": "one", "loss": 0.1}
    assert [record["id"] for record in again.records()] == ["one", "two"]


def test_two_writers_share_a_folder(tmp_path: Path) -> None:
    one, two = Ledger(tmp_path, {}), Ledger(tmp_path, {})
    one.add({"id": "1"})
    two.add({"id": "2"})
    assert "2" not in one
    one.refresh()
    two.refresh()
    assert "2" in one
    assert "1" in two
    assert len(list(tmp_path.glob("trials-*.jsonl"))) == 2


@pytest.mark.filterwarnings("error")
def test_a_torn_line_costs_itself_and_is_said_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, {})
    ledger.add({"id": "1"})
    ledger.add({"id": "2"})
    path = next(tmp_path.glob("*.jsonl"))
    data = path.read_bytes()
    path.write_bytes(data[:-4])
    with pytest.warns(LierefWarning, match="last line of .* is not whole") as said:
        torn = Ledger(tmp_path, {})
    torn.refresh()
    assert len(said) == 1
    assert "1" in torn
    assert "2" not in torn
    path.write_bytes(data)  # it was only slow
    torn.refresh()
    assert "2" in torn


def test_a_broken_line_is_left_out(tmp_path: Path) -> None:
    Ledger(tmp_path, {})
    (tmp_path / "trials-x.jsonl").write_text('nonsense\n{"no": "id"}\n[]\n{"id": "3"}\n')
    with pytest.warns(LierefWarning, match="no record"):
        assert [record["id"] for record in Ledger(tmp_path, {}).records()] == ["3"]


def test_a_folder_of_another_study_is_refused(tmp_path: Path) -> None:
    Ledger(tmp_path, {"base": "one", "problem": "p"})
    with pytest.raises(DomainError, match="base one instead of two"):
        Ledger(tmp_path, {"base": "two", "problem": "p"})
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(FormatError, match=r"study\.json must be readable"):
        Ledger(tmp_path, {})


def test_records_without_their_study_and_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "trials-x.jsonl").write_text("")
    with pytest.raises(DomainError, match=r"must hold study\.json"):
        Ledger(tmp_path, {})
    with pytest.raises(DomainError, match="must be a folder"):
        Ledger(tmp_path / "trials-x.jsonl", {})


@pytest.mark.parametrize("record", [{}, {"id": 3}, {"id": "a", "loss": float("nan")}, {"id": "a", "x": object()}])
def test_what_is_no_record_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(DomainError, match="`record` must"):
        Ledger().add(record)


def test_in_memory_a_record_is_what_a_file_would_give_back() -> None:
    ledger = Ledger()
    ledger.add({"id": "a", "pair": (1, 2)})
    assert ledger.get("a") == json.loads('{"id": "a", "pair": [1, 2]}')


@pytest.mark.parametrize("text", ["[]", "null", "3"])
def test_a_study_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(FormatError, match="must hold a JSON object; got"):
        Ledger(tmp_path, {"what": "test"})
