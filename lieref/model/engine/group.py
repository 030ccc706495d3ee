"""Groups of samples: weights too large for the cache are read once for several samples.

A pass of a group goes through blocks of instructions, and through each of them for one sample after the other. Where no
weights are large all is one block: sample by sample. The instructions of a product with large weights, or of the
gradient of one, are cut into pieces that share no weight (`pieces`), each a block of its own: what it reads of the
weights, or adds to of the accumulators, is in the cache for the samples after the first. A joint instruction, the walk
of a recurrent layer, is one of a block of its own for all samples: each number that it loads serves several.

Every output and every accumulator remains a sum of the same numbers in the same order, so no bit depends on groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

from lieref.model.engine import pieces
from lieref.model.engine.instruction import Instruction, lives
from lieref.model.engine.pieces import PRODUCTS, cut, walked_weights, weights_of
from lieref.model.engine.place import Request, most_alive
from lieref.model.engine.tensor import Tensor

SAMPLES = (4, 2)
"""Samples of a group, the most first."""

MOST_BYTES = 16 << 20
"""Most memory of the tensors of a group's further samples. With 13 MiB, in groups of two, a step of ResNet-18 takes
0.955 ("f2") and 0.94 ("f4") of the time; with 40 MiB, in groups of four, 0.96 and 0.925."""

LEAST_SHARED = 4.0
"""Fewest large weights, those of a recurrent layer once for each step, for each number kept of a sample from block to
block, such as activations until the backward pass. These have left the cache when they are read again, which without
groups they need not. A step of MobileNetV2 (0.5) or of ShuffleNet (2) takes as long in groups of four, one of
MobileNetV3-small (1.7) 0.98 of the time for 30 MiB more; ResNet-18 has 12. Without a backward pass little is kept:
outputs of MobileNetV3-small take 0.95 of the time."""


@dataclass(frozen=True)
class Grouped:
    """What a group goes through.

    Attributes
    ----------
    instructions : list of Instruction
        Of one sample.
    blocks : list of int
        Where each block of them ends.
    samples : int
        Most samples of a group, 1 for none.
    """

    instructions: list[Instruction]
    blocks: list[int]
    samples: int


def grouped(instructions: Sequence[Instruction], itemsize: int) -> Grouped:
    """Return the instructions for groups, or as they are where a group takes too much memory or saves too little.

    Instructions that call back to Python are left as they are: a function knows the tensors of one sample.

    Parameters
    ----------
    instructions : sequence of Instruction
        Of one sample.
    itemsize : int
        Bytes of a number.
    """
    if all(each.function is None for each in instructions):
        found = _blocks(instructions)
        cut_instructions, blocks = [each for block in found for each in block], [*accumulate(map(len, found))]
        kept, shared = _most_kept(found), _large_weights(instructions) + sum(map(walked_weights, instructions))
        for samples in SAMPLES:
            if shared > LEAST_SHARED * kept and (samples - 1) * kept * itemsize <= MOST_BYTES:
                return Grouped(cut_instructions, blocks, samples)
    return alone(instructions)


def alone(instructions: Sequence[Instruction]) -> Grouped:
    """Return the instructions of one sample for one."""
    return Grouped([*instructions], [len(instructions)], 1)


def _blocks(instructions: Sequence[Instruction]) -> list[list[Instruction]]:
    """Return the instructions in blocks, those of large weights cut, joint ones by themselves."""
    found: list[list[Instruction]] = []
    for (large, joint), products in groupby(_products(instructions), key=lambda p: (_is_large(p), p[0].joint)):
        if large:
            found += [block for product in products for block in _pieces(product)]
        else:
            found += [product for product in products] if joint else [[each for one in products for each in one]]
    return found


def _is_large(product: Sequence[Instruction]) -> bool:
    return sum(map(weights_of, product)) > pieces.LARGE


def _large_weights(instructions: Sequence[Instruction]) -> int:
    """Return how many weights are read, and accumulators added to, in large products."""
    return sum(weights_of(each) for product in _products(instructions) if _is_large(product) for each in product)


def _products(instructions: Sequence[Instruction]) -> Iterator[list[Instruction]]:
    """Yield the instructions of each product together, of each gradient of one, and what lies between.

    Those of a product follow each other, are of one family, and read nothing that one of them writes.
    """
    product: list[Instruction] = []
    written: set[Tensor] = set()
    for each in instructions:
        family = _family(each)
        reads = {met.tensor for name, met in each.places.items() if name != "out"}
        if product and (family != _family(product[0]) or (family and reads & written)):
            yield product
            product, written = [], set()
        product.append(each)
        written |= {met.tensor for name, met in each.places.items() if name == "out"}
    if product:
        yield product


def _family(instruction: Instruction) -> str:
    """Return the family of a product or of a joint instruction, "" for any other."""
    family = instruction.kernel.family if instruction.kernel is not None else ""
    return family if family in PRODUCTS or instruction.joint else ""


def _pieces(product: Sequence[Instruction]) -> list[list[Instruction]]:
    """Return the pieces of a product's instructions, those of the same weights together and in their order."""
    found: dict[tuple[int, ...], list[Instruction]] = {}
    for each in product:
        for key, piece in cut(each):
            found.setdefault(key, []).append(piece)
    return [*found.values()]


def _most_kept(blocks: Sequence[Sequence[Instruction]]) -> int:
    """Return the most elements of one sample's tensors that are kept from block to block at once."""
    found = lives(blocks).items()
    return most_alive([Request(tensor.size, first, last) for tensor, (first, last) in found if last > first])
