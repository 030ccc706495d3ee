"""A graph with adapters, and which of its tensors the losses read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lieref._check import check_choice
from lieref.model.adapters import TOOLS
from lieref.model.division import Division
from lieref.model.fed import Fed
from lieref.model.fold import fold_batch_norm
from lieref.model.form import Form
from lieref.model.graph import Graph
from lieref.model.memo import Memo
from lieref.model.outputs import scores_names, shapes_of_scores, with_row
from lieref.model.scores import FINAL


class Readable(Fed):
    """A graph with adapters, and what the losses read of it.

    Attributes
    ----------
    outputs : tuple of str
        The file's names of the outputs; the first is what `predict` returns and losses read.
    output_weights : dict of str to float
        The outputs that whoever loaded the network has asked for, and the factors of their losses; they are the first.
    """

    _tools = TOOLS | {"_divided", "_alone_read"}

    def __init__(self, graph: Graph, source: str) -> None:
        super().__init__(graph, source)
        self.outputs = graph.outputs
        self.output_weights: dict[str, float] = {}

    def _make_tools(self) -> None:
        """Make what is no state: what has been computed, and locks."""
        super()._make_tools()
        self._divided: Memo[Division] = Memo()
        self._alone_read: Memo[Form] = Memo()

    @property
    def reading(self) -> str:
        """The final operator that `logits` and the losses leave out: "Softmax" (default), "Sigmoid", or "" for none.

        A training run sets it to what its task wants. What `predict` returns does not depend on it.
        """
        return self._form.final

    @reading.setter
    def reading(self, final: str) -> None:
        if check_choice("reading", "reading", final, FINAL) != self._form.final:
            with self._alone.take("reading"), self._lock:
                self._read(final, self._form.outputs)

    def train_outputs(self, weights: Mapping[str, float]) -> None:
        """Let the losses read these outputs, the first of the graph, with these factors."""
        with self._alone.take("train_outputs"), self._lock:
            self.output_weights = dict(weights)
            self._read(self._form.final, max(len(weights), 1))

    def _read(self, final: str, outputs: int) -> None:
        form = self._form.reading(final, outputs, self.source)
        if form.choice is not self._form.choice:
            self._divided = Memo()
        if self._base is self._form:
            self._base = form
        self._form = form

    def output_shapes(self, sample: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of what the losses read of each output they read, for one sample of this shape."""
        folded, _ = fold_batch_norm(self.graph)
        return shapes_of_scores(folded, sample, scores_names(folded, self._form.outputs, self.reading))

    def _trained_graph(self) -> Graph:
        """Return the graph whose first output is all that the losses read."""
        count = self._form.outputs
        if count < 2:
            return self.graph
        graph, row = with_row(self.graph, self.graph.outputs[:count])
        return replace(graph, outputs=(row,))

    def _first(self) -> Form:
        """Return what computes the first output: what the losses read, unless they read several."""
        if self._form.outputs < 2:
            return self._form
        found = self._alone_read.get((self._form,), lambda: self._form.reading(self.reading, 1, self.source))
        found.choice.ask(self.choice.asked)
        return found
