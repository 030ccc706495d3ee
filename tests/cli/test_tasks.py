"""Every task from the command line: it learns, measures and records what it did, and refuses what does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from lieref.cli import main
from tests.model.task_nets import NETS, frame_net, learnable, pixel_net, row_net, transposed, two_output_net

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
FINETUNE = ("finetune", "net.onnx", "--train", "train.npz", "--out", "out", "--epochs", "1")
METRIC = {
    "classes": "accuracy", "multilabel": "f1", "numbers": "r2", "dense": "mean_iou", "tokens": "perplexity",
    "sequence": "edit_distance_rate",
}  # fmt: skip
FALLING = {"perplexity", "edit_distance_rate"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepare(task: str, model: onnx.ModelProto | None = None) -> None:
    onnx.save(NETS[task]() if model is None else model, "net.onnx")
    np.savez("train.npz", **learnable(task))
    np.savez("test.npz", **learnable(task, seed=1))


@pytest.mark.parametrize("task", NETS)
def test_a_task_learns_and_is_recorded(folder: Path, run_json: RunJson, task: str) -> None:
    prepare(task)
    report = run_json(
        "finetune", "net.onnx", "--train", "train.npz", "--test", "test.npz", "--task", task, "--method", "full",
        "--epochs", "60", "--batch", "16", "--lr", "0.02", "--validation", "0.25", "--augment", "none", "--out", "out",
    )  # fmt: skip
    name = METRIC[task]
    assert report["task"]["name"] == task
    assert report["loss"] < 0.7 * report["base_loss"]
    gain = report["metrics"][name] - report["base_metrics"][name]
    assert gain < 0 if name in FALLING else gain > 0
    config = json.loads((folder / "out" / "adapter_config.json").read_text())
    assert config["lieref"]["task"] == report["task"]
    history = json.loads((folder / "out" / "history.json").read_text())
    assert history["recipe"]["task"] == report["task"]
    assert all(set(record["metrics"]) == set(report["metrics"]) for record in history["epochs"])
    # Without --task an evaluation is of what the adapter was trained for.
    measured = run_json("eval", "net.onnx", "--adapter", "out", "--data", "test.npz")
    assert (measured["task"], measured["metrics"]) == (report["task"], pytest.approx(report["metrics"]))
    assert measured["loss"] == pytest.approx(report["loss"], rel=1e-5)


@pytest.mark.parametrize("task", NETS)
def test_the_merged_network_gives_what_was_measured(folder: Path, run_json: RunJson, task: str) -> None:
    prepare(task)
    run_json(*FINETUNE, "--task", task, "--method", "lora", "--rank", "2")
    run_json("merge", "net.onnx", "out", "-o", "merged.onnx")
    merged = run_json("eval", "merged.onnx", "--task", task, "--data", "test.npz")
    adapted = run_json("eval", "net.onnx", "--adapter", "out", "--data", "test.npz")
    assert merged["loss"] == pytest.approx(adapted["loss"], rel=1e-5)
    x = learnable(task, seed=1)["x"]
    x = x if task == "tokens" else x.astype(np.float32)
    (output,) = onnxruntime.InferenceSession("merged.onnx").run(None, {"x": x})
    if task == "numbers":  # of the output itself, behind its final operator
        assert np.mean(np.square(output - learnable(task, seed=1)["y"])) == pytest.approx(merged["loss"], rel=1e-4)
    if task == "multilabel":  # of the scores before it
        y = learnable(task, seed=1)["y"]
        mean = -np.mean(y * np.log(output) + (1 - y) * np.log1p(-output))
        assert mean == pytest.approx(merged["loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("task", "net", "order"), [("dense", pixel_net, [0, 2, 3, 1]), ("sequence", frame_net, [1, 0, 2])]
)
def test_scores_in_another_order_learn_the_same(
    folder: Path, run_json: RunJson, task: str, net: Callable[[], onnx.ModelProto], order: list[int]
) -> None:
    found = []
    for model in (net(), transposed(net(), order)):
        prepare(task, model)
        run_json(*FINETUNE, "--task", task, "--method", "lora", "--rank", "2", "--seed", "3", "--force")
        found.append(run_json("eval", "net.onnx", "--adapter", "out", "--data", "test.npz")["loss"])
        run_json("merge", "net.onnx", "out", "-o", "merged.onnx", "--force")
        assert run_json("eval", "merged.onnx", "--task", task, "--data", "test.npz")["loss"] == pytest.approx(found[-1])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_targets_that_do_not_lie_on_the_images_are_not_moved_with_them(folder: Path, fails: Fails) -> None:
    prepare("dense", transposed(pixel_net(), [0, 2, 3, 1]))
    x = learnable("dense")["x"]
    np.savez("train.npz", x=x, y=np.zeros((len(x), 6, 5, 4)))
    line = fails(*FINETUNE, "--task", "numbers", "--augment", "flip")
    assert "targets are not images of the samples' shape; got (6, 5) and (5, 4)" in line


def test_a_resumed_run_of_another_task_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lieref import fit, load, make_task

    prepare("dense")
    data = learnable("dense")

    def stop(state: Any) -> None:
        if state.epoch == 2:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"epochs": 3, "batch_size": 16, "checkpoint": "kept", "task": "dense"}
    with pytest.raises(KeyboardInterrupt):
        fit(load("net.onnx").attach("full"), data["x"], data["y"], progress=stop, **options)
    options["task"] = make_task("dense", ignore_index=255)
    from lieref.errors import VerificationError

    with pytest.raises(VerificationError, match="recipe task ignore_index: the checkpoint has None, this run 255"):
        fit(load("net.onnx").attach("full"), data["x"], data["y"], resume=True, **options)


def write_masks(folder: Path) -> dict[str, np.ndarray]:
    data = learnable("dense", count=12)
    for name in ("images", "masks"):
        (folder / "set" / name).mkdir(parents=True)
    for n, (image, mask) in enumerate(zip(data["x"], data["y"], strict=True)):
        Image.fromarray(np.moveaxis(image, 0, -1)).save(folder / "set" / "images" / f"{n:02}.png")
        Image.fromarray(mask.astype(np.uint8)).save(folder / "set" / "masks" / f"{n:02}.png")
    return data


def test_images_with_masks_train_to_the_bits_of_their_archive(folder: Path, run_json: RunJson) -> None:
    prepare("dense")
    data = write_masks(folder)
    np.savez("train.npz", **data)
    for train, out in (("train.npz", "a"), ("set", "b")):
        run_json("finetune", "net.onnx", "--train", train, "--task", "dense", "--epochs", "2", "--out", out)
    first, second = ((folder / out / "adapter_model.safetensors").read_bytes() for out in ("a", "b"))
    assert first == second


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda set_: (set_ / "masks" / "03.png").unlink(), "'03' is not in masks"),
        (lambda set_: (set_ / "images" / "03.png").unlink(), "'03' is not in images"),
        (lambda set_: (set_ / "masks").rename(set_ / "other"), "there is no masks"),
        (lambda set_: Image.new("RGB", (5, 6)).save(set_ / "masks" / "03.png"), "got mode RGB"),
        (lambda set_: Image.new("L", (6, 5)).save(set_ / "masks" / "03.png"), "like the first mask"),
        (lambda set_: Image.new("L", (5, 6), 4).save(set_ / "masks" / "03.png"), "`y` must be 0 to 3; got 4"),
        (lambda set_: (set_ / "masks" / "03.png").write_bytes(b"none"), "readable image"),
    ],
    ids=["no mask", "no image", "no folder", "colours", "another size", "class", "damaged"],
)
def test_masks_that_do_not_fit(folder: Path, fails: Fails, damage: Any, words: str) -> None:
    prepare("dense")
    write_masks(folder)
    damage(folder / "set")
    assert words in fails("finetune", "net.onnx", "--train", "set", "--task", "dense", "--out", "out")


def test_masks_without_their_task(folder: Path, fails: Fails) -> None:
    prepare("dense")
    write_masks(folder)
    line = fails("finetune", "net.onnx", "--train", "set", "--out", "out")
    assert (
        line
        == "error: load_data: set holds images and masks, which are for the task 'dense' (--task dense); got 'classes'"
    )


def test_masks_of_a_palette_are_their_indices(folder: Path, run_json: RunJson) -> None:
    prepare("dense")
    write_masks(folder)
    plain = run_json("eval", "net.onnx", "--task", "dense", "--data", "set")
    for path in (folder / "set" / "masks").iterdir():
        mask = Image.open(path).convert("L")
        coloured = Image.fromarray(np.asarray(mask), "P")
        coloured.putpalette([9, 8, 7, 200, 0, 0, 0, 200, 0, 0, 0, 200])
        coloured.save(path)
    assert run_json("eval", "net.onnx", "--task", "dense", "--data", "set")["loss"] == plain["loss"]


@pytest.mark.parametrize(
    ("task", "change", "options", "words"),
    [
        ("classes", {}, ("--task", "dense"), "the task 'dense' must have a network that gives (N, C, H, W)"),
        ("dense", {}, ("--task", "classes"), "which fits 'dense' and 'numbers'"),
        ("dense", {"y": np.zeros((48, 4, 6, 5))}, ("--task", "dense"), "the task 'numbers' is for those"),
        ("dense", {"y": np.zeros((48, 5, 6), int)}, ("--task", "dense"), "must have shape (N, 6, 5)"),
        ("dense", {"y": np.full((48, 6, 5), 255)}, ("--task", "dense", "--ignore-index", "255"), "not ignored"),
        ("multilabel", {"y": np.full((48, 4), 2)}, ("--task", "multilabel"), "`y` must be 0 or 1; got 2"),
        ("multilabel", {}, ("--task", "multilabel", "--positive-weights", "1,2"), "each of 4 outputs; got 2"),
        ("multilabel", {}, ("--task", "multilabel", "--positive-weights", "1,x"), "no list of numbers"),
        ("multilabel", {}, ("--task", "multilabel", "--class-weights", "1,2"), "`class_weights` must have one entry"),
        ("numbers", {}, ("--task", "numbers", "--class-weights", "1,2"), "`class_weights` must be a setting"),
        ("tokens", {"x": np.full((48, 6), 7)}, ("--task", "tokens"), "7"),
        ("tokens", {"x": np.full((48, 6), 0)}, ("--task", "tokens", "--ignore-index", "0"), "all are ignored"),
        ("sequence", {"y": np.full((48, 5), 2)}, ("--task", "sequence"), "needs 9"),
        ("sequence", {"y": np.full((48, 2), 0)}, ("--task", "sequence"), "but for the blank, 0"),
        ("sequence", {}, ("--task", "sequence", "--blank", "4"), "`blank` must be 0 to 3; got 4"),
        ("numbers", {"y": np.zeros((48, 3))}, ("--task", "numbers"), "must have shape (N, 4)"),
        ("classes", {}, ("--task", "hinge"), "is not one of"),
        ("classes", {}, ("--output", "nowhere"), "`output` must be one of y; got 'nowhere'"),
    ],
)
def test_what_does_not_fit_is_refused(
    folder: Path, fails: Fails, task: str, change: dict[str, Any], options: tuple[str, ...], words: str
) -> None:
    prepare(task)
    np.savez("train.npz", **{**learnable(task), **change})
    assert words in fails(*FINETUNE, *options)


def test_probabilities_are_no_scores_of_several_labels(folder: Path, fails: Fails) -> None:
    prepare("multilabel", row_net("Softmax"))
    line = fails(*FINETUNE, "--task", "multilabel")
    assert "the loss must read scores (logits); node y (Softmax) makes probabilities of them" in line
    assert line.endswith("or with Sigmoid at its end")


def test_the_only_output_that_fits_is_trained_and_said(
    folder: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare("classes", two_output_net())
    assert main([*FINETUNE]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: fit: the output")]
    assert len(said) == 1
    assert "the output y is trained; the others, other, do not fit" in said[0]
    report = json.loads((folder / "out" / "report.json").read_text())
    assert report["outputs"] == ["y"]


def test_one_of_two_outputs(folder: Path, run_json: RunJson, fails: Fails) -> None:
    prepare("classes", two_output_net(fitting=True))
    np.savez("train.npz", **{**learnable("classes"), "y": learnable("classes")["y"] % 3})
    assert "which output is trained must be said where several fit; got none of y, other" in fails(*FINETUNE)
    # `head` is the last layer that reaches the output.
    report = run_json(*FINETUNE, "--output", "other", "--method", "head")
    assert (report["outputs"], report["trainable"]) == (["other"], 3 * 6)
    shown = run_json("inspect", "out")
    assert (shown["task"]["name"], shown["outputs"]) == ("classes", {"other": 1.0})
    config = json.loads((folder / "out" / "adapter_config.json").read_text())
    assert config["lieref"]["output"] == {"other": 1.0}
    adapted = run_json("eval", "net.onnx", "--adapter", "out", "--data", "train.npz")
    assert adapted["outputs"] == ["other"]
    run_json("merge", "net.onnx", "out", "-o", "merged.onnx")
    merged = run_json("eval", "merged.onnx", "--output", "other", "--data", "train.npz")
    assert merged["loss"] == pytest.approx(adapted["loss"], rel=1e-5)
    names = [output.name for output in onnx.load("merged.onnx").graph.output]
    assert names == ["y", "other"]
    assert main(["inspect", "out"]) == 0


def test_an_output_that_would_fit_is_named(folder: Path, fails: Fails) -> None:
    prepare("classes", two_output_net())
    np.savez("train.npz", x=learnable("classes")["x"], y=np.zeros((48, 3, 2)))
    assert "other would fit" in fails(*FINETUNE, "--task", "numbers")


@pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")
def test_a_failed_run_leaves_the_model_as_it_was(folder: Path) -> None:
    from lieref import fit, load
    from lieref.errors import LierefError

    onnx.save(pixel_net("Softmax"), "net.onnx")
    model = load("net.onnx").attach("lora", r=1)
    x = learnable("dense")["x"].astype(np.float32)
    before, output = model.logits(x), model.predict(x)
    with pytest.raises(LierefError):
        fit(model, x, np.zeros((2, 2)), task="numbers")
    assert (model.reading, model.task) == ("Softmax", None)
    np.testing.assert_array_equal(model.logits(x), before)
    fit(model, x, output, task="numbers", epochs=1, learning_rate=1e-9)
    assert (model.reading, model.task) == ("", {"name": "numbers"})
    np.testing.assert_allclose(model.logits(x), output, atol=1e-5)
    np.testing.assert_allclose(model.predict(x), output, atol=1e-5)


def test_samples_under_the_name_of_the_input(folder: Path, run_json: RunJson) -> None:
    model = row_net()
    model.graph.input[0].name = model.graph.node[0].input[0] = "features"
    prepare("classes", model)
    data = learnable("classes")
    plain = run_json("eval", "net.onnx", "--data", "train.npz")
    np.savez("named.npz", features=data["x"], y=data["y"])
    assert run_json("eval", "net.onnx", "--data", "named.npz")["loss"] == plain["loss"]


@pytest.mark.parametrize(("task", "title"), [("dense", "mean iou"), ("numbers", "rmse"), ("classes", "accuracy")])
def test_the_table_shows_the_metric_of_the_task(
    folder: Path, capsys: pytest.CaptureFixture[str], task: str, title: str
) -> None:
    prepare(task)
    assert main([*FINETUNE, "--test", "test.npz", "--task", task]) == 0
    assert title in capsys.readouterr().out
    assert main(["eval", "net.onnx", "--adapter", "out", "--data", "test.npz"]) == 0
    printed = capsys.readouterr().out
    assert title.replace(" ", "_") in printed


def test_several_outputs_are_trained_together(folder: Path, run_json: RunJson) -> None:
    onnx.save(two_output_net(), "net.onnx")
    x = learnable("numbers")["x"]
    targets = {"y_y": x[:, :4] ** 2, "y_other": np.stack([x[:, :3], -x[:, 2:]], axis=2)}
    np.savez("train.npz", x=x, **targets)
    report = run_json(
        "finetune", "net.onnx", "--train", "train.npz", "--test", "train.npz", "--task", "numbers", "--method", "full",
        "--epochs", "80", "--batch", "16", "--lr", "0.03", "--output", "y", "--output", "other=0.5", "--out", "out",
    )  # fmt: skip
    assert report["outputs"] == ["y", "other"]
    assert report["task"] == {"name": "numbers", "outputs": {"y": 1.0, "other": 0.5}}
    for name in ("y.rmse", "other.rmse"):
        assert report["metrics"][name] < 0.7 * report["base_metrics"][name]
    squares = [report["metrics"][name] ** 2 for name in ("y.rmse", "other.rmse")]
    assert report["loss"] == pytest.approx(squares[0] + 0.5 * squares[1])
    adapted = run_json("eval", "net.onnx", "--adapter", "out", "--data", "train.npz")
    assert adapted["metrics"] == pytest.approx(report["metrics"])
    run_json("merge", "net.onnx", "out", "-o", "merged.onnx")
    found = onnxruntime.InferenceSession("merged.onnx").run(["y", "other"], {"x": x})
    errors = [np.mean(np.square(z - targets[f"y_{name}"])) for name, z in zip(("y", "other"), found, strict=True)]
    assert errors == pytest.approx(squares, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "change", "words"),
    [
        (("--output", "y", "--output", "other"), {"y_y": None}, "must hold the array 'y_y'"),
        (("--output", "y", "--output", "other=0"), {}, "must be above 0"),
        (("--output", "y", "--output", "y"), {}, "'y' is given twice"),
        (("--output", "y", "--output", "nowhere"), {}, "got 'nowhere'"),
        (("--output", "y", "--output", "other"), {"y_other": np.zeros((48, 6))}, "must have shape (N, 3, 2)"),
    ],
)
def test_several_outputs_that_do_not_fit(
    folder: Path, fails: Fails, options: tuple[str, ...], change: dict[str, Any], words: str
) -> None:
    onnx.save(two_output_net(), "net.onnx")
    arrays = {"x": learnable("numbers")["x"], "y_y": np.zeros((48, 4)), "y_other": np.zeros((48, 3, 2)), **change}
    np.savez("train.npz", **{name: value for name, value in arrays.items() if value is not None})
    assert words in fails(*FINETUNE, "--task", "numbers", *options)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"name": "hinge"}, "`task` must be one of classes"),
        ({"name": "classes", "task": [1]}, "`task` must be one of classes"),
        ({"name": "classes", "label_smoothing": "x"}, "`label_smoothing` must be a real number; got 'x'"),
        ({"name": "classes", "class_weights": 5}, "`class_weights` must be a list of numbers; got 5"),
        ({"name": "classes", "blank": 1}, "`blank` must be a setting of the task 'classes'"),
        ({"name": 5}, "must be an object with a name or null"),
        ("classes", "must be an object with a name or null"),
    ],
)
def test_a_recorded_task_that_means_nothing(
    folder: Path, run_json: RunJson, fails: Fails, task: Any, words: str
) -> None:
    prepare("classes")
    run_json(*FINETUNE)
    path = folder / "out" / "adapter_config.json"
    config = json.loads(path.read_text())
    config["lieref"]["task"] = task
    path.write_text(json.dumps(config))
    assert words in fails("eval", "net.onnx", "--adapter", "out", "--data", "test.npz")


@pytest.mark.parametrize("task", NETS)
@pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")
def test_the_learning_rate_is_searched_by_the_metric_of_the_task(folder: Path, task: str) -> None:
    from lieref import History, fit, load

    prepare(task)
    data = learnable(task)
    model = load("net.onnx").attach("lora", r=2)
    history = fit(model, data["x"], data.get("y"), task=task, epochs=1, batch_size=16, learning_rate="auto", augment=())
    assert len(history.trials) >= 3
    assert all(METRIC[task] in (trial.metrics or {}) for trial in history.trials)
    assert History.from_dict(json.loads(history.to_json())) == history
