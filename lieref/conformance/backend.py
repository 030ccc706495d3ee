"""Where outputs come from: a Python callable, an executable, or a folder of files."""

from __future__ import annotations

import importlib
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from lieref.adapter.tensor_file import read_tensor_file, write_tensor_file
from lieref.conformance.case import Case
from lieref.errors import DomainError, FormatError, LierefError

NOT_COVERED: Final = 3
"""Exit status by which a driver says that it does not know the operation."""

_SHELL: Final = 126
"""From here on a shell's own statuses: 126 and 127 cannot start the program, 128 + n ended by signal n."""


class BackendError(LierefError):
    """A backend gave no outputs; the message says what happened instead.

    Parameters
    ----------
    message : str
    refused : bool
        Whether the backend said in good order that it does not accept the inputs; breaking down is not refusing.
    """

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class Backend(Protocol):
    """Source of outputs; `takes_cases` tells it from a plain function (op, inputs, attrs)."""

    takes_cases: bool

    def __call__(self, case: Case) -> Any:
        """Return the outputs of a case; raise `NotImplementedError` if its operation is not covered."""


class CallableBackend:
    """A function (op, inputs, attrs) -> outputs, both dicts of NumPy arrays in the dtype under test.

    Inputs are copies: a function that writes to them spoils nothing.
    """

    takes_cases = True

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, case: Case) -> Any:
        """See `Backend`."""
        inputs = {name: array.copy() for name, array in case.inputs.items()}
        return self._function(case.op, inputs, json.loads(json.dumps(case.attrs)))


class ExecutableBackend:
    """A program started as ``driver INPUT OUTPUT`` for each case; both files are in the safetensors format.

    The metadata of INPUT hold ``op``, ``id``, and ``attrs`` as JSON. The program writes its outputs by name and exits
    with status 0, or with status 3 if it does not know the operation; any other status is a failure, or a refusal
    where the inputs are invalid. A signal is never a refusal, be it of the program or, as a status from 126 on, of one
    that a shell started.

    Parameters
    ----------
    command : str
        As for a shell, without a shell.
    timeout : float
        Seconds after which a run is killed.
    """

    takes_cases = True

    def __init__(self, command: str, timeout: float = 60.0) -> None:
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise DomainError(f"ExecutableBackend: `command` must be a command line; {error}: {command}") from error
        if not self._command:
            raise DomainError("ExecutableBackend: `command` must name a program; got nothing")
        self._timeout = timeout

    def __call__(self, case: Case) -> Any:
        """See `Backend`."""
        with tempfile.TemporaryDirectory(prefix="lieref-golden-") as folder:
            source, target = Path(folder) / "input.safetensors", Path(folder) / "output.safetensors"
            write_inputs(source, case)
            self._run(source, target)
            try:
                return read_tensor_file(target)[0]
            except FileNotFoundError:
                raise BackendError("the driver must write its output file; it exited without one") from None
            except FormatError as error:
                raise BackendError(f"the driver must write a whole safetensors file; {error}") from error

    def _run(self, source: Path, target: Path) -> None:
        try:
            done = subprocess.run(
                [*self._command, str(source), str(target)], capture_output=True, timeout=self._timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise BackendError(f"the driver must finish within {self._timeout:g} s; it was killed") from None
        except OSError as error:
            raise BackendError(f"the driver must start; got {error}") from error
        if done.returncode == NOT_COVERED:
            raise NotImplementedError
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
            line = f"the driver must exit with status 0; got {how}" + (f": {said[-1]}" if said else "")
            raise BackendError(line, refused=0 < done.returncode < _SHELL)


class OutputsBackend:
    """A folder with ``<case id>.safetensors`` for every case that is covered, as ``conv_f32/3.safetensors``.

    Parameters
    ----------
    folder : str or Path
    """

    takes_cases = True

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        if not folder.is_dir():
            raise DomainError(f"OutputsBackend: `folder` must exist; got {folder}")
        self._folder = folder

    def __call__(self, case: Case) -> Any:
        """See `Backend`."""
        path = self._folder / f"{case.id}.safetensors"
        if not path.is_file():
            raise NotImplementedError
        try:
            return read_tensor_file(path)[0]
        except FormatError as error:
            raise BackendError(f"{case.id}.safetensors must be a whole safetensors file; {error}") from error


def write_inputs(path: Path, case: Case) -> None:
    """Write the inputs of a case as an executable reads them."""
    metadata = {"op": case.op, "id": case.id, "attrs": json.dumps(case.attrs, sort_keys=True)}
    write_tensor_file(path, case.inputs, metadata)


def load_callable(spec: str) -> Callable[..., Any]:
    """Return the function that ``module:name`` or ``path/to/file.py:name`` means; a module may lie in this folder.

    Raises
    ------
    DomainError
        If there is no such module or function.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise DomainError(f"load_callable: `spec` must be module:callable; got {spec!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = _load_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        found = getattr(module, name)
    except (ImportError, AttributeError, OSError, SyntaxError) as error:
        raise DomainError(f"load_callable: `spec` must name a callable that can be imported; got {error}") from error
    if not callable(found):
        raise DomainError(f"load_callable: `spec` must name a callable; got {type(found).__name__} {spec!r}")
    return found  # type: ignore[no-any-return]


def _load_file(path: Path) -> Any:
    import importlib.util

    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
