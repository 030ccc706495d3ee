"""The commands on good input: what they print and write, and that an interrupted run continues to the same bits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from lieref.cli import main
from lieref.param.registry import METHODS
from tests.cli.helpers import CLASSES, small_network, snapshot, write_data

RunJson = Callable[..., dict[str, Any]]
ADAPTER = {"adapter_model.safetensors", "adapter_config.json", "report.json", "history.json"}
TRAIN = ("finetune", "base.onnx", "--train", "train.npz", "--test", "test.npz", "--epochs", "3", "--batch", "8")


def test_finetune_reports_and_writes(workplace: Path, run_json: RunJson) -> None:
    base = (workplace / "base.onnx").read_bytes()
    report = run_json(*TRAIN, "--out", "out", "--rank", "2", "--seed", "5")
    assert {p.name for p in (workplace / "out").iterdir()} == ADAPTER
    assert json.loads((workplace / "out" / "report.json").read_text()) == report
    assert (report["method"], report["rank"], report["seed"], report["epochs"]) == ("liera", 2, 5, 3)
    # conv: rank 2 on 4 x 18, linear layer: rank 2 on 3 x 4
    assert report["trainable"] == 2 * (4 + 18) + 2 * (3 + 4)
    assert 0 <= report["base_accuracy"] <= 1
    assert 0 <= report["accuracy"] <= 1
    for name in ("train_seconds", "latency_us_base", "latency_us_merged", "peak_rss_mb", "lr"):
        assert report[name] > 0
    sizes = [(workplace / "out" / n).stat().st_size for n in ("adapter_model.safetensors", "adapter_config.json")]
    assert report["update_bytes"] == sum(sizes)
    history = json.loads((workplace / "out" / "history.json").read_text())
    assert len(history["epochs"]) == 3
    config = json.loads((workplace / "out" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["base_model_name_or_path"]) == ("LIERA", 2, "base.onnx")
    assert (workplace / "base.onnx").read_bytes() == base
    assert {p.name for p in workplace.iterdir()} == {"base.onnx", "train.npz", "test.npz", "out"}


@pytest.mark.parametrize("method", [*METHODS, "norm-stats+liera", "low-rank+hadamard+taylor2"])
def test_every_method_trains_loads_and_merges(workplace: Path, run_json: RunJson, method: str) -> None:
    # The symplectic group needs an even number of outputs; the linear layer has three.
    target = ("--target", "conv") if method == "sp" else ()
    trained = run_json(*TRAIN, "--epochs", "1", "--out", "out", "--method", method, *target)
    adapted = run_json("eval", "base.onnx", "--adapter", "out", "--data", "test.npz")
    assert adapted["accuracy"] == trained["accuracy"]
    assert adapted["method"] == trained["method"] == method
    run_json("merge", "base.onnx", "out", "-o", "merged.onnx")
    merged = run_json("eval", "merged.onnx", "--data", "test.npz")
    assert merged["loss"] == pytest.approx(adapted["loss"], rel=1e-5)
    x = np.load("test.npz")["x"]
    scores = onnxruntime.InferenceSession("merged.onnx").run(None, {"image": x})[0]
    assert scores.shape == (len(x), CLASSES)
    assert np.mean(scores.argmax(axis=1) == np.load("test.npz")["y"]) == merged["accuracy"]


def test_options_of_the_method_alone(workplace: Path, run_json: RunJson, fails: Callable[..., str]) -> None:
    options = ("--option", "init_lora_weights=olora", "--option", "lora_dropout=0.25", "--option", "use_rslora=true")
    run_json(*TRAIN, "--method", "lora", "--out", "out", *options)
    config = json.loads(Path("out/adapter_config.json").read_text())["lieref"]["methods"][0]["config"]
    asked = {"name": "lora", "init_lora_weights": "olora", "lora_dropout": 0.25, "use_rslora": True}
    assert {name: config[name] for name in asked} == asked  # the others have their defaults written out
    for wrong in ("lora_dropout", "=1", "r=3", "rank_pattern=3", "method=liera", "a b=1"):
        assert "--option" in fails(*TRAIN, "--method", "lora", "--out", "other", "--option", wrong)
    assert "must be among" in fails(*TRAIN, "--method", "liera", "--out", "other", "--option", "lora_dropout=0.1")


def test_training_helps(workplace: Path, run_json: RunJson) -> None:
    """The classes of the data differ by their mean, which the network can tell apart once it is trained."""
    report = run_json(*TRAIN[:6], "--epochs", "40", "--batch", "8", "--lr", "0.05", "--method", "full", "--out", "out")
    assert report["accuracy"] > report["base_accuracy"]
    assert report["accuracy"] > 0.8


def test_same_seed_same_bits_on_any_number_of_threads(workplace: Path, run_json: RunJson) -> None:
    for out, threads in (("a", 1), ("b", 2)):
        run_json(*TRAIN, "--out", out, "--threads", threads)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (workplace / "a" / name).read_bytes() == (workplace / "b" / name).read_bytes()
    run_json(*TRAIN, "--out", "c", "--seed", "1")
    tensors = [(workplace / out / "adapter_model.safetensors").read_bytes() for out in ("a", "c")]
    assert tensors[0] != tensors[1]


def test_target_limits_what_is_adapted(workplace: Path, run_json: RunJson) -> None:
    report = run_json(*TRAIN, "--out", "out", "--rank", "2", "--target", "head")
    assert report["trainable"] == 2 * (3 + 4)
    names = {tensor["name"] for tensor in run_json("inspect", "out")["tensors"]}
    assert {name.partition(":")[0] for name in names} == {"head.weight"}


def test_channels_last_data_train_to_the_same_bits(workplace: Path, run_json: RunJson) -> None:
    data = np.load("train.npz")
    np.savez("last.npz", x=np.moveaxis(data["x"], 1, -1), y=data["y"])
    for out, train in (("a", "train.npz"), ("b", "last.npz")):
        run_json("finetune", "base.onnx", "--train", train, "--epochs", "1", "--out", out)
    tensors = [(workplace / out / "adapter_model.safetensors").read_bytes() for out in ("a", "b")]
    assert tensors[0] == tensors[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_folder_of_images(workplace: Path, run_json: RunJson, channels: int) -> None:
    onnx.save(small_network(channels=channels), workplace / "base.onnx")
    for label in range(CLASSES):
        (workplace / "images" / f"class{label}").mkdir(parents=True)
        for number in range(3):
            pixels = np.full((6, 5, 3), 80 * label + number, np.uint8)
            Image.fromarray(pixels).save(workplace / "images" / f"class{label}" / f"{number}.png")
    report = run_json("finetune", "base.onnx", "--train", "images", "--test", "images", "--epochs", "1", "--out", "out")
    assert report["train_samples"] == 9


def test_table_of_vectors(workplace: Path, run_json: RunJson) -> None:
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.normal(size=(CLASSES, 4)).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["logits"], name="linear", transB=1)],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "linear.onnx")
    rows = [",".join(f"{value:.3f}" for value in rng.normal(size=4)) + f",{i % CLASSES}" for i in range(12)]
    Path("vectors.csv").write_text("a,b,c,d,label\n" + "\n".join(rows))
    options = ("--train", "vectors.csv", "--test", "vectors.csv", "--method", "full", "--epochs", "20", "--lr", "0.1")
    report = run_json("finetune", "linear.onnx", *options, "--out", "out")
    assert report["loss"] < report["base_loss"]


def test_output_survives_an_ascii_terminal(workplace: Path) -> None:
    (workplace / "base.onnx").rename(workplace / "réseau.onnx")
    for options in ((), ("--json",)):
        done = subprocess.run(
            [sys.executable, "-m", "lieref", "inspect", "réseau.onnx", *options],
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] == "réseau.onnx"


def test_auto_searches_a_learning_rate(workplace: Path, run_json: RunJson) -> None:
    run_json(*TRAIN, "--out", "out", "--lr", "auto")
    trials = json.loads((workplace / "out" / "history.json").read_text())["trials"]
    assert len(trials) >= 3


def test_regression(workplace: Path, run_json: RunJson) -> None:
    rng = np.random.default_rng(0)
    write_data(workplace / "train.npz", y=rng.normal(size=(24, CLASSES)))
    report = run_json(
        "finetune", "base.onnx", "--train", "train.npz", "--test", "train.npz", "--task", "numbers",
        "--epochs", "5", "--out", "out",
    )  # fmt: skip
    assert report["accuracy"] is None
    assert report["loss"] < report["base_loss"]


@pytest.mark.parametrize("epoch", [1, 2])
def test_killed_run_resumes_to_the_same_bits(workplace: Path, run_json: RunJson, epoch: int) -> None:
    """SIGKILL once so many epochs are on disk; the run that continues writes the files an undisturbed one writes."""
    options = ("--validation", "0.25", "--optimizer", "adamw", "--threads", "1")
    run_json(*TRAIN, *options, "--out", "whole")
    code = (
        "import os, signal, sys\n"
        "from lieref.train import loop\n"
        "write = loop.write_checkpoint\n"
        "def killed(folder, checkpoint):\n"
        "    write(folder, checkpoint)\n"
        f"    if len(checkpoint.history.epochs) == {epoch}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "loop.write_checkpoint = killed\n"
        "from lieref.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *TRAIN, *options, "--out", "out"], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (workplace / "out").exists()
    assert (workplace / ".out.unfinished").is_dir()
    run_json(*TRAIN, *options, "--out", "out", "--resume")
    assert not (workplace / ".out.unfinished").exists()
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (workplace / "out" / name).read_bytes() == (workplace / "whole" / name).read_bytes()
    histories = [json.loads((workplace / out / "history.json").read_text()) for out in ("whole", "out")]
    for history in histories:
        history.pop("preparation_seconds")
        for record in history["epochs"]:
            del record["seconds"], record["training_seconds"]
    assert histories[0] == histories[1]


def test_unfinished_run_is_neither_lost_nor_mixed_up(workplace: Path, fails: Callable[..., str]) -> None:
    code = (
        "import os, sys\n"
        "from lieref.train import loop\n"
        "write = loop.write_checkpoint\n"
        "def stopped(folder, checkpoint):\n"
        "    write(folder, checkpoint)\n"
        "    os._exit(9)\n"
        "loop.write_checkpoint = stopped\n"
        "from lieref.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    subprocess.run([sys.executable, "-c", code, *TRAIN, "--out", "out"], check=False)
    assert "add --resume" in fails(*TRAIN, "--out", "out")
    assert "seed" in fails(*TRAIN, "--out", "out", "--resume", "--seed", "1")
    write_data(workplace / "train.npz", seed=9)
    assert "data" in fails(*TRAIN, "--out", "out", "--resume")


def test_interrupt_is_clean(workplace: Path) -> None:
    """Ctrl-C in the middle of training: status 130, one line, no output folder."""
    command = [sys.executable, "-m", "lieref", *TRAIN[:6], "--epochs", "100000", "--batch", "1", "--out", "out"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (workplace / ".out.unfinished" / "checkpoint.npz").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.strip().splitlines()[-1] == "error: interrupted"
    assert "--resume continues" in err
    assert "Traceback" not in err
    assert not (workplace / "out").exists()


def test_tables_without_json(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        ((*TRAIN, "--out", "out"), "trainable"),
        (("eval", "base.onnx", "--data", "test.npz"), "accuracy"),
        (("inspect", "base.onnx"), "conv.weight"),
        (("inspect", "out"), "conv.weight:lora_a"),
        (("merge", "base.onnx", "out", "-o", "merged.onnx"), "merged.onnx"),
        (("methods",), "liera-taylor1"),
    ):
        assert main(list(arguments)) == 0
        assert words in capsys.readouterr().out


def test_facts_are_rows_without_a_header(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--out", "out"]) == 0
    capsys.readouterr()
    assert main(["eval", "base.onnx", "--adapter", "out", "--data", "test.npz"]) == 0
    printed = capsys.readouterr().out
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.splitlines()]
    facts = {line[0]: line[1] for line in lines if len(line) == 2}
    assert facts["adapter"] == "out"
    assert facts["samples"] == "24"
    assert "┃" not in printed, "what stands between the cells of a header"


def test_latency_is_the_median_of_what_fits_into_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that a call moves on says how long one takes: two models, so half as many rounds as calls fit."""
    from lieref.cli import job
    from lieref.evaluate import latency

    clock, asked = [0.0], []

    class Slow:
        def __init__(self, seconds: float) -> None:
            self.seconds = seconds

        def predict(self, x: Any) -> None:
            clock[0] += self.seconds

    def measure(calls: Any, *, repeats: int, warm_up: int) -> list[Any]:
        asked.append(repeats)
        return [latency.Latency(1.0, 0.5, repeats), latency.Latency(2.0, 1.5, repeats)]

    monkeypatch.setattr(job.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(latency, "measure_latencies", measure)
    for seconds in (2.0**-4, 2.0**-2, 2.0, 2.0**-12):
        assert job._latencies_us(Slow(seconds), Slow(1.0), None) == (1.0, 2.0)  # type: ignore[arg-type]
    assert asked == [8, 3, 3, 200]


def test_brackets_in_names_are_no_style(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "a[red]").mkdir()
    folder = "a[red]/b[/c][bold]"
    assert main([*TRAIN, "--out", folder]) == 0
    shutil.copyfile("test.npz", "t[i].npz")
    for arguments in (("inspect", folder), ("eval", "base.onnx", "--adapter", folder, "--data", "t[i].npz")):
        capsys.readouterr()
        assert main(list(arguments)) == 0
        assert arguments[-1] in capsys.readouterr().out


def test_inspect_of_a_model(workplace: Path, run_json: RunJson) -> None:
    report = run_json("inspect", "base.onnx")
    assert report["kind"] == "model"
    assert report["inputs"] == [{"name": "image", "shape": [None, 2, 6, 5], "dtype": "float32"}]
    assert [(layer["node"], layer["shape"], layer["groups"]) for layer in report["layers"]] == [
        ("conv", [4, 2, 3, 3], 1),
        ("head", [3, 4], 1),
    ]
    assert report["numbers"] == 4 * 18 + 4 + 4 * 4 + 12 + 3


def test_a_limit_of_memory_that_is_too_low_is_refused(workplace: Path, fails: Callable[..., str]) -> None:
    assert "`memory_limit` must be at least" in fails(*TRAIN, "--out", "out", "--memory-limit", "1kB")
    assert main([*TRAIN, "--out", "out", "--memory-limit", "64MB"]) == 0


def test_merged_model_keeps_graph_and_names(workplace: Path, run_json: RunJson) -> None:
    run_json(*TRAIN, "--out", "out")
    changed = run_json("merge", "base.onnx", "out", "-o", "merged.onnx")["changed_tensors"]
    assert changed == ["conv.weight", "head.weight"]
    base, merged = onnx.load("base.onnx"), onnx.load("merged.onnx")
    for tensor in merged.graph.initializer:
        if tensor.name in changed:
            tensor.raw_data = next(t.raw_data for t in base.graph.initializer if t.name == tensor.name)
    said = {entry.key for entry in merged.metadata_props}
    assert said == {f"lieref.{key}" for key in ("base_sha256", "adapter_sha256", "method", "version")}
    del merged.metadata_props[:]
    assert merged == base


def test_merge_names_what_it_changed_in_order(workplace: Path, run_json: RunJson) -> None:
    run_json(*TRAIN, "--out", "out", "--method", "full")
    changed = run_json("merge", "base.onnx", "out", "-o", "merged.onnx")["changed_tensors"]
    assert len(changed) >= 4
    assert changed == sorted(changed)


def test_methods_lists_the_registry(run_json: RunJson) -> None:
    listed = {row["name"]: row for row in run_json("methods")["methods"]}
    assert {"full", "head", "bias", "scale", "norm-stats", "lora", "liera", "liera-taylor1", "hira"} <= set(listed)
    assert listed["liera"]["map"] == "exp"


def test_commands_leave_the_folder_alone(workplace: Path, run_json: RunJson) -> None:
    before = snapshot(workplace)
    run_json("eval", "base.onnx", "--data", "test.npz")
    run_json("inspect", "base.onnx")
    assert snapshot(workplace) == before


def test_a_test_on_the_training_samples_decides_nothing(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["finetune", "base.onnx", "--train", "train.npz", "--test", "train.npz", "--epochs", "1", "--out", "a"])
        == 0
    )
    printed = capsys.readouterr()
    assert "warning: finetune: the test samples are the training samples, and tell nothing of others" in printed.err
    assert "No decision: tested on the training samples" in printed.out
    assert "Next: lieref merge" not in printed.out


