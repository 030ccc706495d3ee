"""Names of classes: when a set may define the outputs, and when they must be known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, LierefError
from lieref.train.classes import (
    MissingClassesWarning,
    check_classes,
    check_number_of_classes,
    listed,
    number_by_name,
    warn_missing,
)

TWELVE = tuple(sorted(map(str, range(12))))


@pytest.mark.parametrize(
    ("found", "outputs", "given"),
    [
        (("cat", "dog"), 2, False),
        (("cat", "dog"), 2, True),
        (("cat", "dog"), 5, True),
        (("1", "2", "3"), 3, False),
        (TWELVE, 12, True),
        (("10", "2", "x"), 3, False),
    ],
)
def test_names_that_can_stand_for_outputs(found: tuple[str, ...], outputs: int, given: bool) -> None:
    check_number_of_classes("f", found, outputs, "set", given=given)


@pytest.mark.parametrize(
    ("found", "outputs", "given", "message"),
    [
        (("cat", "dog"), 3, False, "f: which of the model's 3 outputs are the 2 classes of set must be known"),
        (("cat", "dog"), 1, False, "at most as many classes as the model has outputs, 1; got 2: cat, dog"),
        (("cat", "dog"), 1, True, "at most as many classes"),
        (TWELVE, 12, False, "must have an order; sorted as text their numbers are 0, 1, 10, 11, 2 and 7 more"),
    ],
)
def test_names_that_cannot(found: tuple[str, ...], outputs: int, given: bool, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        check_number_of_classes("f", found, outputs, "set", given=given)


@pytest.mark.parametrize(
    ("classes", "error", "message"),
    [
        ("cat", DTypeError, "sequence of names"),
        ([1, 2], DTypeError, "sequence of names"),
        (None, DTypeError, "sequence of names"),
        ([], DomainError, "none of them empty"),
        (["cat", " "], DomainError, "none of them empty"),
        (["cat", "dog", "cat"], DomainError, "'cat' twice"),
        (["\u00e9", "e\u0301"], DomainError, "twice"),
    ],
)
def test_check_classes_refuses(classes: Any, error: type[LierefError], message: str) -> None:
    with pytest.raises(error, match=f"f: `classes` must .*{message}"):
        check_classes("f", classes)


def test_labels_follow_their_names() -> None:
    labels = number_by_name("f", ("ant", "cow"), np.array([0, 1, 1, 0]), ("cow", "bee", "ant"), "set")
    np.testing.assert_array_equal(labels, [2, 0, 0, 2])
    with pytest.raises(DomainError, match=r"the classes of set must be among the model's \(cow, bee\); got ant"):
        number_by_name("f", ("ant", "cow"), np.array([0]), ("cow", "bee"), "set")


def test_missing_classes_are_counted_and_the_first_named() -> None:
    with pytest.warns(
        MissingClassesWarning, match=r"f: set holds no sample of 7 of the 8 classes: 0, 1, 3, 4, 5 and 2 m"
    ):
        assert len(warn_missing("f", np.array([2, 2]), [str(n) for n in range(8)], "set")) == 7
    assert warn_missing("f", np.array([1, 0]), ["a", "b"], "set") == ()


def test_long_lists_are_cut() -> None:
    assert listed(list("abcde")) == "a, b, c, d, e"
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"
