"""``--preprocess``: how images become numbers, found where nobody says it, and said."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import click

from lieref.cli.console import say

if TYPE_CHECKING:
    from lieref._types import Array
    from lieref.train.preprocess import Preprocess

preprocess_option = click.option(
    "--preprocess",
    metavar="NAME|SPEC",
    help="How images of any size become numbers: imagenet, unit (0 to 1), raw (0 to 255), or such as "
    "scale=127.5,mean=1,channels=bgr; see lieref/train/README.md.  [default: the adapter's, or what the network says]",
)


class TakesImages(Protocol):
    """A network as far as its images are concerned.

    A quantised one has the graph in `integer`; a float one `graph` and `proto`, as `Model` has them.
    """

    preprocessing: dict[str, Any] | None

    @property
    def source(self) -> str:
        """Path or name, for messages."""

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Of the input, the batch first."""

    @property
    def attached(self) -> Sequence[Any]:
        """What is attached."""


def chosen_preprocess(
    model: TakesImages,
    path: Path,
    asked: str | None,
    files: list[Path] | None,
    *,
    arrays: bool = False,
    told: bool = False,
) -> Preprocess | None:
    """Return how the images of a source become numbers, said in one line; None where they are taken as they are.

    The model carries it afterwards. Images of the model's own size that nobody says anything of are bytes, 0 to 255.

    Parameters
    ----------
    model : Model
        With the adapter that is used, if there is one.
    path : Path
        A folder of images, or an archive.
    asked : str or None
        What ``--preprocess`` says.
    files : list of Path or None
        The images of a folder; none of one whose images have masks, which must have the model's size.
    arrays : bool
        Whether `path` is an archive that holds images as bytes.
    told : bool
        Whether the line has been said.

    Raises
    ------
    DomainError
        If an adapter was trained with another one; or if nobody says it, and an image has not the model's size.
    LierefError
        As `Preprocess.fitted` does.
    """
    from lieref.errors import DomainError, LierefWarning
    from lieref.train.image_array import misfit
    from lieref.train.preprocess import CHOICES, KEEP, PRESETS, Preprocess

    shape, recorded = model.input_shape, model.preprocessing
    known = None if recorded is None else Preprocess.from_dict(recorded, model.source)
    if asked is not None:
        found, why = Preprocess.from_text(asked).fitted(shape), "--preprocess"
        found = found if files is None or files else replace(found, resize=KEEP)
        if known is not None and known.fitted(shape) != found:
            if model.attached:
                raise DomainError(
                    "preprocess: `--preprocess` must be what the adapter was trained with, or left out: "
                    f"{known.fitted(shape)}; got {found}"
                )
            warnings.warn(
                f"preprocess: {model.source} says {known.fitted(shape)} of itself; --preprocess takes its place",
                LierefWarning,
                stacklevel=2,
            )
    elif known is not None and (files is not None or arrays):
        found, why = known.fitted(shape), f"as {'the adapter' if model.attached else 'the model'} records"
    elif not files or not _takes_images(shape):
        return None
    else:
        size = _size(shape)
        says = _said_by(model)
        odd = misfit(files, size)
        if odd is None:
            _record_raw(model, files)
            if says is not None and says[0] != PRESETS["raw"]:
                warnings.warn(
                    f"preprocess: images in {path} have the model's size and are taken as bytes, 0 to 255, but "
                    f"{says[1]}: add --preprocess {says[0].name}",
                    LierefWarning,
                    stacklevel=2,
                )
            return None
        if says is None:
            file, (high, wide), first = odd
            shown = " x ".join("any" if n is None else str(n) for n in first or size)
            why = "like the first" if first else "as the model takes them"
            raise DomainError(
                f"preprocess: {file} must be {shown} pixels (height x width) {why}; got {high} x {wide} (--preprocess "
                f"says how images become numbers, for the model does not: {CHOICES})"
            )
        found, why = says[0].fitted(shape), says[1]
    model.preprocessing = found.to_dict()
    as_they_are = asked is None and found.is_raw and files and misfit(files, _size(shape)) is None
    if not told and not as_they_are:
        say(f"images: {found.to_text()} ({why})")
    return found


def labelled_images(path: Path, inputs: list[str], *, masks: bool) -> tuple[list[Path] | None, bool]:
    """Return the images of a folder of labelled data, None where it is none; and whether an archive holds images.

    With `masks` the folder holds images and their masks, and not a folder for each class.
    """
    from lieref.errors import LierefError
    from lieref.train.images import list_image_folder
    from lieref.train.masks import IMAGES, MASKS

    if path.is_dir():
        if masks or {each.name for each in path.iterdir() if each.is_dir()} == {IMAGES, MASKS}:
            return ([] if masks else None), False
        try:
            return list_image_folder(path)[0], False
        except (LierefError, OSError):
            return None, False  # who reads it says what is wrong
    return None, holds_images(path, inputs)


