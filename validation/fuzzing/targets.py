"""The readers of lieref that take files from anywhere, each as a target of the coverage-guided fuzzer."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from validation.fuzzing import mutate
from validation.fuzzing.target import Change, Target, pack, put, unpack

MOST_UNPACKED = 2**20
"""Bytes of an archive that is opened to change a member of it; larger ones are changed as they are."""

SIZES = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x00\x00\x01\x00")
JSON = (
    b"null",
    b"true",
    b"false",
    b"[]",
    b"{}",
    b'":',
    b'","',
    b"1e999",
    b"-1",
    b"9223372036854775808",
    b"\\u0000",
    b"\\ud800",
)
DTYPES = tuple(f'"{name}"'.encode() for name in ("F64", "F32", "F16", "BF16", "I64", "U64", "U8", "BOOL", "F8_E4M3"))
FIELDS = (
    "peft_type", "r", "lora_alpha", "target_modules", "base_model_name_or_path", "lieref", "format", "base_sha256",
    "network_sha256", "tensors_sha256", "tensors_bytes", "methods", "sites", "head", "statistics", "task", "output",
    "input_shapes", "padding_id", "lieref-adapter/1", "lieref-adapter/2", "lieref-adapter/3",
)  # fmt: skip

READING = ("onnx_reader", "loops", "ml_operators", "mask_inputs", "packing", "checked", "branch", "graph")
"""Modules that read an ONNX file."""

RUN = {"recipe": {"epochs": 3, "average": False}, "arithmetic": {"engine": "float32", "program": 1}, "base": "0" * 64}
PARAMS = {"w:a": np.ones((2, 3), np.float32), "w:b": np.zeros(3, np.float32)}
"""The run that checkpoints are of."""


@cache
def _kind_seeds(name: str) -> list[bytes]:
    from validation.fuzzing.kinds import KINDS

    return [next(iter(files.values())) for files in KINDS[name]().seeds if len(files) == 1]


@cache
def _adapters() -> list[tuple[bytes, bytes]]:
    """Return configuration and tensors of adapters of several methods."""
    from lieref.adapter.folder import CONFIG_NAME, TENSORS_NAME
    from validation.fuzzing.kinds import KINDS

    return [(files[f"adapter/{CONFIG_NAME}"], files[f"adapter/{TENSORS_NAME}"]) for files in KINDS["adapter"]().seeds]


class TensorFile(Target):
    """Tensor files."""

    name, modules, max_length = "safetensors", ("lieref.adapter",), 4096
    words = (*JSON, *DTYPES, b'"dtype":', b'"shape":', b'"data_offsets":', b'"__metadata__":', *SIZES)

    def seeds(self) -> list[bytes]:
        return _kind_seeds("safetensors")

    def open(self, folder: Path) -> Callable[[bytes], None]:
        from lieref.adapter.tensor_file import decode_tensors

        def read(data: bytes) -> None:
            tensors, _ = decode_tensors(data, finite=len(data) % 2 == 0)
            assert sum(array.nbytes for array in tensors.values()) <= len(data)

        return read

    def mutate(self, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        length = int.from_bytes(data[:8], "little")
        chosen = rng.random()
        if chosen < 0.25:
            with suppress(Exception):
                return mutate.damage_tensors(data, rng)
        if chosen < 0.5 or 8 + length > len(data):
            return change(data)
        # With a length that holds, or else every longer name ends at the first check.
        header, body = change(data[8 : 8 + length]), data[8 + length :]
        return len(header).to_bytes(8, "little") + header + body


class Config(Target):
    """Configurations of adapters: strict JSON and its fields; what is accepted is written and read as the same."""

    name, modules, max_length = "adapter-config", ("lieref.adapter",), 4096
    words = (*JSON, *(f'"{field}"'.encode() for field in FIELDS))

    def seeds(self) -> list[bytes]:
        return [config for config, _ in _adapters()]

    def open(self, folder: Path) -> Callable[[bytes], None]:
        from lieref.adapter.fields import check_fields
        from lieref.adapter.strict_json import format_json, parse_json

        def read(data: bytes) -> None:
            value = parse_json(data, "config")
            assert parse_json(format_json(value), "again") == value
            check_fields("read", value, "config")

        return read

    def mutate(self, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        if rng.random() < 0.25:
            with suppress(Exception):
                return json.dumps(mutate.damage_json(json.loads(data), rng)).encode()
        return change(data)


class AdapterFolder(Target):
    """Adapter folders; where the first byte is even, with digests that hold, so that what stands behind is read."""

    name, modules, max_length = "adapter", ("lieref.adapter",), 8192
    words = Config.words + DTYPES

    def seeds(self) -> list[bytes]:
        return [b"\0" + pack(*files) for files in _adapters()]

    def open(self, folder: Path) -> Callable[[bytes], None]:
        from lieref.adapter.folder import CONFIG_NAME, TENSORS_NAME, read_adapter
        from lieref.adapter.strict_json import format_json, parse_json
        from lieref.errors import FormatError

        def read(data: bytes) -> None:
            config, tensors = unpack(data[1:], 2)
            if data and data[0] % 2 == 0:
                with suppress(FormatError):
                    value = parse_json(config, "config")
                    if isinstance(value.get("lieref"), dict):
                        value["lieref"] |= {
                            "tensors_sha256": sha256(tensors).hexdigest(),
                            "tensors_bytes": len(tensors),
                        }
                        config = format_json(value)
            put(folder / CONFIG_NAME, config)
            put(folder / TENSORS_NAME, tensors)
            read_adapter(folder)

        return read

    def mutate(self, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        config, tensors = unpack(data[1:], 2)
        chosen = rng.random()
        if chosen < 0.4:
            return data[:1] + pack(Config().mutate(config, change, rng), tensors)
        if chosen < 0.8:
            return data[:1] + pack(config, TensorFile().mutate(tensors, change, rng))
        return change(data)


class _Archive(Target):
    """An archive whose members are changed under checksums that hold."""

    words = (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"\x93NUMPY\x01\x00", b"'descr': ", b"'fortran_order': True",
             b"'shape': (", b"'<f4'", b"'|O'", b"'>i8'", b"'|b1'", b"'<f16'", *SIZES)  # fmt: skip
    largest = 2**24

    def limit(self, length: int) -> int:
        # The declared cap for compressed formats; before it, what deflate can reach at most.
        return min(1032 * length, self.largest) + super().limit(length)

    def mutate(self, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        if rng.random() < 0.3:
            return change(data)
        with suppress(Exception):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if sum(info.file_size for info in archive.infolist()) < MOST_UNPACKED:
                    members = {name: archive.read(name) for name in archive.namelist()}
                    chosen = list(members)[int(rng.integers(len(members)))]
                    members[chosen] = self.change_member(chosen, members[chosen], change, rng)
                    return archived(members, int(rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])))
        return change(data)

    def change_member(self, name: str, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        """Return a changed array: its header, with a length that holds, or anything in it."""
        length = int.from_bytes(data[8:10], "little")
        if rng.random() < 0.5 or data[6:7] != b"\x01" or 10 + length > len(data):
            return change(data)
        header = change(data[10 : 10 + length])[:65535]
        return data[:8] + len(header).to_bytes(2, "little") + header + data[10 + length :]


def archived(members: dict[str, bytes], method: int) -> bytes:
    """Return an archive of files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


