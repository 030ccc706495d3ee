"""Attacks on an installer, in the terms of TUF, one named test each; any installer can be put to them.

The protocol, and how to name another program, is in `tests.adapter.bundle.installer`. Every test begins with a device
that accepts the right bundle, and most end with one, so that an installer that refuses everything does not pass.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.adapter.tensor_file import encode_tensors
from tests.adapter.bundle import bundles
from tests.adapter.bundle.bundles import (
    ADAPTER,
    CONFIG,
    ENVELOPE,
    FILES,
    KIND,
    UPDATE,
    Bundle,
    adapter_tensors,
    base_file,
    keyid,
    public,
    root_file,
    root_payload,
)
from tests.adapter.bundle.installer import VARIABLE, Device
from tests.adapter.bundle.updates import BYTES, CHANNELS, update_payload, update_text

ON_ADAPTERS = {
    "test_configuration_of_another_base", "test_path_traversal_by_tensor_name", "test_external_data",
    "test_weights_that_are_not_finite", "test_size_of_a_tensor_lies", "test_header_bombs",
    "test_another_program_is_put_to_the_same_tests",
}  # fmt: skip
"""By what an adapter alone has."""
ON_UPDATES = {"test_numbers_that_no_scale_can_be", "test_payload_of_another_length", "test_places_outside_of_the_file"}
"""By what an update of a quantised file alone has."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Offer each attack in a bundle of either kind."""
    name = metafunc.function.__name__
    kinds = [ADAPTER] if name in ON_ADAPTERS else [UPDATE] if name in ON_UPDATES else [*FILES]
    metafunc.parametrize("kind", kinds, indirect=True)


@pytest.fixture(autouse=True)
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    KIND[0] = request.param
    yield request.param
    KIND[0] = ADAPTER


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "offered"


def onnx_base(path: Path, *, external: bool) -> Path:
    """An ONNX file with one weight, which lies in the file or in another one."""
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((3, 2), np.float32), "conv/w")
    graph = helper.make_graph([helper.make_node("Identity", ["conv/w"], ["y"])], "g", [],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 2])], [weight])  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    if external:
        held = model.graph.initializer[0]
        held.ClearField("raw_data")
        held.data_location = TensorProto.EXTERNAL
        held.external_data.add(key="location", value="../../../../etc/passwd")
    path.write_bytes(model.SerializeToString())
    return path


def test_rollback(device: Device, place: Path) -> None:
    """An old bundle, rightly signed, is offered again to make a device vulnerable again."""
    device.accepts(device.folder / "right", counter=4)
    device.refuses("counter", device.folder / "right", counter=5)
    device.refuses("counter", device.folder / "right", counter=6)


def test_rollback_below_the_floor(device: Device) -> None:
    """A bundle from before the last one that closed the way back."""
    device.accepts(device.folder / "right", floor=5)
    device.refuses("floor", device.folder / "right", floor=6)


def test_floor_above_its_own_counter(device: Device, place: Path) -> None:
    """A bundle that would close the way to itself: no device could ever install it again."""
    device.refuses("format", Bundle(fields={"min_counter": 6}).write(place))


def test_freeze(device: Device) -> None:
    """The last bundle is offered for ever, and newer ones are held back: it ends when the bundle does."""
    device.accepts(device.folder / "right", now="2027-10-31T23:59:59Z")
    device.refuses("expired", device.folder / "right", now="2027-11-01T00:00:00Z")


def test_freeze_of_the_root_file(device: Device) -> None:
    """The keys that a device trusts are never renewed: it ends when the root file does."""
    device.trust.write_bytes(root_file(root_payload(expires="2026-12-02T00:00:00Z")))
    device.accepts(device.folder / "right", now="2026-12-01T23:59:59Z")
    device.refuses("expired", device.folder / "right", now="2026-12-02T00:00:00Z")


def test_expired(device: Device, place: Path) -> None:
    device.refuses("expired", Bundle(fields={"expires": "2026-11-30T23:59:59Z"}).write(place))


def test_mix_and_match(device: Device, place: Path) -> None:
    """Files of two bundles, each rightly signed."""
    one, two = Bundle(), Bundle(counter=6, seed=1)
    device.accepts(two.write(place / "two"))
    for number, name in enumerate((*FILES[KIND[0]], ENVELOPE)):
        mixed = one.write(place / f"{number}")
        (mixed / name).write_bytes(two.files()[name])
        device.refuses("digest", mixed)


