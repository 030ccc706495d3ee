"""Samples without labels from archives and folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lieref.errors import FormatError, LierefError
from lieref.train.images import PartlyReadWarning
from lieref.train.unlabelled_data import load_unlabelled


def image(path: Path, value: int, shape: tuple[int, int] = (4, 5)) -> np.ndarray:
    image_module = pytest.importorskip("PIL.Image")
    pixels = np.full((*shape, 3), value, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    image_module.fromarray(pixels).save(path)
    return pixels


def test_x_of_an_archive_and_nothing_else(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.uint8).reshape(2, 6)
    np.savez(tmp_path / "u.npz", x=x, y=np.array(["no", "labels"]))
    found, layout = load_unlabelled(tmp_path / "u.npz")
    np.testing.assert_array_equal(found, x)
    assert layout is None


def test_an_archive_of_several_inputs(tmp_path: Path) -> None:
    a, b = np.zeros((2, 3)), np.ones((2, 1), np.int64)
    np.savez(tmp_path / "u.npz", a=a, x_b=b)
    found, _ = load_unlabelled(tmp_path / "u.npz", input_name=("a", "b"))
    assert isinstance(found, dict)
    np.testing.assert_array_equal(found["a"], a)
    np.testing.assert_array_equal(found["b"], b)


def test_images_of_a_folder_in_the_order_of_their_paths(tmp_path: Path) -> None:
    last, first, inner = image(tmp_path / "c.png", 3), image(tmp_path / "a.png", 1), image(tmp_path / "b" / "d.bmp", 2)
    image(tmp_path / ".hidden" / "e.png", 9)
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.warns(PartlyReadWarning, match="1 files that are no image .* notes.txt"):
        found, layout = load_unlabelled(tmp_path)
    np.testing.assert_array_equal(found, np.stack([first, inner, last]))
    assert layout == "NHWC"


def test_a_cap_on_the_memory(tmp_path: Path) -> None:
    for number in range(4):
        image(tmp_path / f"{number}.png", number, (40, 50))
    load_unlabelled(tmp_path, max_bytes=40 * 50 * 16)
    with pytest.raises(FormatError, match="at most 1000 bytes"):
        load_unlabelled(tmp_path, max_bytes=1000)
    np.savez(tmp_path / "u.npz", x=np.zeros((10, 100)))
    with pytest.raises(FormatError, match="at most 1000 bytes"):
        load_unlabelled(tmp_path / "u.npz", max_bytes=1000)


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("gone.npz", None, FormatError, "there is no"),
        ("table.csv", b"1,2\n", FormatError, "an .npz with the array x, or a folder of images"),
        ("broken.npz", b"PK", FormatError, "whole .npz"),
        ("empty", "folder", FormatError, "must hold an image"),
        ("words.npz", {"x": np.array([["a"], ["b"]])}, FormatError, "numbers"),
        ("other.npz", {"z": np.zeros((2, 3))}, FormatError, "'x'"),
        ("bool.npz", {"x": np.zeros((2, 3), complex)}, LierefError, "numbers|integers or floats"),
    ],
)
def test_other_sources_are_refused(
    tmp_path: Path, name: str, content: object, error: type[LierefError], words: str
) -> None:
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    with pytest.raises(error, match=words):
        load_unlabelled(path)


def test_several_inputs_need_an_archive(tmp_path: Path) -> None:
    image(tmp_path / "a.png", 1)
    with pytest.raises(FormatError, match="an array for each input"):
        load_unlabelled(tmp_path, input_name=("a", "b"))
