"""The kinds of files that lieref reads: whole ones to damage, and all that is done with one that is still accepted."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import lieref
from lieref.adapter.folder import CONFIG_NAME, TENSORS_NAME, read_adapter
from lieref.adapter.tensor_file import encode_tensors, read_tensor_file
from lieref.model.shapes import infer_specs
from lieref.op.registry import OPERATORS
from lieref.train.cap import FREE_BYTES
from lieref.train.checkpoint import FILE_NAME, Checkpoint, read_checkpoint, write_checkpoint
from lieref.train.history import EpochRecord, History
from lieref.train.images import read_image_folder
from lieref.train.loss import CrossEntropy
from lieref.train.npz import read_npz, write_npz
from tests.model.nets import in_halves, residual_net
from tests.op.examples import EXAMPLES
from validation.fuzzing import mutate
from validation.fuzzing.kind import Files, Kind
from validation.fuzzing.mask_kinds import Masks
from validation.fuzzing.targets import PARAMS, RUN
from validation.fuzzing.text_kinds import Sentences, Tokenizers

MOST_NUMBERS = 2**21
"""Numbers in all tensors of a network for two samples up to which it is run; what a larger one needs, it needs
honestly."""


class Models(Kind):
    """ONNX networks: one for every example of an operator, and some whole ones."""

    name, spare_bytes = "onnx", 2**28

    def __init__(self) -> None:
        digits = Path(lieref.__file__).parent / "cli" / "data" / "digits.onnx"
        made = (residual_net(), in_halves(residual_net()), _shapes_net())
        whole = [digits.read_bytes(), *(model.SerializeToString() for model in made)]
        single = [model.SerializeToString() for model in map(_example_net, EXAMPLES.values()) if model is not None]
        # As many whole networks as single operators, so that each is chosen as often.
        self.seeds = [{"net.onnx": data} for data in [*single, *whole * (len(single) // len(whole))]]

    def make(self, rng: np.random.Generator) -> Files:
        return self.one(rng, mutate.damage_model)

    def read(self, folder: Path, rng: np.random.Generator) -> None:
        model = lieref.load(folder / "net.onnx")
        shape = tuple(2 if d is None else d for d in model.input_shape)
        sized = replace(model.graph, inputs=(replace(model.graph.inputs[0], shape=shape), *model.graph.inputs[1:]))
        specs = infer_specs(sized, shape[0])
        if sum(np.prod([float(d or 1) for d in spec.shape]) for spec in specs.values()) > MOST_NUMBERS:
            return
        x = rng.random(shape).astype(np.float32)
        model.predict(x)
        if model.layers:
            model.attach("bias" if rng.random() < 0.3 else "liera")
            model.loss_and_grad(x, np.zeros(len(x), np.int64), CrossEntropy())
            model.merge_and_unload()


def _example_net(example: Any) -> onnx.ModelProto | None:
    """Return a network of one node whose first input is the sample; None where that is no array of floats."""
    first, *rest = example.inputs or (None,)
    if first is None or first.dtype.kind != "f" or first.ndim < 2:
        return None
    names = ["x", *(f"t{i}" if array is not None else "" for i, array in enumerate(rest))]
    tensors = [
        numpy_helper.from_array(array.astype(np.float32) if array.dtype == np.float64 else array, name)
        for name, array in zip(names[1:], rest, strict=True)
        if array is not None
    ]
    attrs = {key: value for key, value in example.attrs.items() if key != "output"}
    outputs = ["y", *(f"y{i}" for i in range(1, OPERATORS[example.op].outputs))]
    graph = helper.make_graph(
        [helper.make_node(example.op, names, outputs, name="node", **attrs)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *first.shape[1:]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        tensors,
    )
    return _model(graph, example.opset)


def _model(graph: onnx.GraphProto, opset: int) -> onnx.ModelProto:
    """Return a model whose output has the shape that ONNX infers."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 22 else 11)
    return onnx.shape_inference.infer_shapes(model)


