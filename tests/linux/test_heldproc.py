"""The kernel's /proc, held: what is written goes to the kernel, and errors name what they are about."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labrt.errors import NotSupported
from labrt.linux import heldproc, syscalls


@pytest.fixture
def proc():
    fd = heldproc.hold()
    yield fd
    os.close(fd)


def test_it_writes_to_ourselves(proc):
    before = Path("/proc/self/oom_score_adj").read_text().strip()
    heldproc.write(proc, "self/oom_score_adj", before, "process.oomScoreAdj")
    assert Path("/proc/self/oom_score_adj").read_text().strip() == before


def test_an_error_names_the_field(proc):
    with pytest.raises(FileNotFoundError, match=r"linux\.sysctl\.no\.such: write\('/proc/sys/no/such', '1'\)"):
        heldproc.write(proc, "sys/no/such", "1", "linux.sysctl.no.such")


@pytest.mark.parametrize("name", ["self/cwd", "self/root/etc/passwd", "self/fd/0", "../etc/passwd", "/etc/passwd"])
def test_nothing_leads_out_of_it(proc, name):
    with pytest.raises(OSError):
        os.close(heldproc.open_below(proc, name, os.O_RDONLY))


@pytest.mark.parametrize("path", ["/", "/proc/sys", "/tmp", "/sys"])
def test_only_the_root_of_a_proc_is_one(path):
    with pytest.raises(NotSupported, match="is not the kernel's"):
        heldproc.hold(path)


def test_which_file_system_it_is(tmp_path):
    fd = os.open("/proc", os.O_RDONLY)
    assert syscalls.fstatfs_type(fd) == heldproc.PROC_SUPER_MAGIC
    os.close(fd)
    with pytest.raises(OSError, match="fstatfs"):
        syscalls.fstatfs_type(fd)
