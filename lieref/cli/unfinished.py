"""What an interrupted ``finetune`` leaves beside its output, and what becomes of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from lieref.cli.choosing import FOLDER_NAME
from lieref.cli.console import say
from lieref.errors import LierefError

_ASIDE = "earlier-"


class Unfinished:
    """The hidden folder beside `out` with the checkpoints of a run; whoever uses it holds the lock on `out`.

    Attributes
    ----------
    folder : Path
    trained : bool
        Whether all epochs are done, so that nothing that fails afterwards is the fault of the options.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out.with_name(f".{out.name}.unfinished")
        self.trained = False
        self._found = self.folder.exists()
        self._choice = self.folder / FOLDER_NAME

    def _checkpoints(self, prefix: str = "") -> list[Path]:
        """Return the checkpoints there are: of the run, and of the teachers in folders of their own."""
        from lieref.train.checkpoint import FILE_NAME

        return [found for place in ("", "*/") for found in sorted(self.folder.glob(f"{place}{prefix}{FILE_NAME}"))]

    def check(self, resume: bool, force: bool) -> None:
        """Raise `UsageError` unless the options say what becomes of an earlier run."""
        if resume and not self._found:
            raise click.UsageError(f"there is no unfinished run in {self.folder}; leave out --resume")
        if (self._checkpoints() or self._choice.exists()) and not (resume or force):
            raise click.UsageError(
                f"{self.folder} holds an unfinished run; add --resume to continue it, or --force to begin anew"
            )

    @contextmanager
    def kept(self, resume: bool) -> Iterator[None]:
        """Keep the checkpoints of an interrupted run, and nothing of one that cannot succeed but an earlier run's.

        Without `resume` earlier checkpoints are laid aside, until the new run is done or has one of its own. What a
        choice has tried is kept with them.
        """
        if resume and not self._checkpoints():
            say(f"{self.folder} holds no finished epoch: the run begins anew")
        elif not resume:
            for found in self._checkpoints():
                found.replace(found.with_name(f"{_ASIDE}{found.name}"))
        try:
            yield
        except BaseException as error:
            # The same options would fail in the same way: there is nothing to continue.
            hopeless = isinstance(error, LierefError) and not self.trained
            new, aside = self._checkpoints(), self._checkpoints(_ASIDE)
            if aside and (hopeless or not new):
                for found in new:
                    found.unlink()
                for found in aside:
                    found.replace(found.with_name(found.name.removeprefix(_ASIDE)))
            elif not self._found and (hopeless or not (new or self._choice.exists())):
                shutil.rmtree(self.folder, ignore_errors=True)
            elif not hopeless and (new or self._choice.exists()):
                say(f"what is done is kept in {self.folder}: the same command with --resume continues")
            raise