def test_configuration_of_other_tensors(device: Device, place: Path) -> None:
    """A signer that mixed up two adapters: the signature holds, the files do not belong together."""
    other = Bundle(seed=1).files()
    device.refuses("config", Bundle(config=other[FILES[KIND[0]][0]]).write(place))


def test_wrong_base(device: Device, place: Path) -> None:
    other = base_file(seed=1, kind=KIND[0])
    bundle = Bundle(base=other).write(place)
    device.refuses("base", bundle)
    device.base.write_bytes(other)
    device.accepts(bundle)
    device.refuses("base", device.folder / "right")


def test_wrong_kind(device: Device, place: Path, kind: str) -> None:
    """An adapter for a quantised file and an update for a float network, one of them signed for just that base."""
    other = ADAPTER if kind == UPDATE else UPDATE
    device.refuses("kind", Bundle(kind=other).write(place / "other"))
    device.refuses("kind", Bundle(kind=other, base=device.base.read_bytes()).write(place / "signed so"))


def test_kind_that_nobody_knows(device: Device, place: Path, kind: str) -> None:
    def retype(statement: dict[str, Any], to: str) -> None:
        statement["predicateType"] = to

    other = bundles.PREDICATES[ADAPTER if kind == UPDATE else UPDATE]
    for number, to in enumerate((other, "urn:lieref:adapter-bundle:v2", "", 1)):
        bundle = Bundle(edit=lambda statement, to=to: retype(statement, to))  # type: ignore[misc]
        device.refuses("format", bundle.write(place / f"{number}"))


def test_files_of_the_other_kind(device: Device, place: Path, kind: str) -> None:
    """Beside the right ones they are too many, and in their place they are of another bundle."""
    other = Bundle(kind=ADAPTER if kind == UPDATE else UPDATE)
    for name, data in other.files().items():
        if name != ENVELOPE:
            more = Bundle().write(place / name)
            (more / name).write_bytes(data)
            device.refuses("unexpected-file", more)
    swapped = other.write(place / "swapped")
    (swapped / ENVELOPE).write_bytes(Bundle().files()[ENVELOPE])
    device.refuses("digest", swapped)


@pytest.mark.parametrize("wrong", ["code", "nan", "infinite", "zero", "negative scale", "nan scale", "subnormal scale"])
def test_numbers_that_no_scale_can_be(device: Device, place: Path, wrong: str) -> None:
    base = device.base.read_bytes()
    payload = bytearray(update_payload())
    fields: dict[str, Any] = {}
    ratios = {"nan": np.nan, "infinite": np.inf, "zero": 0.0}
    scales = {"negative scale": -0.01, "nan scale": np.nan, "subnormal scale": 1e-40}
    if wrong == "code":
        payload[4] = 0x80  # -128
    elif wrong in ratios:
        payload[:4] = np.array([ratios[wrong]], "<f4").tobytes()
    else:
        payload = bytearray(np.array([0.01, scales[wrong], 0.02], "<f4").tobytes())
        fields = {"encoding": "finished"}
    right = update_text(base, update_payload())
    text = {**right, "payload_sha256": sha256(payload).hexdigest(), "payload_bytes": len(payload), **fields}
    device.refuses("not-finite", Bundle(tensors=bytes(payload), config=json.dumps(text).encode()).write(place))


@pytest.mark.parametrize("change", [-1, 1])
def test_payload_of_another_length(device: Device, place: Path, change: int) -> None:
    """Signed so by a careless signer: the file of text has the digest of what is there."""
    payload = update_payload()
    device.refuses("tensors", Bundle(tensors=payload[:-1] if change < 0 else payload + b"\0").write(place))


