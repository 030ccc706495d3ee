"""The three forms: the same numbers, well formed, nothing loaded from anywhere, nothing that a name could do."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from lieref.errors import DomainError, FormatError
from lieref.evaluate.report import plots
from lieref.evaluate.report.classes import class_blocks, worse_classes
from lieref.evaluate.report.compare_page import compare_page
from lieref.evaluate.report.content import (
    Axis,
    Decision,
    Lines,
    Matrix,
    Page,
    Scatter,
    Section,
    Series,
    Table,
    with_texts,
)
from lieref.evaluate.report.decoding import page_of
from lieref.evaluate.report.demo_page import demo_page
from lieref.evaluate.report.finetune_page import finetune_page
from lieref.evaluate.report.fleet_page import fleet_page
from lieref.evaluate.report.forms import FORMS, check_form, write_form
from lieref.train.history import History
from tests.evaluate.report.results import BETTER, COUNTS, HISTORY, comparison, demo, fleet, quantised_comparison, run

pytest.importorskip("jinja2")

PAGES = {
    "comparison": compare_page(comparison()),
    "quantised": compare_page(quantised_comparison()),
    "run": finetune_page(run(), History.from_dict(HISTORY)),
    "fleet": fleet_page(fleet()),
}
EVIL = "<script>alert('x')</script>\"&|`*\n[a](b)"
VOID = {"meta", "link", "br", "hr", "img", "input"}
each_page = pytest.mark.parametrize("page", PAGES.values(), ids=list(PAGES))


class Tags(HTMLParser):
    """Reads a page, checks that what is opened is closed in its order, and keeps every element and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.glued = False  # what follows belongs to the word before: a span keeps an option on one line
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} stands twice"
        self.elements.append((tag, dict(attrs)))
        self.glued = dict(attrs).get("class") == "whole"
        if tag not in VOID:
            self.open.append("whole" if self.glued else tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        last = self.open.pop()
        assert last == tag or (last, tag) == ("whole", "span")
        self.glued = last == "whole"

    def handle_data(self, data: str) -> None:
        if self.glued and self.words:
            self.words[-1] += data
        elif self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)
        self.glued = False


def html_of(page: Page) -> str:
    return write_form(page, ".html").decode()


def texts(value: Any) -> list[str]:
    """Return every text that a number or a name stands in, of the JSON form."""
    found: list[str] = []

    def look(part: Any, key: str) -> None:
        if isinstance(part, dict):
            for name, each in part.items():
                look(each, name)
        elif isinstance(part, list):
            for each in part:
                look(each, key)
        elif isinstance(part, str) and key in ("text", "interval", "headline", "note", "reasons", "limits", "items"):
            found.append(part)

    look(value, "")
    return [" ".join(text.split()) for text in found if text.strip()]


@each_page
def test_the_three_forms_say_the_same(page: Page) -> None:
    plain = json.loads(write_form(page, ".json"))
    assert page_of(plain, "it") == page
    words = " ".join(" ".join(Tags(html_of(page)).words).split())
    marked = re.sub(r"\\(.)", r"\1", write_form(page, ".md").decode())
    said = texts(plain)
    assert len(said) > 30
    for text in said:
        assert text in words, text
        assert text in marked, text
    for section in plain["sections"]:
        for block in section["blocks"]:
            if block["kind"] == "matrix":
                cells = [str(share) for row in block["percent"] for share in row if share is not None]
                assert all(f">{cell}<" in html_of(page) for cell in cells)
                assert all(f"| {cell} |" in marked for cell in cells)
            if block["kind"] == "lines":
                for series in block["series"]:
                    for value in series["y"]:
                        assert f"{value:.4g}" in words
                        assert f"{value:.4g}" in marked


