"""Mounts that are made option by option, and are nowhere until they are attached."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labrt.errors import KernelError
from labrt.linux import fscontext, process
from labrt.linux.flags import MOUNT_ATTR
from labrt.linux.mounts import Mount

pytestmark = pytest.mark.root


def test_a_detached_mount_can_be_used_and_leaves_nothing(tmp_path):
    before = Path("/proc/self/mountinfo").read_text()
    fd = fscontext.create("tmpfs", "here", ["size=64k", "mode=711"])
    try:
        place = Path(f"/proc/self/fd/{fd}")
        (place / "f").write_text("x")
        assert os.stat(place).st_mode & 0o777 == 0o711
        assert Path("/proc/self/mountinfo").read_text() == before
    finally:
        os.close(fd)


def test_a_child_attaches_it_in_its_own_namespace(tmp_path):
    fd = fscontext.create("tmpfs", "here", [], MOUNT_ATTR.RDONLY)
    mount = Mount("/", "detached", str(fd))

    def child() -> list[object]:
        mount.attach(str(tmp_path))
        with pytest.raises(OSError, match="ead-only"):
            (tmp_path / "f").write_text("x")
        return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]

    try:
        assert str(tmp_path) in process.run_in_child(child, namespaces="mnt")
    finally:
        os.close(fd)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_the_kernels_own_words_are_in_the_error(tmp_path):
    with pytest.raises(KernelError) as caught:
        fscontext.create("tmpfs", "here", ["size=nonsense"])
    assert "size" in str(caught.value)


def test_what_is_known():
    assert fscontext.known("tmpfs")
    assert not fscontext.known("labrtfs")