def holds_images(path: Path, inputs: list[str]) -> bool:
    """Return whether an archive holds the samples of the one input as bytes of images."""
    from lieref.train.npz import npz_kinds

    kinds = npz_kinds(path) if path.suffix.lower() == ".npz" and len(inputs) == 1 else {}
    shape, dtype = kinds.get("x", kinds.get(inputs[0], ((), "")))
    return len(shape) in (3, 4) and dtype == "uint8"


def rows_as_samples(model: TakesImages, x: Any, path: Path) -> Any:
    """Return the rows of a table as samples of the model's shape, where they have as many numbers; say so."""
    shape = model.input_shape
    if path.suffix.lower() != ".csv" or getattr(x, "ndim", 0) != 2 or len(shape) < 3:
        return x
    sizes = [size for size in shape[1:] if size is not None]
    if len(sizes) < len(shape) - 1 or math.prod(sizes) != x.shape[1]:
        return x
    say(f"each row of {path}, {x.shape[1]} numbers, is a sample of {' x '.join(map(str, sizes))} in row-major order")
    return x.reshape(len(x), *sizes)


def recorded_text(model: TakesImages) -> str | None:
    """Return what a model carries of its images as ``--preprocess`` takes it, None where nothing."""
    from lieref.train.preprocess import Preprocess

    return None if model.preprocessing is None else Preprocess.from_dict(model.preprocessing, model.source).to_text()


def whole(x: Any, path: Path, max_bytes: int | None, *, at_once: bool = True) -> Array:
    """Return samples as an array, those that are read when they are indexed read now; unless not `at_once`.

    Raises
    ------
    FormatError
        If they take more than `max_bytes`, 8 GiB by default.
    """
    import numpy as np

    from lieref.errors import FormatError
    from lieref.model.lazy_samples import lazy
    from lieref.train.cap import MAX_BYTES

    found = lazy(x)
    if found is None or not at_once:
        return cast("Array", x)
    cap = MAX_BYTES if max_bytes is None else max_bytes
    if found.nbytes > cap:
        raise FormatError(
            f"preprocess: samples of {path} must take at most {cap} bytes as an array, which this command holds whole; "
            f"got {found.nbytes} (max_bytes raises the cap)"
        )
    return np.asarray(found)


def _takes_images(shape: tuple[int | None, ...]) -> bool:
    from lieref.model.samples import IMAGE_CHANNELS, has_channels_last

    return len(shape) == 4 and (shape[-1] if has_channels_last(shape) else shape[1]) in (None, *IMAGE_CHANNELS)


def _size(shape: tuple[int | None, ...]) -> tuple[int | None, int | None]:
    from lieref.model.samples import has_channels_last

    return (shape[1], shape[2]) if has_channels_last(shape) else (shape[2], shape[3])


def _said_by(model: Any) -> tuple[Preprocess, str] | None:
    """Return what the network says of its images, and where; None where it does not."""
    import numpy as np

    from lieref.adapter.preprocessing import of_image_metadata
    from lieref.train.first_layers import of_first_layers, of_range

    integer: Any = getattr(model, "integer", None)
    if integer is not None:
        from lieref.model.integer.real_samples import quantised_input

        tensor = quantised_input(integer)
        if tensor.quantisation is None:
            return None
        low, high = (float(tensor.quantisation.real(np.array([limit]))[0]) for limit in tensor.limits)
        found = of_range(low, high)
        return None if found is None else (found, f"the input of {model.source} is {low:.3g} to {high:.3g}")
    said = of_image_metadata(model.proto)
    if said is not None:
        return said, f"the metadata of {model.source} say so"
    first = of_first_layers(model.graph)
    return None if first is None else (first[0], f"the first operators of {model.source} are made for it: {first[1]}")


def _record_raw(model: TakesImages, files: list[Path]) -> None:
    """Let the model carry that its images are bytes as they are."""
    from lieref.errors import LierefError
    from lieref.train.image_array import size_of
    from lieref.train.preprocess import PRESETS

    try:
        model.preprocessing = replace(PRESETS["raw"], crop=size_of(files[0])).fitted(model.input_shape).to_dict()
    except LierefError:  # channels of any number: what becomes of the images, nobody can say
        model.preprocessing = None
