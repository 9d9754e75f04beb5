"""`labrt system`: docker's long forms of what is about everything."""

from __future__ import annotations

import click

from labrt.cli.longforms import LongForms


@click.group(cls=LongForms, words={word: word for word in ("df", "events", "info", "prune")})
def command() -> None:
    """Look after the whole, by docker's long names.

    `labrt system df` is `labrt df`; the other words, too, are commands of the same name.

    \b
    Examples:
      labrt system df
      labrt system prune --all
    """  # noqa: D301
