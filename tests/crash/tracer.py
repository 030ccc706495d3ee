"""A child process stopped at each of its system calls by ptrace: to list them, to kill it there, or to make one fail.

x86-64 Linux only, see `UNAVAILABLE`. The child is forked from the caller with everything loaded. Every call has two
stops, before the kernel does it and after: stop 2 n is before call n, stop 2 n + 1 after it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

UNAVAILABLE = "" if sys.platform == "linux" and platform.machine() == "x86_64" else "needs ptrace on x86-64 Linux"

_TRACEME, _GETREGS, _SETREGS, _SYSCALL, _SETOPTIONS = 0, 12, 13, 24, 0x4200
_SYSGOOD, _EXITKILL = 1, 0x100000
_SYSCALL_STOP = signal.SIGTRAP | 0x80

NAMES = {
    0: "read", 1: "write", 2: "open", 3: "close", 4: "stat", 5: "fstat", 6: "lstat", 8: "lseek", 9: "mmap",
    10: "mprotect", 11: "munmap", 12: "brk", 13: "rt_sigaction", 14: "rt_sigprocmask", 16: "ioctl", 17: "pread64",
    18: "pwrite64", 20: "writev", 21: "access", 25: "mremap", 28: "madvise", 32: "dup", 33: "dup2", 39: "getpid",
    62: "kill", 63: "uname", 72: "fcntl", 73: "flock", 74: "fsync", 75: "fdatasync", 76: "truncate", 77: "ftruncate",
    78: "getdents", 79: "getcwd", 82: "rename", 83: "mkdir", 84: "rmdir", 85: "creat", 86: "link", 87: "unlink",
    88: "symlink", 89: "readlink", 90: "chmod", 91: "fchmod", 96: "gettimeofday", 186: "gettid", 202: "futex",
    217: "getdents64", 228: "clock_gettime", 230: "clock_nanosleep", 231: "exit_group", 257: "openat", 258: "mkdirat",
    262: "newfstatat", 263: "unlinkat", 264: "renameat", 265: "linkat", 269: "faccessat", 285: "fallocate",
    293: "pipe2", 302: "prlimit64", 306: "syncfs", 316: "renameat2", 318: "getrandom", 332: "statx", 334: "rseq",
    435: "clone3", 439: "faccessat2",
}  # fmt: skip
"""Numbers of x86-64 Linux and their names, of what Python does with files and memory."""
_AT_FDCWD = -100


class _Registers(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_ulonglong)
        for name in (
            "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss "
            "fs_base gs_base ds es fs gs"
        ).split()
    ]


@dataclass(frozen=True)
class Call:
    """A system call that was made: its arguments as unsigned numbers, its result, and what it pointed to."""

    name: str
    arguments: tuple[int, ...]
    result: int
    paths: tuple[str, ...] = ()
    data: bytes = b""


@dataclass(frozen=True)
class Outcome:
    """How a child ended: `killed` by the tracer, or with a status; and how many stops there were."""

    killed: bool
    status: int | None
    stops: int


def kill_at(stop: int, work: Callable[[], int]) -> Outcome:
    """Run `work` in a child and kill it at a stop; it may be over before."""
    pid = _fork(work)
    count = 0
    for _ in _stops(pid):
        if count == stop:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return Outcome(True, None, count)
        count += 1
    return Outcome(False, _status(pid), count)


def record(work: Callable[[], int]) -> tuple[list[Call], Outcome]:
    """Run `work` in a child to its end and return every system call that it made."""
    pid = _fork(work)
    calls: list[Call] = []
    entered: _Registers | None = None
    paths: tuple[str, ...] = ()
    data = b""
    count = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for _ in _stops(pid):
            count += 1
            registers = _registers(pid)
            if entered is None:
                entered = registers
                paths, data = _pointed_to(memory.fileno(), registers)
                continue
            result = ctypes.c_longlong(registers.rax).value
            calls.append(Call(_name(entered), _arguments(entered), result, paths, data))
            entered = None
    if entered is not None:  # the one that ends the process
        calls.append(Call(_name(entered), _arguments(entered), 0))
    return calls, Outcome(False, _status(pid), count)


def fail_at(number: int, error: int, chosen: Callable[[str, tuple[int, ...]], bool], work: Callable[[], int],
            *, from_then_on: bool = False) -> tuple[Outcome, str | None]:  # fmt: skip
    """Run `work` in a child whose chosen call of this number, and with `from_then_on` every later one, fails.

    Parameters
    ----------
    number : int
        Among the calls for which `chosen` is true.
    error : int
        The `errno` that the child sees; the kernel does nothing.
    chosen : callable
        Told the name and the arguments of a call.

    Returns
    -------
    Outcome
    str or None
        Name of the call that failed, the first if there are several; None if there was none of this number.
    """
    pid = _fork(work)
    seen, failed, inside, skip = 0, None, False, False
    count = 0
    for _ in _stops(pid):
        count += 1
        inside = not inside
        if not inside:
            if skip:
                registers = _registers(pid)
                registers.rax = ctypes.c_ulonglong(-error).value
                _ptrace(_SETREGS, pid, 0, ctypes.addressof(registers))
            continue
        registers = _registers(pid)
        skip = False
        if chosen(_name(registers), _arguments(registers)):
            skip = seen == number or (from_then_on and seen > number)
            seen += 1
        if skip:
            failed = failed or _name(registers)
            registers.orig_rax = ctypes.c_ulonglong(-1).value
            _ptrace(_SETREGS, pid, 0, ctypes.addressof(registers))
    return Outcome(False, _status(pid), count), failed


_STATUS: dict[int, int] = {}


def _status(pid: int) -> int:
    return _STATUS.pop(pid)


def _fork(work: Callable[[], int]) -> int:
    """Return a child that is stopped before its work; what `work` returns is its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            _ptrace(_TRACEME, 0, 0, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            status = work()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        raise OSError("the child cannot be traced")
    _ptrace(_SETOPTIONS, pid, 0, _SYSGOOD | _EXITKILL)
    return pid


def _stops(pid: int) -> Iterator[None]:
    """Yield at each stop of a system call until the child has ended."""
    passed = 0
    while True:
        _ptrace(_SYSCALL, pid, 0, passed)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            _STATUS[pid] = os.waitstatus_to_exitcode(status)
            return
        stopped_by = os.WSTOPSIG(status)
        passed = 0 if stopped_by == _SYSCALL_STOP else stopped_by
        if stopped_by == _SYSCALL_STOP:
            yield


def _ptrace(request: int, pid: int, address: int, data: int) -> None:
    if _LIBC.ptrace(request, pid, address, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace: {os.strerror(number)}")


def _registers(pid: int) -> _Registers:
    registers = _Registers()
    _ptrace(_GETREGS, pid, 0, ctypes.addressof(registers))
    return registers


def _name(registers: _Registers) -> str:
    return NAMES.get(registers.orig_rax, f"syscall {registers.orig_rax}")


def _arguments(r: _Registers) -> tuple[int, ...]:
    return (r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9)


_PATHS = {"open": (0,), "openat": (1,), "creat": (0,), "mkdir": (0,), "mkdirat": (1,), "rmdir": (0,), "unlink": (0,),
          "unlinkat": (1,), "rename": (0, 1), "renameat": (1, 3), "renameat2": (1, 3), "truncate": (0,)}  # fmt: skip
"""Which arguments are paths."""
_DATA = {"write": (1, 2), "pwrite64": (1, 2)}
"""Which are a buffer and its length."""


def _pointed_to(memory: int, registers: _Registers) -> tuple[tuple[str, ...], bytes]:
    name, arguments = _name(registers), _arguments(registers)
    paths = tuple(_text(memory, arguments[place]) for place in _PATHS.get(name, ()))
    if name in _DATA:
        address, length = (arguments[place] for place in _DATA[name])
        return paths, os.pread(memory, length, address)
    return paths, b""


def _text(memory: int, address: int) -> str:
    """Return the text at an address, up to a zero; read up to the end of a page at a time."""
    data = b""
    while b"\0" not in data:
        data += os.pread(memory, 4096 - (address + len(data)) % 4096, address + len(data))
    return os.fsdecode(data[: data.index(b"\0")])


def _load() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    return libc


_LIBC = None if UNAVAILABLE else _load()
