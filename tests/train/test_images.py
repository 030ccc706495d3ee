"""Images: every way to store one beside a plain computation of its bytes, or one clear error."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lieref.errors import DomainError, FormatError, UnsupportedError
from lieref.train.data import load_data
from lieref.train.images import PartlyReadWarning, read_image_folder, webp_size

HEIGHT, WIDTH = 5, 4


@pytest.fixture
def colours(rng: np.random.Generator) -> np.ndarray:
    """An RGB image of random bytes, black and white among them."""
    pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[0, 0], pixels[0, 1] = 0, 255
    return pixels


def luma(rgb: np.ndarray) -> np.ndarray:
    """Grey of ITU-R BT.601, not yet rounded."""
    return rgb.astype(float) @ [0.299, 0.587, 0.114]


def save_image(path: Path, image: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(path, **options)
    return path


def read_one(path: Path, channels: int) -> np.ndarray:
    x, y, _ = read_image_folder(path.parent.parent, channels=channels)
    assert (x.dtype, x.shape[0], x.shape[3], y.tolist()) == (np.uint8, 1, channels, [0])
    return x[0].astype(int)


# Name of the file, how an RGB image is stored in it, and the colours it then shows.
Store = Callable[[np.ndarray], Any]
STORES: dict[str, tuple[str, Store, Callable[[np.ndarray], np.ndarray]]] = {
    "rgb png": ("a.png", lambda p: p, lambda p: p),
    "rgb bmp": ("a.bmp", lambda p: p, lambda p: p),
    "rgb tiff": ("a.tif", lambda p: p, lambda p: p),
    "rgb webp": ("a.webp", lambda p: p, lambda p: p),
    "rgb ppm": ("a.ppm", lambda p: p, lambda p: p),
    "grey png": ("a.png", lambda p: p[..., 0], lambda p: p[..., [0, 0, 0]]),
    "grey pgm": ("a.pgm", lambda p: p[..., 0], lambda p: p[..., [0, 0, 0]]),
    "grey bmp": ("a.bmp", lambda p: p[..., 0], lambda p: p[..., [0, 0, 0]]),
    "bits png": ("a.png", lambda p: p[..., 0] > 127, lambda p: np.where(p[..., [0, 0, 0]] > 127, 255, 0)),
    "bits tiff": ("a.tif", lambda p: p[..., 0] > 127, lambda p: np.where(p[..., [0, 0, 0]] > 127, 255, 0)),
    "opaque rgba": ("a.png", lambda p: np.dstack([p, np.full(p.shape[:2], 255, np.uint8)]), lambda p: p),
    "opaque la": (
        "a.png",
        lambda p: Image.fromarray(np.dstack([p[..., 0], np.full(p.shape[:2], 255, np.uint8)]), "LA"),
        lambda p: p[..., [0, 0, 0]],
    ),
    "palette png": ("a.png", lambda p: palette(p), lambda p: p),
    "palette gif": ("a.gif", lambda p: palette(p), lambda p: p),
    "palette tiff": ("a.tif", lambda p: palette(p), lambda p: p),
    "cmyk tiff": (
        "a.tif",
        lambda p: Image.fromarray(np.dstack([p, p[..., :1] // 2]), "CMYK"),
        lambda p: np.rint((255 - p.astype(float)) * (255 - p[..., :1] // 2) / 255).astype(int),
    ),
}


def palette(rgb: np.ndarray) -> Image.Image:
    """One entry for each pixel: 20 colours."""
    image = Image.fromarray(np.arange(rgb.shape[0] * rgb.shape[1], dtype=np.uint8).reshape(rgb.shape[:2]), "P")
    image.putpalette(rgb.reshape(-1, 3).tobytes())
    return image


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize("store", STORES)
def test_pixels_are_those_that_the_file_shows(store: str, colours: np.ndarray, tmp_path: Path) -> None:
    name, make, shown = STORES[store]
    options = {"lossless": True} if name.endswith("webp") else {}
    path = save_image(tmp_path / "a" / name, make(colours), **options)
    # CMYK is a product of rounded numbers; everything else is exact.
    within = 1 if "cmyk" in store else 0
    assert np.abs(read_one(path, 3) - shown(colours)).max() <= within
    assert np.abs(read_one(path, 1)[..., 0] - luma(shown(colours))).max() <= 0.51 + within


SIXTEEN = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_are_read_in_proportion_and_said(name: str, tmp_path: Path) -> None:
    path = save_image(tmp_path / "a" / name, SIXTEEN)
    with pytest.warns(PartlyReadWarning, match=r"1 images of 16 bits, read as 8 bits in proportion; the first is a\."):
        grey = read_one(path, 1)[..., 0]
    np.testing.assert_array_equal(grey, np.rint(SIXTEEN / 257.0))
    with pytest.warns(PartlyReadWarning):
        np.testing.assert_array_equal(read_one(path, 3), np.repeat(grey[..., None], 3, axis=-1))


def png(depth: int, kind: int, rows: bytes, width: int, height: int) -> bytes:
    """Return a PNG file of these rows, each with its filter byte."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def test_sixteen_bits_of_colour_are_read_in_proportion_and_said(rng: np.random.Generator, tmp_path: Path) -> None:
    deep = rng.integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    path = tmp_path / "a" / "a.png"
    path.parent.mkdir()
    path.write_bytes(png(16, 2, rows, WIDTH, HEIGHT))
    with pytest.warns(PartlyReadWarning, match="1 images of 16 bits"):
        read = read_one(path, 3)
    # Pillow takes the upper byte, which is within one level of the nearest.
    assert np.abs(read - deep / 257.0).max() <= 1


