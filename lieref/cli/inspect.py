"""``lieref inspect``: what a model, an adapter folder or an update holds."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lieref._types import Shape
from lieref.cli.command import Command
from lieref.cli.completion import FLOAT_METHOD
from lieref.cli.console import print_facts, print_json, print_table, progress_bar, working
from lieref.cli.integer import describe_integer, print_description, refuse_options
from lieref.cli.live import quiet_option
from lieref.cli.target_options import target_options
from lieref.cli.update import describe_update, print_update
from lieref.model.integer.reader import is_integer_file

FLOAT16 = 10
"""ONNX's number of the type."""


@click.command(
    cls=Command,
    examples=(
        "lieref inspect base.onnx",
        "lieref inspect base.onnx --target all-conv --method lora --rank 4",
        "lieref inspect base.onnx --engine",
        "lieref inspect adapted",
    ),
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--engine", "of_engine", is_flag=True, help="Show what becomes of every node of a model in the engine.")
@click.option("--adapter", type=click.Path(path_type=Path), help="With --engine: adapter folder that is trained on.")
@target_options
@click.option(
    "--method",
    shell_complete=FLOAT_METHOD,
    help="With --target, --exclude or --blocks: what adapts the layers.  [default: liera]",
)
@click.option("--rank", "--r", type=click.IntRange(min=1), help="Of its factors.  [default: the method's]")
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def inspect(
    path: Path,
    of_engine: bool,
    adapter: Path | None,
    targets: tuple[str, ...],
    exclude: tuple[str, ...],
    blocks: tuple[int, ...] | None,
    rank_pattern: dict[str, int],
    alpha_pattern: dict[str, float],
    method: str | None,
    rank: int | None,
    as_json: bool,
) -> None:
    """Show the layers of a model, with the names --target takes, or what an adapter or update changes.

    With --target, --exclude, --blocks or --method: the layers that a method would adapt, and how many numbers it would
    train.
    """
    from lieref.adapter.integer.folder import is_update

    if adapter is not None and not of_engine:
        raise click.UsageError("--adapter goes with --engine; to see what a folder holds, give it as the path")
    choosing = bool(targets or exclude or blocks or method or rank_pattern or alpha_pattern)
    if rank is not None and not choosing:
        raise click.UsageError("--rank goes with --method, --target, --exclude or --blocks")
    if is_integer_file(path):
        refuse_options("inspect", {"--engine": of_engine, "--adapter": adapter, "--target and --method": choosing})
        report = describe_integer(path)
        if as_json:
            print_json(report)
        else:
            print_description(report)
        return
    if choosing and (of_engine or path.is_dir()):
        raise click.UsageError(
            "--target, --exclude, --blocks and --method choose layers of a model; leave out the rest"
        )
    if choosing:
        where: dict[str, Any] = {"targets": targets, "exclude": exclude, "blocks": blocks}
        where |= {"rank_pattern": rank_pattern, "alpha_pattern": alpha_pattern}
        report = describe_targets(path, method or "liera", rank, **where)
        if not as_json:
            _print_targets(report)
            return
        print_json(report)
        return
    if of_engine:
        report = describe_engine(path, adapter)
        if not as_json:
            _print_engine(report)
    elif path.is_dir():
        of_update = is_update(path)
        report = describe_update(path) if of_update else describe_adapter(path)
        if not as_json:
            (print_update if of_update else _print_adapter)(report)
    else:
        with working("inspect") as step:
            step("reading")
            report = describe_model(path)
        if not as_json:
            _print_model(report)
    if as_json:
        print_json(report)


def describe_model(path: Path) -> dict[str, Any]:
    """Return what `inspect` prints of a model."""
    from lieref.adapter.model import load
    from lieref.model.layer import unadaptable
    from lieref.model.packing import own_names

    model = load(path)
    assert model.proto is not None  # a quantised file has its own description
    file = model.proto.graph
    packing = own_names(model.graph) | {info.name for info in model.graph.parts}
    nodes = [node for node in model.graph.nodes if not packing.intersection(node.outputs)]
    floats = {name: value for name, value in model.graph.initializers.items() if value.dtype.kind == "f"}
    return {
        "kind": "model",
        "path": str(path),
        "sha256": model.base_sha256,
        "opset": model.graph.opset,
        "inputs": [{"name": info.name, "shape": list(info.shape), "dtype": info.dtype} for info in model.inputs],
        "outputs": [value.name for value in file.output],
        "classes": None if model.classes is None else list(model.classes),
        "features": model.default_features,
        "operators": dict(Counter(node.op for node in nodes).most_common()),
        "numbers": sum(value.size for value in floats.values()),
        "float16": sum(math.prod(each.dims) for each in file.initializer if each.data_type == FLOAT16),
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


def describe_targets(path: Path, method: str, rank: int | None, **where: Any) -> dict[str, Any]:
    """Return what `inspect --target` prints: the tensors that a method would adapt."""
    from lieref.adapter.model import load
    from lieref.cli.job import attach_method

    model = load(path)
    attach_method(model, method, rank=rank, alpha=None, seed=0, **where)
    base = model.graph.initializers
    rows = [
        {
            "node": None if site.layer is None else site.layer.node,
            "op": None if site.layer is None else site.layer.op,
            "tensor": tensor,
            "shape": list(base[tensor].shape if site.layer is None else site.layer.shape),
            "numbers": base[tensor].size,
            "rank": site.method.rank,
            "trained": sum(site.params[name].size for name in site.method.trainable(site.params)),
        }
        for tensor, site in model.sites.items()
    ]
    adapted = {site.layer.node for site in model.sites.values() if site.layer is not None}
    return {
        "kind": "targets",
        "path": str(path),
        "method": model.method_name,
        "trained": model.num_trainable(),
        "numbers": sum(value.size for value in base.values() if value.dtype.kind == "f"),
        "adapted": rows,
        "others": [layer.node for layer in model.layers if layer.node not in adapted],
    }


def describe_engine(path: Path, adapter: Path | None) -> dict[str, Any]:
    """Return what `inspect --engine` prints; the programs of the model are compiled for it."""
    from lieref.adapter import read_adapter
    from lieref.adapter.model import load
    from lieref.model.inspection import engine_report

    known = {} if adapter is None else read_adapter(adapter)[1]["lieref"]
    model = load(path, input_shapes=known.get("input_shapes"))
    if adapter is not None:
        model.load_adapter(adapter)
    with progress_bar("inspect"):
        report = engine_report(model)
    return {
        "kind": "engine",
        "path": str(path),
        "adapter": None if adapter is None else str(adapter),
        "method": model.method_name,
        **asdict(report),
    }


def describe_adapter(folder: Path) -> dict[str, Any]:
    """Return what `inspect` prints of an adapter folder, verified."""
    from lieref.adapter import adapter_bytes, read_adapter
    from lieref.train.preprocess import Preprocess

    tensors, config = read_adapter(folder)
    images = config["lieref"].get("preprocessing")
    return {
        "kind": "adapter",
        "path": str(folder),
        "method": str(config["peft_type"]).lower(),
        "r": config["r"],
        "lora_alpha": config["lora_alpha"],
        "target_modules": config["target_modules"],
        "base": config["base_model_name_or_path"],
        "base_sha256": config["lieref"]["base_sha256"],
        "task": config["lieref"].get("task"),
        "outputs": config["lieref"].get("output"),
        "classes": config["lieref"].get("classes"),
        "head": config["lieref"].get("head"),
        "preprocessing": None if images is None else Preprocess.from_dict(images, str(folder)).to_text(),
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
            "input" if len(report["inputs"]) == 1 else "inputs": inputs,
            "output": ", ".join(report["outputs"]),
            "opset": report["opset"],
            "a new head reads": report["features"] or "what --features names",
            "nodes": ", ".join(f"{count} {op}" for op, count in report["operators"].items()),
            "numbers": f"{report['numbers']:,}",
            **({"float16": f"{half:,} of them, computed in float32"} if (half := report["float16"]) else {}),
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
            f"such as --target '{first['node']}' or --target {first['op']}; add it here to see what it takes."
        )


def _print_targets(report: dict[str, Any]) -> None:
    print_table(
        f"What {report['method']} would adapt",
        ("node", "operator", "tensor", "shape", "numbers", "rank", "trained"),
        [
            (
                row["node"] or "",
                row["op"] or "",
                row["tensor"],
                _readable(row["shape"]),
                f"{row['numbers']:,}",
                "" if row["rank"] is None else str(row["rank"]),
                f"{row['trained']:,}",
            )
            for row in report["adapted"]
        ],
    )
    trained, numbers = report["trained"], report["numbers"]
    click.echo(f"trained: {trained:,} of {numbers:,} numbers, {100 * trained / max(numbers, 1):.2f} %")
    if report["others"]:
        click.echo(f"left as they are: {', '.join(report['others'])}")


def _print_engine(report: dict[str, Any]) -> None:
    from lieref.model.engine.describe import OUTCOMES

    nodes = report["nodes"]
    print_table(
        "What becomes of every node",
        ("node", "operator", "becomes", "how, or in which node", "multiply-adds"),
        [(row["name"], row["op"], row["outcome"], _how(row), _count(row["multiply_adds"])) for row in nodes],
    )
    for reason in dict.fromkeys(row["reason"] for row in nodes if row["reason"]):
        click.echo(f"reference: {reason}")
    share, sizes = report["compiled_share"], report["sizes"]
    facts: dict[str, object] = {
        "engine": report["engine"],
        "nodes": ", ".join(f"{count} {outcome}" for outcome, count in Counter(r["outcome"] for r in nodes).items()),
        "multiply-adds a sample": _count(report["multiply_adds"]),
        "compiled": "unknown" if share is None else f"{100 * share:.1f} % of them",
        **({"not compiled": "; ".join(report["reasons"])} if report["reasons"] else {}),
        **({"what helps": report["remedy"]} if report["remedy"] else {}),
    }
    if sizes is not None:
        of = "all weights" if report["adapter"] is None else f"the adapter ({report['method']})"
        facts |= {
            "instruction set": sizes["isa"],
            "instructions forward": f"{sizes['forward']:,}{_together(sizes['samples'])}",
            "instructions training": f"{sizes['training']:,}{_together(sizes['training_samples'])}, of {of}",
            "arena of a thread": f"{sizes['arena_bytes']:,} bytes",
            "with all recomputed": f"{sizes['least_arena_bytes']:,} bytes",
            "packed weights": f"{sizes['weight_bytes']:,} bytes",
            "accumulators of a part": f"{sizes['accumulator_bytes']:,} bytes",
        }
    print_facts(report["path"], facts)
    if report["reasons"]:
        click.echo(f"Operators with a compiled form: {', '.join(report['operators'])}.")
    for outcome in dict.fromkeys(row["outcome"] for row in nodes):
        click.echo(f"{outcome}: {OUTCOMES[outcome]}.")


def _together(samples: int) -> str:
    """Return how many samples a pass of instructions takes, where they are several."""
    return f" for up to {samples} samples at once" if samples > 1 else ""


def _how(row: dict[str, Any]) -> str:
    """Return how a compiled node is computed, or the node that another one went into."""
    kind, way = row["kind"], row["way"]
    return row["into"] or (f"{kind}, {way}" if way and way != kind else kind)


def _count(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}" if number else ""


def _print_adapter(report: dict[str, Any]) -> None:
    names = ("method", "r", "lora_alpha", "target_modules", "base", "base_sha256", "classes", "bytes", "numbers")
    head = report["head"]
    new = {} if head is None else {"new head": f"{head['classes']} classes from {head['features']} ({head['size']})"}
    task = {"task": None if report["task"] is None else report["task"]["name"]}
    outputs = {"outputs": ", ".join(report["outputs"])} if report["outputs"] else {}
    outputs |= {"images": report["preprocessing"]} if report["preprocessing"] else {}
    print_facts(report["path"], {**{name: report[name] for name in names}, **new, **task, **outputs})
    print_table(
        "Tensors",
        ("name", "shape", "dtype"),
        [(tensor["name"], _readable(tensor["shape"]), tensor["dtype"]) for tensor in report["tensors"]],
    )


def _readable(shape: list[int | None] | Shape) -> str:
    return " x ".join("any" if size is None else str(size) for size in shape) or "scalar"
