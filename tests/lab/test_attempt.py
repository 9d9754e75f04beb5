"""A learner's function is called where it can do no harm, and what became of it is said in words."""

from __future__ import annotations

import os
import socket
import sys
import time

import pytest

from labrt.lab.checks import attempt
from labrt.linux import procfs, syscalls

pytestmark = pytest.mark.root
UNWRITTEN = ("one", "two", "three")


def unwritten():
    raise NotImplementedError("a hint")


def comes_back_twice():
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return pid


def test_a_value_comes_back():
    assert attempt.run(lambda: {"pid": os.getpid() > 1, "stat": procfs.stat(os.getpid()).pid == os.getpid()}) == (
        attempt.Attempt({"pid": True, "stat": True})
    )


@pytest.mark.parametrize(
    ("work", "problem", "hint"),
    [
        (unwritten, "it is not written yet", "one"),
        (lambda: 1 / 0, "it raised ZeroDivisionError: division by zero", "ZeroDivisionError"),
        (comes_back_twice, attempt.TWICE, "which of them came back"),
        (lambda: os._exit(3), "it ended the process that called it, with exit code 3", "exit code 3"),
        (lambda: sys.exit(4), "it ended the process that called it, with exit code 4", "exit code 4"),
        (lambda: os.kill(os.getpid(), 9), "it ended the process that called it, with exit code 137", "137"),
        (lambda: time.sleep(99), "it did not come back within 1 seconds", "for what does it wait"),
        (lambda: sys.stdout, "it returned what cannot be sent: TextIOWrapper", "cannot be sent"),
    ],
)
def test_what_goes_wrong_is_said(work, problem, hint):
    tried = attempt.run(work, timeout=1.0 if "sleep" in work.__code__.co_names else 10.0)
    assert tried.problem == problem and tried.value is None
    assert hint in tried.hints(UNWRITTEN)[0] and len(tried.hints(UNWRITTEN)) == 3


def test_it_leaves_nothing(tmp_path):
    """Neither a mount, nor a name, nor a process that it has let go."""
    read, write = os.pipe()

    def careless():
        syscalls.sethostname("elsewhere")
        syscalls.mount("x", str(tmp_path), "tmpfs")
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
        return os.path.ismount(tmp_path)

    before = socket.gethostname(), len(procfs.mountinfo()), os.listdir("/proc/self/fd")
    assert attempt.run(careless).value is True
    os.close(write)
    assert os.read(read, 1) == b""  # who holds the other end is gone
    os.close(read)
    after = socket.gethostname(), len(procfs.mountinfo()), os.listdir("/proc/self/fd")
    assert before[:2] == after[:2] and len(after[2]) == len(before[2]) - 2


def test_an_answer_may_be_long():
    assert attempt.run(lambda: b"x" * 200_000).value == b"x" * 200_000
