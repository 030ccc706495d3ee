"""What is signed of a bundle: an in-toto Statement, version 1, about its two files.

The subject is the files by name, digest and size; the predicate says which base they are for, which device, how old a
bundle may be, and what a reader has to know; its type says what kind of payload it is. Every key is required and no
other is allowed: what a reader does not know it must not pass over.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from lieref._record import dataclass
from lieref.adapter.bundle.kinds import ADAPTER, INTEGER_UPDATE, KINDS, Kind
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.fields import is_list, is_sha256, is_size, is_text, shown
from lieref.adapter.strict_json import format_json, parse_json
from lieref.errors import FormatError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"

MOST_TEXT = 200
"""Letters of the version, of `compatible` and of a word of `requires`: what fits a line of a log."""
MOST_REQUIRES = 32
"""Words of `requires`."""

FEATURES = {
    "merged": "the digest of the merged weights is checked before a switch",
    "self-test": "the inputs and expected outputs in the tensor file are checked before a switch",
}
"""What `requires` may name: a reader that does not know a word of it refuses the bundle."""


@dataclass(frozen=True)
class BaseDigests:
    """SHA-256 digests of a base model, in hexadecimal.

    Attributes
    ----------
    file_sha256 : str
        Of the file.
    weights_sha256 : str
        Of its weights alone (`lieref.adapter.weights.weights_digest`): the same after the file was saved again. Of a
        .tflite file, which nobody saves again, that of the file.
    network_sha256 : str or None
        Of the network (`lieref.model.identity.network_digest`); told, not checked, for a device has no reader for it.
    quantised : bool or None
        Whether the file is a quantised one, as found on a device; no field of the statement, whose kind says it.
    """

    file_sha256: str
    weights_sha256: str
    network_sha256: str | None = None
    quantised: bool | None = None


@dataclass(frozen=True)
class SignedFile:
    """SHA-256 and size in bytes of a file that is signed."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Statement:
    """The fields of a statement; see `format_statement` for the JSON.

    Attributes
    ----------
    files : mapping of str to SignedFile
        By the names of its kind's files.
    version : str
        For people; nothing depends on it.
    counter : int
        Rises with every release: a device takes none that is not above the last.
    min_counter : int
        At most `counter`: once this bundle is accepted, none below it is ever again.
    issued : datetime
        UTC, whole seconds.
    expires : datetime or None
        From then on it is not installed any more.
    compatible : str or None
        The kind of device that it is for; None is any.
    base : BaseDigests
    merged_sha256 : str or None
        Of the merged weights; None where they cannot be made without computing other weights from them. Of the file
        with the update in it, where the base is a quantised file; never None there.
    requires : tuple of str
        Words of `FEATURES` that a reader must know.
    kind : Kind
    """

    files: Mapping[str, SignedFile]
    version: str
    counter: int
    min_counter: int
    issued: datetime
    expires: datetime | None
    compatible: str | None
    base: BaseDigests
    merged_sha256: str | None
    requires: tuple[str, ...] = ()
    kind: Kind = ADAPTER


def format_statement(statement: Statement) -> bytes:
    """Return the payload of a statement: JSON that `parse_statement` accepts.

    Raises
    ------
    BundleRefused
        If a field is not what it must be.
    """
    base = statement.base
    data = format_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": name, "digest": {"sha256": file.sha256}, "annotations": {"bytes": file.bytes}}
                for name, file in sorted(statement.files.items())
            ],
            "predicateType": statement.kind.predicate_type,
            "predicate": {
                "version": statement.version,
                "counter": statement.counter,
                "min_counter": statement.min_counter,
                "issued": format_time(statement.issued),
                "expires": None if statement.expires is None else format_time(statement.expires),
                "compatible": statement.compatible,
                "base": {
                    "file_sha256": base.file_sha256,
                    "network_sha256": base.network_sha256,
                    "weights_sha256": base.weights_sha256,
                },
                "merged_sha256": statement.merged_sha256,
                "requires": list(statement.requires),
            },
        },
        compact=True,
    )
    parse_statement(data)
    return data


