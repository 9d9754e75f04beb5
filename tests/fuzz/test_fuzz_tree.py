"""How names in archives are followed, judged by the kernel: openat2(2), RESOLVE_IN_ROOT, must come to the same place.

Tree goes step by step, because it must know the physical path that whiteouts are about; the kernel does it in one call.
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labrt.errors import NotSupported, UnsafeLayer
from labrt.image.tree import Step, Tree
from labrt.image.tree import step as portable
from labrt.linux import beneath, syscalls
from labrt.linux.flags import RESOLVE

NAMES = ["a", "b", "c"]
PART = st.sampled_from([*NAMES * 4, "..", "."])
WAY = st.lists(PART, min_size=1, max_size=5)
LINK = st.builds(lambda absolute, parts: "/" * absolute + "/".join(parts), st.integers(0, 2), WAY)
THING = st.one_of(st.just("directory"), st.just("file"), LINK)
HOUSE = st.lists(st.tuples(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), THING), min_size=1, max_size=14)


def build(root: Path, things: list[tuple[list[str], str]]) -> None:
    """Directories, files and links that lead anywhere, also out of the root; what has no place is left out."""
    for parts, kind in things:
        path = root.joinpath(*parts)
        if any(parent.is_symlink() for parent in path.parents if parent != root and root in parent.parents):
            continue
        try:
            if kind == "directory":
                path.mkdir(parents=True)
            elif kind == "file":
                path.touch(exist_ok=False)
            else:
                path.symlink_to(kind)
        except (FileExistsError, FileNotFoundError, NotADirectoryError):
            continue


def kernel(root: Path, way: list[str]) -> tuple[int, int] | int:
    """The directory that the kernel comes to, as device and inode; or the errno."""
    top = os.open(root, os.O_PATH)
    try:
        fd = syscalls.openat2(top, "/".join(way), flags=os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE.IN_ROOT)
    except OSError as error:
        return error.errno
    finally:
        os.close(top)
    found = os.fstat(fd)
    os.close(fd)
    return found.st_dev, found.st_ino


def ours(root: Path, way: list[str], step: Step) -> tuple[int, int] | int:
    with Tree(root, step) as tree:
        try:
            found = os.fstat(tree.enter(way))
        except OSError as error:
            return error.errno
        except UnsafeLayer:  # more than 40 links
            return errno.ELOOP
        physical = root.joinpath(*tree.here).lstat()
        assert (physical.st_dev, physical.st_ino) == (found.st_dev, found.st_ino), "`here` is another place"
    return found.st_dev, found.st_ino


@given(HOUSE, st.lists(WAY, min_size=1, max_size=6))
def test_the_kernel_comes_to_the_same_place(things: list[tuple[list[str], str]], ways: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory(prefix="labrt-fuzz-") as place:
        root = Path(place) / "x" / "root"
        root.mkdir(parents=True)
        build(root, things)
        for way in ways:
            try:
                wanted = kernel(root, way)
            except NotSupported:
                pytest.skip("this kernel has no openat2")
            for step in (portable, beneath.directory):
                found = ours(root, way, step)
                if isinstance(wanted, int):
                    assert isinstance(found, int), f"{way}: the kernel says {errno.errorcode[wanted]}"
                else:
                    assert found == wanted, way
