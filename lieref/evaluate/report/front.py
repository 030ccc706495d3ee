"""What is beaten by nothing in size and in merit at once."""

from __future__ import annotations

from collections.abc import Sequence


def front_of(sizes: Sequence[float], merits: Sequence[float]) -> list[int]:
    """Return the places of what nothing else is both smaller and better than, by size; of equals the first."""
    found: list[int] = []
    for n in sorted(range(len(sizes)), key=lambda n: (sizes[n], -merits[n])):
        if not found or merits[n] > merits[found[-1]]:
            found.append(n)
    return found
