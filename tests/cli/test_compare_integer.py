"""``lieref compare`` of a quantised file: every method in every form, beside the float twin, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import lieref
from lieref.adapter.integer.carry import carry
from lieref.adapter.integer.folder import BIN_NAME, encode_update
from lieref.adapter.integer.methods import INTEGER_METHODS
from lieref.adapter.integer.model import IntegerModel, load_integer
from lieref.adapter.integer.settle import settled
from lieref.adapter.integer.update import IntegerUpdate
from lieref.cli import main
from lieref.evaluate.integer import classes
from lieref.evaluate.quantised import encodings_of
from lieref.evaluate.report.summary import DEVICE_LATENCY
from lieref.model.integer.layers import integer_layers
from tests.cli.helpers import small_network, write_data
from tests.model.integer.quantised import quantised

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
LABELS = {"finished": "", "codes": " codes=1"}
COUNTED = ("weights", "biases", "bytes_that_differ")
JUDGES = ("onnxruntime", "tflite-reference")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Return quantised files, each made once."""

    @lru_cache
    def make(form: str, per_channel: bool = True) -> bytes:
        folder = tmp_path_factory.mktemp("made")
        given = {"name": "image", "shape": (2, 6, 5), "per_channel": per_channel}
        return quantised(small_network(), folder, form, **given).read_bytes()

    return make


@pytest.fixture(params=["qoperator"])
def files(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[..., bytes]
) -> Path:
    """A working folder with base.onnx, int8.onnx made of it, train.npz, test.npz and other.npz."""
    monkeypatch.chdir(tmp_path)
    onnx.save(small_network(), tmp_path / "base.onnx")
    (tmp_path / "int8.onnx").write_bytes(made(request.param))
    write_data(tmp_path / "train.npz", count=48)
    write_data(tmp_path / "test.npz", seed=1)
    write_data(tmp_path / "other.npz", seed=7)
    return tmp_path


def words(*more: str) -> list[str]:
    return ["compare", "int8.onnx", "--train", "train.npz", "--test", "test.npz", "--out", "out", "--epochs", "3",
            "--seeds", "2", "--lr", "default", "--augment", "none", *more]  # fmt: skip


def trained(method: str, seed: int) -> IntegerModel:
    model = load_integer("int8.onnx")
    model.attach(method, seed=seed)
    data = np.load("train.npz")
    lieref.fit(model, data["x"], data["y"], epochs=3, seed=seed, augment=())
    return model


def update_of(model: IntegerModel, form: str, seed: int) -> IntegerUpdate:
    """Return the update of a model in a form, as finetune makes it."""
    assert model.integer_method is not None
    if not INTEGER_METHODS[model.integer_method].moves:
        return model.update(form)
    data = np.load("train.npz")

    def again(network: IntegerModel) -> object:
        return lieref.fit(network, data["x"], data["y"], epochs=1, seed=seed + 1, augment=())

    return settled(model, data["x"], encoding=form, seed=seed, train=again)


def accuracy(model: IntegerModel, update: IntegerUpdate | None, semantics: str, name: str = "test.npz") -> float:
    data = np.load(name)
    graph = model.integer if update is None else update.patched(model.integer)[0]
    return float((classes(model, graph, data["x"], semantics) == data["y"]).mean())


def changes(model: IntegerModel, update: IntegerUpdate) -> tuple[int, int, int]:
    """Return how many integers of weights and of biases differ, and how many bytes of the file."""
    graph = update.patched(model.integer)[0]
    pairs = list(zip(integer_layers(model.integer), integer_layers(graph), strict=True))
    weights = sum(np.count_nonzero(old.weight.data != new.weight.data) for old, new in pairs)
    biases = sum(np.count_nonzero(old.bias.data != new.bias.data) for old, new in pairs if old.bias and new.bias)
    files = [np.frombuffer(each.content, np.uint8) for each in (model.integer, graph)]
    return weights, biases, int((files[0] != files[1]).sum())


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]


