"""A network with its files: reading ONNX, saving and loading adapters, writing the merged model."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from lieref._atomic import write_file
from lieref._check import check_bool, check_choice, check_finite, check_int
from lieref._types import Array, FloatArray
from lieref.adapter.class_names import classes_of_proto, parse_classes, write_classes
from lieref.adapter.fields import shown
from lieref.adapter.folder import CONFIG_NAME, FORMATS, TENSORS_NAME, check_base, read_adapter, write_adapter
from lieref.adapter.merge.merging import SELF_TEST, ZEROS, merge_weights
from lieref.adapter.merge.ties import PLACE, VALUE
from lieref.adapter.metadata import origin, write_metadata
from lieref.adapter.preprocessing import preprocessing_of_proto, write_preprocessing
from lieref.adapter.state import base_of, canonical_shape, state_of
from lieref.adapter.weights import weights_digest
from lieref.errors import DomainError, FormatError, LierefError, UnsupportedError
from lieref.model.adapters import Attached
from lieref.model.attaching import adaptable_tensors, share_memory
from lieref.model.form import Form
from lieref.model.graph import Graph
from lieref.model.half import LOST_SHARE, Rounding, rounding, written_halves
from lieref.model.head import Head, NewHead
from lieref.model.held import Held
from lieref.model.identity import network_digest
from lieref.model.integer.reader import is_integer_file
from lieref.model.layer import dropped_layers
from lieref.model.mask_inputs import check_recorded
from lieref.model.ml_operators import labels_said
from lieref.model.named import Named
from lieref.model.onnx_file import OnnxFile
from lieref.model.onnx_reader import graph_from_proto, read_onnx
from lieref.model.onnx_writer import encode_onnx, replace_end, replace_tensors
from lieref.model.outputs import weights_of, with_first_outputs
from lieref.model.simplify import in_dtype, in_float64, simplify
from lieref.model.site import Site
from lieref.model.weighted import weighted
from lieref.param._base import LierefWarning
from lieref.param.registry import saved_method
from lieref.param.upgrade import upgraded
from lieref.train.classes import check_classes
from lieref.train.preprocess import Preprocess


def load(
    path: str | Path,
    *,
    dtype: str = "float32",
    output: str | Mapping[str, float] | None = None,
    padding_id: int | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    derive: bool = True,
) -> Model:
    """Read an ONNX network, ready to be adapted; a quantised one, ``.tflite`` or ONNX, as an `IntegerModel`.

    Parameters
    ----------
    path : str or Path
        An ``.onnx`` file, with its external data beside it. A ``.tflite`` and an ONNX file with QuantizeLinear or
        QLinear operators give a `lieref.adapter.integer.model.IntegerModel`, and take none of the options.
    dtype : {"float32", "float64"}
        Arithmetic of the network; float64 is for references, float32 for training.
    output : str or mapping of str to float, optional
        Name of the output that is predicted and trained, the file's first by default; or of several, each with the
        factor of its loss: all are trained, and the first of them is predicted.
    padding_id : int, optional
        Of a network that reads ids of tokens and an ``attention_mask``: the id that the mask leaves out; it leaves out
        nothing by default. ``token_type_ids`` are 0. `Model.derived_inputs` names those that follow from the ids.
    input_shapes : mapping of str to sequence of int, optional
        Shape of one sample by the name of the input, where the file leaves it free. A network of several inputs takes
        samples of one shape, so each free axis of it must be given.
    derive : bool
        Whether an ``attention_mask`` and ``token_type_ids`` are computed from the ids; else they are inputs as others,
        as pairs of sentences need them.

    Returns
    -------
    Model

    Raises
    ------
    FormatError
        If the file is missing, broken or not ONNX.
    UnsupportedError
        If the network uses something lieref does not have; the message names the node.
    DomainError
        If there is no such output, or no such input.
    ShapeError
        If `input_shapes` contradict the file.
    """
    check_choice("load", "dtype", dtype, ("float32", "float64"))
    check_bool("load", "derive", derive)
    if padding_id is not None:
        check_int("load", "padding_id", padding_id, low=0)
    if is_integer_file(path):
        from lieref.adapter.integer.model import load_integer

        if dtype != "float32" or output is not None or padding_id is not None or input_shapes:
            raise DomainError(f"load: {path} is quantised, and must be loaded without dtype, output and other options")
        return load_integer(path)
    graph, proto, digest = read_onnx(path, padding_id, input_shapes, derive=derive)
    labels = labels_said(proto.graph)
    if labels:
        warnings.warn(f"load: {labels} of {path}; the first output is {graph.outputs[0]}", LierefWarning, stacklevel=2)
    weights = weights_of(output)
    graph = with_first_outputs(graph, weights)
    plain = simplify(graph, dtype)
    wide = in_float64(plain) if dtype == "float32" else []
    if wide:
        text = f"load: {', '.join(wide[:3])} of {path} asks for float64 and is computed in float32"
        warnings.warn(f'{text}; dtype="float64" keeps it', LierefWarning, stacklevel=2)
    model = Model(in_dtype(plain, np.dtype(dtype)), proto, str(path), digest)
    model.padding_id = padding_id
    model.input_shapes = {name: tuple(shape) for name, shape in (input_shapes or {}).items()}
    made = {output for node in graph.nodes for output in node.outputs} - {info.name for info in graph.parts}
    model.derived_inputs = tuple(value.name for value in proto.graph.input if value.name in made)
    model.outputs = graph.outputs
    model.train_outputs(weights)
    model.dropped = dropped_layers(graph, plain)
    model.classes = classes_of_proto(proto, str(path))
    model.preprocessing = preprocessing_of_proto(proto, str(path))
    return model


class Model(Named):
    """A network with its adapters, which `load` returns: it is adapted, trained by `fit`, merged and saved.

    Printed, it shows its layers and how many numbers are trained of each. ``model(x)`` is `predict`: the output that
    the file describes, for samples (N, ...) of integers or floats in the model's layout or with the channels at the
    other end; `logits` are the scores before a final Softmax.

    `attach` and `add_adapter` adapt it, `parameters` are the live factors by name, `loss_and_grad` gives a loss and its
    gradients. `set_adapter`, `disable_adapter`, `merge_adapter`, `add_weighted_adapter` and their kin are PEFT's.
    `save_adapter` and `load_adapter` keep adapters in folders; `merge_and_unload` gives the network with the adapted
    weights, and `save` writes it as ONNX. The base is never changed: `unload` restores every bit. See `Network` for
    threads and copies.

    Attributes
    ----------
    adapters, active_adapters : names of the adapters, and of those it computes with
    input_shape : tuple of int or None
        The batch first; None where an axis is free.
    dtype : numpy.dtype
        float32 or float64.
    classes : tuple of str or None
        Names of the outputs, in their order, with which folders of images and words in tables are matched. Adapters and
        merged models carry them; set them before saving.
    rounding : Rounding or None
        Of a merged model: what writing float16 took from the changes; None where the file has the tensors wider.
    """

    classes: tuple[str, ...] | None = None
    rounding: Rounding | None = None
    _bundled: Mapping[str, dict[str, Array]] = MappingProxyType({})

    @property
    def configuration(self) -> dict[str, Any]:
        """How it was loaded, what is attached to each tensor, and how its outputs are named: plain JSON values."""
        return {**super().configuration, "classes": None if self.classes is None else list(self.classes)}

    @property
    def proto(self) -> Any:
        """The file as an onnx.ModelProto, a new one each time; None where there was no file.

        With a new head in place of its own where there is one, its weight and bias zeros.
        """
        if self._file is None or self.head is None:
            return self._file_proto()
        return replace_end(self._file_proto(), self.head)

    @proto.setter
    def proto(self, proto: Any) -> None:
        self._file = None if proto is None else OnnxFile(proto, self.graph.initializers)

    @cached_property
    def network_sha256(self) -> str:
        """Digest of weights and layers, whatever file they are in; see `network_digest`."""
        return network_digest(self._file_graph())

    def _file_proto(self) -> Any:
        """Return the file as it was read."""
        return None if self._file is None else self._file.proto()

    def _file_graph(self) -> Graph:
        return (
            self._base.graph
            if self._file is None
            else graph_from_proto(
                self._file_proto(), self.source, self.padding_id, self.input_shapes, derive=bool(self.derived_inputs)
            )
        )

    def _switch(self, form: Form) -> None:
        if self.head is None:
            self._own_classes = self.classes
        super()._switch(form)
        # A new head has classes of its own.
        self.classes = self._own_classes if form.head is None else form.head.names

    def save_adapter(self, folder: str | Path) -> None:
        """Write the adapters to a folder: ``adapter_model.safetensors`` and ``adapter_config.json``.

        Parameters
        ----------
        folder : str or Path
            New, empty, or the folder of an adapter, which is replaced; it appears whole or not at all.

        Raises
        ------
        DomainError
            If nothing is attached, or the folder holds anything but an adapter.
        """
        with self._alone.take("save_adapter"):
            tensors, config = self.adapter_state()
            write_adapter(folder, tensors, config, replaces=(TENSORS_NAME, CONFIG_NAME))

    def adapter_state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return the adapters' arrays and their configuration, as `save_adapter` writes them."""
        self._begin_change("save_adapter")
        return state_of(self)

    def load_adapter(self, folder: str | Path, adapter_name: str | None = None) -> Model:
        """Load the adapter of a folder.

        Parameters
        ----------
        folder : str or Path
        adapter_name : str, optional
            A new name. The adapter is held under it beside those there are, and `set_adapter` makes it active; the
            first is active at once. Without a name it is called ``default``, takes the place of an adapter of that
            name, and is active alone.

        Raises
        ------
        FormatError
            If a file is missing, broken, or of an unknown version.
        VerificationError
            If the adapter was trained on another network, or its digest differs.
        DomainError
            If it was trained with another id of padding than the model was loaded with, or the name is taken.
        """
        self._take_in("load_adapter", self._read_folder(folder), adapter_name)
        return self

    def hotswap_adapter(self, folder: str | Path, adapter_name: str) -> Model:
        """Put the adapter of a folder in the place of one that is loaded.

        Where its tensors, methods, shapes and head are those of the other, its numbers are written into the live arrays
        of `parameters`, and nothing is compiled again. Else a `LierefWarning` says that the arrays are new ones.

        Raises
        ------
        DomainError
            If there is no such adapter; and as `load_adapter` does.
        FormatError, VerificationError
            As `load_adapter` does.
        """
        self._swap_in("hotswap_adapter", self._read_folder(folder), adapter_name)
        return self

    def _read_folder(self, folder: str | Path) -> Held:
        """Return the adapter of a folder, everything checked against this network."""
        tensors, config = read_adapter(folder)
        check_recorded(config["lieref"], self.padding_id, self.derived_inputs, str(folder))
        same_file = config["lieref"]["base_sha256"] == self.base_sha256
        check_base(config, self.base_sha256, None if same_file else self.network_sha256)
        classes = parse_classes(config["lieref"].get("classes"), str(folder))
        form = self._read_head(config["lieref"].get("head"), classes, str(folder))
        statistics, sites, attached = self._read_state(form.graph, form.head, tensors, config["lieref"], str(folder))
        share_memory(sites)
        own = None if form is self._base else form
        ties = {name: array for name, array in tensors.items() if name in (PLACE, VALUE)}
        if ties:
            arrays = {n: a.astype(self.dtype, copy=False) for n, a in tensors.items() if not n.startswith(SELF_TEST)}
            self._bundled = {**self._bundled, weights_digest(arrays): ties}
        said = config["lieref"].get("preprocessing")
        preprocessing = None if said is None else Preprocess.from_dict(said, str(folder)).to_dict()
        task = config["lieref"].get("task")
        return Held(own, tuple(attached), sites, statistics, False, classes, task, preprocessing)

    def add_weighted_adapter(
        self,
        adapters: Sequence[str | Path],
        weights: Sequence[float],
        adapter_name: str | None = None,
        combination_type: str | None = None,
        *,
        density: float | None = None,
        majority_sign_method: str | None = None,
        svd_rank: int | None = None,
        seed: int = 0,
    ) -> Model:
        """Make one adapter of several of this base; it can be trained, saved and merged as any other.

        Parameters
        ----------
        adapters : list of str or Path
            Names of adapters that are loaded; without `adapter_name` adapter folders.
        weights : list of float
            One for each.
        adapter_name : str, optional
            New name of the result, which `set_adapter` makes active. Without one it takes the place of ``default`` and
            is active alone.
        combination_type : str, optional
            A key of `lieref.param.combine.COMBINATION_TYPES`: PEFT's, and of the group ``exp_sum``, ``product`` (in
            order, the first acts first) and ``geodesic_mean``. By default the weighted sum in the Lie algebra, which
            for the exponential of an Abelian group is exact: all applied, each to the power of its weight; other groups
            are refused then.
        density, majority_sign_method, svd_rank
            See `lieref.param.combine.combine_adapters`.
        seed : int
            For what DARE draws.

        Raises
        ------
        DomainError
            If the numbers of adapters and weights differ, a name is unknown or taken, or an option is not valid.
        UnsupportedError
            If the type has no meaning for a method, adapters differ in kind, or one holds statistics or a new head.
        FormatError, VerificationError
            As `load_adapter` does.
        """
        function = "add_weighted_adapter"
        check_int(function, "seed", seed, low=0, high=2**63 - 1)
        with self._alone.take(function), self._lock:
            self._begin_change(function)
            if adapter_name is None:
                parts = [self._read_folder(folder) for folder in adapters]
            else:
                self._check_new(function, adapter_name)
                parts = self._holds(function, adapters)
            options = {"density": density, "majority_sign_method": majority_sign_method, "svd_rank": svd_rank}
            held = weighted(parts, weights, self._base.graph, combination_type, seed, **options)
            self._take_in(function, held, adapter_name, active=adapter_name is None)
        return self

    def merge_and_unload(self) -> Model:
        """Return a plain model whose weights are the adapted ones: same graph, same names. This one is unloaded.

        A new head takes the place of what lay behind its features. Tensors that the file has as float16 are rounded to
        it, and the merged model computes with them so: see `rounding`. A `LierefWarning` says where half of the numbers
        that the adapters change, or more, are what they were.

        Raises
        ------
        DomainError
            If an adapted number is too large for the type that the file has its tensor in.
        """
        with self._alone.take("merge_and_unload"):
            if self.merged_adapters:
                self.unmerge_adapter()
            unrounded, changed, entries = self.adapted_tensors(), self._merged(), self._origin()
        proto = replace_tensors(self.proto, changed, self.graph.made)
        lost = rounding(self.graph.initializers, unrounded, written_halves(proto, changed))
        if lost is not None and lost.share > LOST_SHARE:
            warnings.warn(f"merge_and_unload: {lost.describe()}", LierefWarning, stacklevel=2)
        graph = self.graph.with_initializers({name: value.astype(self.dtype) for name, value in changed.items()})
        write_metadata(proto, entries)
        if self.classes is None:
            write_classes(proto, None)
        else:
            write_classes(proto, check_classes("merge_and_unload", self.classes))
        write_preprocessing(proto, self.preprocessing)
        merged = Model(graph, proto, self.source, hashlib.sha256(proto.SerializeToString()).hexdigest())
        merged.classes, merged.outputs, merged.preprocessing = self.classes, self.outputs, self.preprocessing
        merged.padding_id, merged.derived_inputs = self.padding_id, self.derived_inputs
        merged.input_shapes = self.input_shapes
        merged.train_outputs(self.output_weights)
        merged.rounding = lost
        self.unload()
        return merged

    def _merged(self) -> dict[str, Array]:
        """Return the adapted tensors in the types of the file: what `merge_weights` makes of what would be saved."""
        if not self.attached:
            return {}
        base = {name: array for name, (source, array) in base_of(self).items() if source != ZEROS}
        tensors, config = state_of(self)
        # What a bundle says of its adapter is of no use to another one.
        return merge_weights({**tensors, **self._bundled.get(weights_digest(tensors), {})}, config, base)

    def _merged_tensors(self) -> dict[str, FloatArray]:
        return {name: value.astype(self.dtype) for name, value in self._merged().items()}

    def _origin(self) -> dict[str, str]:
        """Return what a merged file says about where it comes from."""
        return origin(*state_of(self), self.method_name) if self.attached else {}

    def save(self, path: str | Path) -> None:
        """Write the model as ONNX.

        Raises
        ------
        DomainError
            If adapters are attached: merge them first with `merge_and_unload`.
        FormatError
            If the checker refuses the model or the folder does not exist.
        """
        if self.attached:
            raise DomainError("save: the model must be merged first; call merge_and_unload()")
        data = encode_onnx(self.proto)
        path = Path(path)
        if not path.parent.is_dir():
            raise FormatError(f"save: {path} must lie in a folder that exists; there is no {path.parent}")
        write_file(path, data)

    def _read_head(self, fields: dict[str, Any] | None, classes: tuple[str, ...] | None, source: str) -> Form:
        """Return the form that an adapter is for: that of the base, or with the new head that it names."""
        if fields is None:
            return self._base
        try:
            wanted = NewHead(classes or fields["classes"], fields["features"], fields["pool"])
            form = self._with_head(wanted)
        except LierefError as error:
            raise FormatError(f"load_adapter: the head in {source} must fit the model; {error}") from error
        if form.head is None or form.head.to_dict() != fields:
            raise FormatError(f"load_adapter: the head in {source} must fit the model; got {shown(fields)}")
        return form

    def _read_state(
        self, graph: Graph, head: Head | None, tensors: dict[str, Array], section: dict[str, Any], source: str
    ) -> tuple[dict[str, Array], dict[str, Site], list[Attached]]:
        """Return statistics, sites and methods of an adapter, everything checked against this network."""
        left = {key: array for key, array in tensors.items() if not key.startswith(SELF_TEST)}
        factors: dict[str, list[str]] = {}
        for key in left:  # `<tensor>:<factor>`; a tensor may have colons in its name, a factor has none
            factors.setdefault(key.rpartition(":")[0], []).append(key)
        known = adaptable_tensors(graph)
        try:
            version = FORMATS[section["format"]]
            attached = [
                Attached(
                    saved_method(**upgraded(entry["config"], version)),
                    None if entry["target_modules"] is None else tuple(entry["target_modules"]),
                    check_int("load_adapter", "seed", entry["seed"], low=0),
                )
                for entry in section["methods"]
            ]
            names = [str(name) for name in section["statistics"]]
            shapes = {t: tuple(entry["shape"]) for t, entry in section["sites"].items()}
            groups = {t: layer.groups if (layer := known.get(t)) is not None else 1 for t in shapes}
            methods = {
                t: saved_method(**upgraded(entry["method"], version, shapes[t], groups[t]))
                for t, entry in section["sites"].items()
            }
        except UnsupportedError as error:
            raise FormatError(f"load_adapter: {source}: {error}") from error
        except (ArithmeticError, AttributeError, IndexError, KeyError, LierefError, TypeError, ValueError) as error:
            raise FormatError(
                f"load_adapter: {source} must hold a complete configuration; {shown(error, 300)}"
            ) from error
        statistics = {}
        for name in names:
            statistics[name] = self._take(left, f"{name}:statistic", source)
            if name not in graph.initializers or statistics[name].shape != graph.initializers[name].shape:
                raise FormatError(f"load_adapter: statistic {shown(name)} of {source} must fit the model")
        sites: dict[str, Site] = {}
        for tensor, method in methods.items():
            if tensor not in known:
                raise FormatError(f"load_adapter: tensor {shown(tensor)} of {source} must be a target of the model")
            layer = known[tensor]
            keys = [key for key in factors.get(tensor, ()) if key in left]
            params = {key.rpartition(":")[2]: self._take(left, key, source) for key in keys}
            site = Site(tensor, method, params, groups[tensor], layer)
            try:
                adapted = site.adapted(graph.initializers)[tensor]
            except (ArithmeticError, KeyError, LierefError, TypeError, ValueError) as error:
                raise FormatError(
                    f"load_adapter: the factors of {shown(tensor)} in {source} must fit it; {shown(error, 300)}"
                ) from error
            if adapted.shape != graph.initializers[tensor].shape or shapes[tensor] != canonical_shape(site, graph):
                raise FormatError(f"load_adapter: the factors of {shown(tensor)} in {source} must fit it")
            sites[tensor] = site
        if head is not None and not sites.keys() >= {*head.tensors}:
            raise FormatError(f"load_adapter: {source} must hold the new head's weight and bias")
        if left:
            raise FormatError(f"load_adapter: {source} must hold no other tensors; got {shown(min(left))}")
        return statistics, sites, attached

    def _take(self, left: dict[str, Array], name: str, source: str) -> Array:
        if name not in left:
            raise FormatError(f"load_adapter: {source} must hold the tensor {shown(name)}")
        if left[name].dtype.kind != "f":
            raise FormatError(
                f"load_adapter: tensor {shown(name)} of {source} must hold floats; got {left[name].dtype}"
            )
        with np.errstate(over="ignore"):
            array = left.pop(name).astype(self.dtype, copy=False)
        check_finite("load_adapter", f"{name} as {self.dtype}", array)
        return array
