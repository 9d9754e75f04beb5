"""Notebook 05's exercise: what passes, and how each likely mistake is answered."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from labrt.lab import given
from labrt.linux import syscalls
from labrt.linux.flags import CLONE

pytestmark = pytest.mark.root


def right():
    syscalls.unshare(CLONE.NEWUTS | CLONE.NEWIPC)
    syscalls.sethostname(given.hide().hostname)


def renames_the_host():
    syscalls.unshare(CLONE.NEWIPC)
    syscalls.sethostname(given.hide().hostname)


def removes_the_queue():
    subprocess.run(["ipcrm", "--all=msg"], check=True)
    syscalls.unshare(CLONE.NEWUTS)
    syscalls.sethostname(given.hide().hostname)


def hides_in_a_child():
    if (pid := os.fork()) == 0:
        right()
        os._exit(0)
    os.waitpid(pid, 0)


def only_the_name():
    syscalls.unshare(CLONE.NEWUTS)
    syscalls.sethostname(given.hide().hostname)


def only_the_queue():
    syscalls.unshare(CLONE.NEWUTS | CLONE.NEWIPC)


def a_neighbours_answer():
    syscalls.unshare(CLONE.NEWUTS | CLONE.NEWIPC)
    syscalls.sethostname("vault-auk-17")


def test_hide(judged):
    judged("05", right, {
        "host": (renames_the_host, "changed outside, too"),
        "removes": (removes_the_queue, "gone, for everybody"),
        "child": (hides_in_a_child, "nothing has changed"),
        "uts": (only_the_name, "still in sight"),
        "ipc": (only_the_queue, f"but the hostname is {socket.gethostname()!r}"),
        "neighbour": (a_neighbours_answer, "but the hostname is 'vault-auk-17'"),
    })  # fmt: skip
