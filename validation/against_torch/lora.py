"""LoRA with a new last layer in PyTorch alone: the graph is an exported file's, gradients and updates are PyTorch's.

W' = W + s B A of every matrix that activations are multiplied with; A uniform within 1 / sqrt(columns), B and the new
layer zero; torch.optim.AdamW, half a cosine down to zero, mean cross-entropy; float32.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812
from onnx.reference import ReferenceEvaluator

from validation.exporters import twin


@dataclass(frozen=True)
class Recipe:
    """What a run does; a step has the learning rate of its schedule, the head that times `head_factor`.

    `orders` are the permutations of the samples, one an epoch.
    """

    learning_rate: float
    head_factor: float
    batch: int
    orders: list[np.ndarray]
    weight_decay: float = 0.0


class LoraTwin:
    """A file of ids (N, T) to features (N, F), with LoRA on its matrices and a new layer of K classes."""

    def __init__(self, path: str, classes: int, rank: int, alpha: float, seed: int) -> None:
        self.proto = onnx.load(path)
        self.base = {name: tensor.float() for name, tensor in twin.leaves(self.proto).items()}
        self.scaling = alpha / rank
        self.targets = [n.input[1] for n in self.proto.graph.node if n.op_type == "MatMul" and n.input[1] in self.base]
        torch.manual_seed(seed)
        self.factors: dict[str, torch.Tensor] = {}
        for name in self.targets:  # ONNX multiplies by the transposed weight: (columns, rows)
            columns, rows = self.base[name].shape
            a, b = torch.empty(rank, columns), torch.zeros(rows, rank)
            torch.nn.init.kaiming_uniform_(a, a=math.sqrt(5))
            self.factors[f"{name}:lora_a"], self.factors[f"{name}:lora_b"] = a, b
        self._shapes: dict[int, twin.Tensors] = {}
        size = self.features(np.ones((1, self._length()), np.int64)).shape[1]
        self.head = {"weight": torch.zeros(classes, size), "bias": torch.zeros(classes)}
        for tensor in (*self.factors.values(), *self.head.values()):
            tensor.requires_grad_()

    def num_trainable(self) -> int:
        """Return how many numbers are trained."""
        return sum(t.numel() for t in (*self.factors.values(), *self.head.values()))

    def start_from(self, factors: Mapping[str, np.ndarray]) -> None:
        """Take factors from elsewhere, by their names here."""
        with torch.no_grad():
            for name, tensor in self.factors.items():
                tensor.copy_(torch.from_numpy(np.asarray(factors[name])))

    def features(self, ids: np.ndarray) -> torch.Tensor:
        """Return what the file gives for some ids, with the factors as they are."""
        adapted = dict(self.base)
        for name in self.targets:
            a, b = self.factors[f"{name}:lora_a"], self.factors[f"{name}:lora_b"]
            adapted[name] = self.base[name] + self.scaling * (b @ a).T
        return twin.run(self.proto, adapted | self._shape_arithmetic(ids), ids)

    def logits(self, ids: np.ndarray) -> torch.Tensor:
        """Return the scores of the classes."""
        return F.linear(self.features(ids), self.head["weight"], self.head["bias"])

    def _length(self) -> int:
        return int(self.proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value)

    def _shape_arithmetic(self, ids: np.ndarray) -> twin.Tensors:
        """Return what depends on the number of samples alone, computed once for each number."""
        if len(ids) not in self._shapes:
            known = {t.name for t in self.proto.graph.initializer} - self.base.keys()
            for node in self.proto.graph.node:
                of_shapes = node.op_type in ("Shape", "Constant") or all(name in known for name in node.input)
                if of_shapes and node.output[0] not in self.base:
                    known.add(node.output[0])
            wanted = [name for node in self.proto.graph.node for name in node.output if name in known]
            asked = onnx.ModelProto()
            asked.CopyFrom(self.proto)
            del asked.graph.output[:]
            asked.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted)
            found = ReferenceEvaluator(asked).run(None, {asked.graph.input[0].name: ids})
            self._shapes[len(ids)] = {
                name: torch.from_numpy(value).float() if value.dtype.kind == "f" else value
                for name, value in zip(wanted, map(np.asarray, found), strict=True)
            }
        return self._shapes[len(ids)]

    def fit(self, x: np.ndarray, y: np.ndarray, recipe: Recipe, see: Callable[[float], None] | None = None) -> float:
        """Train, hand each step's loss to `see`, and return the seconds it took."""
        started = time.perf_counter()
        groups = [
            {"params": list(self.factors.values()), "lr": recipe.learning_rate},
            {"params": list(self.head.values()), "lr": recipe.learning_rate * recipe.head_factor},
        ]
        optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
        total = len(recipe.orders) * -(-len(x) // recipe.batch)
        cosine = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.5 * (1 + math.cos(math.pi * k / total)))
        for chosen in _batches(recipe):
            optimizer.zero_grad()
            loss = F.cross_entropy(self.logits(x[chosen]), torch.from_numpy(y[chosen]))
            loss.backward()
            optimizer.step()
            cosine.step()
            if see is not None:
                see(float(loss.detach()))
        return time.perf_counter() - started

    def predict(self, x: np.ndarray, batch: int = 109) -> np.ndarray:
        """Return the scores of many samples; 872 are 8 times 109."""
        with torch.no_grad():
            return np.concatenate([self.logits(x[k : k + batch]).numpy() for k in range(0, len(x), batch)])


def _batches(recipe: Recipe) -> Iterator[np.ndarray]:
    for order in recipe.orders:
        for start in range(0, len(order), recipe.batch):
            yield order[start : start + recipe.batch]
