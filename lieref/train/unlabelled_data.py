"""Samples without labels: read from an archive or a folder of images; labels that happen to be there are not read."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from lieref._check import need
from lieref._text import near_path
from lieref._types import Array
from lieref.errors import FormatError
from lieref.model.samples import Samples, check_samples
from lieref.train.cap import memory_cap
from lieref.train.image_array import ImageArray, array_of_pixels
from lieref.train.images import IMAGE_SUFFIXES, ImageReader, PartlyReadWarning
from lieref.train.npz import npz_names, read_npz
from lieref.train.preprocess import Preprocess


def load_unlabelled(
    path: str | Path,
    *,
    input_name: str | Sequence[str] | None = None,
    channels: int = 3,
    size: tuple[int | None, int | None] | None = None,
    max_bytes: int | None = None,
    preprocess: Preprocess | None = None,
) -> tuple[Samples, str | None]:
    """Read samples without labels.

    Parameters
    ----------
    path : str or Path
        An ``.npz`` with the array ``x``, or with one for each input under its name or ``x_<input>``; or a folder of
        images, in it or in folders below it. Hidden files and folders are left out, other files with one warning.
    input_name, channels, size, max_bytes, preprocess
        As in `load_data`.

    Returns
    -------
    x : array or dict of arrays by the name of the input
    layout : {"NHWC"} or None
        Where it is known from the source.

    Raises
    ------
    FormatError
        If the source is missing, damaged, of another kind or too large, or holds no image.
    DomainError, DTypeError, ShapeError
        If what it holds is empty, not numbers or not finite.
    UnsupportedError
        If an image cannot be read without a guess; see `read_image_folder`.
    """
    source = Path(path)
    if not source.exists():
        raise FormatError(f"load_unlabelled: `path` must exist; there is no {path}{near_path(Path(path))}")
    several = input_name is not None and not isinstance(input_name, str)
    if source.is_dir() and not several:
        files = images_below(source)
        if preprocess is not None:
            x = ImageArray(files, preprocess, source=str(path), max_bytes=max_bytes).as_array_type()
            return x, None
        return _read_images(source, files, channels, size, max_bytes), "NHWC"
    if source.is_dir() or source.suffix.lower() != ".npz":
        kinds = "an .npz with an array for each input" if several else "an .npz with the array x, or a folder of images"
        raise FormatError(f"load_unlabelled: samples without labels must be {kinds}; got {path}")
    held = npz_names(source)
    if not several:
        name = input_name if isinstance(input_name, str) and input_name in held and "x" not in held else "x"
        x = read_npz(source, (name,), max_bytes=max_bytes)[name]
        check_samples("load_unlabelled", x, name)
        if preprocess is not None:
            x = array_of_pixels("load_unlabelled", x, preprocess, str(path)).as_array_type()
        return x, None
    names = {name: f"x_{name}" if f"x_{name}" in held else name for name in input_name or ()}
    arrays = read_npz(source, tuple(names.values()), max_bytes=max_bytes)
    return {name: arrays[key] for name, key in names.items()}, None


def images_below(root: Path) -> list[Path]:
    """Return the images of a folder and of the folders below it, in the order of their paths.

    Raises
    ------
    FormatError
        If there is none.
    """
    inside = (path for path in sorted(root.rglob("*")) if path.is_file())
    files = [path for path in inside if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise FormatError(f"load_unlabelled: {root} must hold an image; got {len(files)} other files")
    if len(images) < len(files):
        first = next(path for path in files if path.suffix.lower() not in IMAGE_SUFFIXES)
        warnings.warn(
            f"load_unlabelled: {root} holds {len(files) - len(images)} files that are no image and were left out; the "
            f"first is {first.relative_to(root)}",
            PartlyReadWarning,
            stacklevel=3,
        )
    return images


def _read_images(
    root: Path, images: list[Path], channels: int, size: tuple[int | None, int | None] | None, max_bytes: int | None
) -> Array:
    """Return images as bytes."""
    need("PIL.Image", "app", "reading images")
    cap = memory_cap(sum(path.stat().st_size for path in images), max_bytes)
    reader = ImageReader(channels, size or (None, None), len(images), cap, str(root))
    for path in images:
        reader.add(path)
    reader.say()
    return reader.images
