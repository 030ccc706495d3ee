"""A sample of the mutants of some files, which depends on the seed and on the mutants alone."""

from __future__ import annotations

import ast
import hashlib

from validation.source_mutation.operators import OPERATORS
from validation.source_mutation.source import Mutant, Source


def mutants(file: str, data: bytes) -> list[Mutant]:
    """Return every mutant of a file, each changed text once; some may not parse."""
    source = Source(file, data)
    found: dict[tuple[int, int, str], Mutant] = {}
    for node in ast.walk(source.tree):
        if not hasattr(node, "lineno") or not source.counts(node):
            continue
        for name, operator in OPERATORS.items():
            for place, text in operator(source, node):
                mutant = source.changed(name, node, place, text)
                if mutant.new != mutant.old:
                    found.setdefault((mutant.start, mutant.end, mutant.text), mutant)
    return list(found.values())


def sample(sources: dict[str, bytes], count: int, seed: int) -> list[Mutant]:
    """Return `count` mutants of files that still parse, the operators in turn, no two of one line.

    The order within an operator is that of a hash of seed and mutant, so that a changed line changes only its own.
    """
    candidates = [mutant for file, data in sources.items() for mutant in mutants(file, data)]
    order = {mutant: hashlib.sha256(f"{seed} {mutant.key} {mutant.text}".encode()).hexdigest() for mutant in candidates}
    queues: dict[str, list[Mutant]] = {}
    for mutant in sorted(candidates, key=order.__getitem__):
        queues.setdefault(mutant.operator, []).append(mutant)
    turns = sorted(queues, key=lambda name: hashlib.sha256(f"{seed} {min(sources)} {name}".encode()).hexdigest())
    chosen: list[Mutant] = []
    taken: set[tuple[str, int]] = set()
    while len(chosen) < count and any(queues.values()):
        for name in turns:
            while queues[name]:
                mutant = queues[name].pop(0)
                if (mutant.file, mutant.first) not in taken and _parses(mutant.applied(sources[mutant.file])):
                    taken.add((mutant.file, mutant.first))
                    chosen.append(mutant)
                    break
            if len(chosen) == count:
                break
    return chosen


def _parses(data: bytes) -> bool:
    try:
        ast.parse(data)
    except SyntaxError:
        return False
    return True
