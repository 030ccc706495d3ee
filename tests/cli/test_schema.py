"""The JSON Schema of what commands print: every command has its part, and `run_json` holds each output against it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from lieref.cli import main
from lieref.cli.schema import commands_of, of_command, read_schema
from tests.cli.helpers import check_output
from tests.cli.test_help import EVERY, find

RunJson = Callable[..., dict[str, Any]]


def test_every_command_with_json_has_its_part_and_no_other() -> None:
    schema = read_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    with_json = {"-".join(path) for path in EVERY if any("--json" in param.opts for param in find(path).params)}
    with_json -= {"-".join(path) for path in EVERY if isinstance(find(path), click.Group)}
    assert set(commands_of(schema)) == with_json
    for name in with_json:
        assert name in of_command(schema, name)["$defs"]


def test_a_key_that_is_missing_or_of_another_kind_does_not_fit() -> None:
    good = {"out": "a.png", "metric": None, "runs": []}
    check_output(["plot"], {**good, "further": 1})
    for bad in ({}, {**good, "runs": None}, {**good, "out": 1}):
        with pytest.raises(jsonschema.ValidationError):
            check_output(["plot"], bad)


def test_the_schema_is_printed_whole_or_for_one_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == read_schema()
    assert main(["schema", "bundle", "verify"]) == 0
    part = json.loads(capsys.readouterr().out)
    assert {"bundle-verify", "statement", "sha256"} <= set(part["$defs"])
    assert "merge" not in part["$defs"]
    jsonschema.Draft202012Validator(part).validate({"verified": False, "refused": "base", "reason": "another"})
    assert main(["schema", "mereg"]) == 2
    assert "did you mean merge?" in capsys.readouterr().err


def test_commands_that_other_tests_run_without_json(workplace: Path, run_json: RunJson) -> None:
    keys = Path("keys")
    run_json("bundle", "keygen", "--out", keys)
    run_json("device", "init", "--store", "store", "--base", "base.onnx", "--trust", keys)
    run_json("device", "status", "--store", "store")
    run_json("bundle", "keygen", "--out", "new")
    rotated = run_json("bundle", "rotate", keys, "--key", keys, "--key", "new", "--add", "new")
    run_json("device", "trust", rotated["root"], "--store", "store")
    assert len(run_json("device", "history", "--store", "store")["history"]) == 2


def test_a_refusal_fits_too(workplace: Path, capsys: pytest.CaptureFixture[str], run_json: RunJson) -> None:
    run_json("bundle", "keygen", "--out", "keys")
    run_json("device", "init", "--store", "store", "--base", "base.onnx", "--trust", "keys")
    command = ["device", "install", "keys", "--store", "store"]
    assert main([*command, "--json"]) == 3
    check_output(command, json.loads(capsys.readouterr().out))
    command = ["bundle", "verify", "keys", "--base", "base.onnx", "--trust", "keys"]
    assert main([*command, "--json"]) == 3
    check_output(command, json.loads(capsys.readouterr().out))
