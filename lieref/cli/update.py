"""``lieref inspect`` of an update of a quantised file: what it changes, as far as that is known without the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lieref.cli.console import print_facts, print_table

_ENCODINGS = {"finished": "as the file holds them", "codes": "one byte each, the factor of a scale"}
_BIASES = {
    "stay": "their integers stay, so that the factor of a scale multiplies the bias too",
    "follow": "their integers are made anew, so that the real bias stays",
    "given": "as the update has them",
}


def describe_update(folder: Path) -> dict[str, Any]:
    """Return what `inspect` prints of the folder of an update, its numbers checked against their digest.

    Raises
    ------
    FormatError, VerificationError
        As `lieref.adapter.integer.folder.read_form` does.
    """
    from lieref.adapter.integer.folder import BIN_NAME, JSON_NAME, read_form
    from lieref.adapter.integer.form import PREPROCESSING
    from lieref.train.preprocess import Preprocess

    said = read_form(folder)
    images = said.get(PREPROCESSING)
    layers = [dict(zip(("layer", "scales", "biases", "weights"), entry, strict=True)) for entry in said["layers"]]
    return {
        "kind": "integer update",
        "path": str(folder),
        **{name: said[name] for name in ("method", "encoding", "bias_rule", "base_sha256", "base_bytes")},
        "result_sha256": said["result_sha256"] or None,
        "bytes": sum((folder / name).stat().st_size for name in (BIN_NAME, JSON_NAME)),
        "payload_bytes": said["payload_bytes"],
        "integer_bytes": said["weight_differences"],
        "preprocessing": None if images is None else Preprocess.from_dict(images, str(folder)).to_text(),
        "scales": sum(layer["scales"] for layer in layers),
        "biases": sum(layer["biases"] for layer in layers),
        "layers": layers,
    }


def print_update(report: dict[str, Any]) -> None:
    """Print the report of `describe_update`, and what to do with the update."""
    encoding = _ENCODINGS[report["encoding"]]
    integers = report["integer_bytes"]
    print_facts(
        report["path"],
        {
            "method": report["method"],
            "scales": f"{report['scales']:,}, {encoding}" if report["scales"] else "none",
            "biases": _BIASES[report["bias_rule"]] + (f": {report['biases']:,}" if report["biases"] else ""),
            "integers of weights": f"some are others: {integers:,} bytes say which" if integers else "all stay",
            **({"images": report["preprocessing"]} if report["preprocessing"] else {}),
            "bytes": f"{report['bytes']:,}, of which {report['payload_bytes']:,} are the numbers",
            "for the file with sha256": report["base_sha256"],
            "of so many bytes": f"{report['base_bytes']:,}",
            "which becomes": report["result_sha256"] or "-",
        },
    )
    print_table(
        "Layers with weights, from 0",
        ("layer", "scales", "biases", "weights, of which some move"),
        [tuple(f"{layer[name]:,}" for name in ("layer", "scales", "biases", "weights")) for layer in report["layers"]],
    )
    click.echo(
        f"lieref eval FILE --adapter {report['path']} --data T measures FILE with it; lieref merge FILE "
        f"{report['path']} -o NEW writes that, and lieref inspect NEW shows its scales."
    )
