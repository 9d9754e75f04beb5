"""The seccomp listener: a filter may leave a system call's answer to somebody outside, the *seccomp agent*.

The kernel gives the listener's descriptor to the process that installs the filter, init or the joiner's program. That
one sends it to its parent ({"seccomp": true}), who hands it to the agent's socket, linux.seccomp.listenerPath, with the
state of the container. From then on a call with the action SCMP_ACT_NOTIFY waits until the agent has answered.

    verdict(sock, config, state)    what the child says in the end; a listener that comes before is handed over

See seccomp_unotify(2); config-linux.md of the OCI runtime-spec, "The Container Process State".
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping

from labrt.errors import ContainerError
from labrt.runtime import wire

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

PATIENCE = 10.0  # seconds for an agent that does not read


def verdict(
    sock: socket.socket, seccomp: Mapping[str, Any] | None, state: Callable[[], Mapping[str, Any]], *, pid: int = 0
) -> dict[str, Any] | None:
    """Receive what the child says; None: its socket was closed, the program runs. Arguments and errors of hand_over."""
    while True:
        answer, fds = wire.receive(sock)
        if not answer or "seccomp" not in answer:
            return answer
        hand_over(seccomp or {}, state(), fds[0], pid=pid)


def hand_over(seccomp: Mapping[str, Any], state: Mapping[str, Any], listener: int, *, pid: int = 0) -> None:
    """Send the listener's descriptor and the container process state to the agent, and close both.

    `state` is the container's; `pid` is whose filter it is, if not the container's init. Raises ContainerError when
    nobody listens there: then nobody would ever answer, and the container must end.
    """
    path = seccomp.get("listenerPath") or ""
    message = {"ociVersion": state["ociVersion"], "fds": ["seccompFd"], "pid": pid or state.get("pid", 0)}
    message["state"] = state
    if seccomp.get("listenerMetadata"):
        message["metadata"] = seccomp["listenerMetadata"]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
            agent.settimeout(PATIENCE)
            with wire.short_path(path) as short:
                agent.connect(short)
            data = json.dumps(message).encode()
            sent = socket.send_fds(agent, [data], [listener])  # descriptors go with the first part only
            agent.sendall(data[sent:])
    except OSError as error:
        remedy = "start the seccomp agent first"
        raise ContainerError(f"linux.seccomp.listenerPath: {path}: {error.strerror or error}", remedy=remedy) from error
    finally:
        os.close(listener)
