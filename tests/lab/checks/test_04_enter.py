"""Notebook 04's exercise: what passes, and how each likely mistake is answered."""

from __future__ import annotations

import os

import pytest

from labrt.linux import syscalls
from labrt.linux.flags import MNT, MS

pytestmark = pytest.mark.root


def bind(root):
    syscalls.mount(root, root, None, MS.BIND | MS.REC)


def right(root):
    bind(root)
    os.chdir(root)
    syscalls.pivot_root(".", ".")
    syscalls.umount2(".", MNT.DETACH)
    os.chdir("/")


def with_a_place_for_the_old_one(root):
    bind(root)
    syscalls.pivot_root(root, root + "/old")
    os.chdir("/")
    syscalls.umount2("/old", MNT.DETACH)


def chroots(root):
    os.chroot(root)
    os.chdir("/")


def chroots_into_a_mount(root):
    bind(root)
    chroots(root)


def forgets_the_bind(root):
    os.chdir(root)
    syscalls.pivot_root(".", ".")


def forgets_to_unmount(root):
    bind(root)
    syscalls.pivot_root(root, root + "/old")
    os.chdir("/")


def forgets_where_it_is(root):
    bind(root)
    syscalls.pivot_root(".", ".")


def only_goes_there(root):
    os.chdir(root)


def test_enter(judged):
    judged("04", right, {
        "chroot": (chroots, "this is a chroot"),
        "no bind": (forgets_the_bind, "EINVAL"),
        "no unmount": (forgets_to_unmount, "the old root is still there"),
        "no chdir": (forgets_where_it_is, "EBUSY"),
        "chdir": (only_goes_there, "another directory"),
    })  # fmt: skip


def test_there_is_another_right_way_and_another_wrong_one(labrt_root):
    from labrt import lab

    assert lab.check("04", with_a_place_for_the_old_one).passed
    check = lab.check("04", chroots_into_a_mount)
    assert not check.passed and "this is a chroot" in check.hint(1)
