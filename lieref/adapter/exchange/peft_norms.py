"""Normalisations that are trained whole, as PEFT's LN_TUNING."""

from __future__ import annotations

from collections.abc import Mapping

from lieref._types import Array
from lieref.adapter.exchange.lycoris_norms import norm_modules
from lieref.adapter.exchange.names import Traces
from lieref.adapter.exchange.peft_module import Form
from lieref.adapter.model import Model
from lieref.model.site import Site


def norm_forms(model: Model, vectors: Mapping[str, Site], found: Traces) -> dict[str, Form]:
    """Return what each normalisation has in the file, by its path; nothing where other vectors are adapted too.

    Parameters
    ----------
    model : Model
    vectors : mapping
        Sites that are of no layer's weight, by tensor.
    found : Traces
    """
    modules = norm_modules(model.graph, found)
    if set(vectors) - {name for module in modules for name in (module.scale, module.shift)}:
        return {}
    stored = dict(model.graph.initializers)
    forms = {}
    for module in modules:
        own = {"weight": module.scale, "bias": module.shift}
        if not set(own.values()) & set(vectors):
            continue
        tensors: dict[str, Array] = {
            f"ln_tuning_layers.{ending}": vectors[name].adapted(stored)[name] if name in vectors else stored[name]
            for ending, name in own.items()
            if name is not None
        }
        forms[module.path] = Form("LN_TUNING", tensors)
    return forms
