"""Notebook 08's check: hold(program) within 64 MiB and 20 processes. What passes, and what each mistake is told."""

from __future__ import annotations

import contextlib
import re

import pytest

from labrt.errors import LabrtError
from labrt.lab.checks import limits
from labrt.linux import cgroups, ledger, process

pytestmark = pytest.mark.root


def in_a_group(program, *, memory="64M", pids=20, joined=True, keep=False, late=False, answer=None):
    group = cgroups.create("hold")
    try:
        if not late:
            limit(group, memory, pids)
        with process.spawn(program, cgroup=group if joined else None) as child:
            exit = child.wait()
        if late:
            limit(group, memory, pids)
        return answer or (exit, group.memory.events, group.pids.events)
    finally:
        if not keep:
            group.remove()


def limit(group, memory, pids):
    if memory:
        group.memory.max = memory
        with contextlib.suppress(LabrtError):
            group.memory.swap_max = 0
    if pids:
        group.pids.max = pids


def unwritten(program):
    raise NotImplementedError


def never_runs(program):
    return 0, {}, {}


MISTAKES = {
    "unwritten": (unwritten, "with cgroups.create"),
    "never runs it": (never_runs, "never ran"),
    "not in the group": (lambda program: in_a_group(program, joined=False), "held it to nothing"),
    "limits too late": (lambda program: in_a_group(program, late=True), "held it to nothing"),
    "no memory limit": (lambda program: in_a_group(program, memory=None), "its memory has no limit"),
    "a million is no MiB": (lambda program: in_a_group(program, memory=64_000_000), "6.* bytes, where 64 MiB are"),
    "no pids limit": (lambda program: in_a_group(program, pids=None), "any number of processes"),
    "one too many": (lambda program: in_a_group(program, pids=21), "21 processes, not 20"),
    "answers too little": (lambda program: in_a_group(program, answer=(0,)), "three things"),
    "answers at random": (lambda program: in_a_group(program, answer=(0, {"oom_kill": 0}, {})), "hog ended with 0"),
    "leaves it behind": (lambda program: in_a_group(program, keep=True), "still there|exists"),
    "raises": (lambda program: program.nothing, "AttributeError"),
}


@pytest.fixture(autouse=True)
def nothing_stays(labrt_root):
    yield
    assert [entry for entry in ledger.entries() if entry.kind == "cgroup"] == []


def test_what_holds_passes():
    check = limits.holds(in_a_group)
    assert check.passed, check.saw
    assert "64 MiB, 20 pids" in check.saw and "no cgroup left" in check.saw


@pytest.mark.parametrize(("hold", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_is_told_what_it_is(hold, hint):
    check = limits.holds(hold)
    assert not check.passed
    assert re.search(hint, check.hint()), (check.hint(), check.saw)
    assert len(check.hints) >= 2