class Archives(_Archive):
    """NumPy archives of data."""

    name, modules, max_length = "npz", ("lieref.train.npz", "lieref.train.cap"), 8192

    def seeds(self) -> list[bytes]:
        return _kind_seeds("npz")

    def open(self, folder: Path) -> Callable[[bytes], None]:
        from lieref.train.npz import npz_names, npz_shapes, read_npz

        def read(data: bytes) -> None:
            path = folder / "data.npz"
            put(path, data)
            names, shapes = npz_names(path), npz_shapes(path)
            arrays = read_npz(path, max_bytes=self.largest)
            assert set(arrays) == set(names)
            assert {name: array.shape for name, array in arrays.items()} == shapes

        return read


class Checkpoints(_Archive):
    """Checkpoints of a run."""

    name, max_length = "checkpoint", 8192
    modules = ("lieref.train.checkpoint", "lieref.train.npz", "lieref.train.cap", "lieref.train.history")
    words = (*_Archive.words, *JSON, b'"format":', b'"run":', b'"history":', b'"learning_rate":', b'"names":',
             b'"params"', b'"best_params"', b'"optimizer"', b'"best_epoch"')  # fmt: skip
    largest = 2**28  # that of every small source

    def seeds(self) -> list[bytes]:
        return _kind_seeds("checkpoint")

    def open(self, folder: Path) -> Callable[[bytes], None]:
        from lieref.train.checkpoint import FILE_NAME, read_checkpoint

        def read(data: bytes) -> None:
            put(folder / FILE_NAME, data)
            saved = read_checkpoint(folder, RUN, PARAMS)
            if saved is not None:
                saved.history.to_json()

        return read

    def change_member(self, name: str, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        if not name.startswith("meta") or len(data) < 128:
            return super().change_member(name, data, change, rng)
        text = Config().mutate(data[128:], change, rng)
        array = io.BytesIO()
        np.lib.format.write_array(array, np.frombuffer(text, np.uint8), allow_pickle=False)
        return array.getvalue()


class Images(Target):
    """Images, by Pillow's decoders of the formats that are read; at most 4 MiB are decoded."""

    name, modules, max_length = "image", ("lieref.train.images", "lieref.train.cap"), 4096
    words = (b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"eXIf", b"acTL", b"\xff\xd8", b"\xff\xda", b"\xff\xc0", b"II*\0",
             b"MM\0*", b"GIF89a", b"RIFF", b"WEBP", b"VP8L", b"VP8X", b"P6\n", b"P5\n65535 ", b"BM",
             *SIZES)  # fmt: skip
    largest = 2**22

    def seeds(self) -> list[bytes]:
        return _kind_seeds("image")

    def open(self, folder: Path) -> Callable[[bytes], None]:
        from lieref.train.images import read_image_folder

        (folder / "set" / "a").mkdir(parents=True)

        def read(data: bytes) -> None:
            put(folder / "set" / "a" / "a.png", data)
            for channels in (1, 3):
                images, _, _ = read_image_folder(folder / "set", channels=channels, max_bytes=self.largest)
                assert images.dtype == np.uint8

        return read

    def limit(self, length: int) -> int:
        return self.largest + super().limit(length)

    def mutate(self, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        with suppress(Exception):
            if data.startswith(b"\x89PNG") and rng.random() < 0.6:
                return mutate.damage_png(data, rng)
            if data.startswith(b"II*") and rng.random() < 0.5:
                return mutate.damage_tiff(data, rng)
        return change(data)


class Networks(Target):
    """ONNX files: the library's parser and checker, then lieref's reader up to the graph."""

    name, max_length = "onnx", 4096
    modules = tuple(f"lieref.model.{name}" for name in READING)
    words = (b"Conv", b"Gemm", b"Constant", b"If", b"Loop", b"Identity", b"Reshape", b"then_branch", b"else_branch",
             b"value", b"location", b"offset", b"length", b"net.onnx", b"../", b"axis", b"ai.onnx.ml",
             *SIZES)  # fmt: skip

    def seeds(self) -> list[bytes]:
        found = sorted(set(_kind_seeds("onnx")), key=len)
        return [data for data in found if len(data) <= self.max_length]

    def open(self, folder: Path) -> Callable[[bytes], None]:
        from lieref.model.onnx_reader import read_onnx

        def read(data: bytes) -> None:
            put(folder / "net.onnx", data)
            read_onnx(folder / "net.onnx")

        return read

    def mutate(self, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        if rng.random() < 0.4:
            with suppress(Exception):
                return mutate.damage_model(data, rng)
        return change(data)
