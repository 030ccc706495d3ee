"""Images of a folder as bytes: what cannot be brought to 8 bits of grey or RGB without a guess is refused."""

from __future__ import annotations

import io
import os
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lieref._check import need
from lieref._types import Array
from lieref.errors import DomainError, FormatError, LierefWarning, UnsupportedError
from lieref.model.samples import IMAGE_CHANNELS
from lieref.train.cap import memory_cap
from lieref.train.classes import number_by_name

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

# A file is read as one of these whatever its suffix says: no other reader of Pillow, some of which start programs,
# is ever asked.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

_WORKING_BYTES = 16
"""Bytes a pixel of an image takes while it is decoded: four in Pillow, and as much again for each conversion."""

WEBP_HEAD = 30
"""Bytes of a WebP file up to the end of its sizes, whichever of its three kinds it is."""

# Numbers of TIFF fields, and the values of the last that mean no sign: unsigned, and undefined, which is read so.
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_UNSIGNED = (1, 4)


class PartlyReadWarning(LierefWarning):
    """Something of a folder of images was left out: files, bits or frames."""


def read_image_folder(
    folder: str | Path,
    *,
    channels: int = 3,
    size: tuple[int | None, int | None] | None = None,
    classes: Sequence[str] | None = None,
    max_bytes: int | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """Read a folder with one sub-folder of images for each class.

    Parameters
    ----------
    folder : str or Path
    channels : {1, 3}
        Grey or RGB; images stored otherwise are converted: palettes through their colours, CMYK as
        R = (1 - C)(1 - K), RGB to grey as 0.299 R + 0.587 G + 0.114 B, 16 bits to 8 in proportion, with one warning.
        The orientation in EXIF is applied; of several frames the first is read, with one warning.
    size : (int or None, int or None), optional
        Height and width that the model takes, None where free; an image of another size is refused undecoded.
    classes : sequence of str, optional
        Names of the model's outputs; folders are matched with them. Without it folders are numbered in sorted order.
    max_bytes : int, optional
        Cap on the decoded images together; None takes that of `memory_cap`.

    Returns
    -------
    x : (N, H, W, channels) uint8
        Images are never resized.
    y : (N,) int64
    names : tuple of str
        Name of each label.

    Raises
    ------
    FormatError
        If there is no image, or one cannot be read or differs in size, or the cap is exceeded.
    UnsupportedError
        If an image has transparent pixels, floats or signed numbers: what of them is black or white, nobody says.
    DomainError
        If a folder is not among `classes`.
    MissingExtraError
        If Pillow is not installed.
    """
    if channels not in IMAGE_CHANNELS:
        raise DomainError(f"read_image_folder: `channels` must be 1 or 3; got {channels}")
    need("PIL.Image", "app", "reading images")
    root = Path(folder)
    files, labels, names = list_image_folder(root, classes)
    cap = memory_cap(sum(file.stat().st_size for file in files), max_bytes)
    reader = ImageReader(channels, size or (None, None), len(files), cap, str(folder))
    for file in files:
        reader.add(file)
    reader.say()
    return reader.images, labels, names


def list_image_folder(
    root: Path, classes: Sequence[str] | None = None
) -> tuple[list[Path], NDArray[np.int64], tuple[str, ...]]:
    """Return the images of a folder with a sub-folder for each class, their labels, and the name of each label.

    Raises
    ------
    FormatError
        If there is no image.
    DomainError
        If a folder is not among `classes`.
    """
    names, found = _list(root)
    if not found:
        loose = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in root.iterdir())
        what = f"{loose} images and no sub-folder with any" if loose else "no image"
        raise FormatError(f"read_image_folder: {root} must hold one sub-folder of images for each class; got {what}")
    labels = np.array([label for _, label in found], dtype=np.int64)
    if classes is not None:
        labels = number_by_name("read_image_folder", names, labels, classes, str(root))
        names = tuple(classes)
    return [file for file, _ in found], labels, names


def _list(root: Path) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    """Return the names of the classes in sorted order, and the files of images with their class."""
    visible = [entry for entry in sorted(root.iterdir()) if not entry.name.startswith(".")]
    folders = [entry for entry in visible if entry.is_dir()]
    by_name = {unicodedata.normalize("NFC", entry.name): entry for entry in folders}
    if len(by_name) < len(folders):
        raise FormatError(f"read_image_folder: {root} must have one folder for each class; two names are the same")
    names = tuple(sorted(by_name))
    files, left = [], [entry for entry in visible if not entry.is_dir()]
    for label, name in enumerate(names):
        for entry in sorted(by_name[name].iterdir()):
            if entry.name.startswith("."):
                continue
            if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file():
                files.append((entry, label))
            else:
                left.append(entry)
    if left and files:
        warnings.warn(
            f"read_image_folder: {root} holds {len(left)} entries that are no image of a class and were left out; "
            f"the first is {left[0].relative_to(root)}",
            PartlyReadWarning,
            stacklevel=4,
        )
    return names, files


