"""What a network computes: a graph, what it is folded to, which of its tensors the losses read, and what runs it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Self

from lieref.model.choice import EngineChoice
from lieref.model.fold import Fold, fold_batch_norm
from lieref.model.graph import Graph, Node
from lieref.model.head import Head
from lieref.model.scores import logits_name, probabilities


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
    """

    graph: Graph
    folded: Graph
    folds: tuple[Fold, ...]
    logits_name: str
    probabilities: Node | None
    choice: EngineChoice
    head: Head | None = None

    @classmethod
    def of(cls, graph: Graph, source: str, head: Head | None = None) -> Self:
        """Return the form of a graph; `source` names the network in warnings."""
        folded, folds = fold_batch_norm(graph)
        logits = logits_name(folded)
        return cls(graph, folded, folds, logits, probabilities(folded), EngineChoice(folded, logits, source), head)

    def __copy__(self) -> Self:
        """Return a form that asks for the same engine, and shares no compiled program."""
        return replace(self, choice=copy.copy(self.choice))
