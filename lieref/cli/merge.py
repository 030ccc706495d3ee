"""``lieref merge``: the adapted network as an ordinary ONNX file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from lieref.cli.console import print_facts, print_json


@click.command(short_help="Write base and adapter as one ordinary ONNX model.")
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("adapter", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The merged model to write.")
@click.option("--force", is_flag=True, help="Replace the output where it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def merge(base: Path, adapter: Path, output: Path, force: bool, as_json: bool) -> None:
    """Merge the adapter folder ADAPTER into the model BASE.

    The result has the graph and the names of BASE; only adapted tensors differ. BASE itself is never changed.
    """
    from lieref.adapter.model import load

    if output.exists() and base.exists() and output.samefile(base):
        raise click.UsageError(f"{output} is the base model itself, which is never changed; name another --output")
    if output.is_dir():
        raise click.UsageError(f"{output} is a folder; name a file with --output")
    if output.exists() and not force:
        raise click.UsageError(f"{output} exists; add --force to replace it")
    model = load(base).load_adapter(adapter)
    merged = model.merge_and_unload()
    merged.save(output)
    changed = sorted(model.adapted_tensors())
    report = {
        "output": str(output),
        "method": model.method_name,
        "changed_tensors": changed,
        "bytes": output.stat().st_size,
        "sha256": hashlib.sha256(output.read_bytes()).hexdigest(),
    }
    if as_json:
        print_json(report)
    else:
        print_facts("Merged", {**report, "changed_tensors": len(changed)})