@dataclass
class Decoder:
    """Decodes image files to bytes of grey or RGB, and notes of which something was left out."""

    channels: int
    size: tuple[int | None, int | None]
    count: int
    cap: int
    folder: str
    background: int | None = None
    instead: ClassVar[str] = ""

    def __post_init__(self) -> None:
        self.deep: list[Path] = []
        self.framed: list[Path] = []

    def decode(self, file: Path) -> NDArray[np.uint8]:
        """Return an image, (H, W, channels)."""
        from PIL import Image

        with reporting(file), BoundedFile(file) as data:
            declared = webp_size(data.peek(WEBP_HEAD))
            if declared is not None:
                # Pillow takes the memory of the whole canvas when it opens such a file.
                self._check_pixels(declared[0] * declared[1])
            with Image.open(data, formats=FORMATS) as image:
                return self._decoded(file, image)

    def _decoded(self, file: Path, image: Any) -> NDArray[np.uint8]:
        """Return the pixels of an open image; its header is checked before its pixels are touched."""
        from PIL import ImageOps

        width, height = image.size
        # Either way round: the orientation may stand behind the pixels, which are not touched yet.
        if not self._fits(height, width) and not self._fits(width, height):
            raise self._another_size(file, height, width)
        self._check_bytes(file, image)
        if getattr(image, "n_frames", 1) > 1:
            self.framed.append(file)
        if _is_deep(file, image):
            self.deep.append(file)
        upright = ImageOps.exif_transpose(image)
        width, height = upright.size
        if not self._fits(height, width):
            raise self._another_size(file, height, width)
        pixels: NDArray[np.uint8] = _to_bytes(file, upright, self.channels, self.background)
        return pixels.reshape(height, width, self.channels)

    def say(self) -> None:
        """Warn of what was left out of the images, once for the folder."""
        for files, words in (
            (self.deep, "images of 16 bits, read as 8 bits in proportion"),
            (self.framed, "images of several frames, of which the first was read"),
        ):
            if files:
                warnings.warn(
                    f"read_image_folder: {self.folder} holds {len(files)} {words}; the first is {files[0].name}",
                    PartlyReadWarning,
                    stacklevel=4,
                )

    def _wanted(self) -> tuple[int | None, ...]:
        """Return height and width that an image must have, None where any will do."""
        return self.size

    def _fits(self, height: int, width: int) -> bool:
        return all(w in (None, have) for w, have in zip(self._wanted(), (height, width), strict=True))

    def _another_size(self, file: Path, height: int, width: int) -> FormatError:
        return self._wrong_size(file, height, width, "as the model takes them")

    def _wrong_size(self, file: Path, height: int, width: int, why: str, advice: str = "") -> FormatError:
        shown = " x ".join("any" if w is None else str(w) for w in self._wanted())
        return FormatError(
            f"read_image_folder: {file} must be {shown} pixels (height x width) {why}; got {height} x {width}{advice}"
        )

    def _check_pixels(self, pixels: int) -> None:
        """Refuse an image that takes more memory than the cap."""
        needed = max(self.count * self.channels, _WORKING_BYTES) * pixels
        if needed > self.cap:
            raise FormatError(
                f"read_image_folder: {self.folder} must decode in at most {self.cap} bytes; {self.count} images of "
                f"{pixels} pixels take {needed} (max_bytes raises the cap{self.instead})"
            )

    def _check_bytes(self, file: Path, image: Any) -> None:
        """Refuse what takes more memory than the cap, or claims more pixels than an uncompressed file has bytes for."""
        pixels = image.size[0] * image.size[1]
        self._check_pixels(pixels)
        parts = getattr(image, "tile", [])
        if parts and all(part[0] == "raw" for part in parts):
            claimed, held = pixels * _bits(image, parts[0]) // 8, file.stat().st_size
            if claimed > held:
                raise FormatError(f"read_image_folder: {file} must hold {claimed} bytes of pixels; got {held}")


@dataclass
class ImageReader(Decoder):
    """Decodes one image after the other into one array, which is made when the size of the first is known."""

    instead: ClassVar[str] = ", --preprocess raw reads images when a batch wants them"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.images: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.read = 0

    def add(self, file: Path) -> None:
        """Decode one image."""
        pixels = self.decode(file)
        if not self.read:
            self.images = np.empty((self.count, *pixels.shape), np.uint8)
        self.images[self.read] = pixels
        self.read += 1

    def _wanted(self) -> tuple[int | None, ...]:
        """Return height and width of the first image or, before it, of the model."""
        return self.images.shape[1:3] if self.read else self.size

    def _another_size(self, file: Path, height: int, width: int) -> FormatError:
        why = "like the first" if self.read else "as the model takes them"
        return self._wrong_size(file, height, width, why, " (--preprocess resizes images)")


