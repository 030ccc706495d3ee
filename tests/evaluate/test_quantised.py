"""What a trial records of quantised files: forms, and one that does not come to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lieref.adapter.integer.folder import BIN_NAME, JSON_NAME
from lieref.adapter.integer.methods import INTEGER_METHODS
from lieref.adapter.integer.model import IntegerModel
from lieref.adapter.integer.update import IntegerUpdate
from lieref.errors import DomainError
from lieref.evaluate.judge import unpack_bits
from lieref.evaluate.plan import Plan
from lieref.evaluate.problem import fold_of
from lieref.evaluate.quantised import carries, encodings_of
from lieref.evaluate.trial import Trial, run, run_trial
from tests.cli.helpers import small_network
from tests.evaluate.jobs import problem
from tests.model.integer.quantised import quantised


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("made")
    return quantised(small_network(), folder, "qoperator", name="image", shape=(2, 6, 5)).read_bytes()


def test_every_method_has_a_plain_form_and_codes_where_it_has_factors() -> None:
    for name, method in INTEGER_METHODS.items():
        assert encodings_of(name)[0] == "finished"
        assert ("codes" in encodings_of(name)) == method.scales
    assert carries("norm-stats+scale")
    assert not carries("norm-stats+lora")


def test_a_form_that_cannot_be_leaves_the_others(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = IntegerModel.update

    def no_codes(self: IntegerModel, encoding: str = "finished") -> IntegerUpdate:
        if encoding == "codes":
            raise DomainError("encode: too large")
        return whole(self, encoding)

    monkeypatch.setattr(IntegerModel, "update", no_codes)
    job = problem(base=content, semantics=("onnxruntime", "xnnpack"))
    record = run_trial(job, Trial(job.digest, Plan("scale", epochs=1), part="test"))
    assert record["failed"] is None
    assert record["forms"] == {"codes": {"failed": "DomainError: encode: too large", "warnings": []}}
    assert set(record["semantics"]) == {"onnxruntime", "xnnpack"}
    assert record["metrics"]["accuracy"] == record["merit"] == np.mean(unpack_bits(record["right"]))


def test_a_quantised_file_is_judged_in_named_semantics_alone(content: bytes) -> None:
    job = problem(base=content)
    failed = run_trial(job, Trial(job.digest, Plan("bias", epochs=1), part="test"))["failed"]
    assert failed == "DomainError: run_trial: `semantics` must be given for a quantised file; the problem has none"


def test_an_update_is_made_without_what_is_held_out(content: bytes) -> None:
    """Integers that move are chosen by samples, too: those of the held-out fold may be any."""
    job = problem(base=content, semantics=("onnxruntime",))
    held = np.flatnonzero(fold_of(job, 5, 0) == 0)
    x = job.x.copy()
    x[held] = -x[held]
    other = problem(base=content, semantics=("onnxruntime",), x=x)
    plan = Plan("liera-int8", {"r": 1}, epochs=2, learning_rate=0.05)
    found, again = (run(each, Trial(each.digest, plan), encoding="codes") for each in (job, other))
    assert found.record["failed"] is None
    assert set(found.files) == {BIN_NAME, JSON_NAME}
    assert found.files == again.files
    assert found.record["loss"] != again.record["loss"]
    assert run(job, Trial(job.digest, plan)).files == {}


def test_the_digest_says_whose_integers_judge_and_what_is_carried_into(content: bytes) -> None:
    plain = problem()
    names = [(), ("xnnpack",), ("xnnpack", "onnxruntime"), ("onnxruntime", "xnnpack")]
    digests = {problem(semantics=each).digest for each in names} | {problem(semantics=names[1], into=content).digest}
    assert len(digests) == 5
    assert problem(semantics=()).digest == plain.digest


def test_an_adapter_is_recorded_with_its_carried_form(content: bytes) -> None:
    job = problem(semantics=("onnxruntime",), into=content)
    record = run_trial(job, Trial(job.digest, Plan("norm-stats", epochs=1), part="test"))
    carried = record["forms"]["carried"]
    assert carried["failed"] is None
    assert carried["integers"]["weights"] == 0 < carried["integers"]["bytes_that_differ"]
    assert carried["payload_bytes"] < carried["update_bytes"] < record["update_bytes"]
    assert len(unpack_bits(carried["right"])) == len(job.x_test)
    assert "forms" not in run_trial(job, Trial(job.digest, Plan("base"), part="test"))
    assert run_trial(job, Trial(job.digest, Plan("lora", {"r": 1}, epochs=1), part="test"))["forms"] == {}


def test_a_network_that_is_not_the_twin_has_no_carried_form(content: bytes, tmp_path: Path) -> None:
    job = problem(base=small_network(3).SerializeToString(), semantics=("onnxruntime",), into=content)
    record = run_trial(job, Trial(job.digest, Plan("norm-stats", epochs=1), part="test"))
    assert record["failed"] is None
    assert "must be the one that was quantised" in record["forms"]["carried"]["failed"]
