"""A user's script with every public name of the top level: `tests/test_user_script.py` runs it and checks its types."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import lieref


def embedded(base: Path, data: Path, out: Path) -> lieref.Evaluation:
    """Adapt a network to new data, and keep an adapter and the merged network."""
    train: lieref.Dataset = lieref.load_data(data)
    model: lieref.Model = lieref.load(base)
    model.attach(lieref.LieRAConfig(r=2, target_modules=["conv*"]))
    history: lieref.History = lieref.fit(model, train.x, train.y, epochs=2, seed=0)
    print(model)
    print(history, history.epochs[-1].loss, history.to_dict()["learning_rate"])
    scores = model(train.x[:4] if isinstance(train.x, np.ndarray) else train.x)
    assert scores.shape == (4, 3)
    assert lieref.Preprocess.from_text("unit,channels=bgr").scale == 255.0
    found = lieref.evaluate_model(model, train.x, train.y)
    model.save_adapter(out / "adapter")
    model.merge_and_unload().save(out / "merged.onnx")
    model.load_adapter(out / "adapter")
    return found


def researcher(base: Path, data: Path) -> None:
    """Try methods by their names and by configurations, and look at single weights."""
    train = lieref.load_data(data)
    configs: list[lieref.MethodConfig] = [
        lieref.LoraConfig(r=1, lora_alpha=2.0),
        lieref.HiRAConfig(r=1),
        lieref.MethodConfig(method="ia3", target_modules=["head"]),
    ]
    for config in configs:
        assert type(config).from_dict(config.to_dict()) == config
        model = lieref.load(base).attach(config)
        task = lieref.make_task("classes", label_smoothing=0.1)
        lieref.fit(model, train.x, train.y, task=task, epochs=1, optimizer=lieref.AdamW(weight_decay=0.01))
    model = lieref.load(base).attach(lieref.NewHead(["one", "two", "three"]))
    lieref.fit(model, train.x, train.y, epochs=1, optimizer=lieref.SGD(momentum=0.9))
    value, logits, gradients = model.loss_and_grad(np.asarray(train.x), train.y, lieref.CrossEntropy())
    numbers = model.loss_and_grad(np.asarray(train.x), np.zeros_like(logits), lieref.MeanSquaredError())
    assert gradients.keys() == model.parameters().keys() == numbers[2].keys()
    assert value > 0.0

    assert "liera" in [row["name"] for row in lieref.describe_methods()]
    method: lieref.Method = lieref.get_method("low-rank+so+cayley", r=2)
    weight = np.random.default_rng(0).standard_normal((6, 4))
    factors = method.init(weight.shape, 1, np.random.default_rng(1), base_weight=weight)
    bars = method.adapted_weight_vjp(factors, weight, 1, np.ones_like(weight))
    assert bars.keys() == factors.keys()

    action = lieref.lie.make_action("out", "so")
    group = lieref.lie.make_group("so", action, weight.shape)
    turned = lieref.lie.make_map("exp").retract(group, np.zeros(group.element_shape))
    np.testing.assert_array_equal(action.act(turned, weight), weight)
    a = weight[:4]
    np.testing.assert_allclose(lieref.linalg.logm(lieref.linalg.expm(0.1 * a)), 0.1 * a, atol=1e-12)
    try:
        lieref.linalg.expm_vjp(a, np.ones((2, 2)))
    except lieref.LierefError as error:
        print(error)


def porter() -> None:
    """Check a port on the golden cases of one family, and one case by hand."""

    def port(op: str, inputs: dict[str, np.ndarray], attrs: dict[str, object]) -> dict[str, np.ndarray]:
        if op != "hadamard":
            raise NotImplementedError
        return {"weight": inputs["base_weight"] * np.exp(inputs["delta"])}

    report: lieref.golden.Report = lieref.golden.check(port, families=["hadamard"])
    cases, problems = lieref.golden.read_vectors()
    tolerance = lieref.golden.torch_atol(next(case for case in cases if case.op == "hadamard"))
    print(report, problems, tolerance.max())
    assert report.counts["PASS"]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    print(embedded(folder / "base.onnx", folder / "train.npz", folder))
    researcher(folder / "base.onnx", folder / "train.npz")
    porter()
