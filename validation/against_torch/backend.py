"""The PyTorch port as a backend of the golden runner.

    lieref golden check --backend validation.against_torch.backend:run

Gradients are autograd's: what is checked is what a user would train with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from validation.against_torch import layers

DEVICE = "cpu"
Tensors = dict[str, Tensor]


def parameterisation(x: Tensors, attrs: dict[str, Any], shape: Any) -> nn.Module:
    kind = attrs.get("parameterisation") or (
        "tucker" if "core" in x else "filter-atoms" if "atoms" in x else "low-rank"
    )
    if kind == "low-rank":
        return layers.LowRank(x["lora_a"], x["lora_b"], shape, attrs)
    if kind == "tucker":
        factors = [x[f"factor_{i}"] for i in range(sum(name.startswith("factor_") for name in x))]
        return layers.Tucker(x["core"], factors, attrs)
    return layers.FilterAtoms(x["coefficients"], x["atoms"], shape)


def bars(module: nn.Module) -> Tensors:
    """Return the gradients of a module's parameters under the names of the vectors."""
    named = {}
    for name, parameter in module.named_parameters():
        last = name.rpartition(".")[2]
        named[f"factor_{last}_bar" if last.isdigit() else f"{last}_bar"] = parameter.grad
    return named


def conv(x: Tensors, attrs: dict[str, Any]) -> Tensors:
    return {"y": layers.conv(x["x"], x["weight"], x["bias"], attrs)}


def conv_vjp(x: Tensors, attrs: dict[str, Any]) -> Tensors:
    inputs, weight = x["x"].requires_grad_(), x["weight"].requires_grad_()
    bias = torch.zeros(len(weight), dtype=weight.dtype, device=weight.device, requires_grad=True)
    layers.conv(inputs, weight, bias, attrs).backward(x["y_bar"])
    return {"x_bar": inputs.grad, "weight_bar": weight.grad, "bias_bar": bias.grad}


def multiplicative(map_name: str) -> tuple[Callable[..., Tensors], Callable[..., Tensors]]:
    def weight_of(x: Tensors) -> Tensor:
        return layers.update(x["base_weight"], x["delta"], {"group": "hadamard", "map": map_name})

    def forward(x: Tensors, attrs: dict[str, Any]) -> Tensors:
        return {"weight": weight_of(x)}

    def backward(x: Tensors, attrs: dict[str, Any]) -> Tensors:
        delta = x["delta"].requires_grad_()
        weight_of(x).backward(x["weight_bar"])
        return {"delta_bar": delta.grad}

    return forward, backward


hadamard, hadamard_vjp = multiplicative("exp")
taylor1, taylor1_vjp = multiplicative("taylor1")


def hadamard_delta(x: Tensors, attrs: dict[str, Any]) -> Tensors:
    return {"weight_delta": x["base_weight"] * torch.expm1(x["delta"])}


def expm(x: Tensors, attrs: dict[str, Any]) -> Tensors:
    return {"g": torch.linalg.matrix_exp(x["a"])}


def expm_vjp(x: Tensors, attrs: dict[str, Any]) -> Tensors:
    a = x["a"].requires_grad_()
    torch.linalg.matrix_exp(a).backward(x["g_bar"])
    return {"a_bar": a.grad}


def low_rank_expm(x: Tensors, attrs: dict[str, Any]) -> Tensors:
    return {"g": torch.linalg.matrix_exp(x["lora_b"] @ x["lora_a"])}


def low_rank_expm_vjp(x: Tensors, attrs: dict[str, Any]) -> Tensors:
    base = torch.eye(len(x["lora_b"]), dtype=x["lora_b"].dtype, device=x["lora_b"].device)
    module = layers.MatrixGroupConv(base, x["lora_a"], x["lora_b"], attrs)
    module.group_element().backward(x["g_bar"])
    return bars(module)


def delta(x: Tensors, attrs: dict[str, Any]) -> Tensors:
    return {"delta": parameterisation(x, attrs, attrs.get("shape"))().detach()}


def delta_vjp(x: Tensors, attrs: dict[str, Any]) -> Tensors:
    module = parameterisation(x, attrs, attrs.get("shape"))
    module().backward(x["delta_bar"])
    return bars(module)


def adapted(x: Tensors, attrs: dict[str, Any]) -> layers.AdaptedConv:
    base = x["base_weight"]
    return layers.AdaptedConv(base, x.get("bias"), parameterisation(x, attrs, base.shape), attrs)


