"""What to do after a comparison: the smallest update that is as good as the best and better than the base."""

from __future__ import annotations

import re
from typing import Any

from lieref.evaluate.compare.sentences import LEVEL, MARGIN, for_device, is_share, size_of
from lieref.evaluate.plan import BASE
from lieref.evaluate.report.classes import worse_classes
from lieref.evaluate.report.content import Decision, Figure
from lieref.evaluate.report.numbers import SAME_GRAPH, between, decimal, of_metric, probability, whole
from lieref.evaluate.report.quantised_tables import semantics_figure, semantics_limit
from lieref.train.evidence import CHANCE

Result = dict[str, Any]
Row = dict[str, Any]

_SAID = re.compile(
    r"Best on these samples: (?P<best>.+?) \([^()]*\)(?:; within .*?: (?P<near>.+))?\. The smallest update among them "
)
"""The sentence of comparisons that do not record ``ship`` by itself."""


def base_row(result: Result) -> Row | None:
    """Return the row of the base, None where it has no answers."""
    return next((row for row in result["rows"] if row["method"] == BASE), None)


def tried(result: Result) -> list[Row]:
    """Return the rows of methods that ran, the best first."""
    rows = [row for row in result["rows"] if row["method"] != BASE and row["mean"] is not None]
    return sorted(rows, key=lambda row: -row["merit"])


def as_good(result: Result) -> list[Row]:
    """Return the best row and what is not told apart from it, the smallest update first; empty where nobody knows."""
    found = result.get("ship")
    by_label = {row["label"]: row for row in tried(result)}
    if found is None:
        said = next((match for text in result["conclusions"] if (match := _SAID.match(text))), None)
        if said is None:
            return list(by_label.values()) if len(by_label) == 1 and len(result["seeds"]) > 1 else []
        found = {"best": said["best"], "near": said["near"].split(", ") if said["near"] else []}
        if not {found["best"], *found["near"]} <= by_label.keys():
            return []
    return sorted((by_label[label] for label in (found["best"], *found["near"])), key=size_of)


def beats_base(row: Row) -> bool:
    """Return whether a row is better than the base beyond chance."""
    test = row["over_base"]
    return test is not None and test["difference"] > 0 and test["p_holm"] is not None and test["p_holm"] < LEVEL


KNEW_NOTHING = (
    "Look at the preprocessing first",
    ("The base is right on the training samples no more often than by chance: nearly always they are scaled otherwise, "
     "or the classes stand in another order, than it was trained with.",),
)  # fmt: skip
"""Headline and reasons where the base was at chance."""


def chosen_row(result: Result) -> Row | None:
    """Return the row to ship, None where there is none."""
    rows = as_good(result)
    return next((row for row in rows if base_row(result) is None or beats_base(row)), None)


def decide(result: Result) -> Decision:
    """Return the decision of a comparison."""
    rows = for_device(tried(result))
    if not rows:
        return Decision("open", "Nothing to decide: no method came to an end", ("Each of them failed.",), (), ())
    best = rows[0]
    if any(CHANCE in text for row in rows for text in row.get("warnings") or ()):
        return Decision("open", *KNEW_NOTHING, _figures(result, best), _limits(result, best))
    if len(result["seeds"]) < 2:
        return Decision(
            "open",
            "No decision yet: one seed",
            (
                f"Best in this one run is {best['label']} with {_value(result, best)}. What another seed would do, one "
                "run does not tell.",
                "Run the comparison with --seeds 5.",
            ),
            _figures(result, best),
            _limits(result, best),
        )
    chosen = chosen_row(result)
    if chosen is None and not as_good(result):
        text = "The comparison does not record which methods are as good as the best."
        return Decision("open", "No decision recorded", (text,), _figures(result, best), _limits(result, best))
    if chosen is None:
        least = f"{_value(result, best)} of {best['label']}, the best of {len(rows)}"
        return Decision(
            "keep",
            "Keep the base",
            (
                f"Nothing is better than the base beyond chance on {_samples(result)}: {least}.",
                *_by_itself(result, best),
            ),
            _figures(result, best),
            _limits(result, best),
        )
    reasons = _reasons(result, chosen, best)
    return Decision(
        "ship", f"Ship the method {chosen['label']}", reasons, _figures(result, chosen), _limits(result, chosen)
    )


def _by_itself(result: Result, row: Row) -> tuple[str, ...]:
    """Return why a row is not chosen whose own interval lies above the base; nothing where it does not."""
    test, metric = row["over_base"], result["metric"]
    if test is None or test["low"] is None or test["low"] <= 0 or test["p_holm"] is None:
        return ()
    number = sum((each["over_base"] or {}).get("p_holm") is not None for each in tried(result))
    gain = of_metric(metric, test["difference"], signed=True)
    ends = between(metric, test["low"], test["high"], signed=True)
    return (
        f"By itself {row['label']} is above the base ({gain}, 95 % interval {ends}); corrected for the {number} "
        f"methods that were tried it is not (p {_small(test['p_holm'])} after Holm's correction, {LEVEL} is asked).",
    )


