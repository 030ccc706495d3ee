"""Inputs that follow from the ids of tokens: the mask of padding, and the kind of sentence.

Exporters give encoders several inputs, which for one sentence a sample say nothing that the ids do not: attention_mask
is 1 where a token is no padding, token_type_ids are 0. Here nodes compute them, so that the network reads ids alone;
the file, and what is merged into it, keeps its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError
from lieref.model.graph import Node, TensorInfo

MASK, KINDS = "attention_mask", "token_type_ids"
"""Names that exporters give these inputs."""

_PADDING = "lieref.padding_id"


def ids_among(inputs: tuple[TensorInfo, ...]) -> TensorInfo | None:
    """Return the input of ids where all others follow from it, None where they do not."""
    ids = [info for info in inputs if info.name not in (MASK, KINDS)]
    if len(ids) != 1 or len(inputs) == 1 or ids[0].dtype not in ("int32", "int64"):
        return None
    return ids[0] if all(len(info.shape) == 2 for info in inputs) else None


def mask_nodes(
    onnx: Any, inputs: tuple[TensorInfo, ...], ids: TensorInfo, padding: int | None
) -> tuple[list[Node], Mapping[str, Array]]:
    """Return the nodes that compute the other inputs from the ids, and the constants that they read.

    Parameters
    ----------
    onnx : module
    inputs : tuple of TensorInfo
    ids : TensorInfo
        One of them.
    padding : int or None
        Id that the mask leaves out; of None it leaves out nothing.
    """
    nodes: list[Node] = []
    held: dict[str, Array] = {}
    for info in inputs:
        if info.name == ids.name:
            continue
        to = int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(info.dtype)))
        equal, said = f"{info.name}.equal", f"{info.name}.said"
        against = ids.name
        if padding is not None and info.name == MASK:
            against, held = _PADDING, {_PADDING: np.array(padding, ids.dtype)}
        nodes.append(Node(equal, "Equal", (ids.name, against), (equal,)))
        # An id equals itself: of no padding the mask is 1 everywhere, and "not equal" is 0 everywhere.
        inverted = info.name == KINDS or against == _PADDING
        if inverted:
            nodes.append(Node(said, "Not", (equal,), (said,)))
        nodes.append(Node(info.name, "Cast", (said if inverted else equal,), (info.name,), {"to": to}))
    return nodes, held


def check_given(function: str, name: str, given: Any, ids: Array, padding: int | None, source: str) -> None:
    """Raise `DomainError` if an input that is computed from the ids was given, and says otherwise.

    Parameters
    ----------
    function, source : str
        Name of the caller and of what holds the input, for the message.
    name : str
        Of the input.
    given : array
    ids : (N, T) array of integers
    padding : int or None
    """
    masks = np.ones(ids.shape, bool) if padding is None else ids != padding
    if not np.array_equal(given, masks if name == MASK else np.zeros(ids.shape, bool)):
        rule = "0 where an id is padding (padding_id, --pad-id) and else 1" if name == MASK else "0"
        raise DomainError(
            f"{function}: {name} of {source} must be {rule}, as it is computed; got another "
            "(derive=False, --given-masks takes it as it is)"
        )


def check_recorded(section: Mapping[str, Any], padding: int | None, derived: tuple[str, ...], source: str) -> None:
    """Raise `DomainError` if an adapter was trained with another id of padding; earlier ones do not say.

    Parameters
    ----------
    section : mapping
        Of its configuration.
    padding : int or None
        Id that the network was loaded with.
    derived : tuple of str
        Inputs that follow from the ids: where there are any, no id is another one.
    source : str
        The adapter, for the message.
    """
    if "padding_id" not in section or section["padding_id"] == padding or (padding is None and not derived):
        return
    known = section["padding_id"]
    raise DomainError(
        f"load_adapter: `padding_id` must be {known}, with which the adapter in {source} was trained; got {padding} "
        f"(load(path, padding_id={known}), --pad-id)"
    )


def describe(names: tuple[str, ...], padding: int | None) -> str:
    """Return a line on what the inputs of these names are."""
    where = "1 everywhere, no id is padding" if padding is None else f"0 where the id is {padding}, which is padding"
    said = {MASK: f"{MASK} is {where}", KINDS: f"{KINDS} are 0"}
    return "; ".join(said[name] for name in names)
