"""What a comparison's page says of a quantised file."""

from __future__ import annotations

from typing import Any

from lieref.evaluate.report.compare_page import compare_page
from lieref.evaluate.report.content import Page, Table
from tests.evaluate.report.results import comparison, quantised_comparison


def table(page: Page, section: str) -> Table:
    blocks = next(each for each in page.sections if each.id == section).blocks
    return next(block for block in blocks if isinstance(block, Table))


def texts(found: Table) -> dict[str, list[str]]:
    return {row.cells[0].text: [cell.text for cell in row.cells[1:]] for row in found.rows}


def test_what_is_shipped_is_for_the_device() -> None:
    decision = compare_page(quantised_comparison()).decision
    assert decision.headline == "Ship the method slim codes=1"
    # The float row is the best of all, and none of the rows that the device could take.
    assert "The best here, wide carried with 69.25 %" in decision.reasons[1]
    figures = {figure.name: (figure.text, figure.note) for figure in decision.figures}
    assert figures["Bytes to send"] == (
        "843", "341 of numbers, the rest binds them to the file; the network has 99 numbers"
    )  # fmt: skip
    assert figures["Integer weights changed"] == ("0", "of the file")
    assert figures["Other class with xnnpack"] == ("3.75 %", "of the test samples; 95 %: 3.25 to 5.25")
    assert "Latency, merged" not in figures
    assert decision.limits[0] == (
        "Accuracy is by the integers of tflite-reference. With those of xnnpack, 1.50 of 40 test samples get another "
        "class from the same file with slim codes=1 (3.75 %, 95 % interval 3.25 to 5.25): judge by what the device "
        "runs."
    )


def test_changes_between_semantics_stand_in_a_table() -> None:
    found = table(compare_page(quantised_comparison()), "semantics")
    assert [column.title for column in found.columns] == [
        "Method", "tflite-reference", "xnnpack", "Other class than tflite-reference", "Samples, of 40", "cmsis-nn",
        "Other class than tflite-reference", "Samples, of 40",
    ]  # fmt: skip
    assert texts(found)["slim"] == ["66.00 %", "70.00 %", "3.75 %", "1.50", "66.00 %", "0.00 %", "0"]
    assert found.rows[1].cells[3].interval == "3.25 to 5.25"
    assert {row.cells[0].text: row.mark for row in found.rows}["slim codes=1"] == "chosen"


def test_what_changes_in_the_file_stands_in_a_table() -> None:
    found = table(compare_page(quantised_comparison()), "integers")
    assert texts(found)["wide carried"] == [
        "1,920", "12,311", "12", "7", "1,375", "2.50 %", "4.75 %",
        "a/very/long/name/of/a/tensor/conv2d_9/BiasAdd;Relu;quantised",
    ]  # fmt: skip
    assert "wide r=2 float" not in texts(found)


def test_one_semantics_is_said_to_be_one() -> None:
    only: dict[str, Any] = quantised_comparison()
    only["semantics"] = {**only["semantics"], "others": []}
    for row in only["semantics"]["rows"]:
        row["changed"] = {}
    page = compare_page(only)
    assert all(section.id != "semantics" for section in page.sections)
    assert "--semantics tflite-reference,DEVICE counts them" in page.decision.limits[0]


def test_float_comparisons_say_nothing_of_it() -> None:
    page = compare_page(comparison())
    assert not {"semantics", "integers"} & {section.id for section in page.sections}
    assert "semantics" not in " ".join(page.decision.limits)
