"""NumPy archives: what NumPy wrote is read, and nothing is believed that the file does not hold."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, FormatError
from lieref.train.cap import EXPANSION, FREE_BYTES, MAX_BYTES, memory_cap
from lieref.train.data import load_data
from lieref.train.npz import npz_names, npz_shapes, read_npz, write_npz


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
        (forged(HEADER % "3,"), r"must have the data of shape \(3,\), float64; got 16 bytes"),
        (forged(HEADER % "1,"), "got 16 bytes"),
        (forged(HEADER % "2147483647, 21474836"), "got 16 bytes"),
        (forged(HEADER % "9999999999, 9999999999"), "valid shape"),
        (forged(HEADER % f"{'9' * 4000}, {'9' * 4000}"), "valid shape"),
        (forged(HEADER % f"0, {'9' * 4200}"), "valid shape"),
        (forged(HEADER % f"{'9' * 5000},"), "valid header"),
        (forged(HEADER % "0, 2305843009213693952, 2305843009213693952", data=b""), "valid shape"),
        (forged(HEADER % ("1, " * 33), data=bytes(8)), "valid shape"),
        (forged((HEADER % "2,").replace("<f8", "<f9")), "must hold numbers"),
        (forged((HEADER % "2,").replace("<f8", "2<f8")), "must hold numbers"),
        (forged((HEADER % "2,").replace("False", "None")), "valid shape and order"),
        (forged((HEADER % "2,").replace("<f8", "|b1"), data=b"\1\2"), "booleans as 0 or 1; got 2"),
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
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "at most 10000 bytes"),
        (b"\x93NUMPY\x02\x00\x10\x00\x00\x00", "valid header"),
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
    with pytest.raises(FormatError, match=r"at most 100000 bytes of arrays; got 8008256 .max_bytes raises the cap"):
        load_data(path, max_bytes=100000)
    assert len(load_data(path)) == 1000


def test_default_cap_grows_with_the_file(tmp_path: Path) -> None:
    assert memory_cap(0, None) == FREE_BYTES
    assert memory_cap(2**26, None) == EXPANSION * 2**26
    assert memory_cap(2**40, None) == MAX_BYTES
    assert memory_cap(2**40, 5) == 5
    with pytest.raises(DomainError, match="`max_bytes` must be at least 1"):
        memory_cap(1, 0)
    path = archive(tmp_path / "bomb.npz", x=npy(np.zeros((2**25 + 1, 1))), y=npy(np.zeros(0, dtype=int)))
    with pytest.raises(FormatError, match=f"at most {FREE_BYTES} bytes"):
        load_data(path)


def with_sizes(path: Path, **sizes: int) -> None:
    """Overwrite what an archive of one member says of it, in both headers."""
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    for start, offsets in ((0, {"compressed": 18, "size": 22}), (central, {"compressed": 20, "size": 24})):
        for name, value in sizes.items():
            data[start + offsets[name] : start + offsets[name] + 4] = value.to_bytes(4, "little")
    path.write_bytes(data)


@pytest.mark.parametrize("size", [0, 127, 200, 2**31])
def test_npz_that_claims_another_size_is_refused(size: int, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", x=npy(np.zeros(50000)))
    with_sizes(path, size=size)
    peak = traced(lambda: refused(path))
    assert peak < 2**20


def test_what_is_unpacked_is_never_more_than_what_was_claimed(tmp_path: Path) -> None:
    """A member that unpacks to 100 MB behind a claim of 528 bytes."""
    path = archive(tmp_path / "a.npz", x=npy(np.zeros(50)) + bytes(100_000_000))
    with_sizes(path, size=528)
    peak = traced(lambda: refused(path))
    assert peak < 2**20


def refused(path: Path) -> None:
    with pytest.raises(FormatError):
        read_npz(path)


def traced(call: Any) -> int:
    """Return the most memory a call held, in bytes."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reading_holds_the_arrays_once(save: Any, tmp_path: Path) -> None:
    save(tmp_path / "a.npz", x=np.zeros((1000, 1000)))
    peak = traced(lambda: read_npz(tmp_path / "a.npz"))
    assert peak < 8_000_000 + 2**22


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(method: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as file:
        file.writestr("x.npy", npy(np.zeros(1000)))
    with pytest.raises(FormatError, match="stored or deflated"):
        read_npz(tmp_path / "a.npz")


def test_an_array_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", npy(np.zeros(1)))
        file.writestr("x", npy(np.ones(1)))
    with pytest.raises(FormatError, match="each array once; got 'x' twice"):
        read_npz(tmp_path / "a.npz")


def test_missing_array_names_what_is_there(tmp_path: Path) -> None:
    path = archive(tmp_path / "d.npz", images=npy(np.zeros(1)), y=npy(np.zeros(1)))
    with pytest.raises(FormatError, match="must hold the array 'x'; it holds images, y"):
        load_data(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_shapes_are_read_without_the_data(save: Any, tmp_path: Path) -> None:
    save(tmp_path / "d.npz", a=np.zeros((4, 3, 2), np.uint8), b=np.zeros(5), c=np.asfortranarray(np.zeros((6, 7))))
    assert npz_shapes(tmp_path / "d.npz") == {"a": (4, 3, 2), "b": (5,), "c": (6, 7)}


def test_of_a_broken_file_no_shapes_are_known(tmp_path: Path) -> None:
    good = npy(np.zeros((4, 3)))
    archive(tmp_path / "header.npz", a=good, b=b"\x93NUMPY\x01\x00\xff\xff{")
    np.savez(tmp_path / "whole.npz", a=np.zeros(9))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-30])
    for name in ("no.npz", "header.npz", "cut.npz"):
        assert npz_shapes(tmp_path / name) == {}


def test_a_device_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "endless.npz"
    path.symlink_to("/dev/zero")
    assert npz_names(path) == ()
    assert npz_shapes(path) == {}
    with pytest.raises(FormatError, match="no regular file"):
        read_npz(path)
