"""Losses, optimisers, clipping and learning rates as PyTorch and the papers define them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lieref.conformance.definitions.number import (
    Number,
    Numbers,
    dot,
    each,
    exp,
    log,
    mpmath,
    number,
    scalar,
    sqrt,
    total,
)
from lieref.errors import UnsupportedError


# L = - sum_nc t_nc log p_nc / sum_n w(y_n), log p_nc = z_nc - log sum_k exp(z_nk), and t_nc = w_c ((1 - s) [c = y_n] +
# s / C): torch.nn.CrossEntropyLoss with label_smoothing s, weight w and reduction "mean", without the rows whose label
# is ignored. An implementation subtracts the largest logit of each row first, which changes no value.
def cross_entropy(logits: Numbers, targets: None, attrs: Mapping[str, Any]) -> Number:
    """Return the mean cross-entropy of labels; all settings as in PyTorch."""
    classes, smoothing = logits.shape[1], attrs.get("label_smoothing", 0.0)
    weights = attrs.get("class_weights") or [1.0] * classes
    terms = []
    labels = [label for label in attrs["labels"] if label != attrs.get("ignore_index")]
    rows = [row for row, label in zip(logits, attrs["labels"], strict=True) if label != attrs.get("ignore_index")]
    for row, label in zip(rows, labels, strict=True):
        largest = max(range(classes), key=lambda c: row[c].value)
        shifted = [z - row[largest] for z in row]
        normaliser = log(total(exp(z) for z in shifted))
        for c in range(classes):
            share = number(smoothing) / classes + (1 - number(smoothing) if c == label else 0)
            terms.append((normaliser - shifted[c]) * share * weights[c])
    whole: float = sum(weights[label] for label in labels)
    return total(terms) / whole


def mean_squared_error(logits: Numbers, targets: Numbers, attrs: Mapping[str, Any]) -> Number:
    """Return the mean over all entries of (z - y)^2."""
    difference: list[Number] = list((logits - targets).flat)
    return dot(difference, difference) / len(difference)


# The mean of w_c (p_c y log(1 + exp(-z)) + (1 - y) log(1 + exp(z))), torch.nn.BCEWithLogitsLoss with weight w and
# pos_weight p, without the answers that are ignored. log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)): an
# implementation does not overflow.
def binary_cross_entropy(logits: Numbers, targets: Numbers, attrs: Mapping[str, Any]) -> Number:
    """Return the mean binary cross-entropy of answers 0 and 1."""
    ones = [1.0] * logits.shape[1]
    weights, shares = (attrs.get(name) or ones for name in ("positive_weights", "class_weights"))
    terms = []
    for row, answers in zip(logits, targets, strict=True):
        for z, answer, weight, share in zip(row, answers, weights, shares, strict=True):
            if answer.value == attrs.get("ignore_index"):
                continue
            wrong = z * -1.0 if answer.value == 1 else z
            rest = log(exp(wrong * -1.0 if wrong.value > 0 else wrong) + 1)
            term = (wrong + rest if wrong.value > 0 else rest) * (weight if answer.value == 1 else 1.0)
            terms.append(term if share == 1.0 else term * share)
    return total(terms) / len(terms)


# The mean over samples of -log p(l): p(l) is the sum, over all sequences of classes of T frames that become l when
# equal neighbours are one and blanks go, of the product of their probabilities [Graves06, equation 3]. Summed frame by
# frame over the places of l with blanks around its labels, equation 6, in which nothing cancels.
def ctc(logits: Numbers, targets: None, attrs: Mapping[str, Any]) -> Number:
    """Return the mean of -log of the probability of targets; those of -1 fill up the shorter ones."""
    blank, terms = attrs.get("blank", 0), []
    for frames, padded in zip(logits, attrs["labels"], strict=True):
        places = [blank]
        for label in (label for label in padded if label >= 0):
            places += [label, blank]
        reached: list[Number | None] = []
        for time, row in enumerate(frames):
            largest = max(row, key=lambda z: z.value)
            weights = [exp(z - largest) for z in row]
            whole = total(weights)
            now: list[Number | None] = []
            for place, label in enumerate(places):
                if time == 0:
                    now.append(weights[label] / whole if place < 2 else None)
                    continue
                near = reached[max(place - 1, 0) : place + 1]
                if place > 1 and label not in (blank, places[place - 2]):
                    near.append(reached[place - 2])
                ways = [way for way in near if way is not None]
                now.append(total(ways) * (weights[label] / whole) if ways else None)
            reached = now
        terms.append(log(total([way for way in reached[-2:] if way is not None])) * -1.0)
    return total(terms) / len(terms)


LOSSES: dict[str, Callable[..., Number]] = {
    "cross_entropy": cross_entropy,
    "mean_squared_error": mean_squared_error,
    "binary_cross_entropy": binary_cross_entropy,
    "ctc": ctc,
}
"""Definition of each loss."""


def loss(logits: Numbers, targets: Numbers | None, attrs: Mapping[str, Any]) -> Number:
    """Return the loss of a batch: of labels in `attrs`, or of an array of targets."""
    if attrs["loss"] not in LOSSES:
        raise UnsupportedError(f"loss: `loss` must be one of {', '.join(LOSSES)}; got {attrs['loss']!r}")
    return LOSSES[attrs["loss"]](logits, targets, attrs)


# torch.optim.SGD: g <- g + wd p, v <- mu v + g, p <- p - lr v, with Nesterov p <- p - lr (g + mu v).
def sgd(state: Mapping[str, Numbers], attrs: Mapping[str, Any]) -> dict[str, Numbers]:
    """Return parameter and velocity after one step of SGD with momentum."""
    grad = state["grad"] + state["param"] * attrs["weight_decay"]
    velocity = state["velocity"] * attrs["momentum"] + grad
    step = grad + velocity * attrs["momentum"] if attrs.get("nesterov", False) else velocity
    return {"param": state["param"] - step * attrs["learning_rate"], "velocity": velocity}


# [Kingma15, algorithm 1] with the decay of [Loshchilov19, algorithm 2] scaled by the learning rate as in PyTorch.
def adamw(state: Mapping[str, Numbers], attrs: Mapping[str, Any]) -> dict[str, Numbers]:
    """Return parameter and moments after step number ``step``, from 1, of Adam with decoupled weight decay."""
    rate, beta1, beta2 = (number(attrs[name]) for name in ("learning_rate", "beta1", "beta2"))
    mean = state["mean"] * scalar(beta1) + state["grad"] * scalar(1 - beta1)
    square = state["square"] * scalar(beta2) + state["grad"] * state["grad"] * scalar(1 - beta2)
    first, second = (1 - _power(beta, attrs["step"]) for beta in (beta1, beta2))
    spread = each(sqrt, square / scalar(second)) + attrs["epsilon"]
    decayed = state["param"] * scalar(1 - rate * attrs["weight_decay"])
    return {"param": decayed - mean / scalar(first) / spread * scalar(rate), "mean": mean, "square": square}


OPTIMIZERS: dict[str, Callable[[Mapping[str, Numbers], Mapping[str, Any]], dict[str, Numbers]]] = {
    "sgd": sgd,
    "adamw": adamw,
}
"""Definition of one step of each optimiser."""


# torch.nn.utils.clip_grad_norm_: one norm over all gradients; they keep their length unless it is too large.
def clip(grads: Mapping[str, Numbers], max_norm: float) -> dict[str, Numbers]:
    """Return the gradients scaled by max_norm / norm where their global norm exceeds `max_norm`."""
    entries = [entry for grad in grads.values() for entry in grad.flat]
    norm = sqrt(dot(entries, entries))
    if norm.value <= max_norm:
        return dict(grads)
    return {name: grad * scalar(number(max_norm) / norm) for name, grad in grads.items()}


def _constant(share: Any) -> Number:
    return number(1)


# Half a cosine from 1 down to 0 [Loshchilov17, equation 5, without restarts].
def _cosine(share: Any) -> Number:
    value = (1 + mpmath().cos(mpmath().pi * share)) / 2
    # The cosine is good to 3 ulp of itself, at most 1, and its argument to 2 u of at most pi.
    return Number(value, 6.0 + 2.0 * float(value))


SCHEDULES: dict[str, Callable[[Any], Number]] = {"constant": _constant, "cosine": _cosine}
"""Factor of each schedule after a share of the steps that follow the warm-up."""


def learning_rates(rate: Number, attrs: Mapping[str, Any]) -> Numbers:
    """Return the learning rate of every step: (t + 1) / w in the warm-up of w steps, then by the schedule."""
    steps, warmup = attrs["total_steps"], attrs["warmup_steps"]
    if attrs["schedule"] not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise UnsupportedError(f"learning_rate: `schedule` must be one of {known}; got {attrs['schedule']!r}")
    result = np.empty(steps, dtype=object)
    for t in range(steps):
        if t < warmup:
            result[t] = rate * (number(t + 1) / warmup)
        else:
            result[t] = rate * SCHEDULES[attrs["schedule"]](mpmath().mpf(t - warmup) / (steps - warmup))
    return result


def _power(base: Number, exponent: int) -> Number:
    value = base
    for _ in range(exponent - 1):
        value = value * base
    return value
