"""A method's configuration with every option written out, so that no later default can change what it means."""

from __future__ import annotations

import dataclasses
from typing import Any

from lieref._types import Shape
from lieref.param._base import Parameterisation
from lieref.param.combination import Combination
from lieref.param.dora import Dora
from lieref.param.method import Method
from lieref.param.registry import PARAMETERISATIONS, options_of


def written_out(method: Method, shape: Shape | None = None, groups: int = 1) -> dict[str, Any]:
    """Return options of `get_method` that make a method which computes the same, none left to a default.

    Parameters
    ----------
    method : Method
    shape, groups
        Weight that it adapts. Without one ``share_groups`` may be None: the shape decides.

    Returns
    -------
    dict
        ``name`` and every option that the method has, as plain JSON values; None only where it is a value of its own.
    """
    parameterisation = getattr(_inner(method), "parameterisation", None)
    known = {option: _value(method, parameterisation, option) for option in options_of(method.name)}
    if shape is not None and known.get("share_groups", 0) is None:
        known["share_groups"] = _shares(method, shape, groups)
    return {"name": method.name, **known}


def _inner(method: Method) -> Method:
    return method.direction if isinstance(method, Dora) else method


def _value(method: Method, parameterisation: Parameterisation | None, option: str) -> Any:
    """Return the value of one option, with what the method makes of None where it makes something of it."""
    inner = _inner(method)
    if isinstance(inner, Combination):
        found = {"map": inner.map.spec, "action": inner.action.spec, "lora_dropout": float(inner.lora_dropout),
                 "strict": bool(getattr(inner.action, "strict", False)),
                 "detach_norm": bool(getattr(method, "detach_norm", False))}  # fmt: skip
        if option in found:
            return found[option]
    if option == "lora_alpha":
        return method.alpha
    if option == "map":
        return method.map.spec  # type: ignore[attr-defined]  # of what rotates filters by blocks
    if option == "init_lora_weights" and not hasattr(parameterisation, option):
        return getattr(parameterisation, "start")  # noqa: B009  a low rank that starts elsewhere
    if hasattr(parameterisation, option):
        value = getattr(parameterisation, option)
        return list(value) if isinstance(value, tuple) else value
    if option in method.recipe.settings:
        return method.recipe.settings[option]
    fields = (field for kind in PARAMETERISATIONS.values() for field in dataclasses.fields(kind))
    return next(field.default for field in fields if field.name == option)


def _shares(method: Method, shape: Shape, groups: int) -> bool:
    """Return whether several conv groups share one set of factors."""
    inner = _inner(method)
    seen = inner._factor_shape(shape, groups) if isinstance(inner, Combination) else (shape, groups)
    parameterisation: Parameterisation = inner.parameterisation  # type: ignore[attr-defined]
    return seen[1] > 1 and parameterisation.factor_groups(*seen) == 1
