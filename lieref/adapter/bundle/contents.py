"""What goes into a bundle beside its envelope, made from the update of a quantised file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lieref._record import dataclass
from lieref._types import Array
from lieref.errors import UnsupportedError


@dataclass(frozen=True)
class Contents:
    """The two files of a bundle and what the statement says of them.

    Attributes
    ----------
    files : dict of str to bytes
    merged_sha256 : str or None
        Of what base and payload make together.
    left_out : tuple of str
        See `lieref.adapter.bundle.create.Created`.
    network_sha256 : str or None
    """

    files: dict[str, bytes]
    merged_sha256: str | None
    left_out: tuple[str, ...]
    network_sha256: str | None = None


def bundled_update(
    folder: str | Path, base: str | Path, semantics: str | None, samples: Mapping[str, Array] | None
) -> Contents:
    """Return an update with its places and a self-test.

    Parameters
    ----------
    folder : path
        Of the update.
    base : path
        The quantised file that it is for.
    semantics : str, optional
        See `lieref.adapter.integer.self_test_making.make_self_test`.
    samples : mapping of str to array, optional
        Inputs by the name of the network's input, or as ``x``.

    Raises
    ------
    LierefError
        If the update is not of this file, or the self-test asked for cannot be made.
    """
    from lieref.adapter.integer.folder import read_update
    from lieref.adapter.integer.form import SELF_TEST
    from lieref.adapter.integer.placing import encode_placed
    from lieref.adapter.integer.self_test_making import given_input, make_self_test
    from lieref.model.integer.reader import read_integer

    graph = read_integer(base)
    update = read_update(folder, graph).sealed(graph)
    x = None if samples is None else given_input("create_bundle", graph, samples)
    more, left_out = {}, []
    try:
        more[SELF_TEST] = make_self_test(graph, update.patched(graph)[0], semantics, x)
    except UnsupportedError as error:
        left_out.append(f"self-test: {error}")
    return Contents(encode_placed(update, graph, more), update.result_sha256, tuple(left_out))
