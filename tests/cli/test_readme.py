"""README.md stays in step with the code: its method table, its example and its commands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import lieref
from lieref.cli.app import COMMANDS
from lieref.cli.methods import markdown_table
from lieref.train.task_registry import TASKS
from tests.cli.helpers import small_network, write_data

README = Path(lieref.__file__).parent.parent / "README.md"
if not README.exists():
    pytest.skip("not a checkout: lieref is installed without its repository", allow_module_level=True)


def between(name: str) -> str:
    text = README.read_text(encoding="utf-8")
    match = re.search(f"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", text, re.DOTALL)
    assert match, f"README has no part {name}"
    return match[1]


def test_method_table_is_that_of_the_registry() -> None:
    assert between("methods") == markdown_table(), "put the output of `lieref methods --markdown` into README.md"


def test_task_table_is_that_of_the_registry() -> None:
    section = README.read_text(encoding="utf-8").partition("## Tasks\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)`(?: \(default\))? \| ([^|]+) \|", section, re.MULTILINE))
    assert list(rows) == list(TASKS)
    assert {name: task.gives or "anything" for name, task in TASKS.items()} == {
        name: gives.removeprefix("scores ") for name, gives in rows.items()
    }


def test_commands_named_exist() -> None:
    named = set(re.findall(r"`lieref ([a-z]+)", README.read_text(encoding="utf-8")))
    assert named - set(COMMANDS) == set()
    assert set(COMMANDS) - named <= {"golden"}


def test_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The five lines as they stand, on a stand-in of the same layer names."""
    monkeypatch.chdir(tmp_path)
    model = small_network()
    model.graph.node[0].name = "conv2d"
    onnx.save(model, "resnet8.onnx")
    data = np.load(write_data(tmp_path / "train.npz"))
    code = re.search("```python\n(.*?)```", between("example"), re.DOTALL)
    assert code
    for _ in range(2):  # also again, in the same folder
        names = {"x": data["x"], "y": data["y"]}
        with pytest.warns(UserWarning, match="trainable numbers for the"):
            exec(code[1], names)
    assert len(names["history"].epochs) == 5
    assert {path.name for path in Path("out").iterdir()} == {"adapter_model.safetensors", "adapter_config.json"}
    scores = onnxruntime.InferenceSession("merged.onnx").run(None, {"image": data["x"]})[0]
    adapted = names["model"].load_adapter("out")
    np.testing.assert_allclose(scores, adapted.logits(data["x"]), rtol=1e-4, atol=1e-5)
