"""lab.checks: what passes, and how each likely mistake is answered."""

from __future__ import annotations

import os

import pytest

from labrt import lab
from labrt.linux import ledger, mounts, procfs


def right(entries):
    for entry in reversed(entries):
        if entry.kind == "mount":
            mounts.unmount(entry.what)
        elif entry.kind == "directory":
            os.rmdir(entry.what)
        ledger.strike(entry)


def unwritten(entries):
    raise NotImplementedError


def only_strikes(entries):
    for entry in entries:
        ledger.strike(entry)


def oldest_first(entries):
    right(list(reversed(entries)))


def never_strikes(entries):
    for entry in reversed(entries):
        if entry.kind == "mount":
            mounts.unmount(entry.what)
        else:
            os.rmdir(entry.what)


def forgets_directories(entries):
    for entry in reversed(entries):
        if entry.kind == "mount":
            mounts.unmount(entry.what)
        ledger.strike(entry)


def does_nothing(entries):
    return entries


def mistypes(entries):
    return entries[0].path


def resets(entries):
    lab.reset()


@pytest.fixture
def judge(labrt_root):
    """Let the check judge a function; whatever that did, nothing is left of the check's accident."""
    seen = []

    def judge(function):
        def spied_on(entries):
            seen.extend(entries)
            return function(entries)

        return lab.checks.cleans_up(spied_on)

    yield judge
    assert [entry.kind for entry in seen] == ["directory", "directory", "mount", "mount"]
    assert ledger.entries() == []
    assert {entry.what for entry in seen}.isdisjoint(mount.mount_point for mount in procfs.mountinfo())
    assert not any(os.path.lexists(entry.what) for entry in seen)


@pytest.mark.root
@pytest.mark.parametrize("function", [right, resets])
def test_what_cleans_up_passes(function, judge):
    check = judge(function)
    assert check.passed and bool(check) and check.hints == ()
    assert check.saw == "0 of its mounts in mountinfo, 0 of its directories, 0 of its entries"
    assert repr(check) == "<Check clean_up: passed>"


MISTAKES = {
    unwritten: "go through the entries",
    only_strikes: "the ledger has forgotten what the kernel still has",
    oldest_first: "busy",
    never_strikes: "the kernel has forgotten, the ledger has not",
    forgets_directories: "the directories",
    does_nothing: "the kernel still has the mounts",
    mistypes: "AttributeError",
}


@pytest.mark.root
@pytest.mark.parametrize(("function", "hint"), MISTAKES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_each_mistake_has_a_hint_of_its_own(function, hint, judge):
    check = judge(function)
    assert not check.passed
    assert hint in check.hint() and check.hint() in str(check) and check.hint(99) == check.hints[-1]
    others = [other for other in MISTAKES.values() if other != hint]
    assert not any(other in check.hint() for other in others)


PROBE = {
    "root": "overlay", "pid": "1", "hostname": "box", "network": "lo", "cgroup": "/", "mounts": "/ /proc",
    "limit": "67108864", "uid": "0", "seccomp": "2",
}  # fmt: skip


def test_a_container_that_answers_the_same_passes_whatever_its_filter():
    assert lab.checks.contained({**PROBE, "seccomp": "0"}, PROBE).passed


@pytest.mark.parametrize("field", lab.checks.ISOLATION)
def test_what_differs_is_named_with_a_hint_of_its_own(field):
    check = lab.checks.contained({**PROBE, field: "another"}, PROBE)
    assert not check.passed
    assert (check.saw, check.expected) == (f"{field} 'another'", f"{field} {PROBE[field]!r}")
    assert check.hints == lab.checks.ISOLATION[field]
    assert len({hints[0] for hints in lab.checks.ISOLATION.values()}) == len(lab.checks.ISOLATION)


def test_a_container_that_never_ran_is_told_so():
    check = lab.checks.contained({}, PROBE)
    assert not check.passed and "never ran" in check.hint() and "execve" in check.hint(3)


def test_a_probe_is_read_line_by_line():
    assert lab.checks.parse_probe("a=1\nnoise\nb=x=y \n") == {"a": "1", "b": "x=y"}
