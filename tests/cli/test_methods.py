"""``lieref methods``: one method explained, and what is legal, for people and as JSON."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lieref.cli import main
from lieref.param.describe import GEOMETRIES
from lieref.param.registry import METHODS, get_method, options_of
from lieref.references import REFERENCES

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that works and return what it prints; it must say nothing on stderr."""

    def run(*arguments: str) -> str:
        assert main(list(arguments)) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert all(len(line) <= 160 for line in out.splitlines())
        return out

    return run


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("name", [*METHODS, "low-rank+so+cayley+in", "dense+so*gl+exp+out*in", "norm-stats+ia3"])
def test_people_are_told_all_that_json_has(name: str, printed: Callable[..., str], run_json: RunJson) -> None:
    facts, text = run_json("methods", name), words(printed("methods", name))
    said = [facts["name"], facts["summary"], *facts["equations"], facts["count"]["formula"]]
    said += [f"{facts['layer']['numbers']:,} trained numbers", f"{facts['linear']['numbers']:,} trained numbers"]
    said += [one for option in facts["options"] for one in (option["name"], option["meaning"])]
    said += [f"{kept}: {meaning}" for kept, meaning in facts["preserves"].items()]
    said += [f"[{key}] {REFERENCES[key]}" for key in (*facts["sources"], *facts["cited"])]
    said += [f"{key}: {meaning}" for key, meaning in facts["count"]["letters"].items()]
    said += [paragraph for texts in facts["about"].values() for paragraph in texts]
    said += [form["computes"] for form in facts["peers"]["forms"]]
    said += [f"{defect['what']} ({defect['script']})" for defect in facts["peers"]["defects"]]
    said += [factor["name"] for factor in facts["layer"]["factors"]]
    for one in said:
        assert words(one) in text, one
    assert "`" not in text


def test_the_layer_is_that_of_the_options(printed: Callable[..., str], run_json: RunJson) -> None:
    given = ("methods", "lora", "--shape", "10x6x3x5", "--groups", "2", "--rank", "2", "--alpha", "6",
             "--option", "use_rslora=true")  # fmt: skip
    facts = run_json(*given)
    method = get_method("lora", r=2, lora_alpha=6.0, use_rslora=True)
    assert facts["layer"]["shape"] == [10, 6, 3, 5]
    assert facts["layer"]["numbers"] == method.num_params((10, 6, 3, 5), 2) == 2 * 2 * (5 + 90)
    assert facts["linear"]["shape"] == [10, 12]
    assert facts["scaling"] == pytest.approx(6 / 2**0.5)
    text = printed(*given)
    assert "Convolution 10x6x3x5 in 2 groups: 380 trained numbers, 42.2 % of the 900" in text
    assert re.search(r"weight +lora_a +4x90 +trained +random\n", text)
    assert "r (int; default 4, here 2)" in text
    assert run_json(*given[:2], "--shape", "10,6,3,5")["layer"]["shape"] == [10, 6, 3, 5]


def test_what_is_lowered_or_refused_is_said(printed: Callable[..., str]) -> None:
    text = printed("methods", "lora", "--shape", "3,3", "--rank", "9")
    assert "There is room for less than asked for: rank 3." in text
    text = printed("methods", "dense+so+exp+kernel", "--shape", "6,4,3,3")
    assert "Linear layer 6x4: none\n" in text
    assert "must have the mode 'kernel'" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("liear",), "must be a method, such as liera"),
        (("norm-stats+lorra",), "such as lora"),
        (("low-rnk+so+exp",), "such as low-rank"),
        (("sp", "--shape", "7,3"), "`size` must be even; got 7"),
        (("so", "--shape", "8,3", "--groups", "3"), "O a multiple of groups"),
        (("low-rank+so+taylor1",), "`map` must be legal for the group so"),
        (("low-rank+so+exp+outt",), "must name an action; got 'outt'"),
        (("scale", "--rank", "2"), "options of scale must be among map, action; got 'r'"),
        (("lora", "--option", "maps=exp"), "got 'maps'"),
        (("lora", "--shape", "64"), "must be"),
        (("lora", "--shape", "99999,99999"), "more than 2,147,483,648 numbers"),
        (("lora", "--shape", "64,"), "is no shape O,I/groups,kernel"),
        (("lora", "--shape", "64,-3"), "is no shape"),
        (("lora", "--shape", "0,3"), "all positive"),
        (("--rank", "2"), "--rank is for one method; name it"),
        (("--legal", "--shape", "8,8"), "--shape is for one method"),
        (("lora", "--legal"), "give one of them"),
        (("--legal", "--markdown"), "give one of them"),
        (("--markdown", "--json"), "give one of them"),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments: tuple[str, ...], message: str, fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails("methods", *arguments)


def test_what_is_legal_is_the_same_for_people_and_programs(printed: Callable[..., str], run_json: RunJson) -> None:
    matrix = run_json("methods", "--legal")
    assert (
        matrix["weights"].items()
        >= {(name): {"shape": list(shape), "groups": groups} for name, (shape, groups) in GEOMETRIES.items()}.items()
    )
    for entry in matrix["legal"][::5]:
        for map_, action in itertools.product(entry["maps"], entry["actions"]):
            at = matrix["weights"][entry["weights"][-1]]
            method = get_method("+".join((entry["parameterisation"], entry["group"], map_, action)))
            assert method.supports(tuple(at["shape"]), at["groups"]) is None
    rows = cells(printed("methods", "--legal"))
    told = {(group, kind) for group, kinds, maps, *_ in rows if "exp" in maps.split(", ") for kind in kinds.split(", ")}
    assert told == {(entry["group"], entry["parameterisation"]) for entry in matrix["legal"] if "exp" in entry["maps"]}
    (so,) = [row for row in rows if row[0] == "so" and "low-rank" in row[1].split(", ") and "exp" in row[2]]
    entries = [one for one in matrix["legal"] if (one["group"], one["parameterisation"]) == ("so", "low-rank")]
    assert set(so[2].split(", ")) == {map_ for one in entries for map_ in one["maps"]} == {"exp", "cayley", "bounded"}
    assert set(so[3].split(", ")) == {action for one in entries for action in one["actions"]}
    assert ["so", "diagonal", "-", "-", "moves nothing"] in rows
    assert ["so", "householder", "reflections: hra", "-", "-"] in rows
    dora = {one["group"] for one in matrix["couplings"] if "dora" in one["wrappers"]}
    assert dora == {"additive", "hadamard"}


def cells(text: str) -> list[list[str]]:
    """Rows of tables, of which a cell may go over several lines."""
    rows: list[list[str]] = []
    for line in text.splitlines():
        if not line.startswith("│"):
            continue
        row = [cell.strip() for cell in line.strip("│").split("│")]
        if row[0]:
            rows.append(row)
        else:
            rows[-1] = [f"{above} {below}".strip() for above, below in zip(rows[-1], row, strict=True)]
    return rows


def test_the_table_says_where_more_is(printed: Callable[..., str]) -> None:
    text = printed("methods")
    assert "lieref methods NAME" in text
    assert "lieref methods --legal" in text


def test_json_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "liera", "--json"]) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    assert [one["name"] for one in json.loads(out)["options"]] == list(options_of("liera"))
