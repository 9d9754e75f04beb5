"""What a container's init calls after pivot_root imports nothing: the new root may hold a hostile module."""

from __future__ import annotations

import os
import sys

import pytest

from labrt.errors import LabrtError
from labrt.linux import capabilities, network, process, pty, seccomp, syscalls
from labrt.linux.capabilities import CAP, Capabilities


def as_nobody() -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


@pytest.mark.root
@pytest.mark.parametrize("fails", [False, True])
def test_the_last_steps_need_nothing_from_the_disk(fails: bool) -> None:
    program = seccomp.build(seccomp.default_profile(capabilities.names(capabilities.DEFAULT)))

    def init() -> list[str]:
        syscalls.mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666")
        os.chroot("/proc/self/fdinfo")  # a directory in which nothing can be found
        os.chdir("/")
        before = set(sys.modules)
        if fails:
            go_wrong()
        else:
            network.loopback_up()
            capabilities.apply(Capabilities(*[CAP.NET_BIND_SERVICE] * 5), change_user=as_nobody)
            capabilities.no_new_privileges()
            seccomp.install(program)
        return sorted(set(sys.modules) - before)

    def go_wrong() -> None:
        capabilities.set_current(capabilities.NONE, capabilities.NONE)
        steps = [
            network.loopback_up,
            lambda: capabilities.limit_bounding(capabilities.NONE),
            lambda: capabilities.set_ambient(CAP.KILL),
            lambda: seccomp.install(program),
            lambda: pty.make_controlling(0),
            pty.open_in,
        ]
        for step in steps:
            try:
                step()
            except LabrtError as error:
                str(error)
            else:
                raise AssertionError(f"{step} should have failed")

    assert process.run_in_child(init, namespaces="mnt,net") == []


@pytest.mark.root
def test_a_terminal_of_ones_own_too() -> None:
    def init() -> list[str]:
        syscalls.mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666")
        before = set(sys.modules)
        terminal = pty.open_in("/dev/pts")
        pty.set_size(terminal.master, 24, 80)
        pty.make_controlling(terminal.peer)
        os.close(terminal.peer)
        return sorted(set(sys.modules) - before)

    assert process.run_in_child(init, namespaces="mnt") == []
