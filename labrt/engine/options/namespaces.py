"""Which namespaces a container shares, and with whom: --ipc, --pid, --uts, --cgroupns.

    private       its own, made by clone3(2) with CLONE_NEW…
    host          none is made: it stays in the host's
    container:X   X's is entered with setns(2), at each start: see runtime/joins.py

With --pid host it sees every process of the machine, and may signal those of its own user: root those of root. With
--ipc host or container:X it also sees that one's /dev/shm, for that is how POSIX shared memory is found. See
namespaces(7).
"""

from __future__ import annotations

import os
from typing import Any

from labrt.engine.options.model import Options
from labrt.errors import InvalidInput
from labrt.linux.mounts import Mount
from labrt.runtime import joins

MODES = {
    "ipc": ("private", "shareable", "host", "none", "container:NAME"),
    "pid": ("private", "host", "container:NAME"),
    "uts": ("private", "host"),
    "cgroupns": ("private", "host"),
}
JOINABLE = ("ipc", "pid")
SHM, MQUEUE = "/dev/shm", "/dev/mqueue"


def check(options: Options) -> None:
    """Raise InvalidInput for a mode that there is not, and for what contradicts one."""
    for field, modes in MODES.items():
        mode = getattr(options, field)
        joins = field in JOINABLE and mode.startswith("container:") and mode != "container:"
        if mode not in modes and not joins or mode == "container:NAME" and not joins:
            raise InvalidInput(f"--{field} {mode!r} is not known", remedy=f"one of {', '.join(modes)}")
        if options.name and other(mode) == options.name:
            raise InvalidInput(f"--{field} {mode} is this container itself", remedy="name another one")
    if other(options.ipc) and any(not entry.startswith("net") for entry in options.sysctl):
        raise InvalidInput(f"--sysctl with --ipc {options.ipc}: it would be that one's", remedy="set it there")
    if options.uts == "host" and options.hostname is not None:
        raise InvalidInput("--hostname with --uts host: it would be the host's", remedy="leave out one of them")


def other(mode: str) -> str | None:
    """Return the X of container:X."""
    return mode.removeprefix("container:") if mode.startswith("container:") else None


def apply(options: Options, config: dict[str, Any]) -> None:
    """Write the modes into config.json."""
    from labrt.engine.options.build import drop_namespace

    for field, kind in (("ipc", "ipc"), ("pid", "pid"), ("uts", "uts"), ("cgroupns", "cgroup")):
        mode = getattr(options, field)
        if mode == "host":
            drop_namespace(config, kind)
        elif id := other(mode):
            config["annotations"][f"{joins.JOIN}{kind}"] = id
    if options.uts == "host":
        del config["hostname"]
    if options.ipc not in ("private", "shareable"):
        _shared_memory(options.ipc, config)


def _shared_memory(mode: str, config: dict[str, Any]) -> None:
    """Show the /dev/shm that belongs to the IPC namespace; another container's takes this place at the start."""
    hosts = {SHM, MQUEUE} if mode == "host" else set()
    config["mounts"] = [
        Mount(place, "bind", place, ("rbind", "rprivate", "nosuid", "nodev", "noexec")).to_json()
        if (place := mount["destination"]) in hosts and os.path.isdir(place) else mount
        for mount in config["mounts"] if not (mode == "none" and mount["destination"] == SHM)
    ]  # fmt: skip


def host_config(options: Options) -> dict[str, Any]:
    """Return docker's modes; what is private there is called so, or by an empty string."""
    return {
        "IpcMode": options.ipc,
        "PidMode": "" if options.pid == "private" else options.pid,
        "UTSMode": "" if options.uts == "private" else options.uts,
        "CgroupnsMode": options.cgroupns,
    }
