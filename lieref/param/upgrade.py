"""Configurations of methods as earlier versions meant them, in the words of this one.

The format of an adapter file says under which version its configurations were written. Version 2 differs from 1 thus:

- `boft` and every butterfly put the indices of later stages into other blocks;
- `ia3` left the bias of the layer alone;
- alpha was r by default also where it is divided by sqrt(r), and 8 in `lora-c`;
- the `factor` of a Kronecker product was ignored where it did not divide;
- the channels of a depthwise kernel had factors of their own;
- `convolutional-low-rank-adaptation` was called `colora`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lieref._types import Shape
from lieref.errors import UnsupportedError
from lieref.param.kronecker import split
from lieref.param.registry import METHODS, PARAMETERISATIONS, RENAMED

VERSION = 2
"""Raised, with the format of adapter files, whenever an unchanged configuration comes to mean something else."""


def upgraded(config: Mapping[str, Any], version: int, shape: Shape | None = None, groups: int = 1) -> dict[str, Any]:
    """Return the options of `get_method` that mean now what `config` meant under `version`.

    Parameters
    ----------
    config : mapping
        As `Method.config` gave it.
    version : int
        1 to `VERSION`.
    shape, groups
        The weight the method adapts; what depends on it is left as it is without one.

    Raises
    ------
    UnsupportedError
        If this version has nothing that computes the same; the message names the method.
    """
    new = dict(config)
    if version >= 2:
        return new
    name = new["name"] = RENAMED.get(str(config["name"]), str(config["name"]))
    row = METHODS.get(name)
    parameterisation = row.parameterisation if row is not None else name.partition("+")[0]
    if parameterisation == "butterfly":
        raise UnsupportedError(f"upgrade: {name} must be of version 2, whose blocks hold other indices than those of "
                               "version 1; got an adapter of version 1, which has to be trained again")  # fmt: skip
    if name == "ia3":
        new.setdefault("action", "scaling")
    if (name == "rslora" or new.get("use_rslora")) and new.get("lora_alpha") is None:
        new["lora_alpha"] = float(new.get("r", 4))
    if name == "lora-c" and new.get("lora_alpha") is None:
        new["lora_alpha"] = 8.0
    if shape is None:
        return new
    sizes = (shape[0] // groups, *shape[1:2])
    factor = new.get("factor")
    if parameterisation == "kronecker" and factor is not None:
        if all(size % factor for size in sizes):
            new["factor"] = None
        elif any(size % factor and split(size, factor) != split(size, None) for size in sizes):
            raise UnsupportedError(f"upgrade: `factor` of {name} in version 1 must divide both of {sizes} or none; "
                                   f"got {factor}, and the adapter has to be trained again")  # fmt: skip
    recipe = PARAMETERISATIONS.get(parameterisation or "")
    if shape[0] == groups > 1 and recipe and recipe.groups_matter and new.get("share_groups") is None:
        new["share_groups"] = False
    return new
