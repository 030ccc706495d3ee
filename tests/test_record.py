"""`lieref._record.dataclass` against the dataclass of the standard library."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any, ClassVar

import pytest

from lieref._record import dataclass


@dataclass(frozen=True)
class Point:
    """A class with every kind of field."""

    x: int
    y: float = 2.0
    names: list[str] = dataclasses.field(default_factory=list, compare=False)
    secret: bytes = dataclasses.field(default=b"", repr=False)
    kind: ClassVar[str] = "point"

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x")

    @property
    def twice(self) -> int:
        return 2 * self.x


@dataclass(frozen=True)
class Deep(Point):
    """A class below another, with a field that is given by name alone."""

    z: str = "z"
    end: int = dataclasses.field(default=0, kw_only=True)


@dataclass(frozen=True)
class Below(Deep):
    """A class below that: its field comes after the one given by name, which is passed over."""

    last: str = "last"


@dataclasses.dataclass(frozen=True)
class Standard:
    """The same fields in the standard library's way."""

    x: int
    y: float = 2.0
    names: list[str] = dataclasses.field(default_factory=list, compare=False)
    secret: bytes = dataclasses.field(default=b"", repr=False)


def test_a_record_says_and_holds_what_a_dataclass_does() -> None:
    one, other = Point(1, secret=b"s"), Standard(1, secret=b"s")
    assert repr(one) == repr(other).replace("Standard", "Point")
    assert dataclasses.asdict(one) == dataclasses.asdict(other)
    assert [f.name for f in dataclasses.fields(one)] == [f.name for f in dataclasses.fields(other)]
    assert Point.__match_args__ == Standard.__match_args__
    assert hash(one) == hash(other)
    assert one.twice == 2
    assert Point(1).names is not Point(1).names


def test_equality_is_of_one_class_and_of_the_fields_that_compare() -> None:
    assert Point(1, names=["a"]) == Point(1, 2.0, ["b"])
    assert Point(1) != Point(1, 3.0)
    assert Point(1) != Deep(1)
    assert Point(1) != Standard(1)
    assert len({Point(1), Point(1, names=["c"]), Point(2)}) == 2


def test_a_record_below_another_has_its_fields_too() -> None:
    deep = Deep(1, z="end")
    assert (deep.x, deep.y, deep.z) == (1, 2.0, "end")
    assert repr(deep) == "Deep(x=1, y=2.0, names=[], z='end', end=0)"


def test_a_field_of_the_name_alone_is_none_of_the_positions() -> None:
    below = Below(1, 2.0, [], b"", "z", "l", end=5)
    assert (below.last, below.end) == ("l", 5)
    with pytest.raises(TypeError, match="each once; got 7"):
        Below(1, 2.0, [], b"", "z", "l", 5)


def test_replace_copy_and_pickle_make_equal_records() -> None:
    one = Deep(1, 5.0, ["n"], b"s", "q")
    for again in (dataclasses.replace(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert again == one
        assert again.names == one.names
    assert dataclasses.replace(one, x=7).x == 7
    with pytest.raises(ValueError, match="x"):
        dataclasses.replace(one, x=-1)


def test_nothing_can_be_set_or_removed() -> None:
    one: Any = Point(1)
    for change in (lambda: setattr(one, "x", 2), lambda: setattr(one, "new", 2), lambda: delattr(one, "x")):
        with pytest.raises(dataclasses.FrozenInstanceError, match=r"^cannot (assign to|delete) field '(x|new)'$"):
            change()
    assert one == Point(1)


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((1, 2.0, [], b"", 5), {}), ((1,), {"x": 1}), ((1,), {"unknown": 1})],
    ids=["missing", "too-many", "twice", "unknown"],
)
def test_arguments_must_be_the_fields_each_once(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    for cls in (Point, Standard):
        with pytest.raises(TypeError):
            cls(*values, **named)


def test_there_are_frozen_ones_only() -> None:
    with pytest.raises(TypeError, match="`frozen` must be True; got False"):
        dataclass(frozen=False)