@pytest.mark.filterwarnings("ignore::lieref.model.attaching.RankLoweredWarning")
@pytest.mark.filterwarnings("ignore::lieref.param._base.ManyTrainablesWarning")
@pytest.mark.parametrize("files", ["qoperator", "qdq"], indirect=True)
def test_every_method_and_form_is_a_row_that_says_what_its_file_does(files: Path, run_json: RunJson) -> None:
    result = run_json(*words("--semantics", ",".join(JUDGES), "--forget", "other.npz"))
    assert json.loads((files / "out" / "comparison.json").read_text()) == result
    base, *rows = result["rows"]
    wanted = [(method, form) for method in INTEGER_METHODS for form in encodings_of(method)]
    assert [row["label"] for row in rows] == [f"{method}{LABELS[form]}" for method, form in wanted]
    assert base["label"] == "base"
    by_label = {row["label"]: row for row in result["semantics"]["rows"]}
    x = np.load("test.npz")["x"]
    for row, (method, form) in zip(rows, wanted, strict=True):
        counts, sizes = [], []
        for place, seed in enumerate((0, 1)):
            model = trained(method, seed)
            update = update_of(model, form, seed)
            assert row["values"][place] == accuracy(model, update, JUDGES[0])
            payload = encode_update(update, model.integer)
            sizes.append((len(payload[BIN_NAME]), sum(map(len, payload.values()))))
            counts.append(changes(model, update))
        assert [row["payload_bytes"], row["update_bytes"]] == np.median(sizes, axis=0).tolist()
        assert row["trainable"] == model.num_trainable()
        assert row["network"] == "quantised"
        assert row["latency_us"] == {"attached": None, "merged": None}
        graph = update.patched(model.integer)[0]
        assert row["integers"] == dict(zip(COUNTED, np.mean(counts, axis=0), strict=True))
        if INTEGER_METHODS[method].ties:
            assert row["integers"]["weights"] == row["integers"]["biases"] == 0 < row["integers"]["bytes_that_differ"]
        changed = by_label[row["label"]]["changed"][JUDGES[1]]
        assert changed["of"] == len(x)
        answers = [classes(model, graph, x, name) for name in JUDGES]
        assert abs(changed["count"] - (answers[0] != answers[1]).sum()) <= len(x) / 2
        assert by_label[row["label"]]["accuracy"][JUDGES[0]]["mean"] == pytest.approx(row["mean"])
        assert row["forgotten"] is not None
        assert row["over_base"]["against"] == "base"
    plain = load_integer("int8.onnx")
    assert base["mean"] == accuracy(plain, None, JUDGES[0])
    answers = [classes(plain, plain.integer, x, name) for name in JUDGES]
    assert by_label["base"]["changed"][JUDGES[1]]["count"] == (answers[0] != answers[1]).sum() > 0
    assert by_label["base"]["accuracy"][JUDGES[1]]["mean"] == accuracy(plain, None, JUDGES[1])
    # Forms share their training: the base once, each method once a seed.
    assert len(lines(files / "out")) == 1 + 2 * len(INTEGER_METHODS)


def test_rates_are_searched_once_for_all_forms(files: Path, run_json: RunJson) -> None:
    result = run_json(*words("--methods", "tied-scale", "--lr", "auto"))
    plain, codes = result["rows"][1:]
    assert plain["rates_tried"] == codes["rates_tried"] != []
    held = [line for line in lines(files / "out") if line["trial"]["part"] == "held-out"]
    assert len(held) == 5 * len(plain["rates_tried"])
    assert "forms" not in held[0]


def test_resuming_does_nothing_twice(files: Path, run_json: RunJson, monkeypatch: pytest.MonkeyPatch) -> None:
    from lieref.evaluate.compare import ship

    given = words("--float", "base.onnx", "--methods", "tied-scale,scale carried")
    first = run_json(*given)
    ran: list[str] = []

    def counted(problem: Any, trial: Any) -> Any:
        ran.append(trial.id)
        raise AssertionError("a trial that is done was run again")

    monkeypatch.setattr(ship, "run", counted)
    again = run_json(*given, "--resume")
    assert ran == []

    def told(result: dict[str, Any]) -> Any:
        # The clock and the command are another's.
        return [{k: v for k, v in row.items() if k not in ("latency_us", "seconds")} for row in result["rows"]]

    assert told(again) == told(first)
    assert again["semantics"] == first["semantics"]


def test_beside_the_float_twin(files: Path, run_json: RunJson) -> None:
    result = run_json(
        *words("--float", "base.onnx", "--methods", "scale,lora,norm-stats,tied-scale codes=1", "--ranks", "1")
    )
    labels = [row["label"] for row in result["rows"]]
    assert labels == ["base", "base float", "scale", "scale codes=1", "tied-scale codes=1", "scale carried",
                      "scale float", "lora r=1 float", "norm-stats carried", "norm-stats float"]  # fmt: skip
    by_label = {row["label"]: row for row in result["rows"]}
    data, test = np.load("train.npz"), np.load("test.npz")
    plain = load_integer("int8.onnx")
    for method in ("scale", "norm-stats"):
        carried, real = by_label[f"{method} carried"], by_label[f"{method} float"]
        for place, seed in enumerate((0, 1)):
            model = lieref.load("base.onnx").attach(method, seed=seed)
            lieref.fit(model, data["x"], data["y"], epochs=3, seed=seed, augment=())
            model.save_adapter(files / f"{method}{seed}")
            assert real["values"][place] == np.mean(model.predict(test["x"]).argmax(axis=1) == test["y"])
            wide = lieref.load("base.onnx", dtype="float64")
            wide.load_adapter(files / f"{method}{seed}")
            update, _ = carry(plain.integer, wide.graph, wide.merged_graph(), method)
            assert carried["values"][place] == accuracy(plain, update, "onnxruntime")
        assert carried["payload_bytes"] == len(encode_update(update, plain.integer)[BIN_NAME])
        assert carried["integers"]["weights"] == 0
        assert carried["over_base"]["against"] == "base"
        assert real["over_base"]["against"] == "base float"
        assert real["integers"] is None
        assert carried["bundle_bytes"] is None
    assert result["baseline"] == "lora r=1 float"
    assert by_label["scale"]["against"]["against"] == "lora r=1 float"
    assert by_label["base float"]["mean"] == pytest.approx(
        np.mean(lieref.load("base.onnx").predict(test["x"]).argmax(axis=1) == test["y"])
    )
    assert {row["label"] for row in result["semantics"]["rows"]} == {label for label in labels if "float" not in label}
    # What goes to the device is an update of its file.
    assert "float" not in json.dumps(result["ship"])
    assert any(text.startswith("The quantised file comes to") for text in result["conclusions"])


