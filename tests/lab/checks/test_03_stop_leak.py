"""Notebook 03's exercise: what passes, and how each likely mistake is answered."""

from __future__ import annotations

import pytest

from labrt.linux import mounts

pytestmark = pytest.mark.root


def right():
    mounts.set_propagation("/", "rslave")


def test_stop_leak(judged):
    judged("03", right, {
        "nothing": (lambda: None, "still peers"),
        "deaf": (lambda: mounts.set_propagation("/", "rprivate"), "deaf as well"),
        "unbindable": (lambda: mounts.set_propagation("/", "runbindable"), "nothing comes out, and nothing in"),
        "a word that is none": (lambda: mounts.set_propagation("/", "quiet"), "no propagation is called 'quiet'"),
    })  # fmt: skip


@pytest.mark.parametrize("word", ["slave", "private", "rshared"])
def test_what_does_not_reach_all_mounts_leaves_peers(word, labrt_root):
    from labrt import lab

    check = lab.check("03", lambda: mounts.set_propagation("/", word))
    assert not check.passed and "still peers" in check.hint(1)
