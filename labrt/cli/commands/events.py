"""`labrt events`: what happened, and what happens."""

from __future__ import annotations

import sys
import time

import click

from labrt.cli import filters, templates
from labrt.engine import events, moments
from labrt.engine.inspect import rfc3339


@click.command
@click.option("-f", "--filter", "wanted", metavar="KEY=VALUE", multiple=True,
              help=f"Show only what fits: {', '.join(events.FILTERS)}")  # fmt: skip
@click.option("--format", "template", metavar="TEMPLATE", help="json, or docker's '{{.Type}} {{.Action}}'")
@click.option("--since", metavar="TIME", help="Show what happened since: 10m, 2026-11-24T05:22:13")
@click.option("--until", metavar="TIME", help="Show nothing later, and end then")
def command(wanted: tuple[str, ...], template: str | None, since: str | None, until: str | None) -> None:
    """Show what happens to containers and images, as it happens.

    With --since what happened since then first; with --until in the past, that is all.

    \b
    Examples:
      labrt events
      labrt events --since 10m --until 0s --filter container=web --filter event=die
    """  # noqa: D301
    chosen = filters.read(wanted)
    last = moments.parse(until) if until else None
    follow = last is None or last > time.time()
    first = moments.parse(since) if since else None
    for event in events.read(since=first, until=last, filters=chosen, follow=follow):
        print(_line(event) if template is None else _formatted(template, event))
        sys.stdout.flush()


def _line(event: events.Event) -> str:
    about = ", ".join(f"{key}={value}" for key, value in sorted(event["Actor"]["Attributes"].items()))
    return f"{rfc3339(event['timeNano'] / 1e9)} {event['Type']} {event['Action']} {event['Actor']['ID']} ({about})"


def _formatted(template: str, event: events.Event) -> str:
    import json

    if template in ("json", "{{json .}}"):
        return json.dumps(event, ensure_ascii=False)
    row = {"ID": event["Actor"]["ID"], "Type": event["Type"], "Action": event["Action"], "Scope": event["scope"],
           "Status": event["Action"], "Time": str(event["time"]), "TimeNano": str(event["timeNano"]),
           "From": event["Actor"]["Attributes"].get("image", "")}  # fmt: skip
    return templates.render(template, [row], {})
