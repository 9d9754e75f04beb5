"""Two trees compared, and the layer that turns the one into the other."""

from __future__ import annotations

import io
import os
import shutil
import stat
from pathlib import Path

import pytest

from labrt.image import diff, layer, pack
from labrt.image.diff import Change, changes

ROOT = os.geteuid() == 0
TIME = 1_600_000_000_123_456_789


def tree(path: Path) -> Path:
    """A small tree with one of each kind, all times the same."""
    for name in ("etc", "bin", "empty", "deep/er"):
        (path / name).mkdir(parents=True)
    for name in ("etc/one", "etc/two", "bin/tool", "deep/er/file"):
        (path / name).write_text(f"this is {name}\n")
    os.link(path / "bin/tool", path / "bin/same")
    os.symlink("tool", path / "bin/link")
    os.mkfifo(path / "fifo")
    for found in [*path.rglob("*"), path]:
        os.utime(found, ns=(TIME, TIME), follow_symlinks=False)
    return path


def look(root: Path) -> dict[str, tuple]:
    """All that a layer should bring: type, mode, owner, time, links, attributes, content."""
    found = {}
    inodes: dict[int, str] = {}
    for path in sorted(root.rglob("*")):
        about = path.lstat()
        name = str(path.relative_to(root))
        what: object = None
        if stat.S_ISLNK(about.st_mode):
            what = os.readlink(path)
        elif stat.S_ISREG(about.st_mode):
            what = path.read_bytes()
        elif not stat.S_ISDIR(about.st_mode):
            what = about.st_rdev
        same = name if stat.S_ISDIR(about.st_mode) else inodes.setdefault(about.st_ino, name)
        attributes = {} if path.is_symlink() else {key: os.getxattr(path, key) for key in os.listxattr(path)}
        found[name] = (oct(about.st_mode), about.st_uid, about.st_gid, about.st_mtime_ns, same, attributes, what)
    return found


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    old = tree(tmp_path / "old")
    shutil.copytree(old / ".", tmp_path / "new", symlinks=True, ignore=lambda _, names: {"fifo"} & set(names))
    os.mkfifo(tmp_path / "new/fifo")
    new = tmp_path / "new"
    (new / "bin/same").unlink()
    os.link(new / "bin/tool", new / "bin/same")
    for found in old.rglob("*"):
        os.utime(new / found.relative_to(old), ns=(TIME, TIME), follow_symlinks=False)
    os.utime(new, ns=(TIME, TIME))
    return old, new


def settle(new: Path) -> None:
    """Give directories their old time, so that only what a test changes is a change."""
    for found in new.rglob("*"):
        if found.is_dir() and not found.is_symlink():
            os.utime(found, ns=(TIME, TIME))


def test_copies_are_the_same(pair):
    assert changes(*map(str, pair)) == []


def edit(path: Path) -> None:
    path.write_text(path.read_text().replace("this", "THIS"))  # the same length
    os.utime(path, ns=(TIME, TIME))