@pytest.mark.parametrize("largest", [255, 1023, 65535])
@pytest.mark.parametrize("kind", ["P3", "P6"])
def test_more_than_eight_bits_of_colour_in_a_ppm_are_said(kind: str, largest: int, tmp_path: Path) -> None:
    values = np.linspace(0, largest, HEIGHT * WIDTH * 3).astype(np.uint16).reshape(HEIGHT, WIDTH, 3)
    dtype = ">u2" if largest > 255 else "u1"
    pixels = " ".join(map(str, values.ravel())).encode() if kind == "P3" else values.astype(dtype).tobytes()
    path = tmp_path / "a" / "a.ppm"
    path.parent.mkdir()
    path.write_bytes(f"{kind}\n{WIDTH} {HEIGHT}\n{largest}\n".encode() + pixels)
    said = pytest.warns(PartlyReadWarning, match="1 images of 16 bits") if largest > 255 else nullcontext()
    with said:
        read = read_one(path, 3)
    assert np.abs(read - values * 255.0 / largest).max() <= 0.5


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_of_grey_span_black_to_white(depth: int, tmp_path: Path) -> None:
    levels = np.arange(2**depth)
    packed = np.packbits(((levels[:, None] >> np.arange(depth)[::-1]) & 1).astype(np.uint8))
    path = tmp_path / "a" / "a.png"
    path.parent.mkdir()
    path.write_bytes(png(depth, 0, b"\0" + packed.tobytes(), len(levels), 1))
    np.testing.assert_array_equal(read_one(path, 1)[0, :, 0], levels * 255 // (2**depth - 1))


def tiff(pixels: np.ndarray, **fields: tuple[int, int]) -> bytes:
    """Return an uncompressed little-endian TIFF of grey numbers; `fields` replaces (type, value) by number."""
    code = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    height, width = pixels.shape
    entries = {
        256: (3, width), 257: (3, height), 258: (3, 8 * pixels.itemsize), 259: (3, 1), 262: (3, 1), 273: (4, 0),
        277: (3, 1), 278: (3, height), 279: (4, pixels.nbytes), 339: (3, code),
    }  # fmt: skip
    entries.update({int(number): value for number, value in fields.items()})
    start = 8 + 2 + 12 * len(entries) + 4
    entries[273] = (4, start)
    directory = b"".join(struct.pack("<HHII", n, kind, 1, value) for n, (kind, value) in sorted(entries.items()))
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries))
    return head + directory + bytes(4) + pixels.tobytes()


