"""An adapter of lieref's as a folder that PEFT 0.21.2 loads onto the PyTorch network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lieref._types import Array
from lieref.adapter.exchange.build import place_of
from lieref.adapter.exchange.factors import DENSE, Place
from lieref.adapter.exchange.fold import OWN, Folding, folding_of
from lieref.adapter.exchange.given import Given
from lieref.adapter.exchange.names import Traces, paths_for, traces
from lieref.adapter.exchange.peft import PREFIX, SHARED_PREFIX
from lieref.adapter.exchange.peft_form import difference_of, own_form, scaled, whole_form
from lieref.adapter.exchange.peft_module import Form
from lieref.adapter.exchange.peft_norms import norm_forms
from lieref.adapter.folder import CONFIG_NAME, TENSORS_NAME
from lieref.adapter.model import Model
from lieref.adapter.strict_json import format_json
from lieref.adapter.tensor_file import encode_tensors
from lieref.errors import DomainError, UnsupportedError
from lieref.model.attaching import listed
from lieref.model.layer import Layer, find_layers
from lieref.model.site import Site

WITH_BIAS = ("LORA", "OFT", "BOFT", "HRA")
"""Kinds whose configuration has a field for biases that are trained."""

WITH_RANKS = {"LORA": "lora_alpha", "LOHA": "alpha", "LOKR": "alpha", "HIRA": ""}
"""Kinds that have a rank for each module, and what they call alpha."""


@dataclass(frozen=True)
class Written:
    """A folder of PEFT's.

    Attributes
    ----------
    files : dict of str to bytes
    kind : str
    modules : dict of str to str
        Method by module path.
    notes : tuple of str
    """

    files: dict[str, bytes]
    kind: str
    modules: dict[str, str]
    notes: tuple[str, ...]


def write_peft(model: Model, given: Given | None = None) -> Written:
    """Return the files of a PEFT adapter that computes what is attached to a network.

    Parameters
    ----------
    model : Model
        With an adapter attached.
    given : Given, optional
        Names or tensors of the PyTorch network, see `lieref.adapter.exchange.given`.

    Raises
    ------
    DomainError
        If nothing is attached, or a layer has no module path.
    UnsupportedError
        If something has no place in PEFT, or is not computed by it as it is here; the message names the layer.
    """
    if not model.attached:
        raise DomainError("export: an adapter must be attached; none is")
    if model.statistics:
        raise UnsupportedError(f"export: PEFT has no place for statistics, {listed(sorted(model.statistics))}")
    found = traces(model.proto)
    head = set() if model.head is None else {*model.head.tensors}
    weights = {name: site for name, site in model.sites.items() if site.layer is not None and name not in head}
    vectors = {name: site for name, site in model.sites.items() if site.layer is None and name not in head}
    if not weights and model.head is None and (norms := norm_forms(model, vectors, found)):
        return _written_norms(norms)
    owners = _owners(model, vectors)
    wanted = [site.layer for site in weights.values() if site.layer is not None]
    wanted += [layer for layer in owners.values() if layer.weight not in weights]
    paths = paths_for(wanted, found, given, lambda layer: layer.to_canonical(model.graph.initializers[layer.weight]))
    forms, notes = _forms(model, weights, paths, found, given)
    if not forms:
        raise UnsupportedError("export: an adapter of PEFT's must change the weight of a layer; this one changes none")
    kinds = Counter(form.kind for form in forms.values())
    kind = next(iter(kinds))
    tensors = {
        f"{paths[name]}.{ending}": tensor for name, form in forms.items() for ending, tensor in form.tensors.items()
    }
    config = _config(kind, {paths[name]: form for name, form in forms.items()})
    if vectors:
        if kind not in WITH_BIAS:
            raise UnsupportedError(f"export: PEFT's {kind} has no place for biases, {listed(vectors)}")
        for name, layer in owners.items():
            _check_own_bias(model, layer, paths[layer.weight], found, given)
            own = f"{paths[layer.weight]}.base_layer.bias" if layer.weight in weights else f"{paths[layer.weight]}.bias"
            tensors[own] = model.sites[name].adapted(dict(model.graph.initializers))[name]
        config["bias"] = "all"
    if model.head is not None:
        path, head_tensors = _new_head(model, found, given)
        tensors |= head_tensors
        config["modules_to_save"] = [path]
    held = {f"{PREFIX}{key}": tensor for key, tensor in tensors.items()}
    for form in forms.values():
        for ending, tensor in form.shared.items():
            if tensor.size > held.get(key := f"{SHARED_PREFIX}{ending}", tensor[:0]).size:
                held[key] = tensor
    data = encode_tensors(held, {"format": "pt"})
    modules = {paths[name]: weights[name].method.name for name in forms}
    return Written({TENSORS_NAME: data, CONFIG_NAME: format_json(config)}, kind, modules, tuple(notes))


def _written_norms(forms: Mapping[str, Form]) -> Written:
    held = {
        f"{PREFIX}{path}.{ending}": tensor for path, form in forms.items() for ending, tensor in form.tensors.items()
    }
    files = {
        TENSORS_NAME: encode_tensors(held, {"format": "pt"}),
        CONFIG_NAME: format_json(_config("LN_TUNING", forms)),
    }
    return Written(files, "LN_TUNING", dict.fromkeys(forms, DENSE), ())


def _forms(
    model: Model, weights: Mapping[str, Site], paths: Mapping[str, str], found: Traces, given: Given | None
) -> tuple[dict[str, Form], list[str]]:
    """Return what each module has in the file: of one kind, or everything as whole differences."""
    places = {
        name: place_of(model.graph, site.layer, found) for name, site in weights.items() if site.layer is not None
    }
    foldings = {
        name: folding_of(paths[name], place.layer, place.layer.to_canonical(model.graph.initializers[name]),
                         model.graph, found, given)
        for name, place in places.items()
    }  # fmt: skip
    own = {name: _own(weights[name], place, foldings[name]) for name, place in places.items()}
    kinds = {form.kind for form in own.values() if form is not None}
    shared = [dict(form.settings) for form in own.values() if form is not None]
    agree = all(settings == shared[0] for settings in shared)
    one = len(kinds) == 1 and agree and (None not in own.values() or kinds == {"LORA"})
    plain_lora = one and kinds == {"LORA"} and not any(shared[0].values())
    forms: dict[str, Form] = {}
    whole = []
    for name, place in places.items():
        form, site, node = own[name] if one else None, weights[name], place.layer.node
        if form is None and one and not plain_lora:
            raise UnsupportedError(f"export: DoRA and rsLoRA must be the method of every layer; {node} has another")
        if form is None:
            if site.bias is not None:
                raise UnsupportedError(f"export: PEFT has no form for what changes weight and bias of {node} together")
            difference = difference_of(site.method, site.params, place.weight, place.layer.groups)
            form = whole_form(difference, place, next(iter(site.params.values())).dtype)
            whole.append(name)
        if form is None:
            raise UnsupportedError(
                f"export: PEFT's LoRA ignores dilation and padding mode, and nothing else there computes "
                f"{site.method.name} of {node}"
            )
        forms[name] = _unfolded(form, foldings[name], paths[name])
    if not whole:
        return forms, []
    count = sum(tensor.size for name in whole for tensor in forms[name].tensors.values())
    return forms, [
        f"PEFT has no form of its own for {listed([paths[name] for name in whole])}: the whole difference, as LoRA of "
        f"full rank, {count:,} numbers"
    ]


def _own(site: Site, place: Place, folding: Folding) -> Form | None:
    """Return the form of a site's own kind, None where the module of PyTorch would compute something else with it."""
    if folding.state == OWN:
        return own_form(site, place, place.layer.bias is not None)
    form = own_form(site, place, bool(folding.has_bias))
    if form is None or (form.adds and not form.rows):
        return None
    # Outputs of the module are multiplied before the BatchNormalization that is folded into the file's bias.
    return None if form.kind == "IA3" and not form.inputs and folding.has_bias is not False else form