def _reasons(result: Result, chosen: Row, best: Row) -> tuple[str, ...]:
    metric, base, test = result["metric"], base_row(result), chosen["over_base"]
    name = metric.replace("_", " ")
    said = [
        f"With the method {chosen['label']} the network comes to {_value(result, chosen)} {name} on {_samples(result)}"
    ]
    if base is not None and test is not None:
        ends = between(metric, test["low"], test["high"])
        gain = of_metric(metric, test["difference"], signed=True).removeprefix("+")
        said[0] += (
            f"; without it, to {_value(result, base)}. That is better by {gain} (95 % interval {ends}; p "
            f"{_small(test['p_holm'])} after Holm's correction)"
        )
    size = f"{whole(size_of(chosen))} bytes{' as a signed bundle' if chosen['bundle_bytes'] else ''}"
    others = [row["label"] for row in as_good(result) if row is not chosen]
    margin = f"{100 * MARGIN:g} point" if is_share(metric) else f"{100 * MARGIN:g} %"
    if chosen is best and not others:
        number = len(for_device(tried(result)))
        said.append(f"It is the best of {number} methods, and its update takes {size}")
    elif chosen is best:
        smaller = [row["label"] for row in as_good(result) if size_of(row) < size_of(chosen)]
        if smaller:
            named = f"{', '.join(smaller)} {'is' if len(smaller) == 1 else 'are'}"
            beside = f"the best; {named} smaller and not told apart from it, nor from the base"
        else:
            beside = "the best, and smaller than what is as good for all that is known"
        said.append(f"It is {beside}; its update takes {size}")
    else:
        said.append(
            f"The best here, {best['label']} with {_value(result, best)}, is within {margin} of it and not told apart "
            f"from it (p not below {LEVEL}). Of what is as good, it is the smallest update: {size}"
        )
    before = None if base is None else base.get("classes")
    worse = worse_classes(before, chosen.get("classes"), result.get("classes"))
    return (*(f"{text}." for text in said), *([worse] if worse else []))


def _figures(result: Result, row: Row) -> tuple[Figure, ...]:
    metric, base, test = result["metric"], base_row(result), row["over_base"]
    found = [Figure(name_of(metric), _value(result, row), "" if base is None else f"base {_value(result, base)}")]
    if test is not None:
        ends = between(metric, test["low"], test["high"], signed=True)
        notes = [f"95 %: {ends}"] if ends else []
        notes += [] if test["p_holm"] is None else [f"p {_small(test['p_holm'])} after Holm's correction"]
        found.append(Figure("Over the base", of_metric(metric, test["difference"], signed=True), "; ".join(notes)))
    lost = row["forgotten"]
    if lost is not None:
        gains = lost["mean"] < 0
        sign = -1 if gains else 1
        low, high = (
            sorted(sign * end for end in (lost["low"], lost["high"])) if lost["low"] is not None else (None, None)
        )
        ends = between(metric, low, high)
        found.append(Figure(f"{'Gained' if gains else 'Lost'} on the original data",
                            of_metric(metric, sign * lost["mean"], signed=True).removeprefix("+"),
                            ends and f"95 % over seeds: {ends}"))  # fmt: skip
    kind = "signed bundle" if row["bundle_bytes"] else "adapter"
    if row.get("integers") is not None:
        kind = f"{whole(row['payload_bytes'])} of numbers, the rest binds them to the file"
        found.append(Figure("Integer weights changed", whole(row["integers"]["weights"]), "of the file"))
        changes = semantics_figure(result, row["label"])
        found += [] if changes is None else [changes]
    whole_network = result.get("parameters")
    found.append(
        Figure("Bytes to send", whole(size_of(row)),
               kind + (f"; the network has {whole(whole_network)} numbers" if whole_network else ""))
    )  # fmt: skip
    if row["seconds"] is not None:
        found.append(Figure("Processor time of a training", f"{decimal(row['seconds']['processor'])} s", "one core"))
    merged, before = row["latency_us"]["merged"], result["latency_us_base"]
    if merged is not None:
        found.append(Figure("Latency, merged", f"{whole(merged)} µs", f"base {whole(before)} µs; {SAME_GRAPH}"))
    return tuple(found)


def _limits(result: Result, row: Row | None = None) -> tuple[str, ...]:
    rows = result["rows"]
    said = [
        *semantics_limit(result, None if row is None else row["label"]),
        "The test samples judged every method and this choice too, so that the figure of what is chosen is a little "
        "flattered.",
        "All runs learnt from the same training samples. Intervals are for other seeds and, where it is said, other "
        "test samples; not for other training samples.",
    ]
    if not any("moved" in row for row in rows):
        said.append("Learning curves, classes and what moved are not recorded in this comparison; a new one has them.")
    failed = [row["label"] for row in rows if row["failed"]]
    if failed:
        said.append(f"Runs that failed are left out: of {', '.join(failed)}.")
    over = [row["label"] for row in rows if not row["within_budget"]]
    if over:
        said.append(f"Over the budget of trained numbers, for they have no rank to choose: {', '.join(over)}.")
    warned: dict[str, list[str]] = {}
    for row in rows:
        for text in row["warnings"]:
            warned.setdefault(text, []).append(row["label"])
    return (*said, *(f"{text.rstrip('.')} ({', '.join(labels)})." for text, labels in warned.items()))


def name_of(metric: str) -> str:
    """Return the name of a metric for a heading."""
    text = metric.replace("_", " ")
    return text[:1].upper() + text[1:]


def _value(result: Result, row: Row) -> str:
    return of_metric(result["metric"], row["mean"])


def _samples(result: Result) -> str:
    return f"{whole(result['samples']['test'])} test samples (mean of {len(result['seeds'])} seeds)"


def _small(p: float) -> str:
    return f"= {probability(p)}" if p >= 0.001 else "below 0.001"
