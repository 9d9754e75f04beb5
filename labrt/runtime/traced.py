"""What the processes of the runtime tell, when a daemon traces: their system calls, and the states they write down.

    traced.join()                       the launcher's, once: all that it forks tells as well
    traced.begin("create", message)     a fork's: for which request it works, and as what

Nothing of this is imported otherwise. See linux/tracing.py; engine/api/tracing.py, which reads it.
"""

from __future__ import annotations

import os
from typing import Any

from labrt.linux import tracing
from labrt.runtime import state

ROLES = {"create": "monitor", "exec": "joiner"}


def join(name: str = "launcher") -> None:
    """Begin to tell, if somebody listens."""
    if tracing.join(os.environ[tracing.VARIABLE], name):
        write = state.write

        def told(path: str, now: Any, *args: Any, **kwargs: Any) -> None:
            write(path, now, *args, **kwargs)
            code = f", exit code {now.exit_code}" if now.exit_code is not None else ""
            tracing.tell("state", f"{now.status}{f', process {now.pid}' if now.pid else ''}{code}", container=now.id)

        state.write = told  # type: ignore[assignment]


def begin(message: dict[str, Any]) -> None:
    """Work for one request from now on."""
    tracing.role = ROLES.get(message.get("op", ""), tracing.role)
    tracing.request.set(message.pop("traced_for", 0))
