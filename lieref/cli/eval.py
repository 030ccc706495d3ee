"""``lieref eval``: accuracy and loss of a model, with or without an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lieref.cli.command import Choice, Command
from lieref.cli.completion import SEMANTICS_NAME
from lieref.cli.console import number, percent, print_facts, print_json, progress_bar, say
from lieref.cli.live import quiet_option
from lieref.cli.preprocess_option import preprocess_option, recorded_text
from lieref.cli.semantics_option import parse_semantics
from lieref.cli.task_options import chosen_task, output_option, task_options
from lieref.cli.text_options import TextOptions, text_options, with_padding_of, without_padding


@click.command(
    "eval",
    cls=Command,
    examples=(
        "lieref eval base.onnx --data test.npz",
        "lieref eval base.onnx --adapter adapted --data test.npz",
        "lieref eval net.tflite --data test.npz --semantics tflite-reference,cmsis-nn",
    ),
)
@click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))
@click.option(
    "--adapter",
    type=click.Path(path_type=Path),
    help="Adapter folder made for MODEL; of a quantised file an update, by its folder or a file in it.",
)
@click.option(
    "--data",
    "--test",
    "data",
    required=True,
    type=click.Path(path_type=Path),
    help="Labelled data: .npz (an array for each input), .csv, folder or texts.",
)
@output_option
@task_options
@text_options
@preprocess_option
@click.option("--layout", type=Choice(["NCHW", "NHWC"]), help="Of the data, where both would fit.")
@click.option("--classes", help="Names of the model's outputs in order: a,b,c or @FILE.  [default: the adapter's]")
@click.option(
    "--max-bytes", type=click.IntRange(min=1), help="Memory the data may take.  [default: 100 times the file]"
)
@click.option(
    "--semantics",
    shell_complete=SEMANTICS_NAME,
    multiple=True,
    callback=parse_semantics,
    metavar="NAME,NAME",
    help="For a quantised file: whose integers judge: tflite-reference, tflite-optimised, xnnpack, cmsis-nn, "
    "onnxruntime, onnxruntime-unfused; of several, how many samples change their class.  "
    "[default: tflite-reference, onnxruntime]",
)
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate(
    model_path: Path,
    adapter: Path | None,
    data: Path,
    task: tuple[str | None, dict[str, Any]],
    text: TextOptions,
    outputs: dict[str, float] | None,
    preprocess: str | None,
    layout: str | None,
    classes: str | None,
    max_bytes: int | None,
    semantics: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print the mean loss of MODEL on labelled data, and how well it does: for classes its accuracy.

    Of a quantised MODEL they are those of its integers, in each of --semantics; with --adapter of what the file becomes
    with an update in it. Of classes it is the accuracy alone.
    """
    from lieref.adapter.folder import read_adapter
    from lieref.cli.doubts import tell_at_chance, tell_probabilities
    from lieref.cli.integer import evaluate_integer, print_evaluation, refuse_options
    from lieref.cli.integer_scores import evaluate_scores, print_scores
    from lieref.cli.job import load_samples, parse_classes, score
    from lieref.cli.loading import load_for
    from lieref.model.integer.reader import is_integer_file
    from lieref.model.mask_inputs import describe

    given: dict[str, Any]
    if is_integer_file(model_path):
        refuse_options("eval", {"--output": outputs})
        known = parse_classes(classes)
        given = {"adapter": adapter, "preprocess": preprocess}
        if task[0] in (None, "classes"):
            refuse_options("eval", {f"--{name.replace('_', '-')}": True for name in task[1]})
            integers = evaluate_integer(model_path, data, semantics, layout, known, max_bytes, **given)
        else:
            integers = evaluate_scores(model_path, data, semantics, layout, known, max_bytes, task, text=text, **given)
        if as_json:
            print_json(integers)
        else:
            (print_scores if "task" in integers else print_evaluation)(data, integers)
        return
    if semantics:
        raise click.UsageError(f"--semantics is for quantised files; {model_path} is none")
    recorded = {} if adapter is None else read_adapter(adapter)[1]["lieref"]
    outputs = recorded.get("output") if outputs is None else outputs
    text = with_padding_of(text, recorded)
    model = load_for(model_path, data, text, outputs, recorded)
    if adapter is not None:
        model.load_adapter(adapter)
    names, chosen = parse_classes(classes), chosen_task(model, task)
    with progress_bar("eval"):
        given = {"task": chosen, "max_bytes": max_bytes, "text": text, "preprocess": preprocess}
        samples = load_samples(data, model, layout, classes=names, **given)
        if model.derived_inputs:
            say(describe(model.derived_inputs, model.padding_id))
        if samples.described:
            say(samples.described)
        chosen = without_padding(chosen, (samples.text or {}).get("padding"))
        measured = score(model, samples, chosen, lambda judged: tell_at_chance(judged, samples, model))
    tell_probabilities(model, chosen)
    report = {
        "model": str(model_path),
        "adapter": None if adapter is None else str(adapter),
        "method": model.method_name,
        "samples": len(samples.x),
        "classes": None if samples.classes is None else list(samples.classes),
        "missing_classes": list(samples.missing),
        "outputs": list(model.output_weights or model.outputs[:1]),
        "task": chosen.to_dict(),
        "preprocessing": recorded_text(model) if samples.preprocessed else None,
        **({} if samples.text is None else {"text": samples.text}),
        "accuracy": measured.accuracy,
        "loss": measured.loss,
        "metrics": measured.metrics,
    }
    if as_json:
        print_json(report)
    else:
        texts = {
            "outputs": ", ".join(model.output_weights or model.outputs[:1]),
            "classes": ", ".join(samples.classes or ()) or "-",
            "missing_classes": ", ".join(samples.missing) or "-",
            "preprocessing": report["preprocessing"] or "-",
            **({} if samples.text is None else {"text": ", ".join(f"{k} {v}" for k, v in samples.text.items())}),
        }
        numbers = {"loss": number(measured.loss), **{name: number(value) for name, value in measured.metrics.items()}}
        shown = {**report, **texts, "task": chosen.name, **numbers, "accuracy": percent(measured.accuracy)}
        print_facts(str(data), {name: value for name, value in shown.items() if name != "metrics"})
