"""Docstrings read as data."""

from __future__ import annotations

from lieref.param.docstring import arguments, cited, paragraphs, plain, table


class Base:
    """A base.

    Parameters
    ----------
    shared : bool, optional
        Of the base,
        on two lines.
    """


class Child(Base):
    """xi = `a` b.

    The ``second`` paragraph [Hu21], which
    goes on [Si25, section 3].

    ======= ======
    name    is
    ======= ======
    ``one`` 1 of 2
    two     [Xie20]
    ======= ======

    - a list
    - of two

    Parameters
    ----------
    a, b : int
        Both `at least` 1.

        More of it.
    mode : {"x", "y"}

    Attributes
    ----------
    name : str
        What it is.

    Raises
    ------
    ValueError : never
        Is no argument.
    """


def test_paragraphs_come_before_the_sections() -> None:
    first, second, third, fourth = paragraphs(Child)
    assert first == "xi = a b."
    assert second == "The second paragraph [Hu21], which goes on [Si25, section 3]."
    assert third.split("\n") == [
        "======= ======", "name    is", "======= ======", "one     1 of 2", "two     [Xie20]", "======= ======",
    ]  # fmt: skip
    assert fourth == "- a list\n- of two"


def test_arguments_of_a_class_are_those_of_its_bases_too() -> None:
    found = arguments(Child)
    assert found == {
        "shared": ("bool, optional", "Of the base, on two lines."),
        "a": ("int", "Both at least 1. More of it."),
        "b": ("int", "Both at least 1. More of it."),
        "mode": ('{"x", "y"}', ""),
        "name": ("str", "What it is."),
    }
    assert arguments(Base).keys() == {"shared"}


def test_arguments_of_a_function() -> None:
    def function(x: int) -> None:
        """Do it.

        Parameters
        ----------
        x : int
            A number.
        """

    assert arguments(function) == {"x": ("int", "A number.")}
    assert paragraphs(function) == ["Do it."]


def test_a_table_is_its_rows() -> None:
    assert table(Child) == [("``one``", "1 of 2"), ("two", "[Xie20]")]
    assert table(Base) == []


def test_citations_are_keys_in_order() -> None:
    assert cited("[Hu21], [Si25, section 3] and [Hu21]; x[i] [0, 1] [Liu24B]") == ["Hu21", "Si25", "Liu24B"]


def test_a_class_without_a_docstring_says_nothing() -> None:
    class Bare(Child):
        pass

    assert paragraphs(Bare) == []
    assert plain("`a` ``b``") == "a b"
