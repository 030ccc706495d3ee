from __future__ import annotations

import io
from xml.etree import ElementTree

import pytest
from PIL import Image

from lieref.errors import DomainError
from lieref.evaluate.roi.arithmetic import net_of_first_year, sensitivity
from lieref.evaluate.roi.tornado import tornado
from tests.evaluate.roi.test_arithmetic import CASE


def draw(form: str) -> bytes:
    swings = sensitivity(CASE)
    labels = [f"input {swing.name}" for swing in swings]
    return tornado(swings, net_of_first_year(CASE), labels, unit="EUR", form=form)


def test_svg_holds_every_input_as_text() -> None:
    picture = draw("svg")
    texts = [element.text for element in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    names = [f"input {swing.name}" for swing in sensitivity(CASE)]
    assert [text for text in texts if text in names] == names  # the widest first
    assert "net of the first year, EUR" in texts
    assert picture == draw("svg")


def test_png_is_a_picture() -> None:
    with Image.open(io.BytesIO(draw("png"))) as picture:
        assert picture.format == "PNG"
        colours = {colour[:3] for _, colour in picture.convert("RGB").getcolors(2**20) or []}
    assert {(0xD1, 0x49, 0x5B), (0x0B, 0x6E, 0x99)} <= colours


def test_other_formats_are_refused() -> None:
    with pytest.raises(DomainError, match="`form` must be one of png, svg; got 'pdf'"):
        draw("pdf")