@each_page
def test_html_is_whole_and_loads_nothing(page: Page) -> None:
    text = html_of(page)
    assert len(text) < 2_000_000
    tags = Tags(text)
    assert text.startswith("<!DOCTYPE html>")
    assert dict(tags.elements)["html"]["lang"] == "en"
    policy = next(a["content"] for tag, a in tags.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag, attributes in tags.elements:
        assert tag not in ("iframe", "object", "embed", "img", "base", "form", "image", "use")
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
        for name in ("src", "href", "srcset", "action", "data", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or value == "data:,", (tag, value)
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert "url(" not in text
    named = [attributes["id"] for _, attributes in tags.elements if "id" in attributes]
    assert len(named) == len(set(named))
    linked = [str(a["href"])[1:] for tag, a in tags.elements if tag == "a"]
    assert linked
    assert set(linked) <= set(named)
    for _, attributes in tags.elements:
        for name in (attributes.get("aria-labelledby") or "").split():
            assert name in named


@each_page
def test_drawings_are_well_formed(page: Page) -> None:
    drawings = re.findall(r"<svg viewBox.*?</svg>", html_of(page))
    wanted = [block for section in page.sections for block in section.blocks if isinstance(block, (Scatter, Lines))]
    assert len(drawings) == 2 * len(wanted)
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for text in root.iter("text"):
            assert 0 <= float(text.attrib["x"]) <= width
            assert 0 <= float(text.attrib["y"]) <= height


@each_page
def test_names_do_nothing(page: Page) -> None:
    """Every text of a report may come from somebody else: a class, a file, a device, a message."""
    own = ("ship", "keep", "open", "chosen", "front", "base", "%", "")
    evil = with_texts(page, lambda text: text if text in own else f"{EVIL}{text}")
    evil = Page(**{**vars(evil), "sections": tuple(
        Section(old.id, new.title, new.blocks) for old, new in zip(page.sections, evil.sections, strict=True)
    )})  # fmt: skip
    text = html_of(evil)
    tags = Tags(text)
    assert [tag for tag, _ in tags.elements].count("script") == 1
    assert text.count("<script>") == 1
    assert "alert('x')" in html.unescape(text)
    plain = html_of(page)

    def structure(read: Tags) -> list[str]:
        # A line leads to a point from a name that finds no room beside it, and long names find less.
        return [tag for tag, attributes in read.elements if attributes.get("class") != "lead"]

    assert structure(tags) == structure(Tags(plain))
    marked = write_form(evil, ".md").decode()
    outside = re.sub(r"^(`{3,})sh\n.*?\n\1$", "", marked, flags=re.MULTILINE | re.DOTALL)
    assert re.search(r"(?<!\\)<script", outside) is None
    assert re.search(r"(?<!\\)\[a", outside) is None
    assert marked.count("\n") == write_form(page, ".md").decode().count("\n")


def test_curves_of_a_run_are_those_of_its_history() -> None:
    plots_of = {b.title: b for s in PAGES["run"].sections for b in s.blocks if isinstance(b, Lines)}
    assert [series.y for series in plots_of["Loss"].series] == [(1.5, 1.25, 1.0), (1.75, 1.75, 1.75)]
    assert plots_of["Accuracy"].series[0].y == (50.0, 62.5, 75.0)


def test_classes_and_confusion_by_hand() -> None:
    page = PAGES["comparison"]
    section = next(each for each in page.sections if each.id == "classes")
    table, before, after = section.blocks
    assert [[cell.text for cell in row.cells] for row in table.rows] == [  # type: ignore[union-attr]
        ["cat", "40", "75.00 %", "90.00 %", "+15.00 points"],
        ["dog", "40", "50.00 %", "47.50 %", "-2.50 points"],
        ["emu", "0", "–", "–", "–"],  # noqa: RUF001
    ]
    assert isinstance(before, Matrix)
    assert isinstance(after, Matrix)
    assert before.percent == ((75, 25, 0), (30, 50, 20), (None, None, None))
    assert after.percent == ((90, 10, 0), (38, 48, 15), (None, None, None))


def test_a_class_without_a_name_is_called_one() -> None:
    table, *_ = class_blocks(COUNTS, BETTER, None)
    assert isinstance(table, Table)
    assert [row.cells[0].text for row in table.rows] == ["class 0", "class 1", "class 2"]
    assert table.note == "Answers: to the test samples of a class; those of several seeds are counted together."
    assert worse_classes(COUNTS, BETTER, None).endswith("with the base, class 1 (-2.50 points).")


def test_the_demo_has_one_latency_of_the_base() -> None:
    values = demo()
    for number, each in enumerate(values["methods"]):
        each["latency_us_base"] = 100.0 + number
    page = demo_page(values, None)
    kept = next(n for n, each in enumerate(values["methods"]) if each["method"] == "liera")
    table = next(b for s in page.sections for b in s.blocks if isinstance(b, Table) and b.title == "Every method")
    assert table.rows[0].cells[6].value == 100.0 + kept
    note = next(figure.note for figure in page.decision.figures if figure.name == "Latency, merged")
    assert note == f"base {100 + kept} µs; same graph as the base, a difference is noise"


def test_what_moved_by_hand() -> None:
    section = next(each for each in PAGES["run"].sections if each.id == "moved")
    (table,) = section.blocks
    assert [[cell.text for cell in row.cells] for row in table.rows] == [  # type: ignore[union-attr]
        ["conv.weight", "12", "12.50 %", "90.00 %", "2 (-0.5)"],
        ["head.weight", "6", "–", "–", "6 (-6)"],  # noqa: RUF001
    ]


def test_the_form_is_the_end_of_the_name() -> None:
    assert check_form("a/R.HTML") == ".html"
    with pytest.raises(DomainError, match=r"must end in \.html, \.md, \.json; got r\.pdf"):
        check_form("r.pdf")
    assert set(FORMS) == {".html", ".md", ".json"}


def test_numbers_that_cannot_be_drawn_are_said() -> None:
    x, y = Axis("x", logarithmic=True), Axis("y")
    bad = [
        Scatter("s", "", x, y, ()),
        Lines("l", "", x, y, ()),
        Lines("l", "", x, y, (Series("a", ()),)),
    ]
    for block in bad:
        page = Page("t", "s", Decision("open", "h", ()), (Section("a", "A", (block,)),), "lieref")
        with pytest.raises(FormatError, match="numbers must be such that they can be shown"):
            write_form(page, ".html")


@pytest.mark.parametrize("size", plots.SIZES)
def test_one_value_alone_can_be_drawn(size: str) -> None:
    flat = Lines(
        "flat", "", Axis("Epoch"), Axis("Loss"), (Series("a name that is longer than any plot is wide" * 3, (0.0,)),)
    )
    root = ElementTree.fromstring(plots.lines(flat, "n", size))
    assert root.find("title") is not None
