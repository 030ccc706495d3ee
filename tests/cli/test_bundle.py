"""``lieref bundle``: from a key to a verdict, and from one key to the next."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import lieref
from lieref.adapter import read_adapter, verify_bundle
from lieref.cli import main
from tests.cli.helpers import small_network

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]


@pytest.fixture
def bench(workplace: Path, run_json: RunJson) -> Path:
    """A working folder with base.onnx, an adapter and the keys `key` and `second`."""
    model = lieref.load("base.onnx")
    model.attach("liera", r=1)
    for site in model.sites.values():
        for number, factor in enumerate(site.params.values()):
            factor[...] = np.random.default_rng(number).normal(0, 0.1, factor.shape)
    model.save_adapter("adapter")
    for name in ("key", "second"):
        run_json("bundle", "keygen", "--out", name)
    return workplace


def create(run_json: RunJson, out: str = "bundle", *options: object, key: str = "key") -> dict[str, Any]:
    return run_json("bundle", "create", "adapter", "--base", "base.onnx", "--key", key, "--out", out, *options)


def verify(*options: str, bundle: str = "bundle", base: str = "base.onnx", trust: str = "key") -> int:
    return main(["bundle", "verify", bundle, "--base", base, "--trust", trust, *options])


def test_from_key_to_verdict(bench: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    made = create(run_json, "bundle", "--version", "1.2", "--counter", 7, "--compatible", "camera")
    assert sorted(path.name for path in Path("bundle").iterdir()) == sorted(made["bytes"])
    assert {name: path.stat().st_size for name in made["bytes"] if (path := Path("bundle", name))} == made["bytes"]
    assert (made["version"], made["counter"], made["min_counter"], made["compatible"]) == ("1.2", 7, 0, "camera")
    report = run_json("bundle", "verify", "bundle", "--base", "base.onnx", "--trust", "key", "--compatible", "camera")
    assert report["verified"] is True
    assert {name: report[name] for name in ("version", "counter", "files", "base", "merged_sha256")} == {
        name: made[name] for name in ("version", "counter", "files", "base", "merged_sha256")
    }
    assert verify("--compatible", "camera") == 0
    printed = capsys.readouterr()
    assert "Verified" in printed.out
    assert "key also holds a private key: ship root.json alone" in printed.err


def test_what_is_said_of_a_refusal(bench: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    create(run_json)
    assert verify(trust="second") == 3
    printed = capsys.readouterr()
    assert printed.out == "refused: unknown-key\n"
    assert printed.err.startswith("check_signatures: bundle.dsse.json must be signed by 1 of the 1 trusted keys; got 0")
    assert len(printed.err.splitlines()) == 1
    assert verify("--json", trust="second") == 3
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert (report["verified"], report["refused"]) == (False, "unknown-key")
    assert report["reason"] == printed.err.strip()


def test_the_adapter_is_the_same(bench: Path, run_json: RunJson) -> None:
    """What is in the bundle is what was trained, and merges to what `lieref merge` writes."""
    made = create(run_json)
    tensors, config = read_adapter("adapter")
    found = verify_bundle("bundle", base="base.onnx", trust="key")
    for name, array in tensors.items():
        assert found.tensors[name].tobytes() == array.tobytes()
    assert {name for name in found.tensors if not name.startswith("selftest.")} == set(tensors)
    assert found.config["lieref"]["sites"] == config["lieref"]["sites"]
    assert lieref.load("base.onnx").load_adapter("adapter").num_trainable() == sum(a.size for a in tensors.values())
    from lieref.adapter.merge.merging import merge_weights, merged_digest
    from lieref.adapter.weights import read_weights

    run_json("merge", "base.onnx", "adapter", "-o", "merged.onnx")
    merged = merge_weights(found.tensors, found.config, read_weights("base.onnx"))
    assert merged_digest(merged) == made["merged_sha256"]
    written = read_weights("merged.onnx")
    assert {name: written[name].tobytes() for name in merged} == {name: a.tobytes() for name, a in merged.items()}


def test_defaults(bench: Path, run_json: RunJson) -> None:
    before = int(time.time())
    made = create(run_json)
    assert before <= made["counter"] <= time.time()
    assert made["version"] == made["issued"]
    expires, issued = (datetime.fromisoformat(made[name]) for name in ("expires", "issued"))
    assert expires - issued == timedelta(days=365)
    assert (made["compatible"], made["min_counter"], made["signatures"]) == (None, 0, 1)
    assert abs(issued - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("text", "expires"),
    [("never", None), ("2099-01-02", "2099-01-02T00:00:00Z"), ("2099-01-02T03:04:05+01:00", "2099-01-02T02:04:05Z")],
)
def test_expiry(bench: Path, run_json: RunJson, text: str, expires: str | None) -> None:
    assert create(run_json, "bundle", "--expires", text)["expires"] == expires


def test_a_self_test_goes_with_it(bench: Path, run_json: RunJson, fails: Fails) -> None:
    from lieref.adapter.self_test_check import check_self_test, self_test_inputs

    merged = lieref.load("base.onnx").load_adapter("adapter").merge_and_unload()
    for out, options in (("drawn", ()), ("given", ("--self-test", "train.npz"))):
        assert create(run_json, out, *options)["left_out"] == []
        tensors = verify_bundle(out, base="base.onnx", trust="key").tensors
        (inputs,) = self_test_inputs(tensors).values()
        assert len(inputs) <= 2
        errors = check_self_test(tensors, {"logits": merged.logits(inputs)})
        assert 0 <= errors["logits"] <= 1
    assert np.array_equal(inputs, np.load("train.npz")["x"][:2])
    np.savez("other.npz", y=np.zeros(3))
    start = ("bundle", "create", "adapter", "--base", "base.onnx", "--key", "key", "--out", "bundle")
    assert "`samples` must hold the inputs image; got ['y']" in fails(*start, "--self-test", "other.npz")


def test_wrong_use(bench: Path, run_json: RunJson, fails: Fails) -> None:
    start = ("bundle", "create", "adapter", "--base", "base.onnx", "--key", "key", "--out", "bundle")
    assert "is no date" in fails(*start, "--expires", "soon")
    assert "is not 1d to 36525d" in fails(*start, "--expires", "0d")
    assert "is not 1d to 36525d" in fails(*start, "--expires", "99999999999d")
    assert "must lie in the future" in fails(*start, "--expires", "2020-01-01")
    assert "`min_counter` must be 0 to 5; got 6" in fails(*start, "--counter", 5, "--min-counter", 6)
    assert "version: one line" in fails(*start, "--version", "")
    assert "`key` must be a private key" in fails(*start[:-4], "--key", "key/root.json", "--out", "bundle")
    assert "keys that have not signed yet" in fails(*start, "--key", "key")
    assert "`base` must be a readable file" in fails(*start[:4], "nowhere.onnx", *start[5:])
    assert "must be an adapter folder" in fails("bundle", "create", "nowhere", *start[3:])
    assert "new or empty folder" in fails("bundle", "keygen", "--out", "key")


def test_a_bundle_is_replaced_on_demand(bench: Path, run_json: RunJson, fails: Fails) -> None:
    create(run_json, "bundle", "--counter", 1)
    start = ("bundle", "create", "adapter", "--base", "base.onnx", "--key", "key", "--out", "bundle")
    assert "add --force" in fails(*start)
    assert create(run_json, "bundle", "--counter", 2, "--force")["counter"] == 2
    Path("bundle/notes.txt").write_text("mine")
    assert "notes.txt" in fails(*start, "--force")


def test_an_adapter_of_another_network(bench: Path, fails: Fails) -> None:
    onnx.save(small_network(seed=1), "other.onnx")
    line = fails("bundle", "create", "adapter", "--base", "other.onnx", "--key", "key", "--out", "bundle")
    assert "must belong to this base model" in line


def test_a_base_that_was_saved_again(bench: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    """One network in two files: a bundle for either is good for both."""
    model = onnx.load("base.onnx")
    model.producer_name = "another tool"
    onnx.save(model, "again.onnx")
    create(run_json)
    assert verify(base="again.onnx") == 0
    capsys.readouterr()
    again = run_json("bundle", "create", "adapter", "--base", "again.onnx", "--key", "key", "--out", "bundle2")
    assert again["base"]["file_sha256"] != run_json("bundle", "show", "bundle")["base"]["file_sha256"]
    assert verify(bundle="bundle2", base="again.onnx") == 0
    assert verify(bundle="bundle2") == 0
    onnx.save(small_network(seed=1), "other.onnx")
    assert verify(base="other.onnx") == 3


def test_two_of_two(bench: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    """A second keeper signs in another place; both are needed once the root file says so."""
    run_json("bundle", "rotate", "key", "--key", "key", "--add-bundle", "second", "--threshold", "2")
    create(run_json)
    assert verify(trust="key/2.root.json") == 3
    assert capsys.readouterr().out == "refused: threshold\n"
    signed = run_json("bundle", "sign", "bundle", "--key", "second")
    assert signed["counter"] == run_json("bundle", "show", "bundle")["counter"]
    assert verify(trust="key/2.root.json") == 0
    assert verify("--root", "key/2.root.json") == 0
    assert verify() == 0  # the first root asks for one of them


def test_a_key_is_replaced(bench: Path, run_json: RunJson, fails: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    create(run_json)
    create(run_json, "new", key="second")
    report = run_json("bundle", "rotate", "key", "--key", "key", "--add", "second", "--remove", "key",
                      "--out", "next.json")  # fmt: skip
    assert (report["root_version"], report["missing_signatures"]) == (2, {"new": 1, "old": 0})
    assert verify("--root", "next.json") == 3
    assert capsys.readouterr().out == "refused: root\n"
    assert "exists; name another --out" in fails(
        "bundle", "rotate", "key", "--key", "key", "--add", "second", "--out", "next.json"
    )
    run_json("bundle", "sign", "next.json", "--key", "second")
    assert verify("--root", "next.json") == 3
    assert capsys.readouterr().out == "refused: unknown-key\n"
    assert verify("--root", "next.json", bundle="new") == 0
    capsys.readouterr()
    assert run_json("bundle", "show", "next.json")["root_version"] == 2
    assert "have not signed yet" in fails("bundle", "sign", "next.json", "--key", "second")
    assert "1 to 0, its keys" in fails("bundle", "rotate", "key", "--key", "key", "--remove", "key")


def test_only_what_fits_is_signed(bench: Path, run_json: RunJson, fails: Fails) -> None:
    create(run_json)
    data = Path("bundle/adapter_config.json").read_bytes()
    Path("bundle/adapter_config.json").write_bytes(data.replace(b"base.onnx", b"best.onnx"))
    assert "must have the signed sha256" in fails("bundle", "sign", "bundle", "--key", "second")


def test_show_obeys_nothing(bench: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    """Anyone can write a bundle that is only shown: what a terminal would obey in it is escaped."""
    create(run_json)
    path = Path("bundle", "bundle.dsse.json")
    envelope = json.loads(path.read_bytes())
    envelope["signatures"].append({"keyid": "\x1b[2J\u202emine", "sig": ""})
    path.write_text(json.dumps(envelope))
    assert main(["bundle", "show", "bundle"]) == 0
    said = capsys.readouterr()
    assert "\\x1b[2J\\u202emine" in said.out.replace("\n", "")
    assert not {"\x1b", "\u202e"} & set(said.out + said.err)
    envelope["signatures"].append(envelope["signatures"][-1])
    path.write_text(json.dumps(envelope))
    assert verify() == 3
    said = capsys.readouterr()
    assert said.out == "refused: duplicate-key\n"
    assert "\x1b" not in said.err


def test_show_trusts_nothing(bench: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    create(run_json)
    Path("bundle/adapter_config.json").unlink()
    report = run_json("bundle", "show", "bundle")
    assert report["trusted"] is False
    assert len(report["claims_signatures_of"]) == 1
    assert main(["bundle", "show", "bundle"]) == 0
    printed = capsys.readouterr()
    assert "Not checked" in printed.out
    assert "nothing of this was checked" in printed.err
    assert run_json("bundle", "show", "key")["roles"]["root"]["threshold"] == 1


def test_private_keys_are_no_trust(bench: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    create(run_json)
    Path("second/root.json").unlink()
    for trust in ("key/private_key.pem", "second"):
        assert verify(trust=trust) == 3
        assert capsys.readouterr().out == "refused: private-key\n"


def test_without_a_clock(bench: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    create(run_json)
    assert verify("--now", "2099-01-01") == 3
    assert capsys.readouterr().out == "refused: expired\n"
    assert verify("--now", "2099-01-01", "--no-clock") == 0
    assert "not checked: expiry" in capsys.readouterr().err


def test_without_the_extra(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [*sys.modules, "securesystemslib"]:
        if name.split(".")[0] == "securesystemslib":
            monkeypatch.setitem(sys.modules, name, None)
    assert main(["bundle", "keygen", "--out", "key"]) == 1
    assert capsys.readouterr().err.strip().endswith("install it with: pip install 'lieref[sign]'")
    assert not Path("key").exists()


def test_people_are_told_what_comes_next(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "create", "adapter", "--base", "base.onnx", "--key", "key", "--out", "b"]) == 0
    assert "next: lieref bundle verify b --base base.onnx --trust key" in capsys.readouterr().err
    assert main(["bundle", "keygen", "--out", "third"]) == 0
    assert "keep third/private_key.pem secret" in capsys.readouterr().err
    assert main(["bundle", "rotate", "key", "--key", "key", "--add", "third", "--root-threshold", "2"]) == 0
    assert "not valid yet: 0 more of the old keys and 1 more of the new must sign" in capsys.readouterr().err


def test_the_self_test_is_run_where_asked(bench: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    create(run_json)
    assert "self_test" not in run_json("bundle", "verify", "bundle", "--base", "base.onnx", "--trust", "key")
    report = run_json("bundle", "verify", "bundle", "--base", "base.onnx", "--trust", "key", "--run")
    assert report["self_test"]["runtime"] == f"lieref {lieref.__version__}"
    assert 0 < report["self_test"]["of_bound"] < 0.5
    onnx.save(small_network(op="Tanh"), "other.onnx")
    assert verify(base="other.onnx") == 0, "its weights are those of the base"
    capsys.readouterr()
    assert verify("--run", base="other.onnx") == 3
    printed = capsys.readouterr()
    assert printed.out == "refused: self-test\n"
    assert "logits must be within" in printed.err
