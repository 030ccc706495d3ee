"""What to do after a fine-tuning run."""

from __future__ import annotations

from typing import Any

from lieref.evaluate.compare.sentences import LEVEL
from lieref.evaluate.report.classes import worse_classes
from lieref.evaluate.report.compare_decision import KNEW_NOTHING, name_of
from lieref.evaluate.report.content import Decision, Figure
from lieref.evaluate.report.numbers import SAME_GRAPH, between, decimal, of_metric, probability, whole
from lieref.train.evidence import CHANCE

Values = dict[str, Any]

ONE_RUN = "One run of one seed. What other seeds would do, and other methods, is told by lieref compare with --seeds 5."


def main_metric(values: Values) -> str | None:
    """Return the first metric of a run, None where nothing was measured."""
    return next(iter(values.get("metrics") or {}), None) or ("accuracy" if values["accuracy"] is not None else None)


def before_and_after(values: Values, metric: str) -> tuple[float | None, float | None]:
    """Return a metric of the base and of what was trained."""
    if metric == "accuracy":
        return values["base_accuracy"], values["accuracy"]
    return (values.get("base_metrics") or {}).get(metric), (values.get("metrics") or {}).get(metric)


def decide(values: Values) -> Decision:
    """Return the decision of a run."""
    metric = main_metric(values)
    if not values.get("ships", True):
        reason = "Nothing that was tried did better than the base on training samples that were held out."
        return Decision("keep", "Keep the base", (reason,), _figures(values, metric), _limits(values))
    if metric is None:
        reason = f"{_what(values)} was trained, and nothing was measured: no test samples were given."
        return Decision("open", "No decision yet: nothing was tested", (reason, "Run it again with --test."),
                        _figures(values, None), _limits(values))  # fmt: skip
    before, after = before_and_after(values, metric)
    measured = f"{_what(values)} comes to {of_metric(metric, after)} {metric.replace('_', ' ')} on {_tests(values)}"
    if before is None or after is None:
        reason = f"{measured}. The base has no answers to compare with."
        return Decision("open", f"{of_metric(metric, after)} {metric.replace('_', ' ')}", (reason,),
                        _figures(values, metric), _limits(values))  # fmt: skip
    doubts = doubt(values)
    if doubts:
        return Decision("open", *doubts, _figures(values, metric), _limits(values))
    said = f"{measured}; the base comes to {of_metric(metric, before)}."
    paired = (values.get("test_outcomes") or {}).get("paired") if metric == "accuracy" else None
    if paired is None:
        text = "Whether that is more than chance, the report does not record."
        return Decision("open", f"From {of_metric(metric, before)} to {of_metric(metric, after)}", (said, text),
                        _figures(values, metric), _limits(values))  # fmt: skip
    verdict, headline, reason = _tested(paired, after - before)
    counts = [(values["test_outcomes"].get(name) or {}).get("classes") for name in ("base", "adapted")]
    worse = worse_classes(counts[0], counts[1], values.get("classes"))
    return Decision(
        verdict, headline, (said, reason, *([worse] if worse else [])), _figures(values, metric), _limits(values)
    )


def doubt(values: Values) -> tuple[str, tuple[str, ...]] | None:
    """Return headline and reasons where what was measured decides nothing."""
    if any(CHANCE in text for text in values.get("warnings") or ()):
        return KNEW_NOTHING
    sets = values.get("samples_sha256") or {}
    if "test" in sets and "train" in sets and sets["train"]["x"] == sets["test"]["x"]:
        text = "The test samples are those that it was trained on, which tell nothing of others: give --test others."
        return "No decision: tested on the training samples", (text,)
    return None


def _tested(paired: Values, gain: float) -> tuple[str, str, str]:
    """Return verdict, headline and reason of a paired test."""
    low, high = paired["interval"]
    p = probability(paired["p_mcnemar"])
    what = (
        f"{whole(paired['only_adapted'])} samples are right only with the adapter, {whole(paired['only_base'])} only "
        f"without it (McNemar's test: p {p if p[0] == '<' else f'= {p}'})"
    )
    ends = f"{of_metric('accuracy', gain, signed=True)}, 95 % interval {between('accuracy', low, high, signed=True)}"
    if paired["p_mcnemar"] >= LEVEL:
        return "keep", "Keep the base: no gain beyond chance", f"{what}: {ends}."
    if gain > 0:
        return "ship", "Ship this adapter", f"{what}: {ends}, of this network on other samples."
    return "keep", "Keep the base: the adapter does worse", f"{what}: {ends}."


def _figures(values: Values, metric: str | None) -> tuple[Figure, ...]:
    found = []
    outcomes = values.get("test_outcomes") or {}
    if metric is not None:
        before, after = before_and_after(values, metric)
        ends = (outcomes.get("adapted") or {}).get("interval") if metric == "accuracy" else None
        notes = [] if before is None else [f"base {of_metric(metric, before)}"]
        notes += [f"95 %: {between(metric, *ends)}"] if ends else []
        found.append(Figure(name_of(metric), of_metric(metric, after), "; ".join(notes)))
        paired = outcomes.get("paired") if metric == "accuracy" else None
        if before is not None and after is not None:
            note = f"95 %: {between(metric, *paired['interval'], signed=True)}" if paired else ""
            found.append(Figure("Over the base", of_metric(metric, after - before, signed=True), note))
    if values["update_bytes"]:
        trained = f"adapter of {whole(values['trainable'])} trained numbers"
        found.append(Figure("Bytes", whole(values["update_bytes"]), trained))
        found.append(Figure("Training", f"{decimal(values['train_seconds'])} s", "by the clock, preparation included"))
    if values["latency_us_merged"] is not None:
        base = f"base {whole(values['latency_us_base'])} µs{'' if values.get('head') else f'; {SAME_GRAPH}'}"
        found.append(Figure("Latency, merged", f"{whole(values['latency_us_merged'])} µs", base))
    if values["peak_rss_mb"] is not None:
        found.append(Figure("Memory", f"{whole(values['peak_rss_mb'])} MB", "most that the process held"))
    return tuple(found)


def _limits(values: Values) -> tuple[str, ...]:
    said = [ONE_RUN] if values.get("ships", True) else []
    if main_metric(values) is not None:
        said.append(
            "The test samples judged this run alone. If runs were chosen by them, the figures of the chosen one are "
            "flattered."
        )
    missing = values.get("missing_classes")
    if missing:
        said.append(f"Classes without a sample to learn from: {', '.join(map(str, missing))}.")
    if (values.get("choice") or {}).get("base_knew", None) and values["choice"]["base_knew"]["flattered"]:
        said.append("The base may have learnt from the training samples: what is held out of them flatters.")
    return tuple(said)


def _what(values: Values) -> str:
    rank = "" if values["rank"] is None else f" of rank {values['rank']}"
    return f"The method {values['method']}{rank}"


def _tests(values: Values) -> str:
    count = values.get("test_samples")
    return "the test samples" if count is None else f"{whole(count)} test samples"