@pytest.mark.parametrize(
    ("pixels", "fields"),
    [
        (np.linspace(0, 1, 20).astype(np.float32).reshape(5, 4), {}),
        (np.arange(20, dtype=np.int32).reshape(5, 4), {}),
        (np.arange(20, dtype=np.uint32).reshape(5, 4), {}),
        (np.arange(-10, 10, dtype=np.int16).reshape(5, 4), {}),
        (np.arange(-10, 10, dtype=np.int8).reshape(5, 4), {}),
        (SIXTEEN, {"262": (3, 0)}),
    ],
    ids=["float", "int32", "uint32", "int16", "int8", "white is zero"],
)
def test_numbers_without_a_white_are_refused(pixels: np.ndarray, fields: dict, tmp_path: Path) -> None:
    path = tmp_path / "a" / "a.tif"
    path.parent.mkdir()
    path.write_bytes(tiff(pixels, **fields))
    with pytest.raises(UnsupportedError, match=r"a.tif must hold unsigned numbers of up to 16 bits"):
        read_image_folder(tmp_path)


def test_white_may_be_zero_in_eight_bits(tmp_path: Path) -> None:
    pixels = np.arange(0, 200, 10, dtype=np.uint8).reshape(5, 4)
    path = tmp_path / "a" / "a.tif"
    path.parent.mkdir()
    path.write_bytes(tiff(pixels, **{"262": (3, 0)}))
    np.testing.assert_array_equal(read_one(path, 1)[..., 0], 255 - pixels)


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "colour key", "deep key", "gif"])
def test_transparent_pixels_are_refused(kind: str, colours: np.ndarray, tmp_path: Path) -> None:
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[3, 2] = 254
    path, options = tmp_path / "a" / "a.png", {}
    image: Any = np.dstack([colours, alpha])
    if kind == "LA":
        image = Image.fromarray(np.dstack([colours[..., 0], alpha]), "LA")
    elif kind in ("palette", "gif"):
        image, options = palette(colours), {"transparency": 7}
        path = path.with_suffix(".gif" if kind == "gif" else ".png")
    elif kind == "colour key":
        image, options = colours, {"transparency": tuple(int(v) for v in colours[2, 1])}
    elif kind == "deep key":
        image, options = SIXTEEN, {"transparency": 3}
    with pytest.raises(UnsupportedError, match=r"must have no transparent pixel.*flatten it"):
        read_one(save_image(path, image, **options), 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation: int, suffix: str, tmp_path: Path) -> None:
    """The EXIF standard: what the first row and the first column of the file are in the picture."""
    shown = np.zeros((16, 24, 3), np.uint8)
    shown[:8, :16], shown[8:, 16:] = 240, 120
    stored = {
        1: shown, 2: shown[:, ::-1], 3: shown[::-1, ::-1], 4: shown[::-1], 5: shown.swapaxes(0, 1),
        6: shown.swapaxes(0, 1)[::-1], 7: shown.swapaxes(0, 1)[::-1, ::-1], 8: shown.swapaxes(0, 1)[:, ::-1],
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {".jpg": {"quality": 95}, ".webp": {"lossless": True}}.get(suffix, {})
    save_image(tmp_path / "a" / f"a{suffix}", np.ascontiguousarray(stored), exif=exif, **options)
    for size in (None, (16, 24)):
        x, _, _ = read_image_folder(tmp_path, size=size)
        assert x.shape == (1, 16, 24, 3)
        assert np.abs(x[0].astype(int) - shown).max() <= (40 if suffix == ".jpg" else 0)
    with pytest.raises(FormatError, match=r"must be 24 x 16 pixels \(height x width\).*; got 16 x 24"):
        read_image_folder(tmp_path, size=(24, 16))


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".png", ".webp"])
def test_of_several_frames_the_first_is_read_and_that_is_said(suffix: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), (level, level, level)) for level in (10, 200, 90)]
    options = {".webp": {"lossless": True}}.get(suffix, {})
    path = save_image(tmp_path / "a" / f"a{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
    with pytest.warns(PartlyReadWarning, match=r"1 images of several frames, of which the first was read; the first"):
        read = read_one(path, 3)
    assert set(read.ravel().tolist()) == {10}


def test_other_formats_are_refused_whatever_they_are_called(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 5\nshowpage\n")
    with pytest.raises(FormatError, match=r"a.png must be a readable image; its first bytes are of none of BMP, GIF"):
        read_image_folder(tmp_path)


def test_image_folder_is_read_in_sorted_order(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    save_image(tmp_path / "dog" / "a.png", pixels[1])
    save_image(tmp_path / "dog" / "b.PNG", pixels[2])
    save_image(tmp_path / "cat" / "z.png", pixels[0])
    (tmp_path / ".cache").mkdir()
    data = load_data(tmp_path)
    np.testing.assert_array_equal(data.x, pixels)
    np.testing.assert_array_equal(data.y, [0, 1, 1])
    assert data.class_names == ("cat", "dog")
    assert data.layout == "NHWC"


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    for path in ("cat/a.png", "dog/a.png", "dog/more/b.png", "loose.png"):
        save_image(tmp_path / path, np.zeros((5, 4), np.uint8))
    (tmp_path / "dog" / "notes.txt").write_text("not an image")
    with pytest.warns(PartlyReadWarning, match=r"holds 3 entries that are no image of a class.*first is loose.png"):
        assert len(load_data(tmp_path)) == 2


def test_folders_are_matched_by_name(tmp_path: Path) -> None:
    save_image(tmp_path / "dog" / "a.png", np.zeros((5, 4), np.uint8))
    save_image(tmp_path / "e\u0301mu" / "a.png", np.zeros((5, 4), np.uint8))
    data = load_data(tmp_path, classes=["dog", "\u00e9mu"])
    np.testing.assert_array_equal(data.y, [0, 1])
    with pytest.warns(UserWarning, match="holds no sample of 2 of the 4 classes: ant, cat"):
        data = load_data(tmp_path, classes=["ant", "\u00e9mu", "cat", "dog"])
    np.testing.assert_array_equal(data.y, [3, 1])
    assert data.class_names == ("ant", "\u00e9mu", "cat", "dog")
    with pytest.raises(DomainError, match=r"must be among the model's \(cat, dog\); got \u00e9mu"):
        load_data(tmp_path, classes=["cat", "dog"])


def test_an_empty_folder_is_a_class_without_samples(tmp_path: Path) -> None:
    save_image(tmp_path / "dog" / "a.png", np.zeros((5, 4), np.uint8))
    (tmp_path / "cat").mkdir()
    with pytest.warns(UserWarning, match="holds no sample of 1 of the 2 classes: cat"):
        data = load_data(tmp_path)
    np.testing.assert_array_equal(data.y, [1])


def test_image_folder_refuses_what_it_cannot_stack(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(FormatError, match="got no image"):
        load_data(tmp_path)
    with pytest.raises(DomainError, match="`channels` must be 1 or 3; got 4"):
        read_image_folder(tmp_path, channels=4)
    save_image(tmp_path / "a" / "a.png", np.zeros((5, 4, 3), np.uint8))
    with pytest.raises(FormatError, match=r"in at most 319 bytes; 1 images of 20 pixels take 320 .max_bytes raises"):
        load_data(tmp_path, max_bytes=319)
    save_image(tmp_path / "a" / "b.png", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(FormatError, match=r"b.png must be 5 x 4 pixels \(height x width\) like the first; got 4 x 5"):
        load_data(tmp_path)
    save_image(tmp_path / "a" / "b.png", rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
    (tmp_path / "a" / "b.png").write_bytes((tmp_path / "a" / "b.png").read_bytes()[:70])
    with pytest.raises(FormatError, match=r"b.png must be a readable image"):
        load_data(tmp_path)


def traced_refusal(folder: Path, message: str, **options: Any) -> int:
    """Return the bytes that a refused reading held at most, Pillow's own memory aside."""
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=message):
            read_image_folder(folder, **options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("behind", [False, True], ids=["", "orientation behind the pixels"])
def test_size_is_compared_before_pixels_are_decoded(behind: bool, tmp_path: Path) -> None:
    """A PNG of 12,000 x 12,000 whose pixels are damaged: it would fail otherwise if one of them were decoded."""
    (tmp_path / "a").mkdir()
    data = png(8, 2, b"\0" * 100, 12000, 12000)
    if behind:
        exif = Image.Exif()
        exif[0x0112] = 6
        body = exif.tobytes()[6:]
        chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
        data = data[:-12] + chunk + data[-12:]
    (tmp_path / "a" / "a.png").write_bytes(data)
    assert traced_refusal(tmp_path, "must be 32 x 32 pixels .* got 12000 x 12000", size=(32, 32)) < 2**20
    assert traced_refusal(tmp_path, "must decode in at most 268435456 bytes; 1 images of 144000000 pixels") < 2**20


def test_uncompressed_images_hold_what_they_claim(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    save_image(tmp_path / "a" / "a.bmp", np.zeros((5, 4, 3), np.uint8))
    whole = bytearray((tmp_path / "a" / "a.bmp").read_bytes())
    whole[18:26] = struct.pack("<ii", 2000, 2000)
    (tmp_path / "a" / "a.bmp").write_bytes(whole)
    with pytest.raises(FormatError, match="must hold 12000000 bytes of pixels; got"):
        read_image_folder(tmp_path)
    (tmp_path / "a" / "a.bmp").unlink()
    (tmp_path / "a" / "a.pgm").write_bytes(b"P5 2000 2000 255\n" + bytes(100))
    with pytest.raises(FormatError, match="must hold 4000000 bytes of pixels; got 117"):
        read_image_folder(tmp_path)


def test_a_chunk_that_claims_gigabytes_takes_none(tmp_path: Path) -> None:
    """Pillow asks its file for all that is said to be left of the pixels once it has them: here 4 GB."""
    (tmp_path / "a").mkdir()
    data = png(8, 0, b"\0" + bytes(4), 4, 1)
    at = data.index(b"IDAT") - 4
    (tmp_path / "a" / "a.png").write_bytes(data[:at] + b"\xff\xff\xff\xf0" + data[at + 4 :] + bytes(1000))
    tracemalloc.start()
    try:
        images, _, _ = read_image_folder(tmp_path)
        assert images.shape == (1, 1, 4, 3)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


WEBP = {"VP8 ": {"quality": 80}, "VP8L": {"lossless": True}, "VP8X": {"lossless": True, "save_all": True}}


@pytest.mark.parametrize("kind", WEBP)
@pytest.mark.parametrize("height", [1, 255, 256, 300])
def test_the_size_of_a_webp_is_found_in_its_first_bytes(kind: str, height: int) -> None:
    frames, buffer = [Image.fromarray(np.full((height, 517, 3), grey, np.uint8)) for grey in (9, 99)], io.BytesIO()
    more = {"append_images": frames[1:]} if kind == "VP8X" else {}
    frames[0].save(buffer, "WEBP", **WEBP[kind], **more)
    data = buffer.getvalue()
    assert data[12:16].decode() == kind
    assert webp_size(data[:30]) == (517, height)
    assert webp_size(data[:29]) is None
    assert webp_size(b"RIFX" + data[4:30]) is None


@pytest.mark.parametrize("kind", WEBP)
def test_a_webp_that_claims_a_gigabyte_is_refused_unopened(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its decoder takes the canvas when it is opened, 1 GiB for 16,383 pixels in each direction."""
    (tmp_path / "a").mkdir()
    body = {
        "VP8 ": b"\x90\x02\x00\x9d\x01\x2a\xff\x3f\xff\x3f",
        "VP8L": b"\x2f" + (16382 + (16382 << 14)).to_bytes(4, "little") + bytes(5),
        "VP8X": bytes(4) + (16382).to_bytes(3, "little") + (16382).to_bytes(3, "little"),
    }[kind]
    chunk = kind.encode() + struct.pack("<I", len(body)) + body
    (tmp_path / "a" / "a.webp").write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(FormatError, match=f"must decode in at most .*; 1 images of {16383**2} pixels"):
        read_image_folder(tmp_path)
