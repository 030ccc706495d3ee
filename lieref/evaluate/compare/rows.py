"""The rows of a comparison: what its table says of each entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any, TypeAlias

from lieref.evaluate.compare.baseline import Baseline
from lieref.evaluate.compare.budget import Entry
from lieref.evaluate.compare.details import classes_of, curve_of, moved_of
from lieref.evaluate.compare.runs import Runs, paired, spread, value_of
from lieref.evaluate.compare.tuning import Rung
from lieref.evaluate.plan import BASE, Plan
from lieref.evaluate.statistics import accuracy_interval, holm

Row: TypeAlias = dict[str, Any]


def row_of(entry: Entry, tried: tuple[Rung, ...], plan: Plan, runs: Runs, base: Runs | None) -> Row:
    """Return what the table says of an entry, but for tests and latency."""
    records = list(runs.records.values())
    sign = -1.0 if runs.falls else 1.0
    mean = runs.mean()
    right = runs.table("right", runs.seeds)
    others = None if right is None or len(right) < 2 else accuracy_interval(right)
    return {
        "label": entry.label,
        "method": entry.method,
        "rank": entry.rank,
        "options": dict(entry.options),
        "trainable": entry.trainable,
        "budget": entry.budget,
        "within_budget": entry.within,
        "rate_factor": plan.rate_factor,
        "learning_rate": records[0]["learning_rate"] if records else None,
        "rates_tried": [rung.to_dict() for rung in tried],
        "epochs": records[0]["epochs"] if records else None,
        **spread(runs.values()),
        "merit": None if mean is None else sign * mean,
        "values": runs.values(),
        "for_other_samples": None if others is None else [others.low, others.high],
        "forgotten": _forgotten(runs, base),
        "update_bytes": _middle(records, "update_bytes"),
        "payload_bytes": _middle(records, "payload_bytes"),
        "bundle_bytes": next((r["bundle_bytes"] for r in records if "bundle_bytes" in r), None),
        "bundle_missing": next((r["bundle_missing"] for r in records if r.get("bundle_missing")), None),
        "seconds": _seconds(records),
        "flops": _middle(records, "flops"),
        "memory_bytes": _middle(records, "memory_bytes"),
        "curve": curve_of(records),
        "classes": classes_of(records),
        "moved": moved_of(records),
        "warnings": sorted({text for record in records for text in record["warnings"]}),
    }


def base_row_of(base: Runs, *, on_twin: bool = False) -> Row:
    """Return the row of a base."""
    row = row_of(Entry(BASE, on_twin=on_twin), (), Plan(BASE), base, None)
    return {**row, "update_bytes": 0, "payload_bytes": 0, "bundle_bytes": 0, "budget": None}


def _forgotten(runs: Runs, base: Runs | None) -> dict[str, float | None] | None:
    """Return how much worse than the base an entry is on the original job's samples, mean and interval."""
    before = next(iter(base.records.values()))["other"] if base is not None and base.records else None
    if before is None or not runs.records:
        return None
    sign = 1.0 if runs.falls else -1.0
    known = value_of(before, runs.metric)
    return spread([sign * (value_of(record["other"], runs.metric) - known) for record in runs.records.values()])


def _middle(records: Sequence[Row], name: str) -> float | None:
    """Return the median over seeds, None where a run does not know."""
    values = [record.get(name) for record in records]
    if not values or any(value is None for value in values):
        return None
    found = median(values)  # type: ignore[type-var]
    return int(found) if found == int(found) else float(found)  # type: ignore[arg-type]


def _seconds(records: Sequence[Row]) -> dict[str, float] | None:
    if not records:
        return None
    return {name: float(median(record["seconds"][name] for record in records)) for name in ("processor", "wall")}


def add_tests(
    rows: list[Row], runs: dict[str, Runs], baseline: Baseline, base_of: Callable[[Row], Runs | None]
) -> None:
    """Add to each row how it compares with the baseline and with its base, corrected for the number of rows."""
    for row in rows:
        reference, base = baseline.of(row), base_of(row)
        row["against"] = None if reference is None else paired(runs[row["label"]], runs[reference])
        row["over_base"] = None if base is None or row["method"] == BASE else paired(runs[row["label"]], base)
    for name in ("against", "over_base"):
        # The base is no candidate: it takes no part in the correction.
        tested = [row[name] for row in rows if row[name] is not None and row["method"] != BASE]
        for kind in ("p", "p_mcnemar"):
            known = [test for test in tested if test[kind] is not None]
            corrected = holm([test[kind] for test in known]) if known else ()
            for test, value in zip(known, corrected, strict=True):
                test[f"{kind}_holm"] = float(value)
        for row in rows:
            if row[name] is not None:
                row[name].setdefault("p_holm", None)
                row[name].setdefault("p_mcnemar_holm", None)


def integer_facts(entry: Entry, runs: Runs) -> Row:
    """Return what a row says more where quantised files are compared.

    Returns
    -------
    dict
        ``network``: what the update is for, "quantised" or "float". Of a quantised file also ``integers``: medians over
        seeds of how many of ``weights`` and ``biases`` change, and of ``bytes_that_differ`` in the file; ``clipping``:
        mean shares of numbers ``above`` and ``below`` the file's ranges, the tensor that is clipped most in any seed
        (``worst``, in short ``worst_layer``) and how much (``worst_share``), and the ``largest_over_range``; and
        ``moved`` without the tensors that did not. None without a run.
    """
    records = list(runs.records.values())
    found: Row = {"network": entry.network, "form": entry.form, "integers": None, "clipping": None}
    if entry.network == "float" or not records:
        return found
    names = ("weights", "biases", "bytes_that_differ")
    found["integers"] = {name: _middle([record["integers"] for record in records], name) for name in names}
    clips = [record["clipping"] for record in records]
    worst = max(clips, key=lambda each: each["worst_share"])
    means = {name: fmean(each[name] for each in clips) for name in ("above", "below")}
    most = max(each["largest_over_range"] for each in clips)
    own = {"worst": worst["worst"], "worst_layer": worst.get("worst_layer"), "worst_share": worst["worst_share"]}
    own |= {"largest_over_range": most}
    found["clipping"] = {**means, **own}
    found["moved"] = [each for each in moved_of(records) or () if each["change_norm"] > 0]
    return found
