"""Notebook 11's check: a storage driver, promise by promise. What passes, and what each mistake is told."""

from __future__ import annotations

import os
import shutil

import pytest

from labrt import paths
from labrt.image import layer
from labrt.lab.checks import drivers
from labrt.linux.mounts import Mount
from labrt.storage import driver
from labrt.storage.copy import copy_tree
from labrt.storage.directories import Directories

pytestmark = pytest.mark.root


class Copies(Directories):
    name = "copies"
    can_use = staticmethod(lambda paths: None)

    def copy(self, chain_ids, target):
        copy_tree(self.diff(chain_ids[-1]), target) if chain_ids else os.mkdir(target)

    def _unpack(self, target, below, stream):
        self.copy(below, target)
        return layer.apply(stream, target, whiteouts="delete")

    def _make_root(self, container, chain_ids):
        self.copy(chain_ids, os.path.join(container, "root"))

    def _mounts(self, container, chain_ids):
        return [Mount("/", "bind", os.path.join(container, "root"), ("bind",))]


class Unwritten(Copies):
    def _unpack(self, target, below, stream):
        raise NotImplementedError


class OnlyItsOwn(Copies):
    def _unpack(self, target, below, stream):
        os.mkdir(target)
        return layer.apply(stream, target, whiteouts="delete")


class Moves(Copies):
    def _unpack(self, target, below, stream):
        os.symlink(self.diff(below[-1]), target) if below else os.mkdir(target)
        return layer.apply(stream, target, whiteouts="delete")


class LayersForAll(Copies):
    def _make_root(self, container, chain_ids):
        return None

    def _mounts(self, container, chain_ids):
        return [Mount("/", "bind", self.diff(chain_ids[-1]), ("bind",))]


class ForgetsModes(Copies):
    def copy(self, chain_ids, target):
        if not chain_ids:
            return os.mkdir(target)
        shutil.copytree(self.diff(chain_ids[-1]), target, copy_function=shutil.copyfile)


class NotFromScratch(Copies):
    def copy(self, chain_ids, target):
        os.mkdir(target) if not chain_ids and target.endswith("diff") else copy_tree(self.diff(chain_ids[-1]), target)


class SwallowsErrors(Copies):
    def _unpack(self, target, below, stream):
        try:
            return super()._unpack(target, below, stream)
        except Exception:
            return layer.Applied(drivers._DIFF_IDS[1], 0)


MISTAKES = {
    Unwritten: "three methods",
    OnlyItsOwn: "lower layers brought",
    Moves: "lower layers brought|changed the one below|raised",
    LayersForAll: "written into the same place",
    ForgetsModes: "mode .* and the time",
    NotFromScratch: "raised IndexError|FROM scratch",
    SwallowsErrors: "ends in the middle",
}


def test_full_copies_pass(labrt_root):
    check = drivers.drives(Copies)
    assert check.passed, check.saw
    assert "7 promises" in check.saw and len(drivers.PROMISES) == 7


@pytest.mark.parametrize("name", ["vfs", "overlay"])
def test_our_own_pass(name, labrt_root):
    kind = driver._kind(name)
    if reason := kind.can_use(paths.default()):
        pytest.skip(reason)
    assert drivers.drives(kind).passed
    assert not [one for one in os.listdir(paths.default().state) if one.startswith("check-")]


@pytest.mark.parametrize(("kind", "hint"), MISTAKES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_each_mistake_is_told_what_it_is(kind, hint, labrt_root):
    import re

    check = drivers.drives(kind)
    assert not check.passed
    assert re.search(hint, check.hint()), (check.hint(), check.saw)
    assert len(check.hints) >= 2
