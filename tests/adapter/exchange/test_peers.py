"""What is said of PEFT and LyCORIS is what their readers read and what the scripts of their defects state."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest

import lieref
from lieref.adapter.exchange import lycoris, peft_kinds
from lieref.adapter.exchange.factors import DENSE, Place
from lieref.adapter.exchange.peers import DEFECTS, LIBRARIES, VERSIONS, peers_of
from lieref.model.layer import Layer
from lieref.param.docstring import table
from lieref.param.registry import METHODS, get_method

SCRIPTS = Path(lieref.__file__).parent.parent / "validation" / "exchange"


def stated(path: Path) -> tuple[str, str]:
    """Package and sentence of the `DEFECT` of a script, which is not run: it needs the library."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            if isinstance(node.targets[0], ast.Name) and node.targets[0].id == "DEFECT":
                library, what = (ast.literal_eval(argument) for argument in node.value.args[:2])
                return library, what
    raise AssertionError(f"{path}: no DEFECT")


def test_every_script_of_a_defect_is_told_in_its_words() -> None:
    if not SCRIPTS.exists():
        pytest.skip("not a checkout: lieref is installed without its repository")
    scripts = {path.stem.removeprefix("defects_"): stated(path) for path in SCRIPTS.glob("defects_*.py")}
    packages = {"PEFT": "peft", "LyCORIS": "lycoris-lora"}
    assert {name: (packages[one.library], one.what) for name, one in DEFECTS.items()} == scripts


def test_the_versions_are_those_of_the_record() -> None:
    record = SCRIPTS.parent / "results" / "exchange_defects.json"
    if not record.exists():
        pytest.skip("not a checkout: lieref is installed without its repository")
    rows = json.loads(record.read_text(encoding="utf-8"))["defects"]
    assert {row["library"]: row["version"] for row in rows} == {
        "peft": VERSIONS["PEFT"], "lycoris-lora": VERSIONS["LyCORIS"],
    }  # fmt: skip
    assert {row["name"] for row in rows if row["seen"]} == set(DEFECTS)


def test_every_kind_that_is_read_is_in_the_table() -> None:
    for module, known in ((peft_kinds, set(peft_kinds.KINDS)), (lycoris, {row.name for row in lycoris.ALGORITHMS})):
        rows = table(module)
        assert {kind for kind, _, _ in rows} == known
        assert all(all(cells) for cells in rows)
        for name in re.findall(r"``([^`]+)``", " ".join(here for _, _, here in rows)):
            assert get_method(name).name == name
    for one in DEFECTS.values():
        assert set(one.kinds) <= (set(peft_kinds.KINDS) if one.library == "PEFT" else
                                  {row.name for row in lycoris.ALGORITHMS})  # fmt: skip


RNG = np.random.default_rng(5)
OUT, INNER, K = 12, 4, (3, 2)
# The tensors of one module for each row of the table, on a convolution (12, 4, 3, 2).
LOCON = {"lora_up.weight": (OUT, 2, 1, 1), "lora_down.weight": (2, INNER, *K), "alpha": ()}
MODULES: list[dict[str, tuple[int, ...]]] = [
    LOCON,
    {**LOCON, "lora_down.weight": (2, INNER, 1, 1), "lora_mid.weight": (2, 2, *K)},
    {**LOCON, "dora_scale": (OUT, 1, 1, 1)},
    {"hada_w1_a": (OUT, 2), "hada_w1_b": (2, 24), "hada_w2_a": (OUT, 2), "hada_w2_b": (2, 24), "alpha": ()},
    {"lokr_w1": (3, 2), "lokr_w2": (4, 2, *K), "alpha": ()},
    {"weight": (1, OUT, 1, 1), "on_input": ()},
    {"diff": (OUT, INNER, *K)},
    {},  # of a normalisation
    {"oft_blocks": (4, 3, 3)},
    {"oft_blocks": (1, 3, 4, 4)},
    {"oft_blocks": (2, 6, 2, 2)},
]


@pytest.mark.parametrize("number", range(len(MODULES)))
def test_a_module_of_each_row_is_read_as_what_the_row_says(number: int) -> None:
    assert len(MODULES) == len(table(lycoris))
    kind, _, here = table(lycoris)[number]
    if kind == "norm":
        return  # added to two vectors, by no method of a weight
    tensors = {f"lycoris_conv.{name}": RNG.uniform(0.5, 1, shape).astype(np.float32)
               for name, shape in MODULES[number].items()}  # fmt: skip
    if kind == "ia3":
        tensors["lycoris_conv.on_input"] = np.asarray(0, np.int64)
    foreign = lycoris.parse_lycoris(tensors)
    assert foreign.kind == kind
    layer = Layer("conv", "Conv", "conv.weight", None, (OUT, INNER, *K), 1, False, False, False)
    found = foreign.modules["conv"](Place(layer, 10 * RNG.standard_normal((OUT, INNER, *K))))
    name = found.method["name"]
    if "a whole tensor" in here and kind == "boft":
        assert name == DENSE
        return
    assert f"``{name}``" in here
    assert found.method.get("action", "") in here


def test_methods_find_their_forms_and_defects() -> None:
    lora = peers_of(["lora"])
    assert [(form["library"], form["kind"]) for form in lora["forms"]] == [("PEFT", "LORA"), ("LyCORIS", "locon")]
    assert any(defect["what"] == "LoRA of a convolution drops its dilation" for defect in lora["defects"])
    assert not any("LoHa merged" in defect["what"] for defect in lora["defects"])
    assert not any("`" in text for form in lora["forms"] for text in form.values())
    turned = peers_of(["oft-cayley"])["forms"]
    assert [form["computes"] for form in turned] == ["V R^T, R = (I - Q)(I + Q)^-1"]
    assert peers_of(["liera"]) == {"versions": VERSIONS, "forms": [], "defects": []}


def test_each_library_has_methods_of_the_table() -> None:
    found = {form["library"] for name in METHODS for form in peers_of([name])["forms"]}
    assert found == set(LIBRARIES)
