"""`exec`: one more program in a container of `labrt-oci`, by the joiner's way (joiner.py), without the joiner.

    wanted = section(config, args, changes)      what to run, and how: a process section, made from the container's own
    execute(root, id, wanted, terms)             it runs; returns it as our child, and its terminal's master

See setns(2); config.md of the runtime-spec, "Process".
"""

from __future__ import annotations

import os

from labrt.errors import Conflict, InvalidConfig, InvalidInput
from labrt.linux import process
from labrt.runtime.oci import create, lifecycle
from labrt.runtime.oci import record as records
from labrt.runtime.oci.create import Terms

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any


def section(config: dict[str, Any], args: list[str], changes: dict[str, Any]) -> dict[str, Any]:
    """Make a process section from the container's own: its user, environment and rights, unless changed.

    `changes` may have env (added), cwd, user ("uid[:gid]"), additional_gids, capabilities (added), terminal,
    no_new_privileges and apparmor.
    """
    base = dict(config.get("process") or {})
    for one_time in ("consoleSize", "terminal"):
        base.pop(one_time, None)
    found = {**base, "args": args, "env": [*(base.get("env") or ()), *changes.get("env", ())]}
    found["terminal"] = bool(changes.get("terminal"))
    if changes.get("cwd"):
        found["cwd"] = changes["cwd"]
    found["user"] = _user(base.get("user") or {}, changes)
    if changes.get("capabilities"):
        found["capabilities"] = _more_capabilities(base.get("capabilities") or {}, changes["capabilities"])
    if changes.get("no_new_privileges"):
        found["noNewPrivileges"] = True
    if changes.get("apparmor"):
        found["apparmorProfile"] = changes["apparmor"]
    return found


def _user(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    user = dict(base)
    if changes.get("user"):
        uid, _, gid = changes["user"].partition(":")
        if not uid.isdecimal() or (gid and not gid.isdecimal()):
            raise InvalidInput(f"--user {changes['user']}: not a number", remedy="UID or UID:GID")
        user["uid"] = int(uid)
        if gid:
            user["gid"] = int(gid)
    if changes.get("additional_gids"):
        user["additionalGids"] = [*user.get("additionalGids", ()), *changes["additional_gids"]]
    return user


def _more_capabilities(base: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Add to bounding, effective and permitted; to the ambient set what can be inherited, too (as runc does)."""
    found = dict(base)
    for kind in ("bounding", "effective", "permitted"):
        found[kind] = list(dict.fromkeys([*found.get(kind, ()), *names]))
    inheritable = set(found.get("inheritable") or ())
    found["ambient"] = [*found.get("ambient", ()), *(name for name in names if name in inheritable)]
    return found


def execute(
    root: str, id: str, wanted: dict[str, Any], terms: Terms, *, ignore_paused: bool = False
) -> tuple[process.Child, int | None]:
    """Run the process section `wanted` in a container; it is our child. Conflict when the container has ended."""
    from labrt.runtime import fields, joiner

    record = records.read(root, id)
    now = records.status(root, record)
    if now not in (records.RUNNING, records.CREATED) and not (now == records.PAUSED and ignore_paused):
        raise Conflict(f"cannot exec in a container that is {now}")
    fields.check({"ociVersion": record.version, "process": wanted}, run=True)
    if not wanted.get("args"):
        raise InvalidConfig("process.args: there is nothing to run")
    terminal = bool(wanted.get("terminal"))
    create.check_terminal(terminal, terms.console_socket, terms.detached)
    size = wanted.get("consoleSize")
    config = records.config(root, id)
    seccomp = config["linux"].get("seccomp")
    request = {
        "pid": record.pid,
        "cgroup": record.cgroup,
        "process": wanted,
        "linux": config["linux"],
        "seccomp": seccomp,
        "state": lifecycle.hook_state(root, record, now) if (seccomp or {}).get("listenerPath") else None,
        "user": "",
        "console_size": (size["height"], size["width"]) if size else None,
        "kept": create.preserved(terms, wanted),
        "every_tree": True,
        "with_parent": False,
    }
    pidfd = records.open_init(record)
    if pidfd is None:
        raise Conflict("cannot exec in a container that is stopped")
    try:
        child, fds = joiner.bring_in(request, pidfd, () if terminal else (0, 1, 2))
    finally:
        os.close(pidfd)
    return _hand_over(child, fds[0] if fds else None, terms)


def _hand_over(child: process.Child, master: int | None, terms: Terms) -> tuple[process.Child, int | None]:
    try:
        if master is not None and terms.console_socket:
            create.send_master(terms.console_socket, master)
            os.close(master)
            master = None
        if terms.pid_file:
            create.write_pid_file(terms.pid_file, child.pid)
    except BaseException:
        child.kill()
        child.wait()
        raise
    return child, master
