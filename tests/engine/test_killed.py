"""kill -9, at random instants, of each process that has a part in a container; then the truth, and a clean machine.

What must hold: no state says that something runs which does not; a program that ended while its monitor lived has left
its exit code and its last line; the next command mends the rest. The long form, hundreds of kills: LABRT_KILLS=500.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from labrt.engine.containers import Containers
from labrt.engine.options import Options
from labrt.errors import ContainerNotFound, LabrtError
from labrt.linux import cgroups, ledger, process, procfs
from labrt.runtime import state as states

pytestmark = pytest.mark.root
KILLS = int(os.environ.get("LABRT_KILLS", "24"))
WHOM = ("command line", "launcher", "monitor", "init", "joiner")
SCRIPT = "echo first; sleep 0.0{delay}; echo last; exit 7"


def eventually(condition, seconds: float = 60.0):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)
    return value


def labrt(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "labrt", *arguments], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip


def descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(LabrtError):
        for child in procfs.children(pid):
            found += [child, *descendants(child)]
    return found


def named(pids: list[int], name: str) -> list[int]:
    found = []
    for pid in pids:
        with contextlib.suppress(LabrtError):
            if procfs.stat(pid).comm == name:
                found.append(pid)
    return found


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def target(whom: str, command: subprocess.Popen[bytes], container) -> int:
    """Find whom to kill; 0 when there is nobody, or not yet. A launcher and the joiner that it forks have one name."""
    if whom == "command line":
        return command.pid
    with contextlib.suppress(LabrtError):
        if whom == "monitor":
            return container.state.monitor
        if whom == "init":
            return container.state.pid
    launchers = named(descendants(command.pid), "labrt-launcher")
    return (launchers or [0])[0 if whom == "launcher" else -1]


def check(container) -> None:
    """Nothing is said that is not so, and nothing runs that nobody knows of."""
    with contextlib.suppress(ContainerNotFound):
        state = container.state
        if state.kept and state.monitor:
            assert states.monitor_alive(state)
        if state.status == states.RUNNING:
            eventually(lambda: process.start_time(state.pid) == state.starttime or container.state.status != "running")
        if container.status == "exited":
            assert state.exit_code is not None and state.finished


def test_whoever_is_killed_whenever(house):
    luck = random.Random(20261124)
    for number in range(KILLS):
        whom = WHOM[number % len(WHOM)]
        delay = luck.choice((1, 3, 9))
        container = Containers().create(Options("busybox", ("sh", "-c", SCRIPT.format(delay=delay))))
        command = labrt("start", "-a", container.id) if whom != "joiner" else None
        if command is None:
            container.remove(force=True)
            container = Containers().create(Options("busybox", ("sleep", "1000")))
            container.start()
            command = labrt("exec", container.id, "sh", "-c", "sleep 0.2; exit 5")
        time.sleep(luck.uniform(0.05, 0.6))
        victim = target(whom, command, container)
        if victim:
            kill(victim)
        command.wait(60)
        check(container)
        if whom in ("command line", "launcher", "init"):
            # The monitor lives, so it ends as it would have, or its init was killed: and either is known to the end.
            _check_end(container, killed=whom == "init")
        Containers().mend()
        check(container)
        container.remove(force=True)
        assert Containers().list(all=True) == []
    assert not [entry for entry in ledger.entries() if entry.kind == "container"]
    _is_clean()


def _check_end(container, *, killed: bool) -> None:
    state = container.state
    if state.pid and state.started and states.monitor_alive(state):
        container.wait(60)
    state = container.state
    if state.exit_code == 7:
        assert [entry.text for entry in container.logs()] == ["first\n", "last\n"]
    elif state.started and not state.error:
        assert killed and state.exit_code == 137, state


def _is_clean() -> None:
    for entry in ledger.entries():
        if entry.kind == "process":
            assert not procfs.alive(int(entry.what), int(entry.detail["starttime"])), entry
    assert not [tree for tree in cgroups.detect().trees if any(
        entry.kind == "cgroup" and os.path.isdir(tree.directory(entry.what)) for entry in ledger.entries()
    )]  # fmt: skip


@pytest.mark.parametrize("signals", [12])
def test_a_monitor_that_is_killed_at_the_very_end_has_told_or_not_told_but_never_lies(house, signals):
    luck = random.Random(7)
    for _ in range(signals):
        container = Containers().create(Options("busybox", ("sh", "-c", "echo said; exit 9")))
        with contextlib.suppress(LabrtError):
            container.start()
        time.sleep(luck.uniform(0, 0.02))
        kill(container.state.monitor)
        eventually(lambda one=container: one.status == "exited")
        state = container.state
        assert (state.exit_code, state.error) in ((9, ""), (137, "its monitor was killed"))
        if state.exit_code == 9:
            assert [entry.text for entry in container.logs()] == ["said\n"]
        container.remove()
    assert ledger.entries() == []


def test_pid_1_reaps(house):
    """Orphans in the container become children of its PID 1; with the --init that comes, they are waited for."""
    script = "for i in 1 2 3 4 5; do (true &) ; done; sleep 0.2; while [ ! -e /end ]; do sleep 0.05; done"
    container = Containers().create(Options("busybox", ("sh", "-c", script), init=True))
    container.start()
    try:
        time.sleep(1)
        zombies = [line for line in container.exec("ps", "-o", "stat,args").stdout.splitlines() if line.startswith("Z")]
        assert zombies == []
    finally:
        container.remove(force=True)


def test_two_who_start_it_at_once_start_it_once(house):
    container = Containers().create(Options("busybox", ("sh", "-c", "echo run; sleep 1000")))
    commands = [labrt("start", container.id) for _ in range(4)]
    for command in commands:
        command.wait(60)
    time.sleep(0.1)
    assert [entry.text for entry in container.logs()] == ["run\n"] and container.status == "running"
    container.remove(force=True)
    assert ledger.entries() == []
