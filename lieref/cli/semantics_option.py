"""The option that says whose integers judge a quantised file, where several can be set side by side."""

from __future__ import annotations

import click

from lieref._text import did_you_mean


def parse_semantics(ctx: click.Context, param: click.Parameter, value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the names in ``tflite-reference,xnnpack``, or in several of those, each once; none where none is given."""
    from lieref.op.integer.semantics import SEMANTICS

    if not value:
        return ()
    given = value if isinstance(value, str) else ",".join(value)
    names = tuple(dict.fromkeys(part.strip() for part in given.split(",") if part.strip()))
    strange = next((name for name in names if name not in SEMANTICS), None)
    if strange is not None or not names:
        near = did_you_mean(strange or given, SEMANTICS)
        raise click.BadParameter(f"{strange or given!r} is none of {', '.join(SEMANTICS)}{near}", ctx, param)
    return names
