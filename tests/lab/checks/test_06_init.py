"""Notebook 06's exercise: what passes, and how each likely mistake is answered."""

from __future__ import annotations

import os
import signal

import pytest

pytestmark = pytest.mark.root


def start(argv):
    pid = os.fork()
    if pid == 0:
        try:
            os.execvp(argv[0], argv)
        finally:
            os._exit(127)
    return pid


def pass_on(program):
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(program, number))


def right(argv):
    program = start(argv)
    pass_on(program)
    while True:
        pid, status = os.wait()
        if pid == program:
            return os.waitstatus_to_exitcode(status)


def waits_for_its_own(argv):
    program = start(argv)
    pass_on(program)
    return os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])


def believes_the_first(argv):
    pass_on(start(argv))
    return os.waitstatus_to_exitcode(os.wait()[1])


def waits_for_all(argv):
    pass_on(start(argv))
    code = 0
    while True:
        try:
            code = os.waitstatus_to_exitcode(os.wait()[1])
        except ChildProcessError:
            return code


def is_deaf(argv):
    program = start(argv)
    while True:
        pid, status = os.wait()
        if pid == program:
            return os.waitstatus_to_exitcode(status)


def returns_nothing(argv):
    right(argv)


def raises(argv):
    return argv.program


def test_init(judged):
    judged("06", right, {
        "own": (waits_for_its_own, "zombies hang on process 1"),
        "first": (believes_the_first, "the end of somebody else"),
        "all": (waits_for_all, "it waits for a daemon"),
        "deaf": (is_deaf, "docker stop would wait in vain"),
        "nothing": (returns_nothing, "it returned no number"),
        "raises": (raises, "AttributeError"),
    })  # fmt: skip
