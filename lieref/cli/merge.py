"""``lieref merge``: the adapted network as an ordinary ONNX file."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lieref._atomic import write_file
from lieref.cli.command import Command
from lieref.cli.console import print_facts, print_json, word, working, wrote
from lieref.cli.live import quiet_option
from lieref.cli.output import reserved_file
from lieref.cli.preprocess_option import recorded_text


@click.command(
    cls=Command,
    examples=(
        "lieref merge base.onnx adapted -o merged.onnx",
        "lieref merge net.tflite update -o updated.tflite",
    ),
)
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("adapter", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The merged model to write.")
@click.option("--force", is_flag=True, help="Replace the output where it exists.")
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def merge(base: Path, adapter: Path, output: Path, force: bool, as_json: bool) -> None:
    """Merge the adapter folder ADAPTER into the model BASE.

    Of a quantised BASE the update in ADAPTER is written into its bytes: the file keeps its length, and its integers
    but those that the update moves.

    The result has the graph and the names of BASE; only adapted tensors differ. BASE itself is never changed. An output
    that already is the result stays as it is.
    """
    if output.exists() and base.exists() and output.samefile(base):
        raise click.UsageError(f"{output} is the base model itself, which is never changed; name another --output")
    if output.exists() and not (output.is_file() or output.is_dir()):
        raise click.UsageError(f"{output} is a device or a pipe; name a file with --output")
    with reserved_file("merge", output, "output"), working("merge") as step:
        step("reading")
        data, report = _updated(base, adapter) if _is_update(adapter) else _merged(base, adapter, as_json)
        step("writing")
        if output.exists() and output.read_bytes() != data:
            if not force:
                raise click.UsageError(f"{output} exists and holds something else; add --force to replace it")
            write_file(output, data)
        elif not output.exists():
            write_file(output, data)
    report = {"output": str(output), **report, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if as_json:
        print_json(report)
    else:
        print_facts("Merged", {**report, "changed_tensors": len(report["changed_tensors"])})
        wrote(f"The merged model is {output}", f"lieref eval {word(output)} --data TEST")


def _is_update(adapter: Path) -> bool:
    from lieref.adapter.integer.folder import is_update

    return is_update(adapter)


def _merged(base: Path, adapter: Path, as_json: bool) -> tuple[bytes, dict[str, Any]]:
    """Return the file of a network with an adapter in it, and what to say of it."""
    from lieref.adapter.folder import read_adapter
    from lieref.adapter.model import load
    from lieref.model.integer.reader import is_integer_file
    from lieref.model.onnx_writer import encode_onnx

    if is_integer_file(base):
        if _is_update(adapter.parent):
            raise click.UsageError(f"an update is named by its folder: lieref merge {base} {adapter.parent} -o NEW")
        raise click.UsageError(f"{base} is a quantised file: lieref carry {adapter} {base} makes an update for it")
    known = read_adapter(adapter)[1]["lieref"]
    model = load(base, input_shapes=known.get("input_shapes"), padding_id=known.get("padding_id"))
    model.load_adapter(adapter)
    report: dict[str, Any] = {"method": model.method_name, "changed_tensors": sorted(model.adapted_tensors())}
    if model.preprocessing is not None:
        report["preprocessing"] = recorded_text(model)
    merged = model.merge_and_unload()
    if merged.rounding is not None:
        report["rounding"] = asdict(merged.rounding) if as_json else merged.rounding.describe()
    return encode_onnx(merged.proto), report


def _updated(base: Path, folder: Path) -> tuple[bytes, dict[str, Any]]:
    """Return a quantised file with an update in it, and what to say of it."""
    from lieref.adapter.integer.folder import read_update
    from lieref.model.integer.reader import read_integer

    graph = read_integer(base)
    update = read_update(folder, graph)
    new, made = update.patched(graph)
    changed = sorted({*update.scales, *(update.codes.of if update.codes else ()), *update.biases, *update.integers})
    return new.content, {"method": update.method, "changed_tensors": changed, "bytes_written": len(made)}
