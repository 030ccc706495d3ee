"""``lieref carry``: a float adapter put into the quantised file of the same network."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from lieref._atomic import write_folder
from lieref.adapter.strict_json import format_json, parse_json, path_text
from lieref.cli.command import Command
from lieref.cli.console import print_facts, print_json, working
from lieref.cli.evidence import command_line
from lieref.cli.live import quiet_option
from lieref.cli.output import reserved_folder

REPORT_NAME = "report.json"


@click.command(
    cls=Command,
    examples=(
        "lieref carry adapted net.tflite --out update",
        "lieref carry adapted net.tflite --float base.onnx --out update --requantise",
    ),
)
@click.argument("adapter", type=click.Path(path_type=Path))
@click.argument("net", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New or empty folder for the update.")
@click.option(
    "--float",
    "base",
    type=click.Path(path_type=Path),
    metavar="BASE",
    help="The float network of the adapter.  [default: what its report names]",
)
@click.option("--requantise", is_flag=True, help="Let integers change where scales are not enough.")
@click.option("--force", is_flag=True, help="Replace the update in OUT.")
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def carry(adapter: Path, net: Path, out: Path, base: Path | None, requantise: bool, force: bool, as_json: bool) -> None:
    """Carry the float adapter in the folder ADAPTER over into the quantised file NET (.tflite, QDQ or QOperator ONNX).

    Adapters of the scaling group (scale, ia3, norm-stats) go into scales and biases, and no integer of a weight moves.
    Others are refused without --requantise, and what moved is reported. OUT holds the update for lieref merge.
    """
    from lieref.adapter.folder import read_adapter
    from lieref.adapter.integer.carry import carry as carried
    from lieref.adapter.integer.folder import BIN_NAME, JSON_NAME, encode_update
    from lieref.adapter.model import load
    from lieref.cli.job import versions
    from lieref.errors import UnsupportedError
    from lieref.model.integer.layers import integer_layers
    from lieref.model.integer.reader import is_integer_file, read_integer

    out = Path(os.path.abspath(out))
    names = {BIN_NAME, JSON_NAME, REPORT_NAME}
    with reserved_folder("carry", out, names, force=force) as replaces, working("carry") as step:
        step("reading")
        graph = read_integer(net)
        known = read_adapter(adapter)[1]["lieref"]
        base = base or _named_base(adapter)
        if is_integer_file(base):
            raise click.UsageError(f"{base} is quantised; name the float network of the adapter: --float BASE.onnx")
        model = load(base, dtype="float64", input_shapes=known.get("input_shapes"))
        model.load_adapter(adapter)
        if model.head is not None:
            raise UnsupportedError("carry: the adapter must keep the network's head; it has a new one")
        method = model.method_name
        update, layers = carried(graph, model.graph, model.merged_graph(), method, requantise=requantise)
        files = encode_update(replace(update, preprocessing=known.get("preprocessing")), graph)
        report = {
            "method": method,
            "layers": len(layers),
            "lowest_factor": min(each.lowest for each in layers),
            "highest_factor": max(each.highest for each in layers),
            "left_beside_factors": max(each.left for each in layers),
            "weights_moved": sum(each.moved for each in layers),
            "weights": sum(layer.weight.data.size for layer in integer_layers(graph) if layer.weight.data is not None),
            "weights_clipped": sum(each.clipped for each in layers),
            "most_steps": max(each.most for each in layers),
            "payload_bytes": len(files[BIN_NAME]),
            "update_bytes": len(files[BIN_NAME]) + len(files[JSON_NAME]),
            "base_sha256": graph.digest,
            "result_sha256": update.result_sha256,
            "format": graph.format,
        }
        details: dict[str, Any] = {"by_layer": [asdict(each) for each in layers]}
        details |= {"adapter": path_text(adapter), "net": path_text(net), "command": command_line(), **versions()}
        write_folder(out, {**files, REPORT_NAME: format_json({**report, **details})}, replaces=replaces)
    if as_json:
        print_json({**report, **details})
        return
    print_facts("Carried", _shown(report))
    click.echo(
        f"The update is in {out}; nothing was measured. Next: lieref eval {net} --adapter {out} --data TEST, then "
        f"lieref merge {net} {out} -o merged{net.suffix}"
    )


def _shown(report: dict[str, Any]) -> dict[str, object]:
    """Return the report for people."""
    from lieref.evaluate.clipping_text import share_text

    moved, clipped, most = (report[name] for name in ("weights_moved", "weights_clipped", "most_steps"))
    how = f", by {most} steps at most, {clipped:,} of them to the end of their range" if moved else ""
    return {
        "method": report["method"],
        "layers": report["layers"],
        "factors of scales": f"{report['lowest_factor']:.4g} to {report['highest_factor']:.4g}",
        "left beside the factors": f"{share_text(report['left_beside_factors'])} of a row at most",
        "integers of weights moved": f"{moved:,} of {report['weights']:,}{how}",
        "bytes": f"{report['update_bytes']:,}, of which {report['payload_bytes']:,} are the numbers",
        "for the file with sha256": report["base_sha256"],
        "which becomes": report["result_sha256"],
    }


def _named_base(adapter: Path) -> Path:
    """Return the float network that the adapter's report names, if it is there.

    Raises
    ------
    UsageError
        If it is not.
    """
    path = adapter / REPORT_NAME
    said = parse_json(path.read_bytes(), str(path)).get("base") if path.is_file() else None
    if not isinstance(said, str) or not Path(said).is_file():
        raise click.UsageError("name the float network that the adapter was trained on: --float BASE.onnx")
    return Path(said)
