"""The errors lieref raises: one family, so that a caller can catch all of them at once.

Message form: ``<function>: <argument> must <rule>; got <value>``. An error is raised before any work is done, and a
failed call changes nothing.
"""


class LierefError(Exception):
    """Base of every error lieref raises on purpose."""


class ShapeError(LierefError, ValueError):
    """An array does not have the shape the function needs."""


class DTypeError(LierefError, TypeError):
    """An array does not have the element type the function needs."""


class DomainError(LierefError, ValueError):
    """A value lies outside the domain of the function: a NaN, a rank below one, a logarithm that does not exist."""


class NotInGroupError(DomainError):
    """An array is not an element of the group: a zero weight in the strict Hadamard group, a singular matrix in GL."""


class UnsupportedError(LierefError, NotImplementedError):
    """Something lieref does not do: an unknown ONNX operator, a combination of parts that has no meaning."""


class FormatError(LierefError, ValueError):
    """A file is not what it should be: truncated, of another kind, of an unknown version."""


class VerificationError(LierefError):
    """A digest, a signature or a base model does not match what was promised."""


class MissingExtraError(LierefError, ImportError):
    """An optional dependency is not installed; the message names the command that installs it."""


class BusyError(LierefError, RuntimeError):
    """Another thread is training or changing what a call would train or change: that is for one thread at a time."""


class InternalError(LierefError, RuntimeError):
    """A mistake of lieref itself, found before it did any harm: please report it, with the network."""


class LierefWarning(UserWarning):
    """Base of every warning lieref gives."""