@pytest.mark.parametrize(
    ("row", "layer"),
    [
        ([BYTES - 11], [0, CHANNELS, 0, 0]), ([2**62], [0, CHANNELS, 0, 0]), ([0], [0, CHANNELS, 0, 0]),
        ([16, BYTES, CHANNELS, 0], [0, CHANNELS, 0, 0]), ([16, 32, 2**61, 0], [0, CHANNELS, 0, 0]),
        ([16, 32, 2, 0], [0, CHANNELS, 0, 0]), ([16, 32, 3, 2**32], [0, CHANNELS, 0, 0]),
        ([16, 0, 0, 0, 1], [0, CHANNELS, 0, 0]), ([16, 0, 0, 0, 0, 90, 3, 4], [0, CHANNELS, 0, 0]),
        ([16, 0, 0, 0, 0, 48, 3, 2], [0, CHANNELS, 0, 0]), ([16, 0, 0, 0, 0, 48, 2, 4], [0, CHANNELS, 3, 0]),
        ([16, 0, 0, 0, 0, 0, 0, 0, 95], [0, CHANNELS, 0, 2]), ([16, 0, 0, 0, 0, 0, 0, 0, 64, 2], [0, CHANNELS, 0, 2]),
        ([16, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0], [0, CHANNELS, 0, 0]),
        ([16], [0, CHANNELS, 0]), ([16], [0, -1, 0, 0]), ([16], "layer"), (None, [0, CHANNELS, 0, 0]),
    ],
)  # fmt: skip
def test_places_outside_of_the_file(device: Device, place: Path, row: list[int] | None, layer: Any) -> None:
    text = update_text(device.base.read_bytes(), update_payload(), layers=[layer], places=[row])
    if row is None:
        del text["places"]
    device.refuses("tensors", Bundle(config=json.dumps(text).encode()).write(place))


def test_base_that_is_no_model(device: Device) -> None:
    device.base.write_bytes(b"\0" * 100)
    device.refuses("base", device.folder / "right")
    device.base.unlink()
    device.refuses("base", device.folder / "right")


def test_configuration_of_another_base(device: Device, place: Path) -> None:
    """The statement names this base, the configuration another one."""
    config = json.loads(Bundle().files()[CONFIG])
    config["lieref"]["base_sha256"] = "1" * 64
    device.refuses("config", Bundle(config=json.dumps(config).encode()).write(place))


def test_wrong_device(device: Device, place: Path) -> None:
    bundle = Bundle(fields={"compatible": "camera-2"}).write(place)
    device.accepts(bundle, compatible="camera-2")
    device.refuses("compatible", bundle, compatible="camera-1")
    device.refuses("compatible", bundle, compatible="camera-2 ")
    device.refuses("compatible", bundle)


def test_below_threshold(device: Device, place: Path) -> None:
    device.trust.write_bytes(root_file(root_payload(bundle=("a", "b", "c"), thresholds=(1, 2))))
    device.accepts(Bundle(names=("a", "c")).write(place / "two"))
    device.refuses("threshold", Bundle(names=("b",)).write(place / "one"))


def test_unknown_key(device: Device, place: Path) -> None:
    device.refuses("unknown-key", Bundle(names=("mallory",)).write(place / "alone"))
    # A key that is not trusted harms nothing beside one that is: so it is during a rotation.
    device.accepts(Bundle(names=("mallory", "a")).write(place / "beside"))


def test_key_of_the_root_alone(device: Device, place: Path) -> None:
    """A key that may sign root files may not sign bundles."""
    device.trust.write_bytes(root_file(root_payload(root=("r",), bundle=("a",)), names=("r",)))
    device.accepts(device.folder / "right")
    device.refuses("unknown-key", Bundle(names=("r",)).write(place))


def test_signature_under_another_key_id(device: Device, place: Path) -> None:
    def rename(envelope: dict[str, Any]) -> None:
        envelope["signatures"][0]["keyid"] = keyid("a")

    device.refuses("signature", Bundle(names=("mallory",), after=rename).write(place))


def test_duplicate_key(device: Device, place: Path) -> None:
    """One key signs twice where two must sign."""
    device.trust.write_bytes(root_file(root_payload(bundle=("a", "b"), thresholds=(1, 2))))
    device.accepts(Bundle(names=("a", "b")).write(place / "both"))
    device.refuses("duplicate-key", Bundle(names=("a", "a")).write(place / "twice"))


def test_duplicate_key_under_two_ids(device: Device, place: Path) -> None:
    """A root file that counts one key twice by giving it two ids."""
    payload = root_payload(bundle=("a", "b"), thresholds=(1, 2))
    payload["keys"][keyid("b")]["keyval"]["public"] = public("a").hex()
    device.trust.write_bytes(root_file(payload))
    device.refuses("root", Bundle(names=("a", "b")).write(place))


def test_signature_of_another_payload_type(device: Device, place: Path) -> None:
    """A signature by a trusted key over something that is no bundle."""

    def retype(envelope: dict[str, Any]) -> None:
        envelope["payloadType"] = "application/vnd.lieref.root+json"

    device.refuses("format", Bundle(after=retype).write(place))