def test_ranks_that_adalora_leaves_are_said(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["--train", "train.npz", "--rank", "2", "--optimizer", "adalora", "--epochs", "2", "--out", "a"]
    assert main(["finetune", "base.onnx", *line, "--method", "lora-svd"]) == 0
    assert "ranks that are left, and stored: " in capsys.readouterr().err
    report = json.loads(Path("a/history.json").read_text())
    assert report["ranks"]
    assert max(report["ranks"].values()) <= 2


def test_ranks_that_eva_moves_are_said(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["--train", "train.npz", "--rank", "2", "--epochs", "1", "--out", "a", "--method", "lora"]
    assert main(["finetune", "base.onnx", *line, "--option", "init_lora_weights=eva_rho_2"]) == 0
    ranks = json.loads(Path("a/history.json").read_text())["ranks"]
    said = ", ".join(f"{tensor} {rank}" for tensor, rank in ranks.items())
    assert f"ranks that are left, and stored: {said}" in capsys.readouterr().err
    assert sum(ranks.values()) == 2 * len(ranks)
    stored = json.loads(Path("a/adapter_config.json").read_text())["lieref"]["sites"]
    assert {tensor: one["method"]["r"] for tensor, one in stored.items()} == {k: v for k, v in ranks.items() if v}


@pytest.mark.parametrize("said", ["fit: the base is right on 9 of 90, which is no better than chance (10.0%)", None])
def test_a_report_of_what_decides_nothing_says_so(said: str | None) -> None:
    from lieref.evaluate.report.finetune_decision import doubt

    other, same = {"train": {"x": "1"}, "test": {"x": "2"}}, {"train": {"x": "1"}, "test": {"x": "1"}}
    assert doubt({"warnings": [], "samples_sha256": other}) is None
    assert doubt({"warnings": [], "samples_sha256": {"test": {"x": "1"}}}) is None
    found = doubt({"warnings": [said], "samples_sha256": other} if said else {"samples_sha256": same})
    assert found is not None
    assert found[0] == ("Look at the preprocessing first" if said else "No decision: tested on the training samples")
