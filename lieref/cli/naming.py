"""Errors of a command name the command, not the function that found them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from lieref.errors import LierefError


def names_itself(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose errors begin with its name, where they would with that of a function of lieref."""

    @functools.wraps(command)
    def named(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except LierefError as error:
            function, colon, rest = str(error).partition(": ")
            own = click.get_current_context().command_path.partition(" ")[2]
            if colon and function.isidentifier() and function != own.partition(" ")[0]:
                raise type(error)(f"{own}: {rest}") from error
            raise

    return named
