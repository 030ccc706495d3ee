"""``lieref export``: an adapter in the formats of others."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lieref._text import near_path
from lieref.cli.command import Choice, Command
from lieref.cli.completion import FORMAT_NAME, SEMANTICS_NAME
from lieref.cli.console import print_facts, print_json, say, working, wrote
from lieref.cli.live import quiet_option
from lieref.cli.output import reserved_file, reserved_folder

if TYPE_CHECKING:
    from lieref.adapter.out.registry import Exported, Format


def _known(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return the name of a format; the table of them is read when it is needed."""
    from lieref.adapter.integer.c_update import FORMAT
    from lieref.adapter.out.registry import FORMATS

    return Choice((*FORMATS, FORMAT)).convert(value, param, ctx)


class _Command(Command):
    """A command whose help lists the formats."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from lieref.adapter.integer.c_update import FORMAT, SUMMARY
        from lieref.adapter.out.registry import FORMATS

        with formatter.section("Formats"):
            rows = [(row.name, f"{row.summary}.") for row in FORMATS.values()]
            formatter.write_dl([*rows, (FORMAT, f"{SUMMARY}.")])


@click.command(
    cls=_Command,
    examples=(
        "lieref export adapted --base base.onnx --format peft -o peft",
        "lieref export adapted --base base.onnx --format c-header -o weights.h",
    ),
)
@click.argument("adapter", type=click.Path(path_type=Path))
@click.option("--base", required=True, type=click.Path(path_type=Path), help="The .onnx or .tflite it was made for.")
@click.option(
    "--format",
    "format_name",
    required=True,
    metavar="FORMAT",
    callback=_known,
    shell_complete=FORMAT_NAME,
    help="One of those below.",
)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="File or folder to write.")
@click.option(
    "--weights",
    type=Choice(["merged", "delta", "factors"]),
    help="What is written.  [default: merged for c-header, which knows delta too; factors for ort-adapter, or merged]",
)
@click.option("--rank", type=click.IntRange(min=1), help="lora: of what is no LoRA.  [default: the adapter's own]")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="NPZ of samples.  lora: to measure the outputs on; c-int8-update: to choose the self-test from, of the first "
    "16, else drawn.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=0, max=8),
    help="c-int8-update: inputs of the self-test, each as long as an input of the network; 0 for none.  [default: 1]",
)
@click.option(
    "--semantics",
    metavar="NAME",
    shell_complete=SEMANTICS_NAME,
    help="c-int8-update: how the device's kernels round, for the self-test, as of `lieref eval`.  [default: "
    "tflite-reference, or onnxruntime]",
)
@click.option(
    "--model-names",
    type=click.Path(path_type=Path),
    help="peft, lycoris: as of `lieref import`, where the file has no names.",
)
@click.option("--force", is_flag=True, help="Replace the output where it exists.")
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def export(adapter: Path, base: Path, format_name: str, out: Path, force: bool, as_json: bool, **given: Any) -> None:
    """Write the adapter folder ADAPTER in another format.

    Neither ADAPTER nor BASE is changed. What a format cannot hold is said in a line, by name.
    """
    from lieref.adapter.integer import c_update
    from lieref.adapter.integer.folder import is_update

    if is_update(adapter) != (format_name == c_update.FORMAT):
        if format_name == c_update.FORMAT:
            if not adapter.exists():
                raise click.UsageError(f"ADAPTER must exist; there is no {adapter}{near_path(adapter)}")
            raise click.UsageError(
                f"--format {c_update.FORMAT} is for the update of a quantised file, and {adapter} holds none: lieref "
                f"carry {adapter} NET --out UPDATE makes one of some float adapters"
            )
        raise click.UsageError(
            f"{adapter} holds the update of a quantised file, which has no form but --format {c_update.FORMAT}"
        )
    options = {name: value for name, value in given.items() if value is not None}
    for path in (adapter, base):
        if out.exists() and path.exists() and out.samefile(path):
            raise click.UsageError(f"{out} is read, and never changed; name another --out")
    if is_update(adapter):
        strange = next((name for name in options if name not in ("data", "samples", "semantics")), None)
        if strange is not None:
            raise click.UsageError(f"--{strange.replace('_', '-')} does not go with --format {c_update.FORMAT}")
        if options.get("samples") == 0 and len(options) > 1:
            unread = next(name for name in options if name != "samples")
            raise click.UsageError(f"--{unread} is for the self-test, and --samples 0 leaves that out")
        _export_update(adapter, base, out, force, as_json, **options)
        return
    own = next((name for name in ("samples", "semantics") if name in options), None)
    if own is not None:
        raise click.UsageError(f"--{own} is for --format {c_update.FORMAT}; leave it out for {format_name}")
    from lieref.adapter.out.registry import check_options
    from lieref.errors import DomainError

    try:
        row = check_options(format_name, options)
    except DomainError as error:
        raise click.UsageError(str(error).partition(": ")[2].replace("`", "")) from None
    with working("export") as step:
        step(format_name)
        exported = (_write_folder if row.files else _write_file)(row, adapter, base, out, options, force=force)
    for note in exported.notes:
        say(f"note: {note}")
    report = {"output": str(out), "format": format_name, "bytes": exported.size, "sha256": _digests(exported),
              **exported.facts, "notes": list(exported.notes)}  # fmt: skip
    if as_json:
        print_json(report)
    else:
        shown = {key: value for key, value in report.items() if not isinstance(value, (dict, list))}
        lists = {key: len(value) for key, value in exported.facts.items() if _is_listing(value)}
        print_facts("Exported", {**shown, **lists})
        wrote(f"The adapter as {format_name} is {out}")


def _export_update(
    folder: Path,
    base: Path,
    out: Path,
    force: bool,
    as_json: bool,
    data: Path | None = None,
    samples: int | None = None,
    semantics: str | None = None,
) -> None:
    """Write the update of a quantised file as C, with a self-test where one can be made."""
    from lieref._atomic import write_file
    from lieref.adapter.integer.c_self_test import SAMPLES, make_c_self_test
    from lieref.adapter.integer.c_update import FORMAT, c_update
    from lieref.adapter.integer.folder import read_update
    from lieref.adapter.integer.self_test_making import given_input
    from lieref.errors import DomainError, UnsupportedError
    from lieref.model.integer.reader import read_integer
    from lieref.train.npz import read_npz

    if out.exists() and not (out.is_file() or out.is_dir()):
        raise click.UsageError(f"{out} is a device or a pipe; name a file with --out")
    with reserved_file("export", out, "out"), working("export") as step:
        graph = read_integer(base)
        update = read_update(folder, graph)
        stem = out.stem if re.match(r"update(_|$)", out.stem) else f"update_{out.stem}"
        name = re.sub(r"[^A-Za-z0-9_]", "_", stem)[:41]  # letters of C, not of every script
        test, notes = None, []
        if samples != 0:
            step("making a self-test")
            x = None if data is None else given_input("export", graph, read_npz(data))
            try:
                test = make_c_self_test(graph, update.patched(graph)[0], semantics, x, samples or SAMPLES)
            except (UnsupportedError, DomainError) as error:
                if samples is not None or data is not None or semantics is not None:  # it was asked for
                    raise
                notes.append(f"left out: self-test: {error}")
        if test is not None and test.warning is not None:
            notes.append(test.warning)
        text, tables = c_update(update, graph, name, test)
        if out.exists() and out.read_bytes() != text and not force:
            raise click.UsageError(f"{out} exists and holds something else; add --force to replace it")
        write_file(out, text)
    report: dict[str, Any] = {
        "output": str(out), "format": FORMAT, "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest(),
        "table_bytes": tables, "self_test": None if test is None else test.described(), "notes": notes,
    }  # fmt: skip
    if as_json:
        print_json(report)
        return
    for note in notes:
        say(f"note: {note}")
    facts = {key: value for key, value in report.items() if key not in ("notes", "self_test")}
    if test is not None:
        facts["self-test"] = f"{test.bytes:,} bytes of {len(test.x)} input{'s'[: len(test.x) > 1]}, as {test.semantics}"
    print_facts("Exported", facts)
    more = "" if test is None else f", {name}_self_test(run, context) that it answers as recorded"
    click.echo(
        f"In C {name}_apply(model, bytes) writes the update into a model in RAM, {name}_undo takes it back, and "
        f"{name}_move is for flash; {name}_check(model, bytes) tells which model stands there{more}. {out} says what "
        "each needs."
    )


def _is_listing(fact: Any) -> bool:
    """Tell whether a fact is a list, or one thing for each of several names."""
    return isinstance(fact, list) or (
        isinstance(fact, dict) and any(isinstance(v, (dict, list)) for v in fact.values())
    )


def _exported(row: Format, adapter: Path, base: Path, out: Path, options: dict[str, Any]) -> Exported:
    from lieref.adapter.out.registry import export
    from lieref.adapter.out.source import read_source

    named = {"stem": out.stem} if "stem" in row.options else {}
    return export(read_source(adapter, base), row.name, **named, **options)


def _write_file(row: Format, adapter: Path, base: Path, out: Path, options: dict[str, Any], *, force: bool) -> Exported:
    """Write a format of one file; a file that already is it stays as it is."""
    from lieref._atomic import write_file

    if out.exists() and not (out.is_file() or out.is_dir()):
        raise click.UsageError(f"{out} is a device or a pipe; name a file with --out")
    with reserved_file("export", out, "out"):
        exported = _exported(row, adapter, base, out, options)
        data = exported.data
        assert isinstance(data, bytes)  # what a row without files returns
        same = out.exists() and out.read_bytes() == data
        if out.exists() and not same and not force:
            raise click.UsageError(f"{out} exists and holds something else; add --force to replace it")
        if not same:
            write_file(out, data)
    return exported


def _write_folder(
    row: Format, adapter: Path, base: Path, out: Path, options: dict[str, Any], *, force: bool
) -> Exported:
    """Write a format of a folder."""
    from lieref._atomic import write_folder

    with reserved_folder("export", out, row.files, force=force) as replaces:
        exported = _exported(row, adapter, base, out, options)
        assert isinstance(exported.data, Mapping)  # what a row with files returns
        write_folder(out, exported.data, replaces=replaces)
    return exported


def _digests(exported: Exported) -> str | dict[str, str]:
    data = exported.data
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    return {name: hashlib.sha256(each).hexdigest() for name, each in data.items()}