def _unfolded(form: Form, folding: Folding, path: str) -> Form:
    """Return a form for the weight of the module, where the file has a multiple of it."""
    if not form.adds or folding.state == OWN:
        return form
    if folding.scales is None or not folding.scales.all() or not form.rows:
        why = "a channel is scaled by zero" if folding.scales is not None and not folding.scales.all() else folding.why
        raise UnsupportedError(
            f"export: what is added to {path} must be that of the module, into whose weight a BatchNormalization is "
            f"folded; {why}: give the base's tensors with --model-names BASE.safetensors"
        )
    return scaled(form, folding.scales)


def _config(kind: str, forms: Mapping[str, Form]) -> dict[str, Any]:
    """Return the configuration, with every number that PEFT's own defaults might change later."""
    config: dict[str, Any] = {
        "peft_type": kind,
        "peft_version": "0.21.2",
        "base_model_name_or_path": None,
        "inference_mode": True,
        "target_modules": "|".join(re.escape(path) for path in forms),
        "modules_to_save": None,
        **next(iter(forms.values())).settings,
    }
    if kind in WITH_BIAS:
        config["bias"] = "none"
    if kind == "IA3":
        inner = [path for path, form in forms.items() if form.inputs]
        config["feedforward_modules"] = "|".join(re.escape(path) for path in inner) if inner else []
    if kind == "ADALORA":
        most = max(form.r or 1 for form in forms.values())
        config |= {"init_r": most, "target_r": most, "lora_alpha": most + 1e-5, "total_step": 1}
        config["rank_pattern"] = {
            f"{path}.lora_E": [at < form.r for at in range(most)]
            for path, form in forms.items() if form.r is not None and form.r < most
        } or None  # fmt: skip
    if kind in WITH_RANKS:
        ranks = Counter(form.r for form in forms.values())
        config["r"] = ranks.most_common(1)[0][0]
        config["rank_pattern"] = {_exact(path): form.r for path, form in forms.items() if form.r != config["r"]}
    if WITH_RANKS.get(kind):
        alphas = Counter(_number(form.alpha) for form in forms.values())
        common = alphas.most_common(1)[0][0]
        config[WITH_RANKS[kind]] = common
        config["alpha_pattern"] = {
            _exact(path): _number(form.alpha) for path, form in forms.items() if _number(form.alpha) != common
        }
    return config


