"""``lieref inspect``: what a model or an adapter folder holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from lieref._types import Shape
from lieref.cli.console import print_facts, print_json, print_table


@click.command(short_help="Show what a model or an adapter folder holds.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def inspect(path: Path, as_json: bool) -> None:
    """Show the layers of a model, with the names --target takes, or the tensors of an adapter folder."""
    if path.is_dir():
        report = describe_adapter(path)
        if not as_json:
            _print_adapter(report)
    else:
        report = describe_model(path)
        if not as_json:
            _print_model(report)
    if as_json:
        print_json(report)


def describe_model(path: Path) -> dict[str, Any]:
    """Return what `inspect` prints of a model."""
    from lieref.adapter.model import load
    from lieref.model.layer import unadaptable

    model = load(path)
    floats = {name: value for name, value in model.graph.initializers.items() if value.dtype.kind == "f"}
    return {
        "kind": "model",
        "path": str(path),
        "sha256": model.base_sha256,
        "opset": model.graph.opset,
        "inputs": [{"name": info.name, "shape": list(info.shape), "dtype": info.dtype} for info in model.graph.inputs],
        "outputs": [value.name for value in model.proto.graph.output],
        "classes": None if model.classes is None else list(model.classes),
        "operators": dict(Counter(node.op for node in model.graph.nodes).most_common()),
        "numbers": sum(value.size for value in floats.values()),
        "engine": model.engine,
        "slow": list(model.slow_reasons),
        "left_out": unadaptable(model.graph),
        "layers": [
            {
                "node": layer.node,
                "op": layer.op,
                "weight": layer.weight,
                "shape": list(layer.shape),
                "groups": layer.groups,
                "numbers": floats[layer.weight].size,
                "bias": layer.bias,
            }
            for layer in model.layers
        ],
    }


def describe_adapter(folder: Path) -> dict[str, Any]:
    """Return what `inspect` prints of an adapter folder, verified."""
    from lieref.adapter import adapter_bytes, read_adapter

    tensors, config = read_adapter(folder)
    return {
        "kind": "adapter",
        "path": str(folder),
        "method": str(config["peft_type"]).lower(),
        "r": config["r"],
        "lora_alpha": config["lora_alpha"],
        "target_modules": config["target_modules"],
        "base": config["base_model_name_or_path"],
        "base_sha256": config["lieref"]["base_sha256"],
        "classes": config["lieref"].get("classes"),
        "bytes": adapter_bytes(folder),
        "numbers": sum(array.size for array in tensors.values()),
        "tensors": [
            {"name": name, "shape": list(array.shape), "dtype": str(array.dtype)}
            for name, array in sorted(tensors.items())
        ],
    }


def _print_model(report: dict[str, Any]) -> None:
    inputs = ", ".join(f"{info['name']} {_readable(info['shape'])} {info['dtype']}" for info in report["inputs"])
    print_facts(
        report["path"],
        {
            "input": inputs,
            "output": ", ".join(report["outputs"]),
            "opset": report["opset"],
            "nodes": ", ".join(f"{count} {op}" for op, count in report["operators"].items()),
            "numbers": f"{report['numbers']:,}",
            "engine": "; ".join([report["engine"], *report["slow"]]),
            **(
                {"left out": "; ".join(f"{name}: {why}" for name, why in left.items())}
                if (left := report["left_out"])
                else {}
            ),
            "sha256": report["sha256"],
        },
    )
    print_table(
        "Layers that can be adapted",
        ("node", "operator", "weight tensor", "shape", "groups", "numbers"),
        [
            (
                layer["node"],
                layer["op"],
                layer["weight"],
                _readable(layer["shape"]),
                str(layer["groups"]),
                f"{layer['numbers']:,}",
            )
            for layer in report["layers"]
        ],
    )
    if report["layers"]:
        first = report["layers"][0]
        click.echo(
            "--target takes shell patterns for the names in the first three columns, "
            f"such as --target '{first['node']}' or --target {first['op']}."
        )


def _print_adapter(report: dict[str, Any]) -> None:
    names = ("method", "r", "lora_alpha", "target_modules", "base", "base_sha256", "classes", "bytes", "numbers")
    print_facts(report["path"], {name: report[name] for name in names})
    print_table(
        "Tensors",
        ("name", "shape", "dtype"),
        [(tensor["name"], _readable(tensor["shape"]), tensor["dtype"]) for tensor in report["tensors"]],
    )


def _readable(shape: list[int | None] | Shape) -> str:
    return " x ".join("any" if size is None else str(size) for size in shape) or "scalar"
