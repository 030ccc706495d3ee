"""A network of sequences that is built node by node: what every tensor of it is for two batches."""

from __future__ import annotations

import math

import numpy as np

from lieref.op.registry import OPERATORS
from tests.model.engine.networks import Net, net_axes, net_const

BATCHES = (7, 11)
"""Numbers of samples that a network is built with: an extent that differs between them has samples in it."""

LARGEST = 4000
"""Numbers of one sample of a tensor at most."""


class Sequence(Net):
    """A net that knows every tensor for two batches, and takes back a node that no operator accepts."""

    def __init__(self, shape, rng, dtype="float32", rows=11):
        super().__init__(shape, dtype=dtype)
        self.rng, self.rows = rng, rows
        self.values = ({}, {})
        for values, count in zip(self.values, BATCHES, strict=True):
            drawn = rng.integers(0, rows, (count, *shape)) if dtype == "int64" else rng.standard_normal((count, *shape))
            values["x"] = drawn

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def below(self, low, high):
        return int(self.rng.integers(low, high))

    def chance(self, share):
        return self.rng.random() < share

    def shape_of(self, name=None):
        return self.values[0][name or self.last].shape

    def samples(self, name=None):
        """Axes that have samples in them."""
        shapes = (values[name or self.last].shape for values in self.values)
        return [axis for axis, (one, more) in enumerate(zip(*shapes, strict=True)) if one != more]

    def others(self, name=None):
        mixed = self.samples(name)
        return [axis for axis in range(len(self.shape_of(name))) if axis not in mixed]

    def first(self, name=None):
        """Whether the samples are the first axis, one by one."""
        return self.samples(name) == [0] and self.shape_of(name)[0] == BATCHES[0]

    def used_before(self, shape):
        """A trained weight of a shape that another node reads, or none."""
        known = [name for name, value in self.init.items() if name.startswith("w") and value.shape == tuple(shape)]
        return self.pick(*known) if known and self.chance(0.2) else ""

    def floats(self):
        return [name for name, value in self.values[0].items() if value.dtype.kind == "f" and value.ndim]

    def attempt(self, op, *inputs, **attrs):
        """Add a node; return whether it could be."""
        inputs = inputs or (self.last,)
        try:
            found = self.compute(op, inputs, attrs)
        except Exception:
            return False
        one, more = found
        bad = one.dtype.kind == "f" and not np.abs(one).max(initial=0) < 50  # NaN is bad
        alone = one.ndim == 0 or one.shape == more.shape  # the samples are gone
        if bad or alone or one.size == 0 or one.size > LARGEST * BATCHES[0] or one.ndim > 6:
            return False
        self.note(op, *inputs, **attrs)
        return True

    def compute(self, op, inputs, attrs):
        found = []
        for values in self.values:
            known = {**self.init, **values}
            given = [known[name] if name else None for name in inputs]
            given = [a.astype("f8") if a is not None and a.dtype.kind == "f" else a for a in given]
            with np.errstate(all="ignore"):
                found.append(np.asarray(OPERATORS[op].forward(*given, **attrs)))
        return found

    def note(self, op, *inputs, **attrs):
        """Add a node, whatever it gives; return its output."""
        found = self.compute(op, inputs, attrs)
        name = self.add(op, *map(str, inputs), **attrs)
        for values, value in zip(self.values, found, strict=True):
            values[name] = value
        return name


def constant(net, shape, trained=None, low=0.5, high=1.5):
    """A constant of a shape; the name of one that is trained begins with w."""
    sign = net.pick(-1.0, 1.0)
    if net.chance(0.5) if trained is None else trained:
        if again := net.used_before(shape):
            return again
        name = net.weight(*shape)
        net.init[name] = np.asarray(sign * net.rng.uniform(low, high, shape), np.float32).reshape(shape)
        return name
    return net_const(net, sign * net.rng.uniform(low, high, shape))


def weight(net, *shape):
    """A trained matrix; now and then one that is read already."""
    if again := net.used_before(shape):
        return again
    return net.weight(*shape, scale=1 / math.sqrt(max(shape[-1], shape[0])))


def net_number(net, value):
    name = net_axes(net)
    net.init[name] = np.asarray(value, np.int64)
    return name
