"""AdaLoRA's training: ranks go from the layers where they do little to those where they do much, and are pruned.

It trains factors in the form of a singular value decomposition, xi = s B diag(e) A of `lora-svd` or of the same
parameterisation in any other group. A triplet is a value of e with its row of A and its column of B; one whose value is
zero has no part in xi. Most is taken in the middle of a run, along a cubic; then the triplets that are left are trained
on, and the others are no longer stored (`Network.prune_ranks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lieref._check import check_int, check_real
from lieref._flat import FlatParams, gather
from lieref._types import FloatArray, Params
from lieref.errors import DomainError
from lieref.param._base import transposed
from lieref.train.optimizer import AdamW, check_fraction

VALUES, ROWS, COLUMNS = "lora_e", "lora_a", "lora_b"
"""Factors of the parameterisation `singular-values`: of G conv groups (G r,), (G r, I) and (G O, r)."""


class Triplets(NamedTuple):
    """The factors of one tensor, or something of each of their numbers, by conv group: (G, r), (G, r, I), (G, O, r)."""

    values: FloatArray
    rows: FloatArray
    columns: FloatArray


def owners_of(params: Params) -> list[str]:
    """Return what stands before the name of a factor, ``<tensor>:``, of the tensors that have singular values."""
    return [name.removesuffix(VALUES) for name in params if name.rpartition(":")[2] == VALUES]


def triplets_of(arrays: Mapping[str, FloatArray], owner: str) -> Triplets:
    """Return the arrays of a tensor by conv group: views, so that what is written into them stays."""
    values, rows, columns = (arrays[owner + name] for name in (VALUES, ROWS, COLUMNS))
    rank = columns.shape[1]
    blocks = values.size // rank
    return Triplets(values.reshape(blocks, rank), rows.reshape(blocks, rank, -1), columns.reshape(blocks, -1, rank))


@dataclass
class AdaLoRA(AdamW):
    """AdamW that allocates ranks.

    A step adds the gradient of the penalty gamma (|B^T B - I|^2 + |A A^T - I|^2) of every conv group, so that the
    values are near singular values; moves all factors; and sets to zero the values of the triplets that score least.
    A triplet scores s(e_q) + mean_i s(A_qi) + mean_o s(B_oq), and s is the product of two moving averages: of the
    importance I = |w dL/dw|, and of how far I is from its own average.

    Of T steps in all, the first `warmup` T keep all N triplets of the network; the last `final` T keep K = `keep` N and
    no longer change which; between them step t keeps K + (N - K) (1 - (t - t_0) / (t_1 - t_0))^3.

    Attributes
    ----------
    keep : float
        Share of the triplets that is left, above 0, up to 1; one is left at least.
    warmup, final : float
        Shares of the run, at least 0; their sum is below 1.
    every : int
        At least 1: steps after which triplets are chosen again, once more when the final part begins.
    orthogonality : float
        gamma, at least 0; publications take 0.1 to 0.5. In the 80 steps of 500 images under JPEG that costs ResNet-8
        1 to 2.4 points, as Adam moves the factors by as much as it does for the loss, and 0.001 or none is best.
    beta3, beta4 : float
        Of the averages of importance and of its spread; 0 up to, but not including, 1.

    References
    ----------
    [Zhang23A, algorithm 1]: penalty, scores and schedule are its equations; averages begin at zero, as in PEFT, which
    has other defaults for the shares and a penalty without the square.
    """

    keep: float = 0.5
    warmup: float = 0.1
    final: float = 0.3
    every: int = 1
    orthogonality: float = 0.0
    beta3: float = 0.85
    beta4: float = 0.85

    name: ClassVar[str] = "adalora"
    slots: ClassVar[tuple[str, ...]] = ("first_moment", "second_moment", "sensitivity", "uncertainty")
    prunes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if check_real("AdaLoRA", "keep", self.keep, above=0.0) > 1.0:
            raise DomainError(f"AdaLoRA: `keep` must be at most 1; got {self.keep}")
        check_real("AdaLoRA", "warmup", self.warmup, low=0.0)
        check_real("AdaLoRA", "final", self.final, low=0.0)
        if self.warmup + self.final >= 1.0:
            text = f"{self.warmup} and {self.final}"
            raise DomainError(f"AdaLoRA: `warmup` and `final` must leave a part of the run between them; got {text}")
        check_int("AdaLoRA", "every", self.every, low=1)
        check_real("AdaLoRA", "orthogonality", self.orthogonality, low=0.0)
        check_fraction("AdaLoRA", "beta3", self.beta3)
        check_fraction("AdaLoRA", "beta4", self.beta4)

    def plan(self, params: Params, total: int) -> None:
        """Take note of the number of updates, where there are singular values; see `Optimizer.plan`."""
        if not owners_of(params):
            raise DomainError(
                "fit: `optimizer` must be another where no method has singular values: adalora allocates the ranks of "
                "lora-svd, or of singular-values in another group"
            )
        super().plan(params, total)

    def _move(
        self, theta: FlatParams, theta_bar: FlatParams, learning_rate: float, factors: Mapping[str, float]
    ) -> None:
        if self.total is None:
            raise DomainError("AdaLoRA.step: the run must be known; call plan(params, total) first")
        penalised = gather(theta_bar)
        importance: Params = {}
        zero: dict[str, NDArray[np.bool_]] = {}
        for owner in owners_of(theta):
            self._add_penalty_vjp(triplets_of(theta, owner), triplets_of(penalised, owner))
            zero[owner] = theta[owner + VALUES] == 0.0
            for name in (owner + VALUES, owner + ROWS, owner + COLUMNS):
                importance[name] = np.abs(theta[name] * penalised[name])
        super()._move(theta, penalised, learning_rate, factors)
        for name, value in importance.items():
            mean, spread = (self._state[f"{slot}/{name}"] for slot in ("sensitivity", "uncertainty"))
            mean += (1.0 - self.beta3) * (value - mean)
            spread += (1.0 - self.beta4) * (np.abs(value - mean) - spread)
        self._allocate(theta, self.total, zero)

    # Derivation.  Of |B^T B - I|^2 the differential is 4 <B (B^T B - I), dB>, and of |A A^T - I|^2 it is
    # 4 <(A A^T - I) A, dA>.
    def _add_penalty_vjp(self, factors: Triplets, bars: Triplets) -> None:
        _, a, b = factors
        one = np.eye(a.shape[1], dtype=a.dtype)
        gamma = np.asarray(4.0 * self.orthogonality, a.dtype)
        bars.rows[...] += gamma * ((a @ transposed(a) - one) @ a)
        bars.columns[...] += gamma * (b @ (transposed(b) @ b - one))

    def _allocate(self, params: Params, total: int, zero: Mapping[str, NDArray[np.bool_]]) -> None:
        """Set the values of the triplets to zero that this step has no room for; `zero` are those that were before."""
        begin, end = int(self.warmup * total), total - int(self.final * total)
        if self.steps > end:
            for owner, gone in zero.items():
                params[owner + VALUES][gone] = 0.0
            return
        if self.steps <= begin or ((self.steps - begin) % self.every and self.steps != end):
            return
        values = [params[owner + VALUES] for owner in owners_of(params)]
        scores = np.concatenate([self._scores(owner) for owner in owners_of(params)])
        gone = np.ones(len(scores), np.bool_)
        room = self.room(len(scores), (self.steps - begin) / (end - begin))
        gone[np.argsort(-scores, kind="stable")[:room]] = False
        for array, taken in zip(values, np.split(gone, np.cumsum([one.size for one in values])[:-1]), strict=True):
            array[taken] = 0.0

    def room(self, count: int, share: float) -> int:
        """Return how many of `count` triplets are kept after this share of the part in which they are taken away."""
        left = max(1, round(self.keep * count))
        return left + round((count - left) * (1.0 - share) ** 3)

    def _scores(self, owner: str) -> FloatArray:
        """Return the score of every triplet of a tensor, in the order of its values."""
        averages = [
            {owner + name: self._state[f"{slot}/{owner}{name}"] for name in (VALUES, ROWS, COLUMNS)}
            for slot in ("sensitivity", "uncertainty")
        ]
        values, rows, columns = (i * u for i, u in zip(*(triplets_of(one, owner) for one in averages), strict=True))
        scores: FloatArray = (values + rows.mean(axis=2) + columns.mean(axis=1)).ravel()
        return scores