EDITS = {
    "content behind a forged time": (lambda new: edit(new / "etc/one"), ["C /etc", "C /etc/one"]),
    "a time": (lambda new: os.utime(new / "etc/one", ns=(TIME, TIME + 1)), ["C /etc", "C /etc/one"]),
    "a mode": (lambda new: (new / "etc/one").chmod(0o4711), ["C /etc", "C /etc/one"]),
    "a directory's mode": (lambda new: (new / "empty").chmod(0o700), ["C /empty"]),
    "a new file": (lambda new: (new / "etc/new").write_text("x"), ["C /etc", "A /etc/new"]),
    "a new directory": (lambda new: (new / "etc/d/e").mkdir(parents=True), ["C /etc", "A /etc/d", "A /etc/d/e"]),
    "a deleted file": (lambda new: (new / "etc/one").unlink(), ["C /etc", "D /etc/one"]),
    "a deleted directory": (lambda new: shutil.rmtree(new / "deep"), ["D /deep"]),
    "one of two names deleted": (lambda new: (new / "bin/same").unlink(), ["C /bin", "D /bin/same"]),
    "another name": (lambda new: os.link(new / "etc/one", new / "etc/other"), ["C /etc", "C /etc/one", "A /etc/other"]),
    "a link's target": (
        lambda new: ((new / "bin/link").unlink(), os.symlink("same", new / "bin/link"),
                     os.utime(new / "bin/link", ns=(TIME, TIME), follow_symlinks=False)),
        ["C /bin", "C /bin/link"],
    ),
    "a directory for a file": (
        lambda new: ((new / "etc/one").unlink(), (new / "etc/one").mkdir(), (new / "etc/one/x").write_text("x")),
        ["C /etc", "C /etc/one", "A /etc/one/x"],
    ),
    "a file for a directory": (lambda new: (shutil.rmtree(new / "deep"), (new / "deep").write_text("x")), ["C /deep"]),
    "a link for a directory": (lambda new: (shutil.rmtree(new / "deep"), os.symlink("etc", new / "deep")), ["C /deep"]),
    "a strange name": (lambda new: (new / "etc" / "ü\n'*").write_text("x"), ["C /etc", "A /etc/ü\n'*"]),
    "bytes that are no text": (
        lambda new: (new / os.fsdecode(b"etc/\xff")).write_text("x"), ["C /etc", f"A /{os.fsdecode(b'etc/%c' % 255)}"],
    ),
    "a long name": (lambda new: (new / "etc" / ("n" * 255)).mkdir(), ["C /etc", f"A /etc/{'n' * 255}"]),
    "an old time": (lambda new: os.utime(new / "etc/one", ns=(TIME, -500_000_000)), ["C /etc", "C /etc/one"]),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_what_changed_is_found_and_the_layer_says_so(pair, tmp_path, name):
    old, new = pair
    change, expected = EDITS[name]
    change(new)
    settle(new)
    found = changes(str(old), str(new))
    assert [str(each) for each in found] == expected
    stream = io.BytesIO()
    diff.write(str(new), found, stream)
    again = io.BytesIO()
    diff.write(str(new), found, again)
    assert stream.getvalue() == again.getvalue()
    stream.seek(0)
    layer.apply(stream, str(old))
    settle(old)
    assert look(old) == look(new)


def test_attributes(pair, tmp_path):
    old, new = pair
    try:
        os.setxattr(new / "etc/one", "user.note", b"a\0b\xff")
    except OSError:
        pytest.skip("this file system keeps no attributes of users")
    settle(new)
    assert changes(str(old), str(new)) == [Change("C", "etc"), Change("C", "etc/one")]
    stream = io.BytesIO()
    diff.write(str(new), changes(str(old), str(new)), stream)
    stream.seek(0)
    layer.apply(stream, str(old))
    assert os.getxattr(old / "etc/one", "user.note") == b"a\0b\xff"


@pytest.mark.root
def test_owners_and_devices(pair):
    old, new = pair
    os.chown(new / "etc/one", 3_000_000, 4_000_000)
    os.mknod(new / "etc/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.setxattr(new / "bin/tool", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    settle(new)
    found = changes(str(old), str(new))
    assert {str(each) for each in found} == {
        "C /bin", "C /bin/same", "C /bin/tool", "C /etc", "A /etc/null", "C /etc/one",
    }  # fmt: skip
    stream = io.BytesIO()
    diff.write(str(new), found, stream)
    stream.seek(0)
    layer.apply(stream, str(old))
    settle(old)
    assert look(old) == look(new)


@pytest.mark.root
def test_overlays_upper_directory(pair, tmp_path):
    """The marks of overlayfs, made by hand: a device 0:0, an opaque directory; and a file that it only copied up."""
    old, new = pair
    upper = tmp_path / "upper"
    for name in ("etc", "bin", "new"):
        (upper / name).mkdir(parents=True)
    (upper / "etc/one").write_text("changed")
    os.mknod(upper / "etc/two", stat.S_IFCHR, os.makedev(0, 0))
    (upper / "bin/tool").write_text("new")
    os.setxattr(upper / "bin", "trusted.overlay.opaque", b"y")
    (upper / "deep/er").mkdir(parents=True)
    shutil.copy2(old / "deep/er/file", upper / "deep/er/file")
    (new / "etc/one").write_text("changed")
    (new / "etc/two").unlink()
    shutil.rmtree(new / "bin")
    shutil.copytree(upper / "bin", new / "bin")
    (new / "new").mkdir()
    assert [str(each) for each in diff.overlay_changes(str(upper), str(old), str(new))] == [
        "C /bin", "D /bin/link", "D /bin/same", "C /bin/tool", "C /etc", "C /etc/one", "D /etc/two", "A /new",
    ]  # fmt: skip
    stream = io.BytesIO()
    pack.write(str(upper), stream)
    stream.seek(0)
    layer.apply(stream, str(old))
    assert os.listdir(old / "bin") == ["tool"] and not (old / "etc/two").exists() and (old / "new").is_dir()


def test_half_a_second_before_1970(tmp_path):
    (tmp_path / "t").write_text("x")
    os.utime(tmp_path / "t", ns=(0, -1_250_000_000))
    assert b" mtime=-1.250000000\n" in layer.create(str(tmp_path))
