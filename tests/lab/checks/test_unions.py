"""Notebook 10's check: merge(layers) against the kernel's overlay. What passes, and what each mistake is told."""

from __future__ import annotations

import os

import pytest

from labrt.lab.checks import unions

pytestmark = pytest.mark.root


def hide(seen, path, itself=True):
    for other in list(seen):
        if other.startswith(path + "/") or (itself and other == path):
            del seen[other]


def merge(layers, *, reverse=False, marks=True, opaque=True, below=True, prefix="/", rounds=True, shown=False):
    seen = {}
    for layer in reversed(layers) if reverse else layers:
        names = list(layer)
        for path in names if rounds else []:
            carry_out(seen, path, marks, opaque, prefix)
        for path in names:
            if not rounds:
                carry_out(seen, path, marks, opaque, prefix)
            if shown or not os.path.basename(path).startswith(".wh."):
                if below and layer[path] is not None:
                    hide(seen, path)
                seen[path] = layer[path]
    return seen


def carry_out(seen, path, marks, opaque, prefix):
    folder, name = os.path.split(path)
    if name == ".wh..wh..opq":
        if opaque:
            hide(seen, folder, itself=False)
    elif name.startswith(".wh.") and marks:
        gone = os.path.join(folder, name[4:])
        for other in list(seen):
            if other == gone or other.startswith(gone + prefix):
                del seen[other]


def unwritten(layers):
    raise NotImplementedError


MISTAKES = {
    "unwritten": (unwritten, "base first"),
    "base on top": (lambda layers: merge(layers, reverse=True), "must be the higher one"),
    "no whiteouts": (lambda layers: merge(layers, marks=False), "says that a is gone"),
    "marks are shown": (lambda layers: merge(layers, shown=True), "itself is never seen"),
    "what begins alike": (lambda layers: merge(layers, prefix=""), "dx is somebody else"),
    "not what is in it": (lambda layers: merge(layers, prefix="\0"), "so is d/x"),
    "no opaque": (lambda layers: merge(layers, opaque=False), "nothing of the layers below"),
    "one round": (lambda layers: merge(layers, rounds=False), "nothing of the layers below"),
    "files have children": (lambda layers: merge(layers, below=False), "where d is a file now"),
    "a list": (lambda layers: sorted(merge(layers)), "no dict"),
    "raises": (lambda layers: layers.items(), "AttributeError"),
}


def test_what_merges_as_the_kernel_does_passes(labrt_root):
    check = unions.unites(merge)
    assert check.passed, check.saw
    assert "7 cases" in check.saw and len(unions.CASES) == 7


@pytest.mark.parametrize(("mistake", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_is_told_what_it_is(mistake, hint, labrt_root):
    check = unions.unites(mistake)
    assert not check.passed
    assert hint in check.hint(), (check.hint(), check.saw)
    assert len(check.hints) >= 2
