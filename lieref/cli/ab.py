"""``lieref ab``: how many images an A/B test needs, what it found, and whether to go on."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from lieref.cli.ab_print import print_arms, print_look, print_plan, print_test
from lieref.cli.command import Choice, Group
from lieref.cli.completion import SEMANTICS_NAME
from lieref.cli.console import print_json
from lieref.cli.live import quiet_option
from lieref.cli.naming import names_itself
from lieref.cli.semantics_option import parse_semantics
from lieref.cli.shares import GAIN, SHARE

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_level = click.option(
    "--level", type=SHARE, default=0.05, show_default=True, help="Share of false alarms, two-sided, at most."
)
_worth = click.option(
    "--worth",
    type=GAIN,
    default=0.01,
    show_default=True,
    help="Smallest gain of accuracy that is worth shipping. With 0 a test of equals has no end.",
)
_classes = click.option("--classes", help="How many classes there are, or their names: a,b,c or @FILE.")


@click.group(
    cls=Group,
    examples=(
        "lieref ab plan --accuracy 90% --gain 1% --disagreement 5%",
        "lieref ab test base.onnx new.onnx --data test.npz --save day1.csv",
        "lieref ab look day1.csv day2.csv day3.csv --worth 1%",
    ),
)
def ab() -> None:
    """Plan an A/B test of two models, judge it, and look at it daily.

    A is the base, B the new model; both see the same images. What is found holds for images like these, each of them a
    case of its own: twenty frames of one scene are one image.
    """


@ab.command(
    short_help="Images needed for a gain, or the smallest gain that so many show.",
    examples=(
        "lieref ab plan --accuracy 90% --gain 1%  # worst case",
        "lieref ab plan --accuracy 90% --gain 1% --disagreement 5%  # measured",
        "lieref ab plan --accuracy 90% --images 2000  # what they show",
    ),
)
@click.option("--accuracy", type=SHARE, required=True, help="Of the base: 0.9 or 90%.")
@click.option("--gain", type=GAIN, help="Gain of accuracy that shall be seen, such as 1%.")
@click.option("--images", type=click.IntRange(min=1), help="Instead of --gain: which gain do so many images show?")
@click.option(
    "--disagreement",
    type=SHARE,
    help="Share of images that just one of the two has right.  [default: the worst case]",
)
@click.option("--power", type=SHARE, default=0.8, show_default=True, help="How often the gain shall be seen.")
@_level
@click.option(
    "--per-day", type=click.IntRange(min=1), help="Images a day, for daily looks.  [default: a twentieth of the test]"
)
@_json
@names_itself
def plan(as_json: bool, **options: Any) -> None:
    """Say how many images a comparison needs.

    Both models see the same images (McNemar's exact test), or each its own (two arms). How often the two differ
    matters most: the worst case is far off for an adapter and its base. `ab test` on a few hundred images says it.
    """
    from lieref.evaluate.ab.report import plan_report

    if (options["gain"] is None) == (options["images"] is None):
        raise click.UsageError("--gain asks for images, --images for the gain; give one of them")
    report = plan_report(**options)
    if as_json:
        print_json(report)
    else:
        print_plan(report)


@ab.command(
    short_help="Is one model better than the other, on these images?",
    examples=(
        "lieref ab test base.onnx merged.onnx --data test.npz",
        "lieref ab test base.onnx base.onnx --adapter-b adapted --data test.npz --save day1.csv",
        "lieref ab test net.tflite net.tflite --adapter-b update --data test.npz",
        "lieref ab test a.csv b.csv --labels labels.csv",
    ),
)
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Of two models: labelled data, as for eval.")
@click.option("--adapter-a", type=click.Path(path_type=Path), help="Adapter or update made for A.")
@click.option("--adapter-b", type=click.Path(path_type=Path), help="Adapter or update made for B.")
@click.option(
    "--semantics",
    shell_complete=SEMANTICS_NAME,
    callback=parse_semantics,
    metavar="NAME",
    help="Of quantised models: whose integers judge, as for eval.",
)
@click.option("--layout", type=Choice(["NCHW", "NHWC"]), help="Of the data, where both would fit.")
@click.option("--max-bytes", type=click.IntRange(min=1), help="Memory the data may take, as for eval.")
@click.option("--labels", type=click.Path(path_type=Path), help="Of two files of predictions: a file of labels.")
@_classes
@_level
@_worth
@click.option("--save", type=click.Path(path_type=Path), help="Write ids, labels, predictions to this .csv, for look.")
@click.option("--force", is_flag=True, help="Replace the file of --save where it exists.")
@quiet_option
@_json
@names_itself
def test(
    a: Path, b: Path, save: Path | None, force: bool, as_json: bool, level: float, worth: float, **options: Any
) -> None:
    """Compare the base A with the new model B on the same images.

    Two models, .onnx or .tflite, are run on DATA. Files of predictions are .csv with a header, .json (an object of
    lists) or .npz, with the columns `prediction` (a class, or in .npz one score a class), `label` in one of them or in
    LABELS, and `id` to match rows by; without ids all have one order.

    McNemar's test, exact and mid-p, is for a number of images fixed before. Who looks more than once reads the lines
    "at any time".
    """
    from lieref._atomic import write_file
    from lieref.cli.ab_models import named, semantics_of, warn_same
    from lieref.cli.output import reserved_result
    from lieref.evaluate.ab.report import check_level_and_worth, test_report

    check_level_and_worth(level, worth)
    if save is not None and save.suffix.lower() != ".csv":
        raise click.UsageError(f"--save writes a .csv; got {save}")
    options["semantics"] = how = semantics_of(options["semantics"], (a, b))
    with nullcontext() if save is None else reserved_result("ab test", save, "save", force=force):
        pairs = _pairs(a, b, **options)
        names = [named(a, options["adapter_a"], how[0]), named(b, options["adapter_b"], how[1])]
        warn_same((a, b), (options["adapter_a"], options["adapter_b"]), names[0])
        report = {"a": names[0], "b": names[1], **test_report(pairs, level=level, worth=worth)}
        if save is not None:
            write_file(save, pairs.to_csv())
            report["saved"] = {"file": str(save), "columns": list(pairs.columns)}
    if as_json:
        print_json(report)
    else:
        print_test(report)


def _pairs(
    a: Path,
    b: Path,
    *,
    data: Path | None,
    adapter_a: Path | None,
    adapter_b: Path | None,
    layout: str | None,
    max_bytes: int | None,
    labels: Path | None,
    classes: str | None,
    semantics: tuple[str | None, str | None],
) -> Any:
    """Return what both models said, from their files."""
    from lieref.cli.ab_models import predict_pairs
    from lieref.evaluate.ab.pairs import join_predictions

    networks = [path.suffix.lower() in (".onnx", ".tflite") for path in (a, b)]
    if networks[0] != networks[1]:
        raise click.UsageError("A and B must both be .onnx or .tflite models, or both files of predictions")
    if networks[0]:
        if data is None:
            raise click.UsageError("two models need labelled data: add --data")
        if labels is not None:
            raise click.UsageError("--labels is for files of predictions; the labels of --data count")
        return predict_pairs(
            (a, b), (adapter_a, adapter_b), data,
            layout=layout, classes=classes, max_bytes=max_bytes, semantics=semantics,
        )  # fmt: skip
    for name, value in (("data", data), ("adapter-a", adapter_a), ("adapter-b", adapter_b), ("layout", layout)):
        if value is not None:
            raise click.UsageError(f"--{name} is for two models; leave it out for files of predictions")
    return join_predictions(a, b, labels, classes=_number_of(classes))


@ab.command(
    short_help="Is one model better, each on images of its own?",
    examples=(
        "lieref ab arms half_a.csv half_b.csv",
        "lieref ab arms half_a.csv half_b.csv --level 1% --json",
    ),
)
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@_classes
@_level
@_json
@names_itself
def arms(a: Path, b: Path, classes: str | None, level: float, as_json: bool) -> None:
    """Compare two models that saw other images, such as two halves of a fleet.

    Both files have the columns `prediction` and `label`, as for `ab test`. The same images for both need far fewer of
    them: see `ab plan`. This test is for numbers of images fixed before; it must not be looked at daily.
    """
    from lieref.evaluate.ab.arms import compare_arms
    from lieref.evaluate.ab.betting import check_level
    from lieref.evaluate.ab.pairs import check_files_apart, right_answers

    check_level("ab", level)
    check_files_apart("ab arms", (a, b))
    number = _number_of(classes)
    found = compare_arms(*right_answers(a, classes=number), *right_answers(b, classes=number), level)
    report = {"a": str(a), "b": str(b), "level": level, **found.to_dict()}
    if as_json:
        print_json(report)
    else:
        print_arms(report)


@ab.command(
    short_help="Look at a running test: ship, not yet, or no difference worth it.",
    examples=(
        "lieref ab look so_far.csv --worth 1%  # the file so far",
        "lieref ab look day1.csv day2.csv day3.csv  # one file a day, in order",
    ),
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@_classes
@_level
@_worth
@_json
@names_itself
def look(files: tuple[Path, ...], classes: str | None, level: float, worth: float, as_json: bool) -> None:
    """Judge a test that is still running, as often as one likes.

    FILES have the columns `label`, `a` (what the base said), `b` (the new model) and perhaps `id`; `ab test --save`
    writes them, .json and .npz do as well. The verdict is ship, not yet, no difference worth it (less than --worth) or
    worse. However often one looks, ship is said of a model that is not better with a probability of at most half of
    --level.

    Once said, a verdict stands. Give all files every day: the last alone is not the test. Images are counted as they
    came, in no order chosen by class or outcome, and each once; with ids, as --save writes, this is checked.
    """
    from lieref.evaluate.ab.pairs import check_apart, check_files_apart, read_pairs
    from lieref.evaluate.ab.report import check_level_and_worth, look_report

    check_level_and_worth(level, worth)
    check_files_apart("ab look", files)
    days = [(str(path), read_pairs(path, classes=_number_of(classes))) for path in files]
    check_apart("ab look", days)
    report = look_report([(name, pairs.counts) for name, pairs in days], level=level, worth=worth)
    if as_json:
        print_json(report)
    else:
        print_look(report)


def _number_of(classes: str | None) -> int | None:
    """Return how many classes there are, from their number or names."""
    from lieref.cli.job import is_number, parse_classes

    if classes is None:
        return None
    if is_number(classes):
        if not 0 < len(classes) < 9 or int(classes) < 2:
            raise click.UsageError(f"--classes must be 2 or more, or their names; got {classes}")
        return int(classes)
    return len(parse_classes(classes) or ())
