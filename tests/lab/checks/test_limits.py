"""Notebook 08's check: hold(program) within a learner's own limits. What passes, and what each mistake is told."""

from __future__ import annotations

import contextlib
import re

import pytest

from labrt.errors import LabrtError
from labrt.lab import given
from labrt.lab.checks import limits
from labrt.linux import cgroups, ledger, process

pytestmark = pytest.mark.root


YOURS = object()  # what was asked of this learner


def in_a_group(program, *, memory=YOURS, pids=YOURS, joined=True, keep=False, late=False, answer=None):
    wanted = given.hold()
    memory = f"{wanted.mib}M" if memory is YOURS else memory
    pids = wanted.pids if pids is YOURS else pids
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
    "a million is no MiB": (lambda program: in_a_group(program, memory=64_000_000), "6.* bytes, where [0-9]+ MiB are"),
    "no pids limit": (lambda program: in_a_group(program, pids=None), "any number of processes"),
    "a neighbour's": (lambda program: in_a_group(program, memory="64M"), "its memory has 67108864 bytes, where"),
    "one too few": (lambda program: in_a_group(program, pids=20), "20 processes, not [23]"),
    "answers too little": (lambda program: in_a_group(program, answer=(0,)), "three things"),
    "answers at random": (lambda program: in_a_group(program, answer=(0, {"oom_kill": 0}, {})), "hog ended with 0"),
    "leaves it behind": (lambda program: in_a_group(program, keep=True), "still there|exists"),
    "raises": (lambda program: program.nothing, "AttributeError"),
}


@pytest.fixture(autouse=True)
def nothing_stays(labrt_root):
    yield
    assert [entry for entry in ledger.entries() if entry.kind == "cgroup"] == []


@pytest.mark.parametrize("name", ["Ada", "Grace"])
def test_what_holds_passes(name):
    given.learner(name)
    check = limits.holds(in_a_group)
    assert check.passed, check.saw
    assert f"{given.hold().mib} MiB, {given.hold().pids} pids" in check.saw and "no cgroup left" in check.saw


@pytest.mark.parametrize(("hold", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_is_told_what_it_is(hold, hint):
    check = limits.holds(hold)
    assert not check.passed
    assert re.search(hint, check.hint()), (check.hint(), check.saw)
    assert len(check.hints) >= 2
