"""The options that say how text becomes ids, and which id is padding."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lieref._types import Array
    from lieref.adapter.model import Model
    from lieref.train.task import Task
    from lieref.train.tokenizer import Encoded, TextEncoder


@dataclass(frozen=True)
class TextOptions:
    """What was given of the options.

    Attributes
    ----------
    tokenizer : Path or None
    text_field, label_field : str
    max_length, pad_id : int or None
    given_masks : bool
    """

    tokenizer: Path | None = None
    text_field: str = "text"
    label_field: str = "label"
    max_length: int | None = None
    pad_id: int | None = None
    given_masks: bool = False


_OPTIONS = (
    click.option(
        "--tokenizer",
        type=click.Path(path_type=Path),
        help="tokenizer.json for texts: a .tsv, .csv or .jsonl of sentences and labels.",
    ),
    click.option("--text-field", default="text", show_default=True, help="Column or key of the texts."),
    click.option("--label-field", default="label", show_default=True, help="Column or key of their labels."),
    click.option(
        "--max-length", type=click.IntRange(min=1), help="Tokens behind which a text is cut.  [default: the model's]"
    ),
    click.option(
        "--pad-id",
        type=click.IntRange(min=0),
        help="Id of padding.  [default: the tokenizer's, or what the model masks]",
    ),
    click.option(
        "--given-masks",
        is_flag=True,
        help="Take attention_mask and token_type_ids from the .npz instead of computing them from the ids.",
    ),
)


def text_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets one argument `text`, a `TextOptions`."""

    @functools.wraps(command)
    def run(
        *args: Any, tokenizer: Path | None, text_field: str, label_field: str, max_length: int | None,
        pad_id: int | None, given_masks: bool, **options: Any,
    ) -> Any:  # fmt: skip
        if tokenizer is None and max_length is not None:
            raise click.UsageError("--max-length is of texts; add --tokenizer")
        if tokenizer is not None and given_masks:
            raise click.UsageError("--given-masks is of an .npz; those of texts are computed")
        text = TextOptions(tokenizer, text_field, label_field, max_length, pad_id, given_masks)
        return command(*args, text=text, **options)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def padding_for(text: TextOptions) -> int | None:
    """Return the id of padding that is known before a model is read: what was given, or the tokenizer's."""
    from lieref.train.tokenizer import padding_of

    return padding_of(text.tokenizer) if text.pad_id is None and text.tokenizer is not None else text.pad_id


def with_padding_of(text: TextOptions, known: Mapping[str, Any]) -> TextOptions:
    """Return the options with the id of padding that an adapter has recorded, where they and the tokenizer say none."""
    recorded = known.get("padding_id")
    return text if recorded is None or padding_for(text) is not None else replace(text, pad_id=recorded)


def encoder_for(model: Model, text: TextOptions) -> TextEncoder | None:
    """Return the tokenizer made for a model, None where none was given; raises as `TextEncoder` does."""
    from lieref.errors import ShapeError
    from lieref.model.samples import readable
    from lieref.train.tokenizer import TextEncoder

    if text.tokenizer is None:
        return None
    shape = model.input_shape
    if len(model.inputs) > 1:
        raise ShapeError(
            "load_data: a tokenizer makes input_ids, attention_mask and token_type_ids; the samples of a model of "
            f"{', '.join(info.name for info in model.inputs)} must be in an .npz"
        )
    if model.vocabulary is None or len(shape) != 2:
        raise ShapeError(f"load_data: the model must read ids (N, T) for a tokenizer; it reads {readable(shape)}")
    return TextEncoder(
        text.tokenizer, model.vocabulary, length=shape[1], max_length=text.max_length, padding=text.pad_id
    )


def ids_said(
    model: Model, x: Array, encoded: Encoded | None, path: Path, text: TextOptions, max_bytes: int | None
) -> dict[str, Any] | None:
    """Return what a report says of ids of tokens, None for other samples.

    Raises
    ------
    DomainError
        If they are not ids of the model.
    """
    from lieref.train.token_ids import check_ids, known_padding, lengths_of

    known = model.vocabulary
    if known is None or x.ndim != 2:
        return None
    padding = known_padding("load_data", known, text.pad_id, str(path)) if encoded is None else encoded.padding
    check_ids("load_data", x, known, padding=padding, of=f"{known.name} of {path}".removeprefix(" of "))
    x = known.ids(x)
    if encoded is None and model.derived_inputs and path.suffix.lower() == ".npz":
        check_given_masks(model, path, x, padding, max_bytes)
    said = {"vocabulary": known.rows, **lengths_of(x, padding)}
    if encoded is None:
        return said
    return {**said, "cut": encoded.cut, "side": encoded.side, "tokenizer": Path(text.tokenizer or "").name}


def check_given_masks(model: Model, path: Path, x: Array, padding: int | None, max_bytes: int | None) -> None:
    """Raise `DomainError` if an ``.npz`` holds inputs that the model computes from its ids, and they say otherwise."""
    from lieref.model.mask_inputs import check_given
    from lieref.train.npz import npz_names, read_npz

    both = tuple(name for name in model.derived_inputs if name in npz_names(path))
    for name, given in read_npz(path, both, max_bytes=max_bytes).items():
        check_given("load_data", name, given, x, padding, str(path))


def without_padding(task: Task, padding: int | None) -> Task:
    """Return the task, which does not learn to predict the padding where it is next tokens and names no id itself."""
    from lieref.train.position_tasks import Tokens

    return replace(task, ignore_index=padding) if isinstance(task, Tokens) and task.ignore_index is None else task