def _shapes_net() -> onnx.ModelProto:
    """Padding, pooling, and arithmetic of shapes: what computes sizes from numbers of the file."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["p"], mode="reflect"),
        helper.make_node("Conv", ["p", "w"], ["c"], auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("MaxPool", ["c"], ["m"], kernel_shape=[2, 3], pads=[1, 1, 0, 1], ceil_mode=1),
        helper.make_node("Slice", ["m", "starts", "ends", "axes", "steps"], ["s"]),
        helper.make_node("Transpose", ["s"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["t", "rows"], ["r"]),
        helper.make_node("Gather", ["r", "picks"], ["g"], axis=1),
        helper.make_node("Tile", ["g", "repeats"], ["l"]),
        helper.make_node("Clip", ["l", "low", "high"], ["q"]),
        helper.make_node("Gemm", ["q", "v"], ["y"], transB=1),
    ]
    tensors = {
        "pads": np.array([0, 0, 1, 2, 0, 0, 2, 1]),
        "w": rng.standard_normal((4, 2, 3, 2)).astype(np.float32),
        "starts": np.array([0, 3]), "ends": np.array([2, -9]), "axes": np.array([2, 3]), "steps": np.array([1, -1]),
        "rows": np.array([-1, 32]), "picks": np.array([0, 5, 3, 31]), "repeats": np.array([1, 2]),
        "low": np.float32(-2), "high": np.float32(2),
        "v": rng.standard_normal((3, 8)).astype(np.float32),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "shapes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 7, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    return _model(graph, 17)


class Archives(Kind):
    """NumPy archives of data, compressed and not, and a checkpoint's."""

    name, spare_bytes = "npz", FREE_BYTES

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8), np.arange(6)
        sets: list[Files] = []
        for save in (np.savez, np.savez_compressed):
            for arrays in ({"x": x, "y": y}, {"x": x.astype(">f4").T.copy().T, "y": y > 2}, {"x": x[:0], "y": y[:0]}):
                buffer = io.BytesIO()
                save(buffer, **arrays)
                sets.append({"data.npz": buffer.getvalue()})
        self.seeds = [*sets, {"data.npz": write_npz({"a/b": np.float64(3), "meta": np.zeros(9, np.uint8)})}]

    def make(self, rng: np.random.Generator) -> Files:
        return self.one(rng, mutate.damage_archive)

    def read(self, folder: Path, rng: np.random.Generator) -> None:
        read_npz(folder / "data.npz")
        lieref.load_data(folder / "data.npz")


class Tables(Kind):
    """Tables of numbers, with and without header, byte order mark, words and quotes."""

    name, spare_bytes = "csv", 0

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        rows = "".join(",".join(f"{v:.3f}" for v in row) + f",{i % 3}\n" for i, row in enumerate(rng.random((9, 4))))
        texts = (rows, "a,b,label,c,d\n" + rows, "\ufeff" + rows.replace("\n", "\r\n"), "1,2,cat\n3,4,dog\n")
        self.seeds = [{"data.csv": text.encode()} for text in (*texts, '"1","2e3","0"\n"-.5","+7","1"\n')]

    def make(self, rng: np.random.Generator) -> Files:
        return self.one(rng, mutate.damage_text)

    def read(self, folder: Path, rng: np.random.Generator) -> None:
        lieref.load_data(folder / "data.csv", classes=("cat", "dog") if rng.random() < 0.2 else None)


class Images(Kind):
    """Images of every format and mode that is read, in a folder of one class."""

    name, spare_bytes = "image", FREE_BYTES

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        colour = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)
        grey, deep = colour[..., 0].copy(), rng.integers(0, 65536, (9, 7), dtype=np.uint16)
        pictures: list[tuple[str, Any, dict[str, Any]]] = [
            *((suffix, colour, {}) for suffix in ("png", "jpg", "bmp", "ppm", "tif", "webp", "gif")),
            *((suffix, grey, {}) for suffix in ("png", "jpg", "bmp", "pgm", "tif", "gif")),
            *((suffix, deep, {}) for suffix in ("png", "tif", "pgm")),
            *((suffix, grey > 99, {}) for suffix in ("png", "tif", "ppm")),
            ("png", np.dstack([colour, grey | 255]), {}),
            ("png", colour, {"exif": _turned()}),
            ("jpg", colour, {"exif": _turned(), "progressive": True}),
            ("tif", colour, {"compression": "tiff_lzw", "exif": _turned()}),
            ("tif", colour, {"compression": "jpeg"}),
            ("tif", grey > 99, {"compression": "group4"}),
            ("tif", grey.astype(np.float32), {}),
            ("webp", colour, {"lossless": True, "exif": _turned()}),
        ]
        self.seeds = []
        for suffix, pixels, options in pictures:
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, Image.registered_extensions()[f".{suffix}"], **options)
            self.seeds.append({f"set/a/a.{suffix}": buffer.getvalue()})
        for suffix in ("gif", "png", "tif", "webp"):
            frames, buffer = [Image.fromarray(colour), Image.fromarray(colour[::-1].copy())], io.BytesIO()
            form = Image.registered_extensions()[f".{suffix}"]
            frames[0].save(buffer, form, save_all=True, append_images=frames[1:])
            self.seeds.append({f"set/a/a.{suffix}": buffer.getvalue()})

    def make(self, rng: np.random.Generator) -> Files:
        def structured(data: bytes, rng: np.random.Generator) -> bytes:
            if data.startswith(b"\x89PNG"):
                return mutate.damage_png(data, rng)
            return mutate.damage_tiff(data, rng) if data.startswith(b"II*") else mutate.damage(data, data, rng)

        return self.one(rng, structured)

    def read(self, folder: Path, rng: np.random.Generator) -> None:
        read_image_folder(folder / "set", channels=int(rng.choice([1, 3])))


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


