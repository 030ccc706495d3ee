"""Trainable factors to algebra element: each formula from its publication, for one conv group.

A function takes the factors of one conv group, the shape (O, I, *kernel) of its kernel, or (n, n) of a square matrix,
and the options of the method; it returns xi in that shape. `delta` stacks the conv groups.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from math import prod
from typing import Any, TypeAlias

import numpy as np

from lieref._types import Shape
from lieref.conformance.definitions import seeded
from lieref.conformance.definitions.factors import Definition, Factors, Options, scaling
from lieref.conformance.definitions.matrix import identity, matmul, solve
from lieref.conformance.definitions.number import Numbers, dot, number, numbers, scalar, total


def dense(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return xi as it is."""
    return factors["xi"].reshape(shape)


def diagonal(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return diag(d)."""
    return factors["diagonal"][:, None] * identity(shape[0])


# xi = s B A [Hu21]. `unfold`: one row an output, as a convolution by A and a pointwise one by B (PEFT, LoCon).
# `view`: loralib's ConvLoRA, (B A).view(W.shape) with B (O k, r k) and A (r k, I k). `structured`: the same matrices,
# row (o, u) and column (i, v) at the kernel position (u, v).
def low_rank(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return s B A in the shape of the kernel, by ``matricisation``."""
    # HiRA has no alpha [Huang25, equation 6].
    share = number(1) if options.get("unscaled") else scaling(options)
    product = matmul(factors["lora_b"], factors["lora_a"]) * scalar(share)
    if options.get("matricisation", "unfold") != "structured":
        return product.reshape(shape)
    first = prod(shape[2 : 2 + (len(shape) - 2) // 2])
    rest = prod(shape[2:]) // first
    return product.reshape(shape[0], first, shape[1], rest).swapaxes(1, 2).reshape(shape)


def principal(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return s (B A - B0 A0), what PiSSA adds to W = W_res + B0 A0 [Meng24, equation 3], and OLoRA [Buyukakyuz24]."""
    now = matmul(factors["lora_b"], factors["lora_a"])
    xi = now - matmul(factors["start_b"], factors["start_a"])
    return (xi * scalar(scaling(options)) if "lora_alpha" in options else xi).reshape(shape)


# xi[i1, i2, ...] = s sum G[j1, j2, ...] U1[i1, j1] U2[i2, j2] ... [Si25F], [Kolda09, section 4]
def tucker(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return the core times one factor on each mode; modes without a factor keep those of the core."""
    xi = factors["core"]
    for mode in range(len(factors) - 1):
        moved = np.moveaxis(xi, mode, 0)
        product = matmul(factors[f"factor_{mode}"], moved.reshape(moved.shape[0], -1))
        xi = np.moveaxis(product.reshape(-1, *moved.shape[1:]), 0, mode)
    return (xi * options.get("scale", 1.0)).reshape(shape)


# T x_1 A x_2 B^T: a pointwise convolution by B, one by the core T, and a pointwise one by A [Hyeon22, section 2.3].
def between(a: Numbers, core: Numbers, b: Numbers) -> Numbers:
    """Return the kernel of a core between two pointwise matrices as (O, I, kernel positions)."""
    flat = core.reshape(*core.shape[:2], -1)
    slices = [matmul(matmul(a, flat[:, :, k]), b) for k in range(flat.shape[2])]
    return np.stack(slices, axis=2)


def kronecker(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return s w1 (x) w2, w2 a kernel, the product of two thin matrices, or a core between them [Yeh24, LoKr]."""
    w1 = factors["w1"]
    c, d = shape[0] // w1.shape[0], shape[1] // w1.shape[1]
    if "t2" in factors:
        w2 = between(factors["w2_a"], factors["t2"], factors["w2_b"])
    else:
        w2 = factors["w2"] if "w2" in factors else matmul(factors["w2_a"], factors["w2_b"])
    w2 = w2.reshape(c, d, -1)
    xi = np.empty((*shape[:2], w2.shape[2]), dtype=object)
    for a, b in np.ndindex(w1.shape):
        xi[a * c : (a + 1) * c, b * d : (b + 1) * d] = w2 * scalar(w1[a, b])
    return (xi * scalar(scaling(options))).reshape(shape)


def hadamard_low_rank(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return s (A1 B1) (A2 B2), entry by entry [Hyeon22, equation 1], [Yeh24, LoHa]; with cores, of two kernels."""
    halves = []
    for number_ in (1, 2):
        a, b = factors[f"hada_w{number_}_a"], factors[f"hada_w{number_}_b"]
        core = f"hada_t{number_}"
        halves.append(between(a, factors[core], b) if core in factors else matmul(a, b))
    return (halves[0] * halves[1] * scalar(scaling(options))).reshape(shape)


# F = alpha x D [Chen25, section 3]: every filter is a mixture of the atoms, and only the atoms change. A weight without
# a kernel has blocks for filters. Recursive: the atoms of input channel i are D[a] = sum_b beta[i, a, b] E[a, b].
def filter_atoms(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return the mixtures of the atoms; filters are kernels, or blocks of a weight without a kernel."""
    codes, atoms = factors["coefficients"], factors["atoms"]
    rows, columns, _ = codes.shape
    size = atoms.shape[-1]
    filters = np.empty((rows, columns, size), dtype=object)
    for o, i, k in np.ndindex(filters.shape):
        if "mixture" in factors:
            own = [dot(factors["mixture"][i, a], atoms[a, :, k]) for a in range(codes.shape[2])]
        else:
            own = list(atoms[:, k])
        filters[o, i, k] = dot(codes[o, i], own)
    if prod(shape[2:]) > 1:
        return filters.reshape(shape)
    height, width = shape[0] // rows, shape[1] // columns
    return filters.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(shape)


def separable(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return P[o, i] D[o, u, v]: a pointwise and then a depthwise convolution [CoLoRA25, equation 4]."""
    pointwise, depthwise = factors["pointwise"], factors["depthwise"].reshape(shape[0], 1, -1)
    return (pointwise[:, :, None] * depthwise).reshape(shape)


def tensor_train(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return the trained output core times the frozen rest of the train [LoRAEdge25, equation 5]."""
    return matmul(factors["core"], factors["suffix"]).reshape(shape)


def blocks_of(factor: Numbers, b: int) -> list[Numbers]:
    """Return blocks (b, b) from their entries, or skew ones from the entries above the diagonal, row by row."""
    if factor.ndim == 3:
        return list(factor)
    skew = []
    for entries in factor:
        block = numbers(np.zeros((b, b)))
        for value, (i, j) in zip(entries, combinations(range(b), 2), strict=True):
            block[i, j], block[j, i] = value, -value
        skew.append(block)
    return skew


def block_size(factor: Numbers) -> int:
    """Return b of blocks (count, b, b), or of skew blocks (count, b (b - 1) / 2)."""
    if factor.ndim == 3:
        return int(factor.shape[1])
    return next(b for b in range(2, 99) if b * (b - 1) // 2 == factor.shape[1])


# [Liu24B, section 4]: stage 0 mixes neighbours within blocks; stage j > 0 takes halves of blocks, b/2 indices each, and
# pairs the half p with p + 2^j, as the fast Fourier transform pairs numbers.
def butterfly_positions(n: int, b: int, stage: int) -> list[list[int]]:
    """Return the indices that each block of a stage mixes."""
    if stage == 0:
        return [list(range(start, start + b)) for start in range(0, n, b)]
    half, step = b // 2, 2**stage
    firsts = [p for p in range(n // half) if (p // step) % 2 == 0]
    return [[q * half + k for q in (p, p + step) for k in range(half)] for p in firsts]


def butterfly(n: int, b: int, count: int) -> list[list[int]]:
    """Return the indices of `count` blocks, stage after stage; the first stage is the diagonal."""
    return [at for stage in range(count * b // n) for at in butterfly_positions(n, b, stage)]


# [Ma24, equation 3]: P_r rotates the planes of the axes 2^r k and 2^(r-1) (2 k + 1).
def givens_tree(n: int, b: int, count: int) -> list[list[int]]:
    """Return the pairs of stages r = 1, 2, ..., those with both axes below n."""
    pairs = [[2**r * k, 2 ** (r - 1) * (2 * k + 1)] for r in range(1, n + 1) for k in range(n)]
    return [pair for pair in pairs if pair[1] < n]


Places: TypeAlias = Callable[[int, int, int], list[list[int]]]
"""Indices that each block mixes, of the size of the matrix, that of a block, and the number of blocks."""


def block_sum(places: Places, factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return the matrix with the blocks at their places [Qiu23, section 4]; several stages add."""
    n, factor = shape[0], factors["blocks"]
    b = block_size(factor)
    entries: dict[tuple[int, int], list[Any]] = {}
    for at, block in zip(places(n, b, len(factor)), blocks_of(factor, b), strict=True):
        for i, j in np.ndindex(b, b):
            entries.setdefault((at[i], at[j]), []).append(block[i, j])
    xi = numbers(np.zeros((n, n)))
    for place_, terms in entries.items():
        xi[place_] = total(terms)
    return xi


# H(u) H(u + w) to first order in w, H(v) = I - 2 v v^T / (v . v) [Yuan24]: I + 2 (u w^T - w u^T) / (u . u).
def householder(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return the sum over pairs of 2 (u w^T - w u^T) / (u . u)."""
    xi = numbers(np.zeros(shape))
    for u, w in zip(factors["u"], factors["w"], strict=True):
        plane = u[:, None] * w[None, :]
        xi = xi + (plane - plane.T) * 2 / scalar(dot(u, u))
    return xi


def half_skew(entries: Numbers, n: int) -> Numbers:
    """Return the skew matrix (n, n) of the entries above its diagonal, row by row."""
    return blocks_of(entries[None], n)[0]


# B diag(l) A with a value for every rank [Zhang23A, equation 3].
def singular_values(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return s B diag(e) A."""
    scaled = factors["lora_b"] * factors["lora_e"][None, :]
    return (matmul(scaled, factors["lora_a"]) * scalar(scaling(options))).reshape(shape)


def core(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return L X R: a trained core between frozen principal directions [Balazy24, equation 2]."""
    return matmul(matmul(factors["left"], factors["core"]), factors["right"]).reshape(shape)


# W = A B + W_res with A = U S, B = V^T becomes A diag(b) Q diag(a) B + W_res, Q = (I + K) (I - K)^-1 [Wu25].
def principal_rotation(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return L (diag(b) Q diag(a) - I) R."""
    a, b = factors["stretch_a"] + 1, factors["stretch_b"] + 1
    r = len(a)
    k, eye = half_skew(factors["skew"], r), identity(r)
    # (I + K) and (I - K)^-1 commute
    turn = solve(eye - k, eye + k)
    inner = b[:, None] * turn * a[None, :] - eye
    return matmul(matmul(factors["left"], inner), factors["right"]).reshape(shape)


# The first row of a circulant block is w, and every row is the one above it moved by one [Chen25C, definition 3.1].
def circulant(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return circulant blocks over the channels, one set for each kernel position, over the number of inputs."""
    kernel = factors["kernel"]
    rows, columns, b = kernel.shape[0], kernel.shape[1], kernel.shape[-1]
    flat = kernel.reshape(rows, columns, -1, b)
    xi = np.empty((shape[0], shape[1], flat.shape[2]), dtype=object)
    for o, i, k in np.ndindex(xi.shape):
        xi[o, i, k] = flat[o // b, i // b, k, (i % b - o % b) % b] / shape[1]
    return xi.reshape(shape)


def shared_blocks(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return one block (O, r) whose columns repeat along the inputs [Kang24, equation 6]."""
    block = factors["miss_block"]
    columns = [block[:, j % block.shape[1]] for j in range(prod(shape[1:]))]
    return np.stack(columns, axis=1).reshape(shape)


# Block (j, n) of parts x parts has a rank of its own [Jung25, equation 6].
def block_low_rank(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return s B[j, n] A[n, j] in every block (j, n)."""
    a, b = factors["gralora_a"], factors["gralora_b"]
    parts = range(len(a))
    rows = [np.concatenate([matmul(b[j, n], a[n, j]) for n in parts], axis=1) for j in parts]
    return (np.concatenate(rows) * scalar(scaling(options))).reshape(shape)


# xi[i0, i1, ...] = s sum_q U0[i0, q] U1[i1, q] ... [Kolda09, equation 3.1]
def canonical(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return the sum of outer products of one column of each factor."""
    each_mode = [factors[f"factor_{mode}"] for mode in range(len(factors))]
    share, xi = scaling(options), np.empty(shape, dtype=object)
    for index in np.ndindex(shape):
        terms = []
        for q in range(each_mode[0].shape[1]):
            term = share
            for factor, at in zip(each_mode, index, strict=True):
                term = term * factor[at, q]
            terms.append(term)
        xi[index] = total(terms)
    return xi


# xi[i0, i1, ...] = s tr(G0[:, i0, :] G1[:, i1, :] ...) [Zhao16, equation 1]
def tensor_ring(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return the traces of the products of one slice of each core."""
    cores = [factors[f"core_{mode}"] for mode in range(len(factors))]
    share, xi = scaling(options), np.empty(shape, dtype=object)
    for index in np.ndindex(shape):
        product = cores[0][:, index[0], :]
        for one, at in zip(cores[1:-1], index[1:-1], strict=True):
            product = matmul(product, one[:, at, :])
        last = cores[-1][:, index[-1], :]
        xi[index] = dot(product.ravel(), last.T.ravel()) * share
    return xi


PARAMETERISATIONS: dict[str, Definition] = {
    "dense": dense,
    "diagonal": diagonal,
    "low-rank": low_rank,
    "principal": principal,
    "tucker": tucker,
    "kronecker": kronecker,
    "hadamard-low-rank": hadamard_low_rank,
    "filter-atoms": filter_atoms,
    "separable": separable,
    "tensor-train": tensor_train,
    "block-diagonal": partial(block_sum, butterfly),
    "butterfly": partial(block_sum, butterfly),
    "givens": partial(block_sum, givens_tree),
    "householder": householder,
    "shared-random": seeded.shared_random,
    "random-bases": seeded.random_bases,
    "projected": seeded.projected,
    "fourier": seeded.fourier,
    "wavelet": seeded.wavelet,
    "sparse": seeded.sparse,
    "circulant": circulant,
    "shared-blocks": shared_blocks,
    "block-low-rank": block_low_rank,
    "singular-values": singular_values,
    "core": core,
    "principal-rotation": principal_rotation,
    "canonical": canonical,
    "tensor-ring": tensor_ring,
}
"""Definition of each parameterisation."""

FROZEN = frozenset({"start_a", "start_b", "coefficients", "suffix", "left", "right"})
"""Factors that are stored and not trained: PiSSA's start, the mixtures of atoms, the rest of a tensor train, principal
directions."""


def delta(name: str, factors: Factors, shape: Shape, groups: int, options: Options) -> Numbers:
    """Return the algebra element of stacked conv groups: each has its slice of the first axis of every factor."""
    if name == "filter-atoms" or options.get("share_groups"):
        groups = 1  # all conv groups share their factors
    one = (shape[0] // groups, *shape[1:])
    pieces = []
    for group in range(groups):
        own = {}
        for key, factor in factors.items():
            rows = factor.shape[0] // groups
            own[key] = factor[group * rows : (group + 1) * rows]
        pieces.append(PARAMETERISATIONS[name](own, one, options))
    return np.concatenate(pieces).reshape(shape)
