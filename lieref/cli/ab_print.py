"""How plans, tests and looks are printed: a table, then what follows from it."""

from __future__ import annotations

from typing import Any

import click

from lieref.cli.console import percent, print_facts, print_table

KINDS = {
    "least": "it keeps every right answer",
    "independent": "errors independent of the base's",
    "most": "worst case",
    "given": "as given",
}
VERDICTS = {
    "ship": "SHIP: B is better than A.",
    "not yet": "NOT YET: it is still open.",
    "no difference worth it": "NO DIFFERENCE WORTH IT: B gains less than {worth}, if anything.",
    "worse": "WORSE: B is worse than A; do not ship.",
}
MOST_LOOKS = 40


def short(share: float) -> str:
    """Return a share in percent without digits that say nothing."""
    return f"{100 * share:.6g} %"


def points(share: float) -> str:
    """Return a difference of shares in percent points, with its sign."""
    return f"{100 * share:+.2f}"


def print_plan(report: dict[str, Any]) -> None:
    """Print a plan on stdout."""
    asks_images = report["asked"] == "gain"
    sure = f"power {short(report['power'])}, two-sided level {short(report['level'])}"
    rows = []
    for row in report["rows"]:
        chosen = row["kind"] == report["kind"]
        rows.append((f"{KINDS[row['kind']]}{' *' if chosen else ''}", percent(row["disagreement"]),
                     f"{points(row['gain'])} points", f"{row['images']:,}"))  # fmt: skip
    arms = report["two_arms"]
    gain = "-" if arms["gain"] is None else f"{points(arms['gain'])} points"
    rows.append(("two arms, each with images of its own", "-", gain, f"{arms['images_each']:,} each"))
    title = "Images needed" if asks_images else "Smallest gain"
    print_table(f"{title}: base {short(report['accuracy'])} right, {sure}",
                ("how the two differ", "they disagree on", "gain", "images"), rows)  # fmt: skip
    what = f"{report['images']:,} images show a gain of {points(report['gain'])} points or more"
    click.echo(f"* {what} in at least {short(report['power'])} of tests, if the two disagree on "
               f"{percent(report['disagreement'])} of images.")  # fmt: skip
    daily = report["looked_at"]
    half, most = (_images(daily[name], daily["ahead"]) for name in ("half", "most"))
    click.echo(
        f"Looked at every {daily['each']:,} images (lieref ab look --worth {report['gain']:g}), half of such tests are "
        f"decided {half} images, nine of ten {most}; {short(daily['ship'])} say ship."
    )
    if report["kind"] == "most":
        click.echo("Measure how often the two disagree on some images (lieref ab test) and add --disagreement: an "
                   "adapter needs far fewer images than the worst case.")  # fmt: skip


def print_test(report: dict[str, Any]) -> None:
    """Print a test on stdout."""
    a, b, later = report["accuracy"]["a"], report["accuracy"]["b"], report["any_time"]
    sure = short(1 - report["level"])

    def ends(found: dict[str, Any]) -> str:
        return f"({sure}: {100 * found['low']:.2f} to {100 * found['high']:.2f})"

    facts = {
        "A": report["a"],
        "B": report["b"],
        "accuracy of A": f"{percent(a['accuracy'])} {ends(a)}",
        "accuracy of B": f"{percent(b['accuracy'])} {ends(b)}",
        "only A right": f"{report['only_a']:,}",
        "only B right": f"{report['only_b']:,}",
        "they disagree on": percent(report["disagreement"]),
        "B less A": f"{points(report['difference'])} points",
        f"{sure} interval": f"{points(report['low'])} to {points(report['high'])} points",
        "p, McNemar exact": _p(report["p_exact"]),
        "p, McNemar mid-p": _p(report["p_mid"]),
        f"{sure} at any time": f"{points(later['low'])} to {points(later['high'])} points",
        "p at any time": _p(later["p"]),
    }
    print_facts(f"Two models on {report['images']:,} images", facts)
    if report["p_exact"] <= report["level"]:
        better, worse = ("B", "A") if report["difference"] > 0 else ("A", "B")
        click.echo(f"{better} is better than {worse} beyond chance, if the number of images was fixed before.")
    else:
        click.echo(
            "The two are not told apart on these images. That is no proof that they are equal: see the interval."
        )
        shows = report["shows"]
        if shows["gain"] is not None:
            click.echo(
                f"So many images show a gain of {points(shows['gain'])} points or more in {short(shows['power'])} of "
                "tests (lieref ab plan)."
            )
    click.echo(f"At any time: {later['verdict']} (worth {points(report['worth'])} points; lieref ab look goes on).")
    if "saved" in report:
        saved = report["saved"]
        click.echo(f"Saved to {saved['file']}: {report['images']:,} rows of {', '.join(saved['columns'])}.")


def print_arms(report: dict[str, Any]) -> None:
    """Print the comparison of two arms on stdout."""
    sure = short(1 - report["level"])
    facts: dict[str, object] = {}
    for name in ("a", "b"):
        arm = report["accuracy"][name]
        facts[name.upper()] = report[name]
        facts[f"accuracy of {name.upper()}"] = (
            f"{percent(arm['accuracy'])} of {arm['images']:,} images "
            f"({sure}: {100 * arm['low']:.2f} to {100 * arm['high']:.2f})"
        )
    facts["B less A"] = f"{points(report['difference'])} points"
    facts[f"{sure} interval"] = f"{points(report['low'])} to {points(report['high'])} points"
    facts["p"] = _p(report["p"])
    print_facts("Two models, each on images of its own", facts)
    if report["p"] <= report["level"]:
        better, worse = ("B", "A") if report["difference"] > 0 else ("A", "B")
        click.echo(f"{better} is better than {worse} beyond chance, if the numbers of images were fixed before.")
    else:
        click.echo("The two are not told apart. That is no proof that they are equal: see the interval.")


def print_look(report: dict[str, Any]) -> None:
    """Print the looks and the verdict on stdout."""
    looks = report["looks"]
    sure = short(1 - report["level"])
    rows = [
        (str(place), look["file"], f"{look['images']:,}", f"{look['lost']:,}", f"{look['won']:,}",
         points(look["difference"]), f"{points(look['low'])} to {points(look['high'])}", _p(look["p"]), look["word"])
        for place, look in enumerate(looks, 1)
    ]  # fmt: skip
    columns = ("look", "file", "images", "only A right", "only B right", "B less A", f"{sure} at any time", "p",
               "verdict")  # fmt: skip
    print_table("Looks, each with all images so far; differences in points", columns, rows[-MOST_LOOKS:])
    worth = f"{points(report['worth'])} points"
    click.echo(VERDICTS[report["verdict"]].format(worth=worth))
    at = report["decided_at"]
    if at is not None and at["look"] < len(looks):
        click.echo(f"It was decided at look {at['look']} ({at['file']}); the images since change nothing.")
    if report["contradict"]:
        click.echo("The looks contradict one another: the difference is not the same on all of them. Look at the days.")
    ahead = report["ahead"]
    if ahead is not None:
        half, most = (_images(ahead[name], ahead["ahead"]) for name in ("half", "most"))
        click.echo(
            f"If images go on like these: half of the futures are decided {half} more images, nine of ten {most}. "
            f"In the end {short(ahead['ship'])} say ship, {short(ahead['not_worth'])} no difference worth it, "
            f"{short(ahead['worse'])} worse; {short(ahead['undecided'])} are still open."
        )


def _images(number: int | None, ahead: int) -> str:
    return f"not within {ahead:,}" if number is None else f"within {number:,}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.0005 else f"{value:.0e}"