def test_endless_data(device: Device, place: Path) -> None:
    """A file that does not end is not read to its end."""
    for name in (*FILES[KIND[0]], ENVELOPE):
        endless = Bundle().write(place / name)
        with open(endless / name, "r+b") as file:
            file.truncate(2**40)  # takes no space on the disk
        device.refuses("size", endless)


def test_endless_data_of_a_pipe(device: Device, place: Path) -> None:
    """A pipe that nobody writes is not waited for."""
    bundle = Bundle().write(place)
    (bundle / FILES[KIND[0]][1]).unlink()
    os.mkfifo(bundle / FILES[KIND[0]][1])
    device.refuses("link", bundle)


def test_endless_folder(device: Device, place: Path) -> None:
    bundle = Bundle().write(place)
    for number in range(100):
        (bundle / f"{number}").touch()
    device.refuses("unexpected-file", bundle)


def test_arbitrary_file_name(device: Device, place: Path) -> None:
    for number, name in enumerate((".hidden", "adapter_model.bin", "ADAPTER_CONFIG.JSON", "x\ny", " ", "..​")):
        bundle = Bundle().write(place / f"{number}")
        (bundle / name).write_bytes(b"")
        device.refuses("unexpected-file", bundle)
    folder = Bundle().write(place / "folder")
    (folder / "more").mkdir()
    device.refuses("unexpected-file", folder)


def test_missing_file(device: Device, place: Path) -> None:
    for name in (*FILES[KIND[0]], ENVELOPE):
        bundle = Bundle().write(place / name)
        (bundle / name).unlink()
        device.refuses("missing-file", bundle)
    device.refuses("missing-file", place / "nowhere")
    device.refuses("missing-file", device.trust)


def test_link(device: Device, place: Path) -> None:
    """A link in the place of a file, even to the right one: what it points to can change after the check."""
    for name in (*FILES[KIND[0]], ENVELOPE):
        bundle = Bundle().write(place / name)
        (bundle / name).rename(place / f"{name} elsewhere")
        (bundle / name).symlink_to(place / f"{name} elsewhere")
        device.refuses("link", bundle)
        (bundle / name).unlink()
        (bundle / name).symlink_to("/dev/zero")
        device.refuses("link", bundle)
        (bundle / name).unlink()
        (bundle / name).mkdir()
        device.refuses("link", bundle)


def test_path_traversal(device: Device, place: Path) -> None:
    """A statement about files elsewhere, signed by a trusted key."""
    for number, name in enumerate(("../adapter_config.json", "/etc/passwd", "a/../../adapter_config.json", "", "a\0b")):

        def elsewhere(statement: dict[str, Any], name: str = name) -> None:
            statement["subject"][0]["name"] = name

        device.refuses("format", Bundle(edit=elsewhere).write(place / f"{number}"))


def test_path_traversal_by_tensor_name(device: Device, place: Path) -> None:
    """The name of a tensor is no path: it harms nothing, and nothing is written by it."""
    before = sorted(device.folder.rglob("*"))
    shutil.copytree(device.folder / "right", place)
    tensors = {**adapter_tensors(), "../../../../tmp/evil": np.zeros(1, np.float32)}
    bundle = Bundle(tensors=encode_tensors(tensors)).write(place / "evil")
    device.verify(bundle)
    shutil.rmtree(place)
    assert sorted(device.folder.rglob("*")) == before


def test_external_data(device: Device, place: Path) -> None:
    """A base whose weights lie in another file, anywhere on the device: that is not opened."""
    device.base = onnx_base(device.folder / "in.onnx", external=False)
    right = Bundle(base=device.base.read_bytes()).write(place)
    device.accepts(right)
    device.base = onnx_base(device.folder / "out.onnx", external=True)
    device.refuses("base", right)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(device: Device, place: Path, value: float) -> None:
    tensors = adapter_tensors()
    tensors["conv/w:lora_b"][1, 0] = value
    device.refuses("not-finite", Bundle(tensors=encode_tensors(tensors)).write(place))


@pytest.mark.parametrize("shift", [-1, 1, 2**40])
def test_declared_size_lies(device: Device, place: Path, shift: int) -> None:
    """The statement says another size than the file has."""
    for number in (0, 1):

        def lie(statement: dict[str, Any], number: int = number) -> None:
            statement["subject"][number]["annotations"]["bytes"] += shift

        device.refuses("size", Bundle(edit=lie).write(place / f"{number}"))