class BoundedFile(io.BufferedReader):
    """A file that asks for no more memory than is left of it.

    Pillow reads as many bytes at once as a chunk claims to have: up to 4 GiB for a PNG of a hundred bytes.
    """

    def __init__(self, path: Path) -> None:
        raw = io.FileIO(path)
        super().__init__(raw)
        self._bytes = os.fstat(raw.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Return so many bytes from here, fewer at the end; all that are left by default."""
        left = max(self._bytes - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


def webp_size(head: bytes) -> tuple[int, int] | None:
    """Return the width and height that the first bytes of a WebP file declare; None where they are of no such file."""
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < WEBP_HEAD:
        return None
    body = head[20:WEBP_HEAD]
    match head[12:16]:
        case b"VP8X":  # flags, then two sizes less one
            return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
        case b"VP8L":  # a signature, then two sizes less one of 14 bits
            sizes = int.from_bytes(body[1:5], "little")
            return 1 + sizes % 2**14, 1 + (sizes >> 14) % 2**14
        case b"VP8 ":  # the tag and the start code of a frame, then two sizes of 14 bits with a scale
            return int.from_bytes(body[6:8], "little") % 2**14, int.from_bytes(body[8:10], "little") % 2**14
    return None


@contextmanager
def reporting(file: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into one error with the file's name.

    Pillow's readers raise a dozen classes on damaged files, and warn where they go on with half of one.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message="Corrupt EXIF|Truncated")
            yield
    except (FormatError, UnsupportedError, MemoryError):
        raise
    except Exception as error:
        text = str(error) or type(error).__name__
        if type(error).__name__ == "UnidentifiedImageError":
            text = f"its first bytes are of none of {', '.join(FORMATS)}"
        raise FormatError(f"read_image_folder: {file} must be a readable image; {text:.200}") from error


def _bits(image: Any, part: Any) -> int:
    """Return the bits of a pixel in the file, as far as the name of its raw form tells; never too many."""
    form = str(part[3] if isinstance(part[3], str) else (part[3] or [""])[0])
    if form[:1] in "1P" or form.startswith(("L;", "1;")):
        depth = form.partition(";")[2][:1]
        return int(depth) if depth in ("1", "2", "4") else 1 if form.startswith("1") and form != "1;8" else 8
    if form.startswith("BGR;"):
        return 15
    if form.startswith("I;12"):
        return 12
    return 8 * len(image.getbands()) * (2 if ";16" in form else 1)


def _is_deep(file: Path, image: Any) -> bool:
    """Return whether an image has 16 bits a channel; refuse numbers for which black and white are not declared."""
    tags = getattr(image, "tag_v2", {})
    sample_format = tags.get(_SAMPLE_FORMAT, (1,))
    signed = any(f not in _UNSIGNED for f in sample_format)
    grey_16 = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if image.format == "TIFF" and grey_16:
        # Pillow reads 12 bits unscaled and leaves a negative as it is.
        signed = signed or tags.get(_BITS) != (16,) or tags.get(_PHOTOMETRIC) != 1
    if signed or (image.mode in ("I", "F") and not grey_16):
        raise UnsupportedError(
            f"read_image_folder: {file} must hold unsigned numbers of up to 16 bits, black at 0; got mode {image.mode} "
            f"(floats and signed numbers do not say what white is: give them as an .npz)"
        )
    forms = [str(part[3]) for part in getattr(image, "tile", [])]
    if image.format == "PPM":
        # Pillow's own readers of this format take the largest value of the file as their last argument.
        grey_16 = grey_16 or any(part[0].startswith("ppm") and part[3][-1] > 255 for part in getattr(image, "tile", []))
    return grey_16 or (image.format in ("PNG", "TIFF") and any(";16" in form for form in forms))


def _to_bytes(file: Path, image: Any, channels: int, background: int | None) -> Array:
    """Return the pixels as grey or RGB bytes, transparent ones over a grey if there is one."""
    from PIL import Image

    mode = "L" if channels == 1 else "RGB"
    if image.mode.startswith("I"):
        if "transparency" in image.info:
            raise _transparent(file)
        # v / 257 rounded to the nearest: 65535 becomes 255, and no tie can occur, for 257 is odd.
        grey = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return grey if channels == 1 else np.repeat(grey[..., np.newaxis], 3, axis=-1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            if background is None:
                raise _transparent(file)
            image = Image.alpha_composite(Image.new("RGBA", image.size, (*(background,) * 3, 255)), image)
    if image.mode not in ("L", "RGB"):
        # By way of RGB, so that a palette or a press colour becomes grey as the colour it shows.
        image = image.convert("L" if image.mode == "1" else "RGB")
    return np.asarray(image.convert(mode))


def _transparent(file: Path) -> UnsupportedError:
    return UnsupportedError(
        f"read_image_folder: {file} must have no transparent pixel, for nothing says what shows behind it; "
        "flatten it on a background, or add background=255 to --preprocess"
    )