def parse_statement(data: bytes) -> Statement:
    """Return the statement in a payload, whose signatures have been checked.

    Raises
    ------
    BundleRefused
        ``format``: if it is not exactly such a statement; ``requires``: if it needs what this version does not know.
    """
    try:
        value = parse_json(data, "statement")
    except FormatError as error:
        raise BundleRefused("format", str(error)) from None
    _check(value, "statement", _STATEMENT)
    kind = next(kind for kind in KINDS if kind.predicate_type == value["predicateType"])
    names = [row.get("name") if isinstance(row, dict) else None for row in value["subject"]]
    if names != list(kind.files):
        raise _refuse("subject", f"exactly the files {' and '.join(kind.files)}", shown(names))
    files = {}
    for row in value["subject"]:
        _check(row, "subject", _SUBJECT)
        _check(row["digest"], "digest", {"sha256": _SHA256})
        _check(row["annotations"], "annotations", {"bytes": _SIZE})
        files[row["name"]] = SignedFile(row["digest"]["sha256"], row["annotations"]["bytes"])
    predicate = value["predicate"]
    _check(predicate, "predicate", _PREDICATE)
    _check(predicate["base"], "base", _BASE)
    if predicate["min_counter"] > predicate["counter"]:
        raise _refuse("predicate", "a min_counter of at most its counter", f"{predicate['min_counter']}")
    if kind is INTEGER_UPDATE and predicate["merged_sha256"] is None:
        raise _refuse("predicate", "merged_sha256: the digest of the file with the update", "null")
    unknown = [word for word in predicate["requires"] if word not in FEATURES]
    if unknown:
        raise BundleRefused(
            "requires",
            f"parse_statement: requires must name what this version knows, {', '.join(FEATURES)}; got "
            f"{', '.join(map(shown, unknown))}: update lieref on the device first",
        )
    expires = predicate["expires"]
    return Statement(
        files=files,
        version=predicate["version"],
        counter=predicate["counter"],
        min_counter=predicate["min_counter"],
        issued=parse_time(predicate["issued"]),
        expires=None if expires is None else parse_time(expires),
        compatible=predicate["compatible"],
        base=BaseDigests(**predicate["base"]),
        merged_sha256=predicate["merged_sha256"],
        requires=tuple(predicate["requires"]),
        kind=kind,
    )


def format_time(time: datetime) -> str:
    """Return a time as RFC 3339 in UTC, whole seconds: ``2026-11-29T20:00:00Z``."""
    return time.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def parse_time(text: str) -> datetime:
    """Return the time in text of the form of `format_time`.

    Raises
    ------
    ValueError
        If it is of another form, or no such time exists.
    """
    time = datetime.fromisoformat(text)
    # Another offset first: brought to UTC, a time may fall out of the years that there are.
    if time.tzinfo is None or time.utcoffset() or format_time(time) != text:
        raise ValueError(f"parse_time: `text` must be RFC 3339 in UTC such as 2026-11-29T20:00:00Z; got {shown(text)}")
    return time


def is_line(value: Any) -> bool:
    """Tell whether a value of JSON is one line of printable text, not empty and of at most `MOST_TEXT` letters."""
    return is_text(value) and 0 < len(value) <= MOST_TEXT and value.isprintable()


def _is_time(value: Any) -> bool:
    try:
        parse_time(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_requires(value: Any) -> bool:
    return is_list(value, is_line, MOST_REQUIRES) and len(set(value)) == len(value)


_SHA256 = ("64 hexadecimal digits", is_sha256)
_SIZE = ("an integer from 0", is_size)
_LINE = (f"one line of 1 to {MOST_TEXT} printable letters", is_line)
_TIME = ("a time such as 2026-11-29T20:00:00Z", _is_time)
_OBJECT = ("an object", lambda value: isinstance(value, dict))
_Rule = tuple[str, Any]


def _or_null(rule: _Rule) -> _Rule:
    text, test = rule
    return f"{text} or null", lambda value: value is None or test(value)


_STATEMENT = {
    "_type": (STATEMENT_TYPE, lambda value: value == STATEMENT_TYPE),
    "subject": ("a list", lambda value: isinstance(value, list)),
    "predicateType": (
        " or ".join(kind.predicate_type for kind in KINDS),
        lambda value: is_text(value) and value in [kind.predicate_type for kind in KINDS],
    ),
    "predicate": _OBJECT,
}
_SUBJECT = {"name": _LINE, "digest": _OBJECT, "annotations": _OBJECT}
_PREDICATE = {
    "version": _LINE,
    "counter": _SIZE,
    "min_counter": _SIZE,
    "issued": _TIME,
    "expires": _or_null(_TIME),
    "compatible": _or_null(_LINE),
    "base": _OBJECT,
    "merged_sha256": _or_null(_SHA256),
    "requires": (f"at most {MOST_REQUIRES} different words", _is_requires),
}
_BASE = {"file_sha256": _SHA256, "network_sha256": _or_null(_SHA256), "weights_sha256": _SHA256}


def _check(value: Any, what: str, rules: Mapping[str, _Rule]) -> None:
    """Refuse an object unless it has exactly these keys, each as its rule says."""
    if not isinstance(value, dict) or set(value) != set(rules):
        got = shown(sorted(value)) if isinstance(value, dict) else shown(value)
        raise _refuse(what, f"exactly the keys {', '.join(rules)}", got)
    for name, (rule, holds) in rules.items():
        if not holds(value[name]):
            raise _refuse(what, f"{name}: {rule}", shown(value[name]))


def _refuse(what: str, rule: str, got: str) -> BundleRefused:
    return BundleRefused("format", f"parse_statement: {what} must have {rule}; got {got}")
