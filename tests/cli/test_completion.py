"""What a shell completes, asked as the scripts of `lieref completion` ask."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from lieref.adapter.integer.methods import INTEGER_METHODS
from lieref.cli import main
from lieref.cli.app import COMMANDS
from lieref.cli.completion import VARIABLE
from lieref.param.registry import METHODS


@pytest.mark.parametrize(
    ("typed", "kind", "words"),
    [
        ("", "plain", set(COMMANDS)),
        ("me", "plain", {"merge", "methods"}),
        ("device ma", "plain", {"mark-good"}),
        ("finetune --opti", "plain", {"--optimizer", "--option"}),
        ("finetune --method ", "plain", {"auto", *METHODS, *INTEGER_METHODS}),
        ("finetune --method hi", "plain", {"hira"}),
        ("compare --methods lora,hi", "plain", {"lora,hira"}),
        ("methods pis", "plain", {"pissa", "pissa-liera"}),
        ("finetune --task mul", "plain", {"multilabel"}),
        ("eval --semantics cm", "plain", {"cmsis-nn"}),
        ("export --format pe", "plain", {"peft"}),
        ("golden check --profile tf", "plain", {"tf32"}),
        ("merge ba", "file", {"ba"}),
        ("finetune --train tr", "file", {"tr"}),
    ],
)
def test_commands_options_names_and_files_are_completed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, kind: str, words: set[str]
) -> None:
    line = f"lieref {typed}"
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    monkeypatch.setenv(VARIABLE, "bash_complete")
    assert main([]) == 0
    answers = [answer.split(",", 1) for answer in capsys.readouterr().out.split()]
    assert {word for _, word in answers} == words
    assert {said for said, _ in answers} == {kind}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_one_that_it_reads(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"{VARIABLE}={shell}_complete" in script
    if program := shutil.which(shell):
        done = subprocess.run([program, "-n"], input=script, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
