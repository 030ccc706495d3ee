"""Adapters of other libraries, and the state of a device's store, as targets of the coverage-guided fuzzer."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from validation.fuzzing.signed_targets import change_json
from validation.fuzzing.target import Change, Target, pack, put, unpack
from validation.fuzzing.targets import DTYPES, JSON, TensorFile

OUT, IN = 6, 4
"""The linear layer that every module of an input is read for."""

PEFT: dict[str, tuple[dict[str, tuple[int, ...]], dict[str, Any]]] = {
    "LORA": ({"lora_A.weight": (2, IN), "lora_B.weight": (OUT, 2), "lora_magnitude_vector": (OUT,)},
             {"lora_alpha": 3, "use_rslora": True, "rank_pattern": {"low": 2}}),
    "LOHA": ({"hada_w1_a": (OUT, 2), "hada_w1_b": (2, IN), "hada_w2_a": (OUT, 2), "hada_w2_b": (2, IN)}, {"alpha": 3}),
    "LOKR": ({"lokr_w1": (2, 2), "lokr_w2": (3, 2)}, {"alpha": 3}),
    "IA3": ({"ia3_l": (OUT, 1)}, {"feedforward_modules": []}),
    "OFT": ({"oft_R.weight": (2, 1)}, {"r": 0, "oft_block_size": 2}),
    "BOFT": ({"boft_R": (1, 2, 2, 2), "boft_s": (OUT, 1)}, {"boft_block_size": 2}),
    "HRA": ({"hra_u": (IN, 2)}, {"apply_GS": True}),
    "HIRA": ({"hira_A": (2, IN), "hira_B": (OUT, 2)}, {}),
}  # fmt: skip
LYCORIS: tuple[dict[str, tuple[int, ...]], ...] = (
    {"lora_up.weight": (OUT, 2), "lora_down.weight": (2, IN), "alpha": (), "dora_scale": (1, IN)},
    PEFT["LOHA"][0] | {"alpha": ()},
    PEFT["LOKR"][0] | {"alpha": ()},
    {"weight": (OUT,), "on_input": ()},
    {"diff": (OUT, IN), "diff_b": (OUT,)},
    {"w_norm": (OUT,), "b_norm": (OUT,)},
    {"oft_blocks": (3, 2, 2), "rescale": (OUT, 1), "alpha": ()},
    {"oft_blocks": (1, 3, 2, 2)},
)
"""Shapes of the tensors of a module of each kind, and settings of its configuration."""


@cache
def _place() -> Any:
    from lieref.adapter.exchange.factors import Place
    from lieref.model.layer import Layer

    weight = np.random.default_rng(0).standard_normal((OUT, IN))
    return Place(Layer("low", "Gemm", "low.weight", "low.bias", (OUT, IN), 1, False, False, False), weight)


def _tensors(shapes: dict[str, tuple[int, ...]], prefix: str, metadata: dict[str, str]) -> bytes:
    from lieref.adapter.tensor_file import encode_tensors

    rng = np.random.default_rng(0)
    arrays = {f"{prefix}{name}": rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    for name in arrays:
        if name.endswith(("alpha", "on_input")):
            arrays[name] = np.array(3.0, np.float32) if name.endswith("alpha") else np.array(0, np.int64)
    return encode_tensors(arrays, metadata)


def _use(foreign: Any) -> None:
    """Read every module for the one layer; what does not fit it is refused."""
    from lieref.errors import LierefError

    refused = None
    for read in foreign.modules.values():
        try:
            factors = read(_place())
        except LierefError as error:
            refused = error
            continue
        # An overflow is refused by the method that gets it.
        assert not any(np.isnan(value).any() for value in factors.params.values())
    if refused is not None:
        raise refused


class PeftAdapters(Target):
    """Folders of PEFT's."""

    name, modules, max_length = "peft", ("lieref.adapter",), 4096
    words = (*JSON, *DTYPES, b"base_model.model.", b'"peft_type":', b'"rank_pattern":', b'"alpha_pattern":', b"(.*)+",
             b'"use_dora":', b'"init_lora_weights":',
             *(f".{name}".encode() for row in PEFT.values() for name in row[0]),
             *(f'"{kind}"'.encode() for kind in PEFT))  # fmt: skip

    def seeds(self) -> list[bytes]:
        found = []
        for kind, (shapes, settings) in PEFT.items():
            config = {"peft_type": kind, "r": 2, "target_modules": ["low"], **settings}
            tensors = _tensors(shapes, "base_model.model.low.", {"format": "pt"})
            found.append(pack(json.dumps(config).encode(), tensors))
        return found

    def open(self, folder: Path) -> Callable[[bytes], None]:
        from lieref.adapter.exchange.readers import read_foreign

        place = folder / "adapter"
        place.mkdir()

        def read(data: bytes) -> None:
            config, tensors = unpack(data, 2)
            put(place / "adapter_config.json", config)
            put(place / "adapter_model.safetensors", tensors)
            _use(read_foreign(place))

        return read

    def mutate(self, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        config, tensors = unpack(data, 2)
        chosen = rng.random()
        if chosen < 0.4:
            return pack(change_json(config, change, rng), tensors)
        if chosen < 0.8:
            return pack(config, TensorFile().mutate(tensors, change, rng))
        return change(data)


class LycorisFiles(Target):
    """Files of LyCORIS's."""

    name, modules, max_length = "lycoris", ("lieref.adapter",), 4096
    words = (*TensorFile.words, b"lycoris_", b"lora_unet_", *(f".{name}".encode() for row in LYCORIS for name in row))

    def seeds(self) -> list[bytes]:
        return [_tensors(shapes, "lycoris_low.", {}) for shapes in LYCORIS]

    def open(self, folder: Path) -> Callable[[bytes], None]:
        from lieref.adapter.exchange.readers import read_foreign

        path = folder / "adapter.safetensors"

        def read(data: bytes) -> None:
            put(path, data)
            _use(read_foreign(path))

        return read

    def mutate(self, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        return TensorFile().mutate(data, change, rng)


class StoreStates(Target):
    """State files of a store; where the first byte is even, with a checksum that holds. What is read is then used."""

    name, modules, max_length = "store-state", ("lieref.adapter",), 4096
    words = (*JSON, b'"generation":', b'"root":', b'"live":', b'"previous":', b'"trial":', b'"history":',
             b'"accepted":', b'"tries":', b'"started":', b'"floor":', b'"digest":', b'"compatible":')  # fmt: skip

    def seeds(self) -> list[bytes]:
        from lieref.adapter.store.state_file import encode_state
        from tests.adapter.store.test_state_file import states

        found = [encode_state(state) for state in states()]
        return [b"\0" + data[data.index(b'"state":') + 8 : -2] for data in found] + [b"\1" + found[-1]]

    def open(self, folder: Path) -> Callable[[bytes], None]:
        from lieref.adapter.store.state import marked_good, rolled_back, started
        from lieref.adapter.store.state_file import STATE_NAME, encode_state, read_state
        from lieref.errors import LierefError

        def read(data: bytes) -> None:
            flag, text = data[:1] or b"\1", data[1:]
            if flag[0] % 2 == 0:
                text = b'{"sha256":"%s","state":%s}\n' % (sha256(text).hexdigest().encode(), text)
            put(folder / STATE_NAME, text)
            state = read_state(folder)
            put(folder / STATE_NAME, encode_state(state))
            assert read_state(folder) == state
            for use in (
                lambda: started(state, "t", live_intact=True, previous_intact=False),
                lambda: started(state, "t", live_intact=False, previous_intact=True),
                lambda: marked_good(state, "t"),
                lambda: rolled_back(state, "t"),
            ):
                try:
                    put(folder / STATE_NAME, encode_state(use()))
                    read_state(folder)
                except LierefError:
                    continue

        return read

    def mutate(self, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        return data[:1] + change_json(data[1:], change, rng) if rng.random() < 0.9 else change(data)
