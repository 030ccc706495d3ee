"""What ``lieref bundle`` says of a bundle or a root file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lieref.cli.console import print_facts, print_json

if TYPE_CHECKING:
    from lieref.adapter.bundle.statement import Statement
    from lieref.adapter.bundle.trust import Root


def statement_report(statement: Statement) -> dict[str, Any]:
    """Return what a statement says, as JSON has it."""
    from dataclasses import asdict

    from lieref.adapter.bundle.statement import format_time

    fields = asdict(statement)
    fields["issued"] = format_time(statement.issued)
    fields["expires"] = None if statement.expires is None else format_time(statement.expires)
    del fields["base"]["quantised"]
    fields["kind"] = statement.kind.name
    return {**fields, "requires": list(statement.requires)}


def root_report(path: Path, root: Root) -> dict[str, Any]:
    """Return what a root file says, as JSON has it."""
    from lieref.adapter.bundle.statement import format_time

    return {
        "root": str(path),
        "root_version": root.version,
        "expires": None if root.expires is None else format_time(root.expires),
        "keys": {keyid: public.hex() for keyid, public in root.keys.items()},
        "roles": {
            name: {"threshold": role.threshold, "keyids": list(role.keyids)} for name, role in root.roles.items()
        },
    }


def print_report(report: dict[str, Any], title: str, as_json: bool) -> None:
    """Print a report as one JSON object, or as names and values."""
    if as_json:
        print_json(report)
        return
    facts: dict[str, object] = {}
    for name, value in report.items():
        if isinstance(value, dict):
            facts |= {f"{name} {part}": _plain(item) for part, item in value.items()}
        else:
            facts[name] = _plain(value)
    print_facts(title, facts)


def _plain(value: Any) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else value
