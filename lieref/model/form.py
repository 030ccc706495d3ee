"""What a network computes: a graph, what it is folded to, which of its tensors the losses read, and what runs it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Self

from lieref.model.choice import EngineChoice
from lieref.model.fold import Fold, fold_batch_norm
from lieref.model.graph import Graph, Node
from lieref.model.head import Head
from lieref.model.outputs import scores_names, with_row
from lieref.model.samples_axis import samples_first
from lieref.model.scores import probabilities


@dataclass(frozen=True)
class Form:
    """One graph, ready to be computed.

    Attributes
    ----------
    graph : Graph
        In plain form.
    folded : Graph
        BatchNormalization in the weights of layers, as far as it goes.
    folds : tuple of Fold
    logits_name : str
        Tensor of it that the losses read.
    probabilities : Node or None
        What makes probabilities of the scores that they would read.
    choice : EngineChoice
    head : Head or None
        The new head that the graph ends in.
    final : str
        The final operator that the losses leave out, one of `lieref.model.scores.FINAL`.
    outputs : int
        How many of the first outputs they read; `folded` puts the scores of several into one row.
    scores : str
        Tensor of the file whose numbers those of `logits_name` are.
    samples_axis : int
        Where the samples stand in it; in `logits_name` they are the first axis.
    """

    graph: Graph
    folded: Graph
    folds: tuple[Fold, ...]
    logits_name: str
    probabilities: Node | None
    choice: EngineChoice
    head: Head | None = None
    final: str = "Softmax"
    outputs: int = 1
    scores: str = ""
    samples_axis: int = 0

    @classmethod
    def of(cls, graph: Graph, source: str, head: Head | None = None) -> Self:
        """Return the form of a graph; `source` names the network in warnings."""
        folded, folds = fold_batch_norm(graph)
        (scores,) = scores_names(folded, 1, "Softmax")
        node = probabilities(folded, scores)
        folded, (logits,), (axis,) = samples_first(folded, [scores])
        choice = EngineChoice(folded, logits, source)
        return cls(graph, folded, folds, logits, node, choice, head, scores=scores, samples_axis=axis)

    def reading(self, final: str, outputs: int, source: str) -> Self:
        """Return the form whose losses read the scores of so many outputs before a final operator of this kind."""
        folded, _ = fold_batch_norm(self.graph)
        scores = scores_names(folded, outputs, final)
        if [self.scores] == scores and self.outputs == 1:
            return replace(self, final=final, probabilities=probabilities(folded, scores[0], final))
        made = [probabilities(folded, name, final) for name in scores]
        node = next((node for node in made if node is not None), None)
        folded, first, axes = samples_first(folded, scores)
        folded, logits = (folded, first[0]) if outputs == 1 else with_row(folded, first)
        choice = EngineChoice(folded, logits, source)
        choice.ask(self.choice.asked)
        return replace(
            self, folded=folded, logits_name=logits, probabilities=node, choice=choice, final=final, outputs=outputs,
            scores=scores[0], samples_axis=axes[0],
        )  # fmt: skip

    def __copy__(self) -> Self:
        """Return a form that asks for the same engine, and shares no compiled program."""
        return replace(self, choice=copy.copy(self.choice))
