"""What a bundle can hold: a float adapter, or an update of a quantised file. The type of the predicate says which.

So the kind is signed, a reader that does not know it refuses the bundle, and the two are never taken for each other.
"""

from __future__ import annotations

from lieref._record import dataclass

ENVELOPE_NAME = "bundle.dsse.json"


@dataclass(frozen=True)
class Kind:
    """One kind of payload.

    Attributes
    ----------
    name : str
    predicate_type : str
        Of the statement.
    files : tuple of str
        The two files that a statement is about, sorted.
    caps : tuple of int
        Most bytes of each.
    holds, takes : str
        What such a bundle holds, and what base takes it, for messages.
    """

    name: str
    predicate_type: str
    files: tuple[str, str]
    caps: tuple[int, int]
    holds: str
    takes: str

    @property
    def names(self) -> tuple[str, ...]:
        """The three files of the folder."""
        return (*self.files, ENVELOPE_NAME)


ADAPTER = Kind(
    "adapter",
    "urn:lieref:adapter-bundle:v1",
    ("adapter_config.json", "adapter_model.safetensors"),
    (4 * 2**20, 256 * 2**20),
    "an adapter of a float network",
    "a float network",
)
"""An adapted tensor takes 0.7 kB of a configuration (3836 bytes for the demo's four), so that 4 MiB describe some
5,000; all weights of a ResNet-50 in float32 take 98 MiB, and no adapter should take more than two and a half times
that."""

INTEGER_UPDATE = Kind(
    "integer-update",
    "urn:lieref:integer-update-bundle:v1",
    ("integer_update.bin", "integer_update.json"),
    (16 * 2**20, 2**20),
    "an update of a quantised file",
    "a quantised file",
)
"""A layer takes some 60 bytes of the text and a self-test of two images of 96 x 96 stored as they are 74 kB; finished
scales and biases take 8 bytes a channel, and 2 million channels are more than any network for such devices has."""

KINDS = (ADAPTER, INTEGER_UPDATE)
