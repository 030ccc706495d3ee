"""Why a bundle is refused: one word for each reason, the same for ever, so that programs can tell them apart."""

from __future__ import annotations

from lieref.errors import VerificationError

REFUSALS = {
    "missing-file": "the folder or one of its three files is not there or cannot be read",
    "unexpected-file": "the folder holds something beside the three files",
    "link": "a link, a folder, a device or a pipe stands where a regular file belongs",
    "size": "a file is larger than its cap, or not of the size that was signed",
    "format": "the envelope or the statement in it is not what it must be",
    "signature": "a signature by a trusted key does not fit what it signs",
    "unknown-key": "there are signatures enough, but by keys that are not trusted",
    "duplicate-key": "one key signed more than once",
    "threshold": "fewer trusted keys signed than must",
    "requires": "the bundle needs something that this version does not know",
    "digest": "a file is not the one that was signed: changed, or of another bundle",
    "expired": "the bundle or the root file has expired",
    "compatible": "the bundle is for another kind of device",
    "counter": "the bundle is not newer than the last one that was accepted",
    "floor": "the bundle is older than the oldest that may still be installed",
    "base": "the bundle is for another base model, or the base cannot be read",
    "kind": "the bundle holds what this base cannot take: a float adapter, or an update of a quantised file",
    "config": "the configuration is not valid, or not that of these numbers and this base",
    "tensors": "the file of numbers is not valid",
    "not-finite": "a number is NaN or infinite",
    "merged": "the merged weights, or the updated file, are not those that were signed",
    "self-test": "the network with the adapter does not compute what it must",
    "root": "the root file is not valid, not signed by its own keys, or not the next after the one that is trusted",
    "private-key": "a private key was given where only the public half belongs",
}
"""Slug -> what it means. A slug is never renamed and never changes its meaning; new ones may come."""


class BundleRefused(VerificationError):  # noqa: N818  the word of the protocol
    """A bundle, a root file or what was to be checked against them is refused.

    Attributes
    ----------
    slug : str
        A key of `REFUSALS`.
    """

    def __init__(self, slug: str, message: str) -> None:
        super().__init__(message)
        self.slug = slug
