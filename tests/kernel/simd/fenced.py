"""Run one instruction with a fence behind and before each of its operands, and compare it with its meaning."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np

from lieref.kernel.simd.kernels import FAMILIES, KernelName
from lieref.kernel.simd.memory import address_of, aligned, integers
from lieref.kernel.simd.row import CONTEXT, ELEMENTS, float_bits
from tests.kernel.simd.combination_meaning import POSITIVE
from tests.kernel.simd.instructions import BEFORE, HIGH, LOW
from tests.kernel.simd.meaning import MEANINGS
from tests.kernel.simd.state import State, Write

FENCE = 1024
"""Elements before and behind each memory: an access outside, of less than that, is found and does no harm."""

GAP = 16
"""Elements before and behind each operand that are its own fence, as many as the widest vector has."""

WALL = 12345.0
"""What fences an operand that is written: a NaN in the place of a NaN would not be seen."""

LARGE = {"float32": 1e30, "float64": 1e300}
"""A finite number that no result keeps silent about."""

TIED = ("choices", "extremes")
"""Groups of kernels that compare: they are given whole numbers, some of them equal."""

CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


@dataclass
class Memories:
    """Arrays with fences, by their names in the context, and how many of a sample's elements precede it.

    Attributes
    ----------
    arrays : dict of str to array
    before : dict of str to int
        Elements from where the context's address points to, to the first of the sample at work.
    """

    arrays: dict
    before: dict

    def bases(self):
        """Which element of each array its address points to."""
        return {name: FENCE - self.before.get(name, 0) for name in self.arrays}


def element_type(memory, kernel, dtype):
    """The element type of a memory."""
    if memory == "images":
        return kernel.tile.source
    return {"losses": "float64"}.get(memory, "int64" if memory in ELEMENTS else dtype)


def fence(memory, kernel, dtype):
    """An array of nothing but a fence: NaN, or integers that lead into one."""
    kind = element_type(memory, kernel, dtype)
    return {"int64": -FENCE // 2, "uint8": 77}.get(kind, np.nan)


def preceding(ints, context):
    """How many elements of the caller's arrays precede the sample at work."""
    image = context.get("image", 0)
    per = {"images": ints.get("sample", 0), "losses": 1, **dict.fromkeys(("logits", "targets"), ints.get("classes", 0))}
    return {name: image * size for name, size in per.items()}


