"""Notebook 01's exercise: what passes, and how each likely mistake is answered."""

from __future__ import annotations

import os
import signal

import pytest

pytestmark = pytest.mark.root


def start(argv, code=127):
    pid = os.fork()
    if pid == 0:
        try:
            os.execvp(argv[0], argv)
        finally:
            os._exit(code)
    return pid


def pass_on(pid):
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(pid, number))


def shell_code(status):
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def right(argv):
    pid = start(argv)
    pass_on(pid)
    return shell_code(os.waitpid(pid, 0)[1])


def returns_the_status(argv):
    return os.waitpid(start(argv), 0)[1]


def returns_nothing(argv):
    os.waitpid(start(argv), 0)


def forgets_the_128(argv):
    return os.waitstatus_to_exitcode(os.waitpid(start(argv), 0)[1])


def lets_the_child_come_back(argv):
    pid = os.fork()
    if pid == 0:
        os.execvp(argv[0], argv)
    return shell_code(os.waitpid(pid, 0)[1])


def says_1_for_no_such_program(argv):
    return shell_code(os.waitpid(start(argv, code=1), 0)[1])


def leaves_a_zombie(argv):
    if os.fork() == 0:
        os._exit(0)
    return shell_code(os.waitpid(start(argv), 0)[1])


def keeps_the_signal(argv):
    return shell_code(os.waitpid(start(argv), 0)[1])


def always_3(argv):
    return 3


def execs_at_once(argv):
    os.execvp(argv[0], argv)


def test_relay(judged):
    judged("01", right, {
        "status": (returns_the_status, "wait status"),
        "nothing": (returns_nothing, "returned nothing"),
        "128": (forgets_the_128, "what does a shell say"),
        "twice": (lets_the_child_come_back, "which of them came back"),
        "127": (says_1_for_no_such_program, "a shell says 127"),
        "zombie": (leaves_a_zombie, "zombies"),
        "signal": (keeps_the_signal, "never heard of it"),
        "constant": (always_3, "the codes were"),
        "no fork": (execs_at_once, "ended the process that called it"),
    })  # fmt: skip
