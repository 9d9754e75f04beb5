"""Notebook 17's check: enter(state, argv). What passes, and what each mistake is told."""

from __future__ import annotations

import os

import pytest

from labrt.lab.checks import execs
from labrt.linux import cgroups, namespaces, process

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("busybox")]
ALL = "mnt,uts,ipc,net,pid,cgroup"


def enter(state, argv, *, kinds=ALL, joined=True, fork=True, code=True):
    def scout():
        if kinds:
            namespaces.enter(state.pid, kinds)
        if not fork:
            os.execvp(argv[0], argv)
        child = os.fork()
        if child == 0:
            try:
                os.execvp(argv[0], argv)
            finally:
                os._exit(127)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status) if code else 0

    group = cgroups.load(state.cgroup) if joined else None
    with process.spawn(scout, cgroup=group) as child:
        return child.wait().code


def unwritten(state, argv):
    raise NotImplementedError


def but(**how):
    return lambda state, argv: enter(state, argv, **how)


MISTAKES = {
    "unwritten": (unwritten, "only *its* child"),
    "nothing run": (lambda state, argv: 7, "nothing was executed"),
    "no namespace": (but(kinds=""), "mount namespace"),
    "no net": (but(kinds="mnt,uts,ipc,pid,cgroup"), "not entered: net"),
    "no fork": (but(fork=False), "not in its PID namespace"),
    "no cgroup": (but(joined=False), "limits do not hold"),
    "no exit code": (but(code=False), "ended with 7"),
    "raises": (lambda state, argv: state.nothing, "AttributeError"),
}


def test_who_enters_passes():
    check = execs.enters(enter)
    assert check.passed, (check.saw, check.hints)
    assert "exit code 7" in check.saw


@pytest.mark.parametrize(("mistake", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_is_told_what_it_is(mistake, hint):
    check = execs.enters(mistake)
    assert not check.passed
    assert hint in check.hint(), (check.hint(), check.saw)
    assert len(check.hints) >= 2
