"""Images and their masks: a folder ``images`` and a folder ``masks`` with files of the same stems.

A mask is a PNG of one channel whose numbers are the classes of the pixels, or with a palette, whose numbers are indices
into it, as tools that draw masks write them. A mask of colours does not say which class a colour is: it is refused.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lieref._check import need
from lieref._types import Array
from lieref.errors import DomainError, FormatError
from lieref.model.samples import IMAGE_CHANNELS
from lieref.train.cap import memory_cap
from lieref.train.image_array import ImageArray
from lieref.train.images import IMAGE_SUFFIXES, BoundedFile, ImageReader, reporting
from lieref.train.preprocess import KEEP, Preprocess

IMAGES, MASKS = "images", "masks"

MODES = ("1", "L", "P", "I;16", "I")
"""Pillow's modes of one number a pixel."""


def read_mask_folder(
    folder: str | Path,
    *,
    channels: int = 3,
    size: tuple[int | None, int | None] | None = None,
    max_bytes: int | None = None,
    preprocess: Preprocess | None = None,
) -> tuple[Array, Array]:
    """Read images and a class of each of their pixels.

    Parameters
    ----------
    folder : str or Path
        With sub-folders ``images`` and ``masks``.
    channels : {1, 3}
        Grey or RGB; see `read_image_folder`.
    size : (int or None, int or None), optional
        Height and width that the model takes, None where free.
    max_bytes : int, optional
        Cap on the decoded images and masks, each; None takes that of `memory_cap`.
    preprocess : Preprocess, optional
        How images become numbers, all but their size; see `load_data`.

    Returns
    -------
    x : (N, H, W, channels) uint8, or an `ImageArray`
    y : (N, h, w) uint8 or int32
        The numbers in the masks; all masks have one size.

    Raises
    ------
    FormatError
        If a folder is missing, an image has no mask or a mask no image, a mask is not a PNG of one number a pixel, or
        what `read_image_folder` refuses.
    UnsupportedError
        As `read_image_folder` does.
    MissingExtraError
        If Pillow is not installed.
    """
    if channels not in IMAGE_CHANNELS:
        raise DomainError(f"read_mask_folder: `channels` must be 1 or 3; got {channels}")
    need("PIL.Image", "app", "reading images")
    root = Path(folder)
    images, masks = (_files(root, name) for name in (IMAGES, MASKS))
    alone = sorted(images.keys() ^ masks.keys())
    if alone or not images:
        other = MASKS if alone and alone[0] in images else IMAGES
        got = f"{alone[0]!r} is not in {other}" if alone else "got no image"
        raise FormatError(f"read_mask_folder: {folder} must hold a mask for each image, of the same stem; {got}")
    stems = sorted(images)
    cap = memory_cap(sum(path.stat().st_size for path in (*images.values(), *masks.values())), max_bytes)
    if preprocess is not None:  # what becomes of a mask that is resized, nobody says
        kept = replace(preprocess, resize=KEEP)
        x = ImageArray([images[stem] for stem in stems], kept, source=str(folder), max_bytes=max_bytes)
        return x.as_array_type(), _read_masks([masks[stem] for stem in stems], cap)
    reader = ImageReader(channels, size or (None, None), len(stems), cap, str(folder))
    for stem in stems:
        reader.add(images[stem])
    reader.say()
    return reader.images, _read_masks([masks[stem] for stem in stems], cap)


def _files(root: Path, name: str) -> dict[str, Path]:
    """Return the images of a sub-folder by stem."""
    inner = root / name
    if not inner.is_dir():
        raise FormatError(f"read_mask_folder: {root} must hold the folders {IMAGES} and {MASKS}; there is no {name}")
    found: dict[str, Path] = {}
    for path in sorted(inner.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        if path.stem in found:
            raise FormatError(f"read_mask_folder: {inner} must hold one image of each stem; got {path.stem!r} twice")
        found[path.stem] = path
    return found


def _read_masks(paths: list[Path], cap: int) -> Array:
    """Return the numbers of masks of one size."""
    from PIL import Image

    result: Array = np.empty((0, 0, 0), np.uint8)
    for index, path in enumerate(paths):
        with reporting(path), BoundedFile(path) as data, Image.open(data, formats=("PNG",)) as image:
            width, height = image.size
            if image.mode not in MODES:
                raise FormatError(
                    f"read_mask_folder: {path} must hold one number a pixel, the class; got mode {image.mode}"
                )
            if index and (height, width) != result.shape[1:]:
                raise FormatError(
                    f"read_mask_folder: {path} must be {result.shape[1]} x {result.shape[2]} pixels like the first "
                    f"mask; got {height} x {width}"
                )
            kind = np.dtype(np.int32 if image.mode.startswith("I") else np.uint8)
            if len(paths) * width * height * kind.itemsize > cap:
                raise FormatError(
                    f"read_mask_folder: {path.parent} must decode in at most {cap} bytes (max_bytes raises the cap)"
                )
            if not index:
                result = np.empty((len(paths), height, width), kind)
            result = result.astype(np.promote_types(result.dtype, kind), copy=False)
            result[index] = np.asarray(image)
    return result
