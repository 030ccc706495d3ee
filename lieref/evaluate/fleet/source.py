"""Devices read one after another; one whose data are broken is left out by name, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from lieref.errors import LierefError
from lieref.evaluate.fleet.device import Device


class Source:
    """The devices of a fleet, read when they are asked for, so that the samples of a few are in memory.

    Parameters
    ----------
    names : collection of str
        Of all devices, in order.
    read : callable
        Returns the device of a name, or raises a `LierefError` or an `OSError`.

    Attributes
    ----------
    broken : dict of str to str
        Why a device that was asked for could not be read.
    """

    def __init__(self, names: Collection[str], read: Callable[[str], Device]) -> None:
        self.names = tuple(names)
        self.broken: dict[str, str] = {}
        self._read = read

    def devices(self, skip: Collection[str] = ()) -> Iterator[Device]:
        """Yield the devices that can be read, but for those to skip; a broken one is not tried again."""
        for name in self.names:
            if name in skip or name in self.broken:
                continue
            device = self.get(name)
            if device is not None:
                yield device

    def get(self, name: str) -> Device | None:
        """Return a device, None where it is broken."""
        try:
            return self._read(name)
        except LierefError as error:
            self.broken[name] = str(error)
        except OSError as error:
            self.broken[name] = f"{error.filename or name}: {error.strerror or error}"
        except MemoryError:
            self.broken[name] = "its samples need more memory than there is"
        return None

    def failures(self) -> list[dict[str, Any]]:
        """Return a record for each device that could not be read."""
        return [{"device": name, "failed": text} for name, text in sorted(self.broken.items())]
