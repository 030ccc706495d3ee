"""What a check comes to: one place where verdicts become success or failure, for the command and for pytest alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from lieref.conformance.verdict import ACCEPTED, FAIL, MISTRUSTED, PASS, UNCOVERED

XFAIL, XPASS, TOLERATED = "XFAIL", "XPASS", "TOLERATED"
_PROVES: Final = (PASS, XFAIL, TOLERATED)


class Record(NamedTuple):
    """What is kept of a case to decide over all.

    Parameters
    ----------
    id : str
    status : str
        PASS, FAIL, MISTRUSTED, UNCOVERED, ACCEPTED, XFAIL, XPASS or TOLERATED.
    is_valid : bool
        Whether the case asks for outputs; one with invalid inputs asks for a refusal, and covers nothing.
    excused : bool
        Whether a failure was expected.
    kind : str
        Operation and numbers of axes of the inputs, in a family and dtype: what is covered as a whole or not at all. A
        port may know convolutions of images only, or forward passes; within that it must not choose.
    """

    id: str
    status: str
    is_valid: bool = True
    excused: bool = False
    kind: str = ""


def fails(status: str, strict: bool = False) -> bool:
    """Return whether a case of this status fails a check by itself.

    MISTRUSTED does not: it says that the case proves nothing under the declared arithmetic, whatever a port answers.
    Bad inputs that were accepted are no wrong result, and fail only a strict check.
    """
    return status in (FAIL, XPASS) or (strict and status == ACCEPTED)


def flaws(records: Iterable[Record], strict: bool = False) -> list[str]:
    """Return why a check fails, one line each; an empty list if it succeeds.

    It fails if a case does (`fails`), if no case proves anything, or if a kind of input is covered in part: who answers
    the easy cases and says of the others that they are not implemented has not been checked.
    """
    records = list(records)
    failing = sum(fails(record.status, strict) for record in records)
    lines = [f"{failing} of {len(records)} cases fail"] if failing else []
    valid = [record for record in records if record.is_valid]
    total = Counter(record.kind for record in valid)
    uncovered = Counter(record.kind for record in valid if record.status == UNCOVERED)
    gaps = Counter(record.kind for record in valid if record.status == UNCOVERED and not record.excused)
    for kind, count in gaps.items():
        if uncovered[kind] < total[kind]:
            lines.append(f"{count} of {total[kind]} cases of {kind} are not covered: cover all, none, or expect it")
    if not failing and not any(record.status in _PROVES for record in valid):
        doubtful = sum(record.status == MISTRUSTED for record in valid)
        lines.append("no case proves anything" + (f": {doubtful} are MISTRUSTED" if doubtful else ""))
    return lines
