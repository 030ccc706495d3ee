"""What a comparison says, in sentences that its numbers bear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lieref.evaluate.plan import BASE

LEVEL = 0.05
MARGIN = 0.01
"""What may be worse by so much, a share of answers or of another metric, and still be the one to ship."""

CHEAP = ("norm-stats", "scale")
"""Methods that cost next to nothing: what trains more must beat them to be worth it."""

Row = dict[str, Any]
Against = Callable[[str, str], dict[str, Any] | None]
"""Labels of two rows to what `paired` says of them."""


def amount(metric: str, value: float | None, *, signed: bool = False) -> str:
    """Return a metric as text: a share of right answers in percent, or points of a difference; others as they are."""
    if value is None:
        return "-"
    share = is_share(metric)
    number = 100 * value if share else value
    text = (
        f"{number:+.2f}" if signed and share else f"{number:.2f}" if share else f"{number:{'+' if signed else ''}.4g}"
    )
    return f"{text} points" if signed and share else f"{text} %" if share else text


def is_share(metric: str) -> bool:
    """Return whether a metric is a share of answers."""
    return metric.rpartition(".")[2] in ("accuracy", "f1", "mean_average_precision", "mean_iou", "token_accuracy")


def conclusions(
    rows: Sequence[Row], *, metric: str, baseline: str, seeds: int, against: Against, base: str | None
) -> list[str]:
    """Return sentences: against the baseline, against the cheap methods, against the base, and what to ship.

    Parameters
    ----------
    rows : sequence of dict
        As in ``comparison.json``; those without a run are left out. Of a quantised file with its float twin what is
        shipped is an update of the file.
    metric : str
    baseline : str
        What it is called.
    seeds : int
    against : callable
    base : str or None
        Label of the base's row.
    """
    done = [row for row in rows if row["mean"] is not None and not _is_base(row, base)]
    said: list[str] = []
    if seeds < 2:
        said.append(
            "One seed: intervals and tests over seeds are refused; McNemar's test below is of these runs, not of the "
            "methods. Take --seeds 5."
        )
    others = [row for row in done if row["against"] is not None]
    if others:
        said.append(_verdict([(row["label"], row["against"]) for row in others], baseline, metric, seeds))
    cheap = [row for row in done if _is_cheap(row)]
    dear = [row for row in done if not _is_cheap(row)]
    if cheap and dear:
        said.append(_against_cheap(cheap, dear, metric, seeds, against))
    if base is not None:
        for name, mine in (("base", for_device(done)), ("float base", [row for row in done if _is_float(row)])):
            if mine:
                said.append(_against_base(mine, name, metric, seeds))
    if any(map(_is_float, done)) and len(for_device(done)) < len(done):
        said += _against_float(done, metric, against)
    forgot = [row for row in done if row["forgotten"] is not None]
    if forgot:
        most = max(forgot, key=lambda row: row["forgotten"]["mean"])
        least = min(forgot, key=lambda row: row["forgotten"]["mean"])
        said.append(_forgotten(metric, most, least))
    if seeds > 1 and len(for_device(done)) > 1:
        said.append(_smallest(done, metric, against))
    return said


def _forgotten(metric: str, most: Row, least: Row) -> str:
    """Return what the original data lose at most and at least; a loss below 0 is a gain."""
    high, low = (row["forgotten"]["mean"] for row in (most, least))
    text = "On the original data "
    if high < 0:
        return (
            f"{text}nothing is lost: {least['label']} gains most, {_size(metric, low)}, and {most['label']} least, "
            f"{_size(metric, high)}."
        )
    rest = (
        f"{least['label']} least, {_size(metric, low)}" if low >= 0 else f"{least['label']} gains {_size(metric, low)}"
    )
    return f"{text}{most['label']} loses most, {_size(metric, high)}, and {rest}."


def for_device(rows: Sequence[Row]) -> list[Row]:
    """Return the rows whose update is for the file that is compared: all, or without those of its float twin."""
    return [row for row in rows if not _is_float(row)]


def _is_float(row: Row) -> bool:
    return row.get("network") == "float"


def _is_base(row: Row, base: str | None) -> bool:
    return row["label"] == base or bool(row["method"] == BASE)


def _is_cheap(row: Row) -> bool:
    """Return whether a method trains next to nothing: factors and statistics, or no integer of a quantised file."""
    integers = row.get("integers")
    return row["method"] in CHEAP or (integers is not None and not integers["weights"])


def _against_float(done: Sequence[Row], metric: str, against: Against) -> list[str]:
    """Return how the best update of the quantised file does beside the best float network."""
    device, real = for_device(done), [row for row in done if _is_float(row)]
    if not device or not real:
        return []
    best, other = (max(rows, key=lambda row: row["merit"]) for rows in (device, real))
    test = against(best["label"], other["label"])
    values = f"{amount(metric, best['mean'])}", f"{amount(metric, other['mean'])}"
    text = f"The quantised file comes to {values[0]} with {best['label']}, its float twin to {values[1]} with "
    return [f"{text}{other['label']}{'' if test is None else f' ({_interval(test, metric)})'}."]


def _verdict(tests: Sequence[tuple[str, dict[str, Any] | None]], reference: str, metric: str, seeds: int) -> str:
    """Return which entries are better or worse than one, which are not told apart from it, and which not tested."""
    kinds = ("better than", "worse than", "not told apart from", "not tested against")
    parts: dict[str, list[str]] = {kind: [] for kind in kinds}
    for label, test in tests:
        if test is None:
            continue
        p = test["p_holm"] if seeds > 1 else test["p_mcnemar_holm"]
        if p is None or p >= LEVEL:
            parts["not tested against" if p is None else "not told apart from"].append(label)
        else:
            kind = "better than" if test["difference"] > 0 else "worse than"
            parts[kind].append(f"{label} ({_interval(test, metric)})")
    how = f"p below {LEVEL} after Holm's correction" if seeds > 1 else "McNemar's, of one seed"
    listed = [f"{kind} {reference}: {', '.join(names)}" for kind, names in parts.items() if names]
    return f"By the paired test ({how}), {'; '.join(listed)}." if listed else f"Nothing was paired with {reference}."


def _interval(test: dict[str, Any], metric: str) -> str:
    text = amount(metric, test["difference"], signed=True)
    if test["low"] is None:
        return text
    factor = 100 if is_share(metric) else 1
    digits = ".2f" if is_share(metric) else ".4g"
    return f"{text}, 95 % interval {factor * test['low']:{digits}} to {factor * test['high']:{digits}}"


def _against_cheap(cheap: Sequence[Row], dear: Sequence[Row], metric: str, seeds: int, against: Against) -> str:
    """Return whether anything beats the better of the cheap methods."""
    from lieref.evaluate.statistics import holm

    better = max(cheap, key=lambda row: row["merit"])
    tests = {row["label"]: test for row in dear if (test := against(row["label"], better["label"])) is not None}
    if not tests:
        return f"Nothing was paired with {better['label']}."
    names = " and ".join(row["label"] for row in cheap)
    kind = f"better of {names} here" if len(cheap) < 4 else f"best of {len(cheap)} that cost next to nothing"
    which = f"{better['label']}, the {kind}" if len(cheap) > 1 else f"{better['label']}"
    known = [label for label, test in tests.items() if test["p"] is not None] if seeds > 1 else []
    corrected = holm([tests[label]["p"] for label in known]) if known else ()
    if seeds > 1:
        sure = dict.fromkeys(tests, False) | {label: p < LEVEL for label, p in zip(known, corrected, strict=True)}
    else:
        sure = {label: test["p_mcnemar"] is not None and test["p_mcnemar"] < LEVEL for label, test in tests.items()}
    beats = [f"{label} ({_interval(tests[label], metric)})" for label in tests if sure[label] and
             tests[label]["difference"] > 0]  # fmt: skip
    if beats:
        return f"Better than {which} ({amount(metric, better['mean'])}): {', '.join(beats)}."
    best = max(tests, key=lambda label: tests[label]["difference"])
    how = "is ahead" if tests[best]["difference"] > 0 else "comes closest"
    p = ""
    if best in known:
        number = f" for {len(known)} methods" if len(known) > 1 else ""
        p = f"; p = {corrected[known.index(best)]:.2g} after Holm's correction{number}"
    return (
        f"Nothing beats {which} ({amount(metric, better['mean'])}), beyond chance; {best} {how} "
        f"({_interval(tests[best], metric)}{p})."
    )


def _against_base(done: Sequence[Row], base: str, metric: str, seeds: int) -> str:
    tests = [(row["label"], row["over_base"]) for row in done]
    below = [label for label, test in tests if test is not None and test["difference"] < 0]
    text = _verdict(tests, f"the {base}", metric, seeds)
    return f"{text} Below the base on average: {', '.join(below)}." if below else text


def to_ship(rows: Sequence[Row], *, metric: str, against: Against, base: str | None) -> dict[str, Any] | None:
    """Return the best entry, what is as good for all that is known, and the smallest update of these.

    Returns
    -------
    dict or None
        ``best`` and ``smallest``, labels; ``near``: labels of what is within `MARGIN` of the best and not told apart
        from it. None without a run.
    """
    done = [row for row in for_device(rows) if row["mean"] is not None and not _is_base(row, base)]
    if not done:
        return None
    best = max(done, key=lambda row: row["merit"])
    near = [best]
    for row in done:
        test = None if row is best else against(best["label"], row["label"])
        if (
            test is not None
            and (test["p"] is None or test["p"] >= LEVEL)
            and test["difference"] <= _margin(metric, best)
        ):
            near.append(row)
    small = min(near, key=size_of)
    return {"best": best["label"], "near": [row["label"] for row in near[1:]], "smallest": small["label"]}


def size_of(row: Row) -> int:
    """Return the bytes of an update as it is shipped: of its signed bundle, or of the adapter where there is none.

    Beside quantised files, whose updates have no bundle here, those of all rows are without it.
    """
    return int(row["update_bytes"] if "network" in row else row["bundle_bytes"] or row["update_bytes"])


def _smallest(done: Sequence[Row], metric: str, against: Against) -> str:
    """Return the best entry, what is not told apart from it, and the smallest update among those."""
    found = to_ship(done, metric=metric, against=against, base=None)
    assert found is not None  # there are at least two
    by_label = {row["label"]: row for row in done}
    best, small = by_label[found["best"]], by_label[found["smallest"]]
    what = "of update" if "network" in small else "as a signed bundle" if small["bundle_bytes"] else "of adapter"
    others = found["near"]
    margin = f"{100 * MARGIN:g} point" if is_share(metric) else f"{100 * MARGIN:g} %"
    told = (
        f"; within {margin} of it and not told apart (p from {LEVEL}, uncorrected): {', '.join(others)}"
        if others
        else ""
    )
    return (
        f"Best on these samples: {best['label']} ({amount(metric, best['mean'])}){told}. The smallest update among "
        f"them is {small['label']}, {size_of(small):,} bytes {what}."
    )


def _margin(metric: str, best: Row) -> float:
    return MARGIN if is_share(metric) else MARGIN * abs(float(best["mean"]))


def _size(metric: str, difference: float) -> str:
    """Return how large a difference is, without its sign."""
    return amount(metric, abs(difference), signed=True).removeprefix("+")
