"""Several adapters of one network by name: which of them it computes with, and how they come, change and go.

The base is kept beside them and never changed. An adapter that is not active is held with its factors; to make another
active, or none, is to compute with other factors from then on, so that every way back is exact to the bit. Nothing is
ever divided or subtracted out of a weight.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

from lieref._threads import Use
from lieref._types import FloatArray
from lieref.errors import DomainError, DTypeError, LierefWarning, VerificationError
from lieref.model.attaching import share_memory
from lieref.model.graph import Graph
from lieref.model.head import NewHead
from lieref.model.held import Held, Merged, copied, together
from lieref.model.identity import tensors_digest
from lieref.model.network import Network

DEFAULT = "default"
"""Name of what is attached or loaded without one."""


class Named(Network):
    """A network with several adapters by name, of which those that are active are computed with and trained.

    What is attached or loaded without a name is called ``default``. Other threads that predict while the active adapter
    changes see the one or the other, never a mixture.
    """

    classes: tuple[str, ...] | None = None
    _plain_classes: tuple[str, ...] | None = None
    _plain_preprocessing: dict[str, Any] | None = None

    def __init__(self, graph: Graph, proto: Any, source: str, base_sha256: str) -> None:
        self._held: dict[str, Held] = {}
        self._active: tuple[str, ...] = ()
        self._paused = False
        self._merged_in: Merged | None = None
        super().__init__(graph, proto, source, base_sha256)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy starts with: every adapter, the active ones active, their factors its own."""
        with self._alone.take("copy"), self._lock:
            self._stash()
            state = super().__getstate__()
            copies = {id(site): state["sites"][tensor] for tensor, site in self.sites.items()}
            forms = {id(self._form): state["_form"]}
            held = {name: copied(each, copies, forms) for name, each in self._held.items()}
            return {**state, "_held": held, "_paused": False, "_active": () if self._paused else self._active}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become a copy."""
        super().__setstate__(state)
        for name, held in self._held.items():
            if name not in self._active or self._merged_in is not None:
                share_memory(held.sites)

    # What there is

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of all adapters, in the order they came."""
        return tuple(dict.fromkeys((*self._held, *self.active_adapters)))

    @property
    def active_adapters(self) -> list[str]:
        """Names of the adapters that the network computes with."""
        if self._active or self._paused:
            return [] if self._paused else [*self._active]
        return [DEFAULT] if self.attached or self.statistics else []

    @property
    def merged_adapters(self) -> list[str]:
        """Names of the adapters that `merge_adapter` has put into the weights."""
        return [] if self._merged_in is None else [*self._merged_in.names]

    # How they come and go

    def add_adapter(
        self,
        adapter_name: str,
        method: Any,
        *,
        target_modules: Any = None,
        head: NewHead | None = None,
        seed: int = 0,
        **config: Any,
    ) -> Self:
        """Add an untrained adapter under a new name; `set_adapter` makes it active.

        Parameters
        ----------
        adapter_name : str
            New.
        method, target_modules, head, seed, **config
            Those of `attach`.

        Raises
        ------
        DomainError
            If the name is taken.
        LierefError
            As `attach` does.
        """
        with self._alone.take("add_adapter"), self._lock:
            self._begin_change("add_adapter")
            self._check_new("add_adapter", adapter_name)
            twin = copy.copy(self)
            twin.unload().attach(method, target_modules=target_modules, head=head, seed=seed, **config)
            held = twin._now()
            classes = None if held.form is None else held.classes
            held = replace(held, task=None, preprocessing=None, classes=classes)
            self._take_in("add_adapter", held, adapter_name, active=False)
        return self

    def set_adapter(self, adapter_name: str | Sequence[str]) -> Self:
        """Compute with, and train, these adapters alone from now on; the others are kept as they are.

        Several must adapt different tensors; `add_weighted_adapter` combines those that share one.

        Raises
        ------
        DomainError
            If there is no such adapter, a name stands twice, or two adapt one tensor.
        UnsupportedError
            If one of several has a new head, or they name the outputs, their task or their preprocessing differently.
        """
        function = "set_adapter"
        names = (adapter_name,) if isinstance(adapter_name, str) else tuple(adapter_name)
        with self._alone.take(function), self._lock:
            self._begin_change(function)
            self._check_known(function, names)
            if not names or len(set(names)) < len(names):
                raise DomainError(f"{function}: `adapter_name` must be one or more names, each once; got {list(names)}")
            self._stash()
            self._show(names, self._united(function, names))
        return self

    def delete_adapter(self, adapter_name: str) -> Self:
        """Forget an adapter; if it was active, the others that were stay so, and with none the network is its base.

        Raises
        ------
        DomainError
            If there is no such adapter.
        """
        with self._alone.take("delete_adapter"), self._lock:
            self._begin_change("delete_adapter")
            self._check_known("delete_adapter", (adapter_name,))
            self._stash()
            left = tuple(name for name in self._active if name != adapter_name)
            del self._held[adapter_name]
            if left != self._active:
                self._show(left, self._united("delete_adapter", left))
        return self

    def unload(self) -> Self:
        """Remove every adapter: the network is its base again, bit for bit."""
        with self._alone.take("unload"), self._lock:
            if self._paused:
                self._begin_change("unload")
            self._held, self._active, self._merged_in = {}, (), None
            return super().unload()

    @contextmanager
    def disable_adapter(self) -> Iterator[Self]:
        """Compute with the base inside ``with``, in every thread; afterwards the active adapters are active again.

        Nothing else may change the adapters meanwhile.
        """
        with self._alone.take("disable_adapter"):
            with self._lock:
                self._begin_change("disable_adapter", merged=True)
                self._stash()
                names, shown = self._active, self._now() if self._merged_in else None
                self._show((), Held())
                self._active, self._paused = names, True
            try:
                yield self
            finally:
                with self._lock:
                    self._paused = False
                    self._show(names, self._united("disable_adapter", names) if shown is None else shown)

    # Merged into the weights, and out again

    def merge_adapter(self, adapter_names: Sequence[str] | None = None) -> Self:
        """Compute with weights that the adapters have been put into, the very ones that `merge_and_unload` would write.

        Until `unmerge_adapter` nothing can be trained, attached or saved. The adapters and the base are kept.

        Parameters
        ----------
        adapter_names : list of str, optional
            The active ones by default; others are made active first, as `set_adapter` does.

        Raises
        ------
        DomainError
            If there is nothing to merge, or something is merged; and as `set_adapter` does.
        """
        with self._alone.take("merge_adapter"), self._lock:
            self._begin_change("merge_adapter")
            if adapter_names is not None:
                self.set_adapter(adapter_names)
            self._stash()
            if not self._active:
                raise DomainError("merge_adapter: an adapter must be active; none is")
            digest, tensors = self._base_digest(), self._merged_tensors()
            # Tensors of the file by name are what re-estimated statistics are as well.
            self.sites, self.statistics, self.wants_statistics = {}, tensors, False
            self._merged_in = Merged(self._active, digest)
        return self

    def unmerge_adapter(self) -> Self:
        """Compute with the base and its adapters again, which are the same bits as before `merge_adapter`.

        Raises
        ------
        DomainError
            If nothing is merged.
        VerificationError
            If the base is not what it was then: somebody has written into its arrays.
        """
        with self._alone.take("unmerge_adapter"), self._lock:
            if self._merged_in is None:
                raise DomainError("unmerge_adapter: an adapter must be merged; none is")
            if self._paused:
                self._begin_change("unmerge_adapter")
            digest, before = self._base_digest(), self._merged_in.base_sha256
            if digest != before:
                raise VerificationError(
                    f"unmerge_adapter: the base must be what it was when merged, {before}; got {digest}: load it again"
                )
            names, self._merged_in = self._merged_in.names, None
            self._show(names, self._united("unmerge_adapter", names))
        return self

    def _merged_tensors(self) -> dict[str, FloatArray]:
        """Return the tensors that a merged network computes with, where they differ from the base's."""
        return self.adapted_tensors()

    def _base_digest(self) -> str:
        return tensors_digest(self._base.graph.initializers)

    # Held and live

    def training(self, doing: str) -> Use:
        """Return a context for a thread that trains; raises `DomainError` too where the adapters may not change."""
        self._begin_change(doing)
        return super().training(doing)

    def _begin_change(self, function: str, *, merged: bool = False) -> None:
        """Raise `DomainError` where the adapters may not change; note what the base calls its outputs."""
        if self._paused:
            raise DomainError(f"{function}: adapters must stay as they are inside disable_adapter(); got a change")
        if self._merged_in is not None and not merged:
            names = ", ".join(self._merged_in.names)
            raise DomainError(f"{function}: the adapter {names} must be unmerged first; call unmerge_adapter()")
        if function == "attach" and len(self._active) > 1:
            raise DomainError(f"attach: one adapter must be active; got {', '.join(self._active)}")
        if function == "attach" and self._held and not self.active_adapters:
            raise DomainError("attach: an adapter must be active; none is (set_adapter, or add_adapter with a name)")
        if not self.active_adapters:
            self._plain_classes, self._plain_preprocessing = self.classes, self.preprocessing

    def _check_new(self, function: str, name: Any) -> None:
        if not isinstance(name, str):
            raise DTypeError(f"{function}: `adapter_name` must be text; got {name!r}")
        if not name or name in self.adapters:
            raise DomainError(
                f"{function}: `adapter_name` must be a new name; got {name!r} (hotswap_adapter replaces an adapter, "
                "delete_adapter forgets one)"
            )

    def _check_known(self, function: str, names: Sequence[Any]) -> None:
        for name in names:
            if not isinstance(name, str):
                raise DTypeError(f"{function}: `adapter_name` must be text; got {name!r}")
            if name not in self.adapters:
                known = ", ".join(self.adapters) or "none"
                raise DomainError(f"{function}: `adapter_name` must be among the adapters, {known}; got {name!r}")

    def _holds(self, function: str, names: Sequence[Any]) -> list[Held]:
        """Return what is held under names."""
        self._check_known(function, names)
        self._stash()
        return [self._held[name] for name in names]

    def _now(self) -> Held:
        """Return what is attached now as one adapter."""
        form = None if self.head is None else self._form
        attached, statistics = tuple(self.attached), self.statistics
        said = self.classes, self.task, self.preprocessing
        return Held(form, attached, self.sites, statistics, self.wants_statistics, *said)

    def _stash(self) -> None:
        """Bring what is held up to what is live; the lock is held."""
        if self._merged_in is not None:
            return
        names = tuple(self.active_adapters)
        if not names:
            return
        now, self._active = self._now(), names
        if len(names) == 1:
            self._held[names[0]] = now
            return
        known = {key for name in names for key in self._held[name].statistics}
        for name in names:
            held = self._held[name]
            own = {key: value for key, value in self.statistics.items() if key in held.statistics}
            if name == names[-1]:  # what has been re-estimated beside them all
                own |= {key: value for key, value in self.statistics.items() if key not in known}
            sites = {tensor: self.sites[tensor] for tensor in held.sites}
            wants = held.wants_statistics and self.wants_statistics
            self._held[name] = replace(
                held, sites=sites, statistics=own, wants_statistics=wants, task=now.task or held.task
            )

    def _united(self, function: str, names: Sequence[str]) -> Held:
        """Return these adapters as one."""
        return together(function, {name: self._held[name] for name in names}, self.sites)

    def _show(self, names: tuple[str, ...], held: Held) -> None:
        """Compute with what is held from now on; the lock is held."""
        self._switch(held.form or self._base)
        self.attached, self.sites = [*held.attached], held.sites
        self.statistics, self.wants_statistics = held.statistics, held.wants_statistics
        self.classes = held.classes or (self._plain_classes if held.form is None else self.classes)
        self.task = held.task
        self.preprocessing = held.preprocessing or self._plain_preprocessing
        self._active = names

    def _take_in(self, function: str, held: Held, name: str | None, *, active: bool | None = None) -> None:
        """Hold an adapter under a new name; without one it takes the place of the default and is made active.

        Under a name it is made active where it is the first, unless `active` says otherwise.
        """
        with self._alone.take(function), self._lock:
            self._begin_change(function)
            if name is not None:
                self._check_new(function, name)
            self._stash()
            first = not self._held
            self._held[name or DEFAULT] = held
            if first if active is None and name is not None else active is not False:
                self._show((name or DEFAULT,), held)

    def _swap_in(self, function: str, new: Held, name: str) -> None:
        """Put another adapter in the place of one: into its arrays where numbers alone differ."""
        with self._alone.take(function), self._lock:
            self._begin_change(function)
            self._check_known(function, (name,))
            self._stash()
            old = self._held[name]
            if new.has_structure_of(old):
                for tensor, site in old.sites.items():
                    for factor, value in new.sites[tensor].params.items():
                        site.params[factor][...] = value
                new = replace(new, form=old.form, sites=old.sites)
            else:
                text = f"{name} has other tensors, methods or shapes: its arrays are new ones, its steps compiled anew"
                warnings.warn(f"{function}: {text}", LierefWarning, stacklevel=3)
            active = {each: new if each == name else self._held[each] for each in self._active}
            shown = together(function, active, self.sites)
            self._held[name] = new
            if name in active:
                self._show(self._active, shown)
