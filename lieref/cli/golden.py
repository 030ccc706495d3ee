"""``lieref golden``: export golden vectors, and check a port against them."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import click

from lieref.cli.command import Choice, Group
from lieref.cli.completion import PROFILE_NAME, SEMANTICS_NAME
from lieref.cli.live import quiet_option

_SEMANTICS = "tflite-reference, tflite-optimised, xnnpack, cmsis-nn or onnxruntime"
_PROFILES = "fp64, fp32, tensor-core, winograd, fft, tf32, fp16, bf16; with :strict, :mixed or :normwise behind it"


@click.group(
    cls=Group,
    examples=(
        "lieref golden check --backend my_port:run",
        "lieref golden export vectors",
    ),
)
def golden() -> None:
    """Golden vectors: expected values with certified errors, and verdicts on ports."""


@golden.command(
    examples=(
        "lieref golden export vectors  # the core set",
        "lieref golden export vectors --full  # everything",
        "lieref golden export headers --format c --semantics cmsis-nn --family integer_conv",
    )
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--full", is_flag=True, help="Also the cases that do not come with the package (needs python-flint).")
@click.option("--regenerate", is_flag=True, help="Compute the core set anew instead of copying it.")
@click.option(
    "--format", "form", type=Choice(["vectors", "safetensors", "onnx", "c"]), default="vectors", show_default=True
)
@click.option("--family", "families", multiple=True, help="Family to write; may be given several times.")
@click.option(
    "--semantics",
    shell_complete=SEMANTICS_NAME,
    help=f"Only quantised operators, as these runtimes round: {_SEMANTICS}.",
)
@quiet_option
def export(
    folder: Path, full: bool, regenerate: bool, form: str, families: tuple[str, ...], semantics: str | None
) -> None:
    """Write the golden cases to FOLDER, which must be empty or new; the same bytes every time."""
    from lieref.cli.console import progress_bar, say, word
    from lieref.conformance import export as exporter
    from lieref.conformance.generate import generate
    from lieref.conformance.runner import of_export
    from lieref.conformance.vectors import read_vectors

    with progress_bar("golden export") as progress:
        cases = generate(full, progress) if full or regenerate else read_vectors()[0]
        if families or semantics:
            cases = of_export(list(cases), families or None, semantics)
        count = exporter.export(folder, cases, form)
    say(f"{count} cases written to {folder}")
    if form == "vectors":
        say(f"next: lieref golden check --exe DRIVER --vectors {word(folder)}")


@golden.command(
    examples=(
        "lieref golden check --backend my_port:run",
        "lieref golden check --exe ./driver --profile tf32",
        "lieref golden check --outputs results --junit report.xml",
        "lieref golden check --exe ./driver --semantics cmsis-nn",
    )
)
@click.option("--backend", help="module:callable or file.py:callable, called as f(op, inputs, attrs) -> outputs.")
@click.option("--exe", help="Program started as DRIVER INPUT OUTPUT for each case, both safetensors files.")
@click.option("--outputs", type=click.Path(path_type=Path), help="Folder with <case id>.safetensors files.")
@click.option("--vectors", type=click.Path(path_type=Path), help="Folder of vectors; the core set by default.")
@click.option("--family", "families", multiple=True, help="Family to check; may be given several times.")
@click.option(
    "--semantics",
    shell_complete=SEMANTICS_NAME,
    help=f"How quantised operators round: {_SEMANTICS}. Judges their cases, and only these.",
)
@click.option(
    "--profile",
    shell_complete=PROFILE_NAME,
    help=f"Arithmetic the port declares: {_PROFILES}. Default: that of each case's dtype.",
)
@click.option("--bitwise", is_flag=True, help="Run every case twice and demand the same bits.")
@click.option("--strict", is_flag=True, help="Fail if inputs are accepted that must be refused.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds for each run of --exe.")
@click.option("--xfails", type=click.Path(path_type=Path), help="File of case ids expected to fail: `id  # reason`.")
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--junit", type=click.Path(path_type=Path), help="Also write a JUnit file.")
@click.pass_context
def check(ctx: click.Context, /, as_json: bool, junit: Path | None, **options: Any) -> None:
    """Check a port and print a verdict with reasons.

    Exit status 0 if no case fails, at least one proves something, and every kind of input that is covered is covered
    whole. MISTRUSTED cases prove nothing under the declared arithmetic and do not count.
    """
    from lieref._atomic import write_file
    from lieref.cli.console import print_json, progress_bar, say, stdout_to_stderr
    from lieref.cli.output import reserved_file
    from lieref.conformance.runner import check as run_check
    from lieref.conformance.runner import read_xfails

    if junit:
        ctx.with_resource(reserved_file("golden check", junit, "junit"))
    xfails = read_xfails(options["xfails"]) if options["xfails"] else []
    # What a port prints is for people.
    with stdout_to_stderr(), progress_bar("golden check") as progress:
        report = run_check(
            _backend(options),
            vectors=options["vectors"],
            families=options["families"] or None,
            profile=options["profile"],
            bitwise=options["bitwise"],
            xfails=xfails,
            strict=options["strict"],
            semantics=options["semantics"],
            told=progress,
        )
    if junit:
        write_file(junit, report.to_junit().encode())
    if as_json:
        print_json(report.to_json())
    else:
        click.echo(report.to_text())
        if junit:
            say(f"the JUnit report is {junit}")
    ctx.exit(report.exit_code)


def _backend(options: dict[str, Any]) -> Any:
    """Return the one backend that was asked for."""
    from lieref.conformance.backend import ExecutableBackend, OutputsBackend, load_callable

    if sum(options[name] is not None for name in ("backend", "exe", "outputs")) != 1:
        raise click.UsageError("give one of --backend, --exe and --outputs")
    if options["backend"] is not None:
        return load_callable(options["backend"])
    if options["exe"] is not None:
        backend = ExecutableBackend(options["exe"], options["timeout"])
        program = shlex.split(options["exe"])[0]
        if shutil.which(program) is None:
            raise click.UsageError(f"there is no program {program} that can be started; name it with --exe")
        return backend
    return OutputsBackend(options["outputs"])
