"""What a container's health checks say, in Docker's form. The monitor runs them: runtime/health.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labrt.engine.container import Container


def effective(check: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a Healthcheck if there is something to run in it, else None."""
    from labrt.runtime.health import command

    return dict(check) if command(check) else None


def report(container: Container) -> dict[str, Any] | None:
    """Return Docker's State.Health: Status, FailingStreak and the last five results; None without a health check."""
    from labrt.engine.inspect import rfc3339

    if not effective((container.record().get("Config") or {}).get("Healthcheck") or {}):
        return None
    try:
        with open(container.runtime.health_file) as file:
            found: dict[str, Any] = json.load(file)
    except (FileNotFoundError, ValueError):  # not begun; or the machine crashed
        return {"Status": "starting", "FailingStreak": 0, "Log": []}
    log = [{**entry, "Start": rfc3339(entry["Start"]), "End": rfc3339(entry["End"])} for entry in found["Log"]]
    return {**found, "Log": log}
