"""``lieref import``: an adapter of PEFT or LyCORIS as one of lieref's."""

from __future__ import annotations

from pathlib import Path

import click

from lieref.cli.command import Command
from lieref.cli.console import print_facts, print_json, say, word, working, wrote
from lieref.cli.live import quiet_option
from lieref.cli.output import ADAPTER_NAMES, reserved_folder


@click.command(
    "import",
    cls=Command,
    examples=(
        "lieref import peft_folder --base base.onnx --out adapted",
        "lieref import lycoris.safetensors --base base.onnx --out adapted --model-names names.json",
    ),
)
@click.argument("adapter", type=click.Path(path_type=Path))
@click.option(
    "--base", required=True, type=click.Path(path_type=Path), help="The network as ONNX, exported from PyTorch."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the adapter to write.")
@click.option(
    "--model-names", type=click.Path(path_type=Path),
    help="A JSON object of module paths and node names, or the base's state dict as .safetensors.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace the output where it holds an adapter.")
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def import_(adapter: Path, base: Path, out: Path, model_names: Path | None, force: bool, as_json: bool) -> None:
    """Read the adapter ADAPTER of PEFT or LyCORIS and write it as one of lieref's, for the network BASE.

    What comes out computes what that library computes, and can be trained on, merged, signed and shipped. What has no
    exact form is refused by name.
    """
    from lieref.adapter.exchange.build import attach_foreign
    from lieref.adapter.exchange.given import read_given
    from lieref.adapter.exchange.readers import read_foreign
    from lieref.adapter.model import load

    with reserved_folder("import", out, ADAPTER_NAMES, force=force), working("import") as step:
        step("reading")
        foreign = read_foreign(adapter)
        given = None if model_names is None else read_given(model_names)
        model = load(base, dtype=foreign.dtype)
        imported = attach_foreign(model, foreign, given)
        model.save_adapter(out)
    for note in imported.notes:
        say(f"note: {note}")
    report = {
        "library": foreign.library,
        "kind": foreign.kind,
        "output": str(out),
        "method": model.method_name,
        "numbers": model.num_trainable(),
        "modules": {path: {"node": node, "method": imported.methods.get(path, "bias")}
                    for path, node in imported.nodes.items()},
        "notes": list(imported.notes),
    }  # fmt: skip
    if as_json:
        print_json(report)
    else:
        print_facts("Imported", {**report, "modules": len(imported.nodes), "notes": len(imported.notes)})
        wrote(
            f"The adapter is in {out}",
            f"lieref eval {word(base)} --adapter {word(out)} --data TEST",
            f"lieref merge {word(base)} {word(out)} -o merged.onnx",
        )
