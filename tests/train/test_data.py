"""Reading data: what is accepted, and one clear error for each thing that is not."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, FormatError, ShapeError
from lieref.train.data import Dataset, arrange, load_data, read_csv, read_image_folder, split
from lieref.train.npz import read_npz, write_npz


def npy(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_written_by_numpy_is_read_back(save: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    y = np.arange(5, dtype=">i2")
    save(tmp_path / "d.npz", x=np.asfortranarray(x), y=y, other=np.zeros(3))
    data = load_data(tmp_path / "d.npz")
    np.testing.assert_array_equal(data.x, x)
    np.testing.assert_array_equal(data.y, y)
    assert data.x.dtype == np.uint8
    assert data.y.dtype == np.dtype("i2")
    assert len(data) == 5


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 1, 3)])
@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "f4", "f8"])
def test_write_npz_is_read_by_numpy_and_by_lieref(shape: tuple[int, ...], dtype: str, tmp_path: Path) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    data = write_npz({"a/b:c": array})
    assert data == write_npz({"a/b:c": array})
    (tmp_path / "a.npz").write_bytes(data)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as theirs:
        np.testing.assert_array_equal(theirs["a/b:c"], array)
    ours = read_npz(tmp_path / "a.npz")["a/b:c"]
    np.testing.assert_array_equal(ours, array)
    assert ours.dtype == array.dtype


def test_npz_cut_at_any_place_is_refused(tmp_path: Path) -> None:
    whole = write_npz({"x": np.arange(6.0).reshape(3, 2), "y": np.arange(3)})
    path = tmp_path / "cut.npz"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match="must be a whole"):
            load_data(path)


def test_npz_with_a_flipped_data_bit_is_refused(tmp_path: Path) -> None:
    whole = bytearray(write_npz({"x": np.arange(6.0).reshape(3, 2), "y": np.arange(3)}))
    whole[whole.index(np.array(5.0).tobytes()) + 3] ^= 1
    (tmp_path / "d.npz").write_bytes(whole)
    with pytest.raises(FormatError, match="Bad CRC-32"):
        load_data(tmp_path / "d.npz")


HEADER = "{'descr': '<f8', 'fortran_order': False, 'shape': (%s), }"


def forged(header: str, version: int = 1, data: bytes = b"\0" * 16) -> bytes:
    text = header.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (forged(HEADER % "2,"), None),
        (forged(HEADER % "3,"), "must have 24 bytes of data; got 16"),
        (forged(HEADER % "1,"), "must have 8 bytes of data; got 16"),
        (forged(HEADER % "9999999999, 9999999999"), "bytes of data; got 16"),
        (forged(HEADER % "-1, -2"), "valid shape"),
        (forged(HEADER % "2.0,"), "valid shape"),
        (forged(HEADER % "True, 2"), "valid shape"),
        (forged((HEADER % "2,").replace("<f8", "|O")), "never Python objects"),
        (forged((HEADER % "2,").replace("<f8", "<U2")), "never Python objects"),
        (forged((HEADER % "2,").replace("'<f8'", "[('a', '<f8')]")), "never Python objects"),
        (forged("__import__('os').abort()"), "valid header"),
        (forged("(" * 5000), "valid header"),
        (forged("{}"), "valid header"),
        (forged(HEADER % "2,", version=9), "version 1 to 3"),
        (b"", "version 1 to 3"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "at most 65536 bytes"),
    ],
)
def test_npy_header_is_not_trusted(member: bytes, message: str | None, tmp_path: Path) -> None:
    path = archive(tmp_path / "d.npz", x=member, y=npy(np.zeros(2, dtype=int)))
    if message is None:
        np.testing.assert_array_equal(read_npz(path)["x"], [0.0, 0.0])
        return
    with pytest.raises(FormatError, match=message):
        read_npz(path)


def test_pickled_array_is_refused_and_never_run(tmp_path: Path) -> None:
    path = archive(tmp_path / "d.npz", x=npy(np.array([{}], dtype=object), allow_pickle=True), y=npy(np.zeros(1)))
    with pytest.raises(FormatError, match="never Python objects"):
        load_data(path)


def test_npz_above_the_cap_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = archive(tmp_path / "bomb.npz", x=npy(np.zeros((1000, 1000))), y=npy(np.zeros(1000, dtype=int)))
    assert path.stat().st_size < 20000
    with pytest.raises(FormatError, match="at most 100000 bytes of arrays"):
        load_data(path, max_bytes=100000)
    assert len(load_data(path)) == 1000


def test_missing_array_names_what_is_there(tmp_path: Path) -> None:
    path = archive(tmp_path / "d.npz", images=npy(np.zeros(1)), y=npy(np.zeros(1)))
    with pytest.raises(FormatError, match="must hold the array 'x'; it holds images, y"):
        load_data(path)


@pytest.mark.parametrize("name", ["no.npz", "no.csv", "no.txt", "no"])
def test_missing_source_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="`path` must exist; there is no"):
        load_data(tmp_path / name)


def test_unknown_kind_of_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("1,2")
    with pytest.raises(FormatError, match=r"must be an .npz, a .csv or a folder of images; got .*data.txt"):
        load_data(tmp_path / "data.txt")
    with pytest.raises(FormatError, match="must exist; there is no such file"):
        read_npz(tmp_path / "data.npz")


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), DomainError, "at least one sample"),
        (np.zeros((2, 0)), np.zeros(2, int), ShapeError, "at least one value a sample"),
        (np.zeros(4), np.zeros(4, int), ShapeError, r"must have shape \(N, ...\); got \(4,\)"),
        (np.zeros((2, 3), bool), np.zeros(2, int), DTypeError, "integers or floats; got bool"),
        (np.array([[0.0, np.nan]]), np.zeros(1, int), DomainError, r"must be finite; got nan at index \(0, 1\)"),
        (np.array([[0.0, -np.inf]]), np.zeros(1, int), DomainError, r"must be finite; got -inf"),
        (np.zeros((2, 3)), np.zeros(3, int), ShapeError, "one entry for each of 2 samples"),
        (np.zeros((1, 3)), np.array(0), ShapeError, "one entry for each of 1 samples"),
    ],
)
def test_dataset_refuses(x: Any, y: Any, error: type[Exception], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=x, y=y)
    with pytest.raises(error, match=message):
        load_data(tmp_path / "d.npz")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "x", "y"),
    [
        ("1,2,0\n3,4,1\n", [[1, 2], [3, 4]], [0, 1]),
        ("a,b,c\n1,2,0\n\n3,4e1,1", [[1, 2], [3, 40]], [0, 1]),
        ("\ufeffa,label,b\n1,0,2\n3,1,4\n", [[1, 2], [3, 4]], [0, 1]),
        ("1,2,0.5\n3,4,1\n", [[1, 2], [3, 4]], [0.5, 1.0]),
    ],
)
def test_csv_is_read(text: str, x: Any, y: Any, tmp_path: Path) -> None:
    data = load_data(write(tmp_path / "d.csv", text))
    np.testing.assert_array_equal(data.x, x)
    np.testing.assert_array_equal(data.y, y)
    assert data.y.dtype == np.asarray(y).dtype


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", DomainError, "at least one sample"),
        ("a,b\n", DomainError, "at least one sample"),
        ("1,2\n3\n", FormatError, "line 2 must have 2 cells; got 1"),
        ("a,b\n1,2\n3,?\n", FormatError, r"line 3, column 2 must be a number; got '\?'"),
        ("label,label\n1,2\n", FormatError, "one column named 'label'; got 2"),
        ("1,2,nan\n", DomainError, "`y` must be finite"),
        ("1,inf,0\n", DomainError, "`x` must be finite"),
        ("7\n", ShapeError, "at least one value a sample"),
    ],
)
def test_csv_is_refused(text: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        read_csv(write(tmp_path / "d.csv", text))


def test_csv_that_is_not_text_or_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(FormatError, match="readable text table"):
        read_csv(tmp_path / "d.csv")
    with pytest.raises(FormatError, match="at most 3 bytes; got 4"):
        read_csv(tmp_path / "d.csv", max_bytes=3)


def save_image(path: Path, pixels: np.ndarray) -> None:
    image = pytest.importorskip("PIL.Image")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(pixels).save(path)


def test_image_folder_is_read_in_sorted_order(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    save_image(tmp_path / "dog" / "a.png", pixels[1])
    save_image(tmp_path / "dog" / "b.PNG", pixels[2])
    save_image(tmp_path / "cat" / "z.png", pixels[0])
    (tmp_path / "dog" / "notes.txt").write_text("not an image")
    (tmp_path / ".cache").mkdir()
    data = load_data(tmp_path)
    np.testing.assert_array_equal(data.x, pixels)
    np.testing.assert_array_equal(data.y, [0, 1, 1])
    assert data.class_names == ("cat", "dog")
    assert data.layout == "NHWC"


def test_grey_images_get_one_channel(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (5, 4), dtype=np.uint8)
    save_image(tmp_path / "a" / "a.png", pixels)
    np.testing.assert_array_equal(read_image_folder(tmp_path, channels=1).x[0, :, :, 0], pixels)
    np.testing.assert_array_equal(read_image_folder(tmp_path, channels=3).x[0], np.stack([pixels] * 3, axis=-1))
    with pytest.raises(DomainError, match="`channels` must be 1 or 3; got 4"):
        read_image_folder(tmp_path, channels=4)


def test_image_folder_refuses_what_it_cannot_stack(tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("PIL")
    with pytest.raises(FormatError, match="got no image"):
        load_data(tmp_path)
    save_image(tmp_path / "a" / "a.png", np.zeros((5, 4, 3), np.uint8))
    with pytest.raises(FormatError, match="at most 59 bytes"):
        load_data(tmp_path, max_bytes=59)
    save_image(tmp_path / "a" / "b.png", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(FormatError, match=r"b.png must be \(4, 5\) pixels like the first; got \(5, 4\)"):
        load_data(tmp_path)
    save_image(tmp_path / "a" / "b.png", rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
    (tmp_path / "a" / "b.png").write_bytes((tmp_path / "a" / "b.png").read_bytes()[:70])
    with pytest.raises(FormatError, match="must be a readable image"):
        load_data(tmp_path)


NCHW = (None, 3, 5, 7)


@pytest.mark.parametrize(
    ("shape", "input_shape", "layout", "axes"),
    [
        ((2, 3, 5, 7), NCHW, None, (0, 1, 2, 3)),
        ((2, 5, 7, 3), NCHW, None, (0, 3, 1, 2)),
        ((2, 5, 7, 3), NCHW, "NHWC", (0, 3, 1, 2)),
        ((2, 3, 5, 7), (None, 5, 7, 3), None, (0, 2, 3, 1)),
        ((2, 5, 7, 3), (None, 5, 7, 3), "NHWC", (0, 1, 2, 3)),
        ((2, 5, 7, 3), (None, 3, None, None), None, (0, 3, 1, 2)),
        ((2, 5, 5, 5), (None, 5, 5, 5), "NHWC", (0, 3, 1, 2)),
        ((2, 5, 5, 5), (None, 5, 5, 5), "NCHW", (0, 1, 2, 3)),
        ((2, 9, 4), (None, 4, 9), None, (0, 2, 1)),
        ((2, 9), (None, 9), None, (0, 1)),
    ],
)
def test_arrange_finds_the_layout(
    shape: tuple[int, ...],
    input_shape: tuple[int | None, ...],
    layout: str | None,
    axes: tuple[int, ...],
    rng: np.random.Generator,
) -> None:
    x = rng.integers(0, 256, shape, dtype=np.uint8)
    result = arrange(x, input_shape, layout)
    np.testing.assert_array_equal(result, x.transpose(axes))
    assert np.shares_memory(result, x)


@pytest.mark.parametrize("input_shape", [(None, 1, 5, 7), (None, 5, 7, 1), (None, 1, None, None)])
def test_arrange_adds_the_axis_of_a_single_channel(input_shape: tuple[int | None, ...]) -> None:
    x = np.arange(2 * 5 * 7).reshape(2, 5, 7)
    result = arrange(x, input_shape)
    np.testing.assert_array_equal(result.reshape(x.shape), x)
    assert all(want in (None, have) for have, want in zip(result.shape, input_shape, strict=True))


@pytest.mark.parametrize("input_shape", [(None, 5, 5, 5), (None, None, None, None)])
def test_arrange_asks_where_both_layouts_fit(input_shape: tuple[int | None, ...]) -> None:
    with pytest.raises(DomainError, match="`layout` must be given where both fit"):
        arrange(np.zeros((2, 5, 5, 5)), input_shape)


@pytest.mark.parametrize(
    ("shape", "input_shape", "layout"),
    [
        ((2, 4, 5, 7), NCHW, None),
        ((2, 3, 5, 7), NCHW, "NHWC"),
        ((2, 5, 7), NCHW, None),
        ((2, 8), (None, 9), None),
        ((2, 9, 1), (None, 9), None),
    ],
)
def test_arrange_refuses_what_does_not_fit(
    shape: tuple[int, ...], input_shape: tuple[int | None, ...], layout: str | None
) -> None:
    with pytest.raises(ShapeError, match=r"`x` must fit the model's input \(N, "):
        arrange(np.zeros(shape), input_shape, layout)


def test_split_is_stratified_disjoint_and_repeatable() -> None:
    y = np.repeat([0, 1, 2], [50, 30, 20])
    kept, held = split(y, 0.2, 7, "validation", stratified=True)
    np.testing.assert_array_equal(np.bincount(y[held]), [10, 6, 4])
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(100))
    again = split(y, 0.2, 7, "validation", stratified=True)
    np.testing.assert_array_equal(held, again[1])
    assert not np.array_equal(held, split(y, 0.2, 8, "validation", stratified=True)[1])
    assert not np.array_equal(held, split(y, 0.2, 7, "learning-rate", stratified=True)[1])


def test_split_of_a_regression_is_not_stratified() -> None:
    kept, held = split(np.linspace(0, 1, 40), 0.25, 0, "validation", stratified=False)
    assert (len(kept), len(held)) == (30, 10)


@pytest.mark.parametrize("fraction", [0.0, 1.0, 0.1, -0.5, 1.5, float("nan")])
def test_split_refuses_an_empty_side(fraction: float) -> None:
    with pytest.raises(DomainError):
        split(np.array([0, 0, 1, 1]), fraction, 0, stratified=True)


def test_dataset_keeps_what_it_was_given() -> None:
    x = np.zeros((2, 3), np.uint8)
    assert Dataset(x, np.zeros(2, int)).x is x
