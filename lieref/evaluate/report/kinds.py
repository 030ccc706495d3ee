"""The table of results that commands record: the file of each, how it is told from others, and its page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lieref.evaluate.report.carry_page import carry_page
from lieref.evaluate.report.compare_page import compare_page
from lieref.evaluate.report.content import Page
from lieref.evaluate.report.demo_page import demo_page
from lieref.evaluate.report.finetune_page import finetune_page
from lieref.evaluate.report.fleet_page import fleet_page
from lieref.train.history import History


@dataclass(frozen=True)
class Kind:
    """What one command records.

    Attributes
    ----------
    command : str
    file : str
        Its name in the folder of the command.
    fields : frozenset of str
        A result that has all of them is of this kind; the first kind that fits is taken.
    page : callable
        Gives the page of a result; of one with a history beside it also takes that, or None.
    has_history : bool
        Whether a history.json lies beside it.
    """

    command: str
    file: str
    fields: frozenset[str]
    page: Callable[..., Page]
    has_history: bool = False

    def of(self, values: dict[str, Any], history_of: Callable[[], History | None] | None) -> Page:
        """Return the page of a result; raises what its page does."""
        if not self.has_history:
            return self.page(values)
        return self.page(values, None if history_of is None else history_of())


KINDS = (
    Kind("compare", "comparison.json", frozenset({"rows", "conclusions"}), compare_page),
    Kind("fleet", "fleet.json", frozenset({"devices", "summary"}), fleet_page),
    Kind("demo", "report.json", frozenset({"methods", "shift"}), demo_page, has_history=True),
    Kind("carry", "report.json", frozenset({"by_layer", "result_sha256"}), carry_page),
    Kind("finetune", "report.json", frozenset({"method", "trainable", "train_seconds"}), finetune_page, True),
)

FILES = tuple(dict.fromkeys(kind.file for kind in KINDS))
"""What a folder may hold."""

COMMANDS = f"{', '.join(kind.command for kind in KINDS[:-1])} or {KINDS[-1].command}"
"""For messages."""


def kind_of(values: dict[str, Any]) -> Kind | None:
    """Return the kind of a result, None where it is none."""
    return next((kind for kind in KINDS if kind.fields <= values.keys()), None)