def place(kernel, instruction, dtype, rng):
    """Place the operands by what the family says it accesses; return the integers and the memories."""
    family = FAMILIES[kernel.family]
    table = [-FENCE // 2] * BEFORE + instruction.table + [-FENCE // 2] * BEFORE
    ints = {"address": 0, **instruction.ints}
    said = [one for one in family.accesses(ints, kernel.tile, table) if one.memory != "table"]
    sizes = dict(instruction.sizes)
    for one in said:
        if not one.operand:
            sizes[one.memory] = max(sizes.get(one.memory, 0), one.last + 1)
    end = max(sizes.values(), default=0) + 2 * GAP
    filled = [(memory, "", 0, size) for memory, size in sizes.items()]
    written = {(one.memory, one.operand) for one in said if one.written}
    for operand in dict.fromkeys(one.operand for one in said if one.operand):
        here = [one for one in said if one.operand == operand]
        first, last = min(one.first for one in here), max(one.last for one in here)
        ints[operand] = end - first
        filled += [(memory, operand, end, last + 1 - first) for memory in dict.fromkeys(one.memory for one in here)]
        end += last + 1 - first + 2 * GAP
    arrays = {}
    for memory in dict.fromkeys(memory for memory, *_ in filled):
        arrays[memory] = aligned(end + 2 * FENCE, element_type(memory, kernel, dtype))
        arrays[memory][:] = fence(memory, kernel, dtype)
    for memory, operand, start, size in filled:
        if (memory, operand) in written:
            arrays[memory][FENCE + start - GAP : FENCE + start + size + GAP] = WALL
        part = arrays[memory][FENCE + start : FENCE + start + size]
        part[:] = values(kernel, memory, operand, part, instruction, rng)
        part[instruction.zero.get(operand, [])] = 0
        if operand in instruction.slack:
            sort = family.slack[operand].sort
            part[size - instruction.slack[operand] :] = LARGE[dtype] if sort == "finite" else np.nan
    arrays["table"] = integers([-FENCE // 2] * FENCE + table + [-FENCE // 2] * FENCE)
    return ints, table, Memories(arrays, preceding(ints, instruction.context))


def values(kernel, memory, operand, part, instruction, rng):
    """Numbers for an operand."""
    if memory in ELEMENTS and memory != "losses":
        return rng.integers(0, next(iter(instruction.sizes.values())), part.size)
    if kernel.family.startswith("maximum") or FAMILIES[kernel.family].group in TIED:
        return rng.integers(-2, 3, part.size)  # ties
    if kernel.family.startswith("embedding") and operand == "in":
        return rng.integers(-6, 6, part.size) + 0.5 * rng.integers(0, 2, part.size)  # of no row too
    if part.dtype == np.uint8:
        return rng.integers(0, 256, part.size)
    found = rng.standard_normal(part.size)
    if kernel.family.removesuffix("_slope") in POSITIVE:
        return np.abs(found)
    return np.clip(found, LOW, HIGH) if operand == "mask" else found  # at the clamp's ends too


def execute(address, kernel, ints, memories, context):
    """Run the machine code of an instruction."""
    bases = memories.bases()
    where = {
        name: array.ctypes.data + bases[name] * array.itemsize for name, array in memories.arrays.items()
    }  # fmt: skip
    numbers = {"image": context.get("image", 0), "fresh": context.get("fresh", 0)}
    numbers["scale"] = float_bits(context.get("scale", 0.0))
    if kernel.family == "sum_parts":
        parts = integers([len(context["parts"]), *(where[name] for name in context["parts"])])
        where["parts"] = address_of(parts)
    row = integers(FAMILIES[kernel.family].fields.pack(**{**ints, "address": address}))
    run = integers({**where, **numbers}.get(name, 0) for name in CONTEXT)
    CALL(address)(address_of(row), address_of(run))


def differences(before, after, bases, writes: list[Write]):
    """Yield what is not as the meaning says: elements of each memory that are written, and all others, bit for bit."""
    expected = {name: array.copy() for name, array in before.items()}
    for memory, index, result in writes:
        got = after[memory][index + bases[memory]]
        with np.errstate(invalid="ignore"):
            off = np.abs(got.astype(float) - result.value)
        right = (off <= result.error) | (got == result.value) | (np.isnan(got) & np.isnan(result.value))
        if not right.all():
            worst = np.unravel_index(np.argmax(np.where(right, -1, np.nan_to_num(off, nan=np.inf))), right.shape)
            yield (
                f"{memory}[{np.asarray(index)[worst]}] is {got[worst]}, and must be {result.value[worst]} within "
                f"{np.broadcast_to(result.error, right.shape)[worst]:.3g} ({np.count_nonzero(~right)} of {right.size})"
            )
        expected[memory][index + bases[memory]] = got
    for name, array in expected.items():
        other = np.flatnonzero(array.view(np.uint8) != after[name].view(np.uint8)) // array.itemsize
        if len(other):
            yield f"{name}[{other[0] - bases[name]}] is written, and must not be ({len(np.unique(other))} elements)"


def check(address, kernel: KernelName, instruction, dtype, rng):
    """Run an instruction and assert that it does what it means, and that it says what it accesses."""
    ints, table, memories = place(kernel, instruction, dtype, rng)
    family, context = FAMILIES[kernel.family], {"fresh": 0, "image": 0, "scale": 0.0, **instruction.context}
    if kernel.family == "sum_parts":
        context["parts"] = ["gradients", *instruction.sizes]
    before = {name: array.copy() for name, array in memories.arrays.items()}
    bases = memories.bases()
    state = State(dtype, {name: (array, bases[name]) for name, array in before.items()}, context)
    writes = MEANINGS[kernel.family](ints, kernel.tile, table, state)
    execute(address, kernel, ints, memories, context)
    wrong = list(differences(before, memories.arrays, bases, writes))
    assert not wrong, wrong
    said = family.accesses(ints, kernel.tile, table)
    for written, met in ((False, state.reads), (True, reach(writes))):
        for memory, ends in met.items():
            if memory not in instruction.sizes:
                here = [one for one in said if one.memory == memory and one.written >= written]
                most = (min(one.first for one in here), max(one.last for one in here))
                first, last = (end - memories.before.get(memory, 0) for end in ends)
                inside = (first, last) == most if written else most[0] <= first and last <= most[1]
                does = "write" if written else "read"
                assert inside, f"it must {does} {most[0]}..{most[1]} of the {memory}, and does {first}..{last}"
    lost = sum(int(np.isnan(result.value).sum()) for _, _, result in writes)
    assert (lost == 0) or any(family.slack[operand].sort == "any" for operand in instruction.slack), "NaN from a fence"


def reach(writes: list[Write]):
    """The first and the last element that is written of each memory."""
    found: dict[str, tuple[int, int]] = {}
    for memory, index, _ in writes:
        index = np.asarray(index)
        if index.size:
            low, high = found.get(memory, (index.min(), index.max()))
            found[memory] = min(low, index.min()), max(high, index.max())
    return found
