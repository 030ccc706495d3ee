"""PyTorch's side: the same graph as a module, the same adapter, the same optimiser."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from lieref.model.graph import Graph
from validation.benchmarks._models import RANK, adapted_weights

BINARY = {"Add": torch.add, "Mul": torch.mul}
UNARY = {
    "Relu": F.relu, "Clip": F.relu6, "HardSwish": F.hardswish, "HardSigmoid": F.hardsigmoid, "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh, "LeakyRelu": F.leaky_relu, "GlobalAveragePool": lambda v: v.mean((2, 3), keepdim=True),
    "Flatten": lambda v: v.flatten(1),
}  # fmt: skip
"""The settings of the benchmark networks are PyTorch's own: Clip is at 6, HardSigmoid has slope 1/6."""


class Twin(torch.nn.Module):
    """A folded graph with W' = W exp(B A) on its adapted weights."""

    def __init__(self, graph: Graph, adapted: bool = True) -> None:
        super().__init__()
        self.graph = graph
        self.base = {k: torch.from_numpy(np.array(v)) for k, v in graph.initializers.items()}
        self.names = adapted_weights(graph) if adapted else []
        self.factors = torch.nn.ParameterDict()
        for name in self.names:
            o = self.base[name].shape[0]
            self.factors[name + "_a"] = torch.nn.Parameter(torch.randn(RANK, self.base[name].numel() // o) * 0.1)
            self.factors[name + "_b"] = torch.nn.Parameter(torch.randn(o, RANK) * 0.1)

    def weight(self, name: str) -> torch.Tensor:
        base = self.base[name]
        if name not in self.names:
            return base
        xi = self.factors[name + "_b"] @ self.factors[name + "_a"]
        return base * torch.exp(xi.reshape(base.shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {**self.base, "x": x}
        for node in self.graph.nodes:
            v = values[node.inputs[0]]
            if node.op == "Conv":
                t, left, b, r = node.attrs["pads"]
                if (t, left) != (b, r):
                    v, t, left = F.pad(v, (left, r, t, b)), 0, 0
                weight, bias = self.weight(node.inputs[1]), self.base[node.inputs[2]]
                y = F.conv2d(v, weight, bias, node.attrs["strides"], (t, left), 1, node.attrs["group"])
            elif node.op == "Gemm":
                y = F.linear(v, self.weight(node.inputs[1]), self.base[node.inputs[2]])
            elif node.op == "Concat":
                y = torch.cat([values[name] for name in node.inputs], 1)
            elif node.op == "MaxPool":
                y = F.max_pool2d(v, node.attrs["kernel_shape"], node.attrs["strides"], node.attrs["pads"][:2])
            elif node.op == "BatchNormalization":
                scale, shift, mean, var = (self.base[name] for name in node.inputs[1:])
                y = F.batch_norm(v, mean, var, scale, shift, False, 0.0, node.attrs["epsilon"])
            elif node.op in BINARY:
                y = BINARY[node.op](v, values[node.inputs[1]])
            else:
                y = UNARY[node.op](v)
            values[node.outputs[0]] = y
        return values[self.graph.outputs[0]]


def training_steps(graph: Graph, x, y, loss: str) -> dict[str, object]:
    """Steps of both memory layouts, where there are two."""
    layouts = {"nchw": torch.contiguous_format}
    if x.ndim == 4:
        layouts["nhwc"] = torch.channels_last
    steps = {}
    for name, layout in layouts.items():
        twin = Twin(graph)
        twin.base = {
            k: v.to(memory_format=layout) if v.ndim == 4 else v for k, v in twin.base.items()
        }  # fmt: skip
        data = torch.from_numpy(x)
        data = data.to(memory_format=layout) if data.ndim == 4 else data
        target = torch.from_numpy(np.asarray(y))
        optimizer = torch.optim.AdamW(twin.factors.parameters(), lr=1e-3, weight_decay=0.01, fused=True)

        def step(twin=twin, data=data, target=target, optimizer=optimizer) -> None:
            optimizer.zero_grad(set_to_none=True)
            z = twin(data)
            value = F.cross_entropy(z, target) if loss == "cross_entropy" else F.mse_loss(z, target)
            value.backward()
            optimizer.step()

        steps[name] = step
    return steps
