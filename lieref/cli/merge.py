"""``lieref merge``: the adapted network as an ordinary ONNX file."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

import click

from lieref._atomic import write_file
from lieref.cli.console import print_facts, print_json
from lieref.cli.output import reserved_file


@click.command(short_help="Write base and adapter as one ordinary ONNX model.")
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("adapter", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The merged model to write.")
@click.option("--force", is_flag=True, help="Replace the output where it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def merge(base: Path, adapter: Path, output: Path, force: bool, as_json: bool) -> None:
    """Merge the adapter folder ADAPTER into the model BASE.

    The result has the graph and the names of BASE; only adapted tensors differ. BASE itself is never changed. An output
    that already is the result stays as it is.
    """
    from lieref.adapter.folder import read_adapter
    from lieref.adapter.model import load
    from lieref.model.onnx_writer import encode_onnx

    if output.exists() and base.exists() and output.samefile(base):
        raise click.UsageError(f"{output} is the base model itself, which is never changed; name another --output")
    if output.exists() and not (output.is_file() or output.is_dir()):
        raise click.UsageError(f"{output} is a device or a pipe; name a file with --output")
    with reserved_file("merge", output, "output"):
        known = read_adapter(adapter)[1]["lieref"]
        model = load(base, input_shapes=known.get("input_shapes"), padding_id=known.get("padding_id"))
        model.load_adapter(adapter)
        method, changed = model.method_name, sorted(model.adapted_tensors())
        merged = model.merge_and_unload()
        data = encode_onnx(merged.proto)
        if output.exists() and output.read_bytes() != data:
            if not force:
                raise click.UsageError(f"{output} exists and holds something else; add --force to replace it")
            write_file(output, data)
        elif not output.exists():
            write_file(output, data)
    report = {
        "output": str(output),
        "method": method,
        "changed_tensors": changed,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    if merged.rounding is not None:
        report["rounding"] = asdict(merged.rounding) if as_json else merged.rounding.describe()
    if as_json:
        print_json(report)
    else:
        print_facts("Merged", {**report, "changed_tensors": len(changed)})
