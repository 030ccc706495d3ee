"""Draw the figures: ``python -m paper_figures all`` or the names of some."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import click

from lieref._text import one_line
from lieref.errors import LierefError
from paper_figures.drawn import AbsentError, Settings
from paper_figures.index import NAME as INDEX
from paper_figures.index import write_index
from paper_figures.own import check_replaceable
from paper_figures.registry import FIGURES, draw, recompute
from paper_figures.results import RESULTS, data_folder
from paper_figures.style import as_slide
from paper_figures.written import write, write_absence

DONE, WRONG_USE, FAILED, INTERRUPTED = 0, 2, 1, 130
ALL = "all"


SLOW = 2.0
"""Seconds after which the name of the figure that is being drawn is said."""

_NAMES = "\b\nNames:\n" + "\n".join(f"  {name:<18} {entry.title}" for name, entry in FIGURES.items())


@click.command(epilog=_NAMES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("names", nargs=-1, required=True, metavar="all|NAME...")
@click.option("--quick", is_flag=True, help="Smaller sizes, marked so in each figure.")
@click.option("--slide", is_flag=True, help="In the shape of a slide, 16:9; what is higher is left out.")
@click.option("--recompute", "again", is_flag=True, help="Measure again what is drawn from validation/results; hours.")
@click.option("--out", default="figures-out", show_default=True, type=click.Path(path_type=Path), help="Folder.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False, exists=True),
              help="Folder of real models and data.  [default: that of LIEREF_DATA_DIR]")  # fmt: skip
def command(names: tuple[str, ...], quick: bool, slide: bool, again: bool, out: Path, data: Path | None) -> None:
    """Write each figure as NAME.pdf, .png, .csv and .json, and a page, index.html, that says what holds.

    A figure whose data or results are not there is left out by "all", and the page says so; named alone it is an error.
    Where one of several panels needs data that are not there, the panel stays empty, and a warning says so. Files in
    the folder that were not written here are never replaced.
    """
    unknown = [name for name in names if name not in (ALL, *FIGURES)]
    if unknown:
        near = get_close_matches(unknown[0], (ALL, *FIGURES), 1)
        meant = f"did you mean {near[0]}?" if near else f"one of {', '.join(FIGURES)}"
        raise click.UsageError(f"NAME must be {ALL} or that of a figure; got {unknown[0]!r}: {meant}")
    chosen = list(FIGURES) if ALL in names else list(dict.fromkeys(names))
    settings = Settings(data_folder(data), RESULTS, quick)
    if again and quick:
        raise click.UsageError("--recompute measures at full size; leave out --quick")
    measured = [name for name in chosen if FIGURES[name].measured_by] if again else []
    if again and settings.data is None:
        raise click.UsageError("--recompute needs the real models and data; add --data DIR")
    if again and not measured:
        raise click.UsageError(f"--recompute is for figures that are drawn from measurements; got {', '.join(chosen)}")
    check_replaceable(out, chosen, INDEX)
    too_high: list[str] = []
    for name in chosen:
        if name in measured:
            recompute(name, settings, out / "recomputed" / name)
        title = FIGURES[name].title
        try:
            with said_if_slow(name):
                drawn = draw(name, settings)
        except AbsentError as error:
            if ALL not in names:
                raise
            write_absence(out, name, title, str(error))
            click.echo(f"left out: {name}, {error}", err=True)
            continue
        if slide and not as_slide(drawn.figure):
            too_high.append(name)
            click.echo(f"left out: {name}, which is higher than a slide; draw it without --slide", err=True)
            continue
        for text in drawn.lacking:
            click.echo(f"warning: {name}, {one_line(text)}", err=True)
        for path in write(out, name, title, drawn):
            click.echo(path)
    if len(too_high) == len(chosen):
        raise click.UsageError(f"nothing was drawn: {', '.join(too_high)} would not fit a slide; leave out --slide")
    write_index(out)
    click.echo(out / INDEX)


@contextmanager
def said_if_slow(name: str) -> Iterator[None]:
    """Say on stderr which figure is being drawn, where that takes a while."""
    timer = threading.Timer(SLOW, click.echo, [f"drawing {name} ..."], {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; an error is one line on stderr."""
    try:
        command.main(arguments, prog_name="python -m paper_figures", standalone_mode=False)
        return DONE
    except (KeyboardInterrupt, click.Abort):
        status, text = INTERRUPTED, "interrupted"
    except click.ClickException as error:
        status, text = WRONG_USE, error.format_message()
    except LierefError as error:
        status, text = WRONG_USE, str(error)
    except OSError as error:
        status, text = WRONG_USE, f"{error.filename or 'input or output'}: {error.strerror or error}"
    click.echo(f"error: {one_line(text)}", err=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