def adapted_weight(x: Tensors, attrs: dict[str, Any]) -> Tensors:
    return {"weight": adapted(x, attrs).weight().detach()}


def adapted_weight_vjp(x: Tensors, attrs: dict[str, Any]) -> Tensors:
    module = adapted(x, attrs)
    module.weight().backward(x["weight_bar"])
    return bars(module)


def loss_of(y: Tensor, target: Tensor) -> Tensor:
    return 0.5 * torch.nn.functional.mse_loss(y, target)


def adapted_conv(x: Tensors, attrs: dict[str, Any]) -> Tensors:
    y = adapted(x, attrs)(x["x"]).detach()
    return {"y": y, "loss": loss_of(y, x["target"])}


def adapted_conv_vjp(x: Tensors, attrs: dict[str, Any]) -> Tensors:
    module = adapted(x, attrs)
    loss_of(module(x["x"]), x["target"]).backward()
    return bars(module)


def make_optimizer(parameters: list[Tensor], attrs: dict[str, Any]) -> torch.optim.Optimizer:
    rate, decay = attrs["learning_rate"], attrs.get("weight_decay", 0.0)
    if attrs["optimizer"] == "sgd":
        nesterov = attrs.get("nesterov", False)
        return torch.optim.SGD(parameters, rate, momentum=attrs["momentum"], weight_decay=decay, nesterov=nesterov)
    betas = (attrs["beta1"], attrs["beta2"])
    return torch.optim.AdamW(parameters, rate, betas, attrs["epsilon"], weight_decay=decay)


def optimizer_step(x: Tensors, attrs: dict[str, Any]) -> Tensors:
    parameter = x["param"].requires_grad_()
    parameter.grad = x["grad"]
    optimizer = make_optimizer([parameter], attrs)
    if attrs["optimizer"] == "sgd":
        optimizer.state[parameter] = {"momentum_buffer": x["velocity"]}
        optimizer.step()
        return {"param": parameter, "velocity": optimizer.state[parameter]["momentum_buffer"]}
    steps = torch.tensor(float(attrs["step"] - 1))
    optimizer.state[parameter] = {"step": steps, "exp_avg": x["mean"], "exp_avg_sq": x["square"]}
    optimizer.step()
    state = optimizer.state[parameter]
    return {"param": parameter, "mean": state["exp_avg"], "square": state["exp_avg_sq"]}


def training(x: Tensors, attrs: dict[str, Any]) -> Tensors:
    module = adapted(x, attrs)
    optimizer = make_optimizer(list(module.parameters()), {**attrs, "optimizer": "sgd"})
    losses = []
    for _ in range(attrs["steps"]):
        loss = loss_of(module(x["x"]), x["target"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return {"losses": torch.stack(losses), "lora_a": module.delta.lora_a, "lora_b": module.delta.lora_b}


OPERATIONS: dict[str, Callable[[Tensors, dict[str, Any]], Tensors]] = {
    "conv": conv,
    "conv_vjp": conv_vjp,
    "hadamard": hadamard,
    "hadamard_vjp": hadamard_vjp,
    "hadamard_delta": hadamard_delta,
    "taylor1": taylor1,
    "taylor1_vjp": taylor1_vjp,
    "expm": expm,
    "expm_vjp": expm_vjp,
    "low_rank_expm": low_rank_expm,
    "low_rank_expm_vjp": low_rank_expm_vjp,
    **dict.fromkeys(("low_rank", "tucker", "atoms"), delta),
    **dict.fromkeys(("low_rank_vjp", "tucker_vjp", "atoms_vjp"), delta_vjp),
    "adapted_weight": adapted_weight,
    "adapted_weight_vjp": adapted_weight_vjp,
    "adapted_conv": adapted_conv,
    "adapted_conv_vjp": adapted_conv_vjp,
    "optimizer_step": optimizer_step,
    "training": training,
}


def run(op: str, inputs: dict[str, Any], attrs: dict[str, Any]) -> dict[str, Any]:
    """Compute one operation: NumPy arrays in, NumPy arrays out, on DEVICE."""
    if op not in OPERATIONS:
        raise NotImplementedError(op)
    tensors = {name: torch.from_numpy(array).to(DEVICE) for name, array in inputs.items()}
    return {name: value.detach().cpu().numpy() for name, value in OPERATIONS[op](tensors, attrs).items()}
