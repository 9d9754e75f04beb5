"""Hooks: programs that somebody wants run at six moments of a container's life, with its state on their input.

    prestart, createRuntime    in our namespaces, when the container's mounts stand, before its root is entered
    createContainer            in the container's namespaces, at that moment too; the program is the host's
    startContainer             in the container, right before its own program, and with no more rights than that one:
                               it is the image's
    poststart                  in our namespaces, when the program runs, before `start` returns
    poststop                   in our namespaces, when the container is gone

The first that fails ends it: the container is destroyed, and poststop runs. Only of poststop all are run, and each
failure is but a warning. This is imported only where a config has hooks, and by init before it enters its root.

See config.md of the OCI runtime-spec, "POSIX-platform Hooks"; runtime.md, "Lifecycle".
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping

from labrt.errors import HookFailed

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

SPOKEN = 2000  # bytes of what a hook said that its error repeats


def wanted(config: Mapping[str, Any], *kinds: str) -> bool:
    """Whether a config has hooks of one of these kinds; without kinds: any."""
    hooks = config.get("hooks") or {}
    return any(hooks.get(kind) for kind in kinds or hooks)


def state(config: Mapping[str, Any], id: str, bundle: str, status: str, pid: int = 0) -> dict[str, Any]:
    """The container's state as hooks get it: runtime.md, "State". `pid` is as seen from where the hook runs."""
    found: dict[str, Any] = {"ociVersion": config["ociVersion"], "id": id, "status": status, "bundle": bundle}
    if pid:
        found["pid"] = pid
    return found | ({"annotations": config["annotations"]} if config.get("annotations") else {})


def run(config: Mapping[str, Any], kind: str, state: Mapping[str, Any], *, cwd: str) -> None:
    """Run all hooks of one kind, in their order. Raises HookFailed, which names it, for the first that fails."""
    for error in _run(config, kind, state, cwd):
        if error:
            raise error


def run_all(config: Mapping[str, Any], kind: str, state: Mapping[str, Any], *, cwd: str) -> list[str]:
    """Run all hooks of one kind, whatever some do; return what went wrong."""
    return [str(error) for error in _run(config, kind, state, cwd) if error]


def _run(config: Mapping[str, Any], kind: str, state: Mapping[str, Any], cwd: str) -> Iterator[HookFailed | None]:
    for index, hook in enumerate((config.get("hooks") or {}).get(kind) or ()):
        yield _one(hook, f"hooks.{kind}[{index}]: {hook['path']}", json.dumps(state).encode(), cwd)


def _one(hook: Mapping[str, Any], name: str, input: bytes, cwd: str) -> HookFailed | None:
    """Run one hook to its end, or to its timeout, and say what went wrong."""
    with _memory(input) as stdin, _memory() as output:
        try:
            child = subprocess.Popen(
                hook.get("args") or [hook["path"]],
                executable=hook["path"],
                env=dict(entry.partition("=")[::2] for entry in hook.get("env") or ()),
                cwd=cwd if os.path.isdir(cwd) else "/",
                stdin=stdin,
                stdout=output,
                stderr=output,
                start_new_session=True,  # so that at a timeout its children can be killed with it
            )
        except OSError as error:
            return HookFailed(f"{name}: {error.strerror}", remedy="is it there, and executable?")
        in_time = _wait(child, hook.get("timeout"))
        said = os.pread(output, SPOKEN, 0).decode(errors="replace").strip()
    if not in_time:
        return HookFailed(f"{name}: not ready after {hook['timeout']} seconds", remedy=said)
    if child.returncode < 0:
        return HookFailed(f"{name}: killed by {signal.Signals(-child.returncode).name}", remedy=said)
    return HookFailed(f"{name}: exit code {child.returncode}", remedy=said) if child.returncode else None


def _wait(child: subprocess.Popen[bytes], seconds: float | None) -> bool:
    """Wait for the end; after the timeout make one. False: it was that."""
    poll = select.poll()
    pidfd = os.pidfd_open(child.pid)
    try:
        poll.register(pidfd, select.POLLIN)
        in_time = bool(poll.poll(None if seconds is None else seconds * 1000))
    finally:
        os.close(pidfd)
    if not in_time:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    return in_time


@contextlib.contextmanager
def _memory(content: bytes = b"") -> Iterator[int]:
    """Make a file that is only in memory: unlike a pipe it takes and gives at once, whoever reads or does not."""
    fd = os.memfd_create("labrt-hook", os.MFD_CLOEXEC)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)
