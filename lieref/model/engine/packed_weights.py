"""Packed weights: what the kernels read, filled from the initializers in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lieref._types import Array, FloatArray
from lieref.errors import InternalError
from lieref.kernel.simd.memory import address_of, aligned, leave_holes
from lieref.model.engine.weights import Storage


class Contents(NamedTuple):
    """Initializers in use, and the arrays they were given as: neither dict is changed, both are replaced."""

    values: Mapping[str, FloatArray]
    given: Mapping[str, Array]

    @classmethod
    def of(cls, given: Mapping[str, Array], dtype: np.dtype[Any]) -> Contents:
        """Return the contents for arrays; those of this type are shared, not copied: nobody writes to them."""
        return cls({name: np.asarray(value, dtype) for name, value in given.items()}, given)


class PackedWeights:
    """One version of the packed weights, read by any number of sessions.

    Plans of a network differ in the pixels they work on, so one version serves all of them.

    Attributes
    ----------
    addresses : dict of str to int
        Entries of the context: what the kernels read, and adapted weights before adaptation.
    prepared : list of bool
        Whether the packs that are computed from others are up to date, for inference and for training.
    users : int
        Sessions that may be reading it. It is changed only where there are none.
    """

    def __init__(self, storage: Storage, contents: Contents) -> None:
        for pack in storage.packs:
            known, want = contents.values[pack.name].size, pack.layout.elements
            if known != want:
                raise InternalError(f"compile_graph: {pack.name} must have {want} elements; got {known}")
        self._storage = storage
        self._weights = aligned(storage.weight_size, storage.dtype)
        self._bases = aligned(storage.base_size, storage.dtype)
        leave_holes(self._bases)
        for (numbers, times), offset in storage.constants.items():
            self._weights[offset : offset + len(numbers) * times] = np.tile(numbers, times)
        self.addresses = {"weights": address_of(self._weights), "bases": address_of(self._bases)}
        self.prepared = [False, False]
        self.users = 0
        self._contents = contents
        self._stale = frozenset(contents.values)

    @property
    def values(self) -> Mapping[str, FloatArray]:
        """The initializers in use."""
        return self._contents.values

    def differing(self, initializers: Mapping[str, Array]) -> dict[str, Array]:
        """Return those of the initializers that are other arrays than were given last."""
        given = self._contents.given
        return {name: initializers[name] for name in given if initializers.get(name, given[name]) is not given[name]}

    def changed(self, contents: dict[str, Array]) -> PackedWeights:
        """Return these weights with some initializers replaced: this object where nobody reads it, else a copy."""
        target = self if self.users == 0 else PackedWeights(self._storage, self._contents)
        known = target._contents
        # First what is no longer right, so that an interruption at any moment leaves something that `fill` mends.
        target._stale |= frozenset(contents)
        target.prepared = [False, False]
        new = Contents.of(contents, np.dtype(self._storage.dtype))
        target._contents = Contents({**known.values, **new.values}, {**known.given, **contents})
        target.fill()
        return target

    def fill(self) -> None:
        """Copy what has changed into the kernels' layouts; an adapted weight is then the base."""
        stale, weights = self._stale, self._contents.values
        if not stale:
            return
        for derived in self._storage.derived:
            if stale & set(derived.affine.names):
                vector = derived.affine.vectors(weights, derived.channels)[derived.which]
                self._weights[derived.offset : derived.offset + derived.channels] = vector
        for one in self._storage.arranged:
            if one.name in stale:
                one.view(self._weights)[...] = weights[one.name].ravel()[one.places]
        for pack in self._storage.packs:
            if pack.copied and pack.name in stale:
                memory = self._bases if pack.name in self._storage.adapters else self._weights
                pack.layout.pack(weights[pack.name].ravel(), memory)
        self._stale = frozenset()