def test_a_carried_adapter_whose_factors_have_no_place_says_what_moved(
    files: Path, made: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("int8.onnx").write_bytes(made("qoperator", per_channel=False))
    status = main(words("--float", "base.onnx", "--methods", "scale carried", "--epochs", "30"))
    printed = capsys.readouterr()
    assert status == 0, printed.err
    assert "scales are not enough in" in printed.err
    row = json.loads(Path("out/comparison.json").read_text())["rows"][2]
    assert row["label"] == "scale carried"
    assert row["integers"]["weights"] > 0
    assert "integers of weights" in printed.out


def test_the_tables_are_printed(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words("--methods", "bias", "--semantics", ",".join(JUDGES))) == 0
    printed = capsys.readouterr()
    assert "trained on the quantised file: bias (7)" in printed.err
    assert "has another scale behind it than before it" in printed.err
    for text in ("What changes in the quantised file", "bytes that differ", "numbers clipped", "top-1 changes",
                 "update B"):  # fmt: skip
        assert text in printed.out
    assert "-: of updates no bundle is made here" in printed.out
    assert printed.out.count(f"No latency: {DEVICE_LATENCY}.") == 1
    page = (files / "out" / "report.html").read_text()
    assert "What the device computes" in page
    assert "Updates of the file" in page
    assert "what changes there is no rounding" in page


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--methods", "lora"), "'lora': add --float BASE.onnx"),
        (("--methods", "bias codes=1"), "got 'bias codes=1'"),
        (("--methods", ","), "must name at least one method"),
        (("--semantics", "abacus"), "'abacus' is none of tflite-reference"),
        (("--semantics", ","), "is none of"),
        (("--budget", "5%"), "--budget is for methods of float networks"),
        (("--ranks", "1,2"), "--ranks is for methods of float networks"),
        (("--alpha", "2"), "--alpha is for methods of float networks"),
        (("--option", "init=zero"), "--option is for methods of float networks"),
        (("--target", "conv"), "--target is for methods of float networks"),
        (("--blocks", "1"), "--blocks is for methods of float networks"),
        (("--head", "new"), "whose outputs stay"),
        (("--output", "logits"), "leave out options of texts and --output"),
        (("--task", "numbers"), "compared by its classes; leave out --task numbers"),
        (("--float", "stranger.onnx"), "stranger.onnx must be the float twin of int8.onnx"),
        (("--float", "int8.onnx"), "int8.onnx is a quantised file"),
        (("--float", "none.onnx"), "none.onnx"),
        (("--float", "base.onnx", "--methods", "tied-scale carried"), "'tied-scale carried'"),
        (("--float", "base.onnx", "--methods", "nonsense"), "nonsense"),
        (("--baseline", "base float"), "`baseline` must be one of"),
    ],
)
def test_what_does_not_go_is_one_line(files: Path, fails: Fails, options: tuple[str, ...], said: str) -> None:
    onnx.save(small_network(3), files / "stranger.onnx")
    assert said in fails(*words(*options))


def test_options_of_quantised_files_are_refused_for_others(files: Path, fails: Fails) -> None:
    for option in (("--semantics", "xnnpack"), ("--float", "base.onnx")):
        given = ["compare", "base.onnx", "--train", "train.npz", "--test", "test.npz", "--out", "out", *option]
        assert f"{option[0]} is for a quantised BASE; base.onnx is none" in fails(*given)


def test_other_semantics_are_another_study(files: Path, run_json: RunJson, fails: Fails) -> None:
    run_json(*words("--methods", "bias"))
    line = fails(*words("--methods", "bias", "--semantics", "cmsis-nn", "--resume"))
    assert "must be of the same study" in line