class Tensors(Kind):
    """Tensor files."""

    name, spare_bytes = "safetensors", 0

    def __init__(self) -> None:
        arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros(0, np.float32), "c": np.ones((2, 1), bool)}
        arrays |= {"d": np.int64(-1), "e": np.ones(3, np.float16)}
        self.seeds = [{"t.safetensors": encode_tensors(arrays, {"format": "x"})}]
        self.seeds += [{"t.safetensors": encode_tensors(dict(list(arrays.items())[:1]))}]

    def make(self, rng: np.random.Generator) -> Files:
        return self.one(rng, mutate.damage_tensors)

    def read(self, folder: Path, rng: np.random.Generator) -> None:
        read_tensor_file(folder / "t.safetensors", finite=bool(rng.random() < 0.5))


class Adapters(Kind):
    """Adapter folders of several methods for the network that comes with the package."""

    name, spare_bytes = "adapter", 2**26
    methods = ("liera", "lora", "full", "scale", "lokr", "flora", "oft", "boft", "dora", "atoms", "elra", "norm-stats")

    def __init__(self) -> None:
        self._base = Path(lieref.__file__).parent / "cli" / "data" / "digits.onnx"
        self._model = lieref.load(self._base)
        self._x = np.zeros((2, 1, 8, 8), np.float32)
        self.seeds = []
        with tempfile.TemporaryDirectory() as folder:
            for number, method in enumerate(self.methods):
                model, path = lieref.load(self._base), Path(folder) / str(number)
                try:
                    model.attach(method)
                except lieref.LierefError:
                    continue
                model.classes = tuple("abcdefghij") if number % 2 else None
                model.save_adapter(path)
                self.seeds.append({f"adapter/{file.name}": file.read_bytes() for file in path.iterdir()})

    def make(self, rng: np.random.Generator) -> Files:
        files = dict(self.choose(rng))
        config, tensors = f"adapter/{CONFIG_NAME}", f"adapter/{TENSORS_NAME}"
        match int(rng.integers(4)):
            case 0:
                files[config] = mutate.damage(files[config], b"", rng)
            case 1:
                files[tensors] = mutate.damage_tensors(files[tensors], rng)
            case 2:
                files[tensors] = mutate.damage(files[tensors], self.choose(rng)[tensors], rng)
            case _:
                files[config] = json.dumps(mutate.damage_json(json.loads(files[config]), rng)).encode()
        try:
            # With digests that hold, so that what stands behind them is read.
            values = json.loads(files[config])
            values["lieref"]["tensors_sha256"] = hashlib.sha256(files[tensors]).hexdigest()
            values["lieref"]["tensors_bytes"] = len(files[tensors])
            files[config] = json.dumps(values).encode()
        except (ValueError, TypeError, KeyError):
            pass
        return files

    def read(self, folder: Path, rng: np.random.Generator) -> None:
        read_adapter(folder / "adapter")
        self._model.unload()
        self._model.load_adapter(folder / "adapter")
        self._model.predict(self._x)
        self._model.merge_and_unload()
        self._model.add_weighted_adapter([folder / "adapter"], [0.5])


class Checkpoints(Kind):
    """Checkpoints of a run, whose archive and whose description are both damaged."""

    name, spare_bytes = "checkpoint", FREE_BYTES

    def __init__(self) -> None:
        record = EpochRecord(1, 0.5, {"accuracy": 0.5}, 0.4, {"accuracy": 0.75}, 0.1, 2.0)
        optimizer = lieref.AdamW()
        optimizer.step({name: value.copy() for name, value in PARAMS.items()}, PARAMS, 0.1)
        self.seeds = []
        for history, best in ((History((record,), 0.1, {}, 1), PARAMS), (History((record,), 0.1), {})):
            with tempfile.TemporaryDirectory() as folder:
                write_checkpoint(folder, Checkpoint(RUN, history, 0.1, PARAMS, best, optimizer.state()))
                self.seeds.append({f"run/{FILE_NAME}": (Path(folder) / FILE_NAME).read_bytes()})

    def make(self, rng: np.random.Generator) -> Files:
        def structured(data: bytes, rng: np.random.Generator) -> bytes:
            if rng.random() < 0.5:
                return mutate.damage_archive(data, rng)
            with np.load(io.BytesIO(data)) as archive:
                arrays = dict(archive)
            meta = mutate.damage_json(json.loads(arrays["meta"].tobytes()), rng)
            arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
            return write_npz(arrays)

        return self.one(rng, structured)

    def read(self, folder: Path, rng: np.random.Generator) -> None:
        saved = read_checkpoint(folder / "run", RUN, PARAMS)
        if saved is None:
            return
        params, optimizer = {name: value.copy() for name, value in saved.params.items()}, lieref.AdamW()
        optimizer.load_state(saved.optimizer)
        optimizer.step(params, PARAMS, 0.1)
        saved.history.to_json()


KINDS: dict[str, type[Kind]] = {
    k.name: k for k in (Models, Archives, Tables, Images, Tensors, Adapters, Checkpoints, Masks, Sentences, Tokenizers)
}

SHARES = {
    "onnx": 0.25, "npz": 0.125, "csv": 0.1, "image": 0.175, "safetensors": 0.075, "adapter": 0.1, "checkpoint": 0.05,
    "masks": 0.05, "sentences": 0.05, "tokenizer": 0.025,
}  # fmt: skip
"""Share of each kind in a run."""
