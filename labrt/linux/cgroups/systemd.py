"""Asking systemd for a cgroup, where systemd is PID 1 and keeps the tree.

    path = systemd.scope(os.getpid(), "c0ffee")            # "/labrt.slice/labrt-c0ffee.scope", delegated to us
    with cgroups.create("container", parent=path) as g:    # … and what is below it is ours
        ...

systemd regards itself as the tree's only writer, and hands out subtrees (Delegate=yes) to those who ask. A *scope* is a
subtree for processes that somebody else started; systemd removes it when the last of them ends. For an ordinary user
this is the only way out of the login session's cgroup: their own systemd asks the system's to move the process.
See systemd.scope(5), org.freedesktop.systemd1(5), and https://systemd.io/CGROUP_DELEGATION.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable

from labrt import paths
from labrt.errors import Conflict, NotFound, NotSupported
from labrt.linux.cgroups import files, tree
from labrt.linux.cgroups.detect import Hierarchy, detect

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from labrt.linux.cgroups.properties import Property

SLICE = "labrt.slice"
_MANAGER = (
    "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
)  # fmt: skip


def present(run: str = "/run") -> bool:
    """Whether systemd is PID 1: this directory is how sd_booted(3) knows, too."""
    return os.path.isdir(f"{run}/systemd/system")


def scope(
    pid: int, name: str, *, slice: str = SLICE, hierarchy: Hierarchy | None = None, timeout: float = 20.0
) -> str:
    """Have a process moved into a scope of its own, `labrt-NAME.scope`, and return the scope's path in the v2 tree.

    The process is then in the leaf `monitor` below it, for the scope itself must stay empty to hand controllers to
    cgroups below. Children that it had before stay where they were. Raises NotSupported without systemd or v2,
    Conflict if there is such a scope.
    """
    v2 = (hierarchy or detect()).v2
    if not present() or v2 is None:
        raise NotSupported("there is no systemd here, or no cgroup v2", remedy="use cgroups.create without a scope")
    path = start(pid, f"labrt-{name}.scope", slice, timeout=timeout)
    leaf = f"{v2.directory(path)}/monitor"
    tree.make_parents(leaf)
    files.write(f"{leaf}/cgroup.procs", pid)
    return path


def start(
    pid: int, unit: str, slice: str = SLICE, *, properties: Iterable[Property] = (), timeout: float = 20.0
) -> str:
    """Have a process moved into a new scope of any name, with these `properties` (properties.py) besides the usual.

    Returns the scope's path. Raises as `scope` does.
    """
    _call("StartTransientUnit", *start_transient_unit(pid, unit, slice, properties))
    return _wait_for(pid, unit, timeout)


def set_properties(unit: str, properties: Iterable[Property]) -> None:
    """Change a unit's properties, until the next boot. Raises NotFound and NotSupported."""
    given = [*properties]
    if given:
        # true: for this run of the machine only; a file on disk would outlive the container.
        _call("SetUnitProperties", "sba(sv)", unit, "true", str(len(given)), *(word for one in given for word in one))


def stop(name: str) -> None:
    """Have a scope's processes ended and the scope removed. Harmless if there is none."""
    stop_unit(f"labrt-{name}.scope")


def stop_unit(unit: str) -> None:
    """The same, for a scope of any name."""
    with contextlib.suppress(NotFound):
        _call("StopUnit", "ss", unit, "replace")


def start_transient_unit(pid: int, unit: str, slice: str = SLICE, more: Iterable[Property] = ()) -> list[str]:
    """Write the arguments of StartTransientUnit as busctl takes them: a signature, then values, arrays by length."""
    properties: list[Property] = [
        ("Description", "s", "a labrt container"),
        ("Delegate", "b", "true"),
        ("Slice", "s", slice),
        ("PIDs", "au", "1", str(pid)),
        ("CollectMode", "s", "inactive-or-failed"),  # forget it, too, when it has failed
        *more,
    ]
    flat = [word for one in properties for word in one]
    # fail: rather refuse than replace a scope of this name. The last array (auxiliary units) is empty.
    return ["ssa(sv)a(sa(sv))", unit, "fail", str(len(properties)), *flat, "0"]


def _call(method: str, *arguments: str) -> None:
    """Call systemd over D-Bus. busctl comes with systemd: a D-Bus library would be a dependency for two calls."""
    import subprocess

    bus = [] if paths.owner() == 0 else ["--user"]
    command = ["busctl", *bus, "--quiet", "call", *_MANAGER, method, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise NotSupported("busctl is not installed", remedy="it belongs to systemd: install that package") from None
    except subprocess.TimeoutExpired:
        raise NotSupported(f"systemd did not answer {method} in a minute", remedy="see `systemctl status`") from None
    if done.returncode == 0:
        return
    said = done.stderr.strip()
    if "not loaded" in said:
        raise NotFound(f"systemd has no unit {arguments[1]}")
    if "already" in said:
        raise Conflict(f"systemd: {said}", remedy=f"`systemctl stop {arguments[1]}` takes it down")
    raise NotSupported(f"systemd refused {method}: {said}", remedy="see `systemctl status` and `loginctl`")


def _wait_for(pid: int, unit: str, timeout: float) -> str:
    """Wait until the process is in its scope: systemd answers when it has *queued* the job."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            with open(f"/proc/{pid}/cgroup") as stream:
                path = next((line.rstrip("\n")[3:] for line in stream if line.startswith("0::")), "/")
        except FileNotFoundError:
            raise NotFound(f"there is no process {pid} (any more)") from None
        if path.endswith(f"/{unit}"):
            return path
        if time.monotonic() > deadline:
            raise NotSupported(f"systemd did not move {pid} into {unit}", remedy=f"see `systemctl status {unit}`")
        time.sleep(0.005)
