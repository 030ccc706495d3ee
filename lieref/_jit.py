"""Numba's compiler with lieref's cache: ``njit`` of one way, whose compiled functions survive what happens to files.

Numba's own cache unpickles whatever it finds, and an error in it, or a full disk, is the caller's on every later start;
it also takes code for fresh whose callees in other files have changed. Here a compiled function is kept by
`lieref._cache`, under a name that holds a digest of everything it is made from.
"""

from __future__ import annotations

import hashlib
import pickle
import platform
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import compiler, compiler_lock, serialize
from numba.core.caching import NullCache
from numba.core.dispatcher import Dispatcher

from lieref import __version__
from lieref._cache import read_cached, write_cached
from lieref._compiling import tell
from lieref._llvm import hold_in_forks

hold_in_forks(compiler_lock.global_compiler_lock)  # taken before LLVM's, as Numba does

_PACKAGE = __name__.partition(".")[0]
# Numba has no types for these.
_RESULT: Any = compiler.CompileResult
_PICKLE: Any = serialize.dumps


def njit(function: Callable[..., Any]) -> Any:
    """Return a function compiled by Numba when it is first called: without Python objects, without the GIL, cached."""
    compiled: Any = numba.njit(nogil=True)(function)
    if not isinstance(compiled, Dispatcher):  # with NUMBA_DISABLE_JIT it is the function itself
        return compiled
    dispatcher: Any = compiled
    dispatcher._cache = _Cache(function)
    return dispatcher


class _Cache(NullCache):
    """What a dispatcher asks before it compiles, and tells afterwards."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function of a signature, or None."""
        target_context.refresh()
        data = read_cached(self._name(sig, target_context.codegen()))
        try:
            if data is not None:
                return _RESULT._rebuild(target_context, *pickle.loads(data))
        except Exception:  # whole, but of no use to this Numba, whatever it says about it: compiled anew
            pass
        tell(self._function.__name__)
        return None

    def save_overload(self, sig: Any, result: Any) -> None:
        """Keep a compiled function."""
        if result.lifted or result.library.has_dynamic_globals:
            return  # it holds addresses of this process
        write_cached(self._name(sig, result.codegen), _PICKLE(result._reduce()))

    def _name(self, sig: Any, codegen: Any) -> str:
        """Return the file for this function, these types, this Numba and this CPU."""
        digest = hashlib.sha256(f"{sig} {codegen.magic_tuple()} {_versions()}".encode())
        for part in sorted(set(_made_from(self._function, set()))):
            digest.update(part)
        module = self._function.__module__.removeprefix(f"{_PACKAGE}.")
        return f"numba-{module}.{self._function.__qualname__}-{digest.hexdigest()[:24]}"


@lru_cache(maxsize=1)
def _versions() -> str:
    return f"{numba.__version__} {llvmlite.__version__} {np.__version__} {sys.version} {platform.machine()}"


def _made_from(value: Any, seen: set[int], names: frozenset[str] = frozenset()) -> Iterator[bytes]:
    """Yield a digest of everything of this package that a compiled function is made from.

    That is the file it stands in, those of the functions it calls, and the constants it names: Numba compiles them in.
    """
    if id(value) in seen:
        return
    seen.add(id(value))
    module = value if isinstance(value, ModuleType) else sys.modules.get(getattr(value, "__module__", None) or "")
    if module is not None and module.__name__.partition(".")[0] == _PACKAGE:
        yield _file_digest(str(module.__file__))
    function = getattr(value, "py_func", value)
    if isinstance(value, ModuleType):
        scope = vars(value)
    elif hasattr(function, "__code__"):
        scope, names = function.__globals__, frozenset(_names(function.__code__))
    else:
        if isinstance(value, (bool, int, float, complex, str, tuple, np.generic, np.ndarray)):
            yield hashlib.sha256(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()).digest()
        return
    if scope.get("__name__", "").partition(".")[0] == _PACKAGE:
        for name in sorted(names & scope.keys()):
            yield from _made_from(scope[name], seen, names)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


@lru_cache(maxsize=256)
def _file_digest(path: str) -> bytes:
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError:  # inside an archive, which is as old as what is in it
        return hashlib.sha256(f"{path} {__version__}".encode()).digest()