def _exact(path: str) -> str:
    """Return the pattern that this path alone matches."""
    return f"^{re.escape(path)}"


def _number(alpha: float | None) -> int | float:
    assert alpha is not None  # every kind with alpha sets it
    return int(alpha) if float(alpha).is_integer() else alpha


def _owners(model: Model, vectors: Mapping[str, Site]) -> dict[str, Layer]:
    """Return the layer of every bias that is changed."""
    layers = {layer.bias: layer for layer in model.layers if layer.bias is not None}
    missing = [name for name in vectors if name not in layers]
    if missing:
        raise UnsupportedError(f"export: PEFT has no place for {listed(missing)}, which is no bias of a layer")
    return {name: layers[name] for name in vectors}


def _check_own_bias(model: Model, layer: Layer, path: str, found: Traces, given: Given | None) -> None:
    weight = layer.to_canonical(model.graph.initializers[layer.weight])
    folding = folding_of(path, layer, weight, model.graph, found, given)
    if folding.state != OWN:
        raise UnsupportedError(
            f"export: the bias of {path} must be the module's, not one that a BatchNormalization is folded into; "
            f"{folding.why}"
        )


def _new_head(model: Model, found: Traces, given: Given | None) -> tuple[str, dict[str, Array]]:
    """Return the path of the module that a new head replaces, and its tensors."""
    head = model.head
    assert head is not None  # the caller has looked
    old = [layer for layer in find_layers(model._base.graph) if layer.node in head.replaces]
    if len(old) != 1:
        raise UnsupportedError(
            f"export: a new head must replace one layer to be a module of PEFT's; it replaces {len(old)}"
        )
    path = paths_for(old, found, given, None)[old[0].weight]
    weight, bias = (model.sites[name].params["xi"] for name in head.tensors)
    return path, {f"{path}.weight": weight, f"{path}.bias": bias}