def test_size_of_a_tensor_lies(device: Device, place: Path) -> None:
    """The header of the tensor file promises more, or less, than there is."""
    for number, (shape, end) in enumerate((([10**9], 4 * 10**9), ([1], 4), ([2**62, 2**62], 20), ([-1], 20))):
        header = json.dumps({"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
        data = len(header).to_bytes(8, "little") + header + bytes(20)
        device.refuses("tensors", Bundle(tensors=data).write(place / f"{number}"))


def test_header_bombs(device: Device, place: Path) -> None:
    """Headers that claim to be huge, are nested without end, or hold a number of thousands of digits."""
    bombs = {
        "length": (2**63).to_bytes(8, "little") + b"{}",
        "all ones": b"\xff" * 8 + b"{}",
        "nested": (10**5).to_bytes(8, "little") + b'{"a":'.ljust(10**5, b"["),
        "digits": (10**4).to_bytes(8, "little") + b'{"a":' + b"9" * (10**4 - 6) + b"}",
        "axes": (lambda h: len(h).to_bytes(8, "little") + h)(
            json.dumps({"x": {"dtype": "F32", "shape": [1] * 10**4, "data_offsets": [0, 4]}}).encode()
        ) + bytes(4),
    }  # fmt: skip
    for name, data in bombs.items():
        device.refuses("tensors", Bundle(tensors=data).write(place / name))


def test_bombs_of_json(device: Device, place: Path) -> None:
    """The same in what is read before any signature is checked, and in the configuration."""
    bombs = {"nested": b'{"a":' * 12_000 + b"1}", "digits": b'{"payload":' + b"9" * 60_000 + b"}"}
    for name, data in bombs.items():
        bundle = Bundle().write(place / name)
        (bundle / ENVELOPE).write_bytes(data)
        device.refuses("format", bundle)
        device.refuses("config", Bundle(config=data).write(place / f"{name} config"))


def test_many_signatures(device: Device, place: Path) -> None:
    """Each signature that is checked costs time: there is a cap on them."""
    names = tuple(f"mallory {number}" for number in range(40))
    device.refuses("format", Bundle(names=("a", *names)).write(place))


def test_what_is_not_known_is_not_passed_over(device: Device, place: Path) -> None:
    device.refuses("requires", Bundle(fields={"requires": ["quantum"]}).write(place / "requires"))
    device.refuses("format", Bundle(fields={"colour": "red"}).write(place / "field"))


def test_private_key_for_trust(device: Device) -> None:
    device.trust.write_text("-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----\n")
    device.refuses("private-key", device.folder / "right")


def test_root_of_ones_own(device: Device, place: Path) -> None:
    """An attacker brings a root file with keys of his own, signed by them, as the next one."""
    mine = place.parent / "2.root.json"
    mine.write_bytes(root_file(root_payload(2, root=("mallory",), bundle=("mallory",)), names=("mallory",)))
    device.newer = (mine,)
    device.refuses("root", Bundle(names=("mallory",)).write(place))


def test_root_version_skipped(device: Device, place: Path) -> None:
    third = place.parent / "3.root.json"
    third.write_bytes(root_file(root_payload(3, root=("b",), bundle=("b",)), names=("a", "b")))
    device.newer = (third,)
    device.refuses("root", Bundle(names=("b",)).write(place))


def test_root_rollback(device: Device) -> None:
    """The root file that is trusted, offered as its own successor."""
    device.newer = (device.trust,)
    device.refuses("root", device.folder / "right")


def test_revoked_key(device: Device, place: Path) -> None:
    """After the root file that revokes a key its bundles are refused, and those of the new key are taken."""
    second = place.parent / "2.root.json"
    second.write_bytes(root_file(root_payload(2, root=("b",), bundle=("b",)), names=("a", "b")))
    device.newer = (second,)
    device.refuses("unknown-key", device.folder / "right")
    device.accepts(Bundle(names=("b",)).write(place))


@pytest.mark.skipif(VARIABLE in os.environ, reason="another installer is being tested")
def test_another_program_is_put_to_the_same_tests(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line of lieref as a program of its own, one that takes everything, and one that crashes."""
    folder = place.parent / "device"
    folder.mkdir()
    monkeypatch.setenv(VARIABLE, f"{sys.executable} -m lieref bundle")
    device = Device(folder)
    device.refuses("unknown-key", Bundle(names=("mallory",)).write(place))
    monkeypatch.setenv(VARIABLE, "true")
    with pytest.raises(AssertionError):
        device.refuses("unknown-key", place)
    monkeypatch.setenv(VARIABLE, "false")
    with pytest.raises(AssertionError):
        device.accepts(device.folder / "right")
