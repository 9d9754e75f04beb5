"""Honest layers onto a directory: every kind of file and attribute, changes over existing files, whiteouts."""

import errno
import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from archives import device, directory, entry, file, hardlink, symlink, tar, zipped

from labrt.errors import KernelError, UnsafeLayer
from labrt.image import layer
from labrt.image.digest import Digest
from labrt.image.lower import is_whiteout

ROOT = os.geteuid() == 0
TIME = 1_600_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def unpack(root: Path, *entries, **options) -> layer.Applied:
    return layer.apply(tar(*entries), root, **options)


def tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def listing(root: Path) -> str:
    """Everything that find(1) knows of a tree, sorted."""
    say = r"%P %y %m %U %G %s %l %n %T@\n"
    found = subprocess.run(["find", root, "-mindepth", "1", "-printf", say], check=True, capture_output=True, text=True)
    return "\n".join(sorted(found.stdout.splitlines()))


def test_files_and_directories(root):
    data = zipped(directory("d", mode=0o750, mtime=TIME), file("d/f", "hello", mode=0o640, mtime=TIME + 1))
    applied = layer.apply(io.BytesIO(data), root)
    assert applied == (layer.compute_diff_id(io.BytesIO(data)), 5)
    assert (root / "d/f").read_text() == "hello"
    assert stat.S_IMODE((root / "d/f").stat().st_mode) == 0o640
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o750
    # Writing d/f changed d's mtime; it is set at the end.
    assert ((root / "d").stat().st_mtime, (root / "d/f").stat().st_mtime) == (TIME, TIME + 1)


@pytest.mark.root
@pytest.mark.parametrize("name", ["busybox", "alpine"])
def test_real_layers_are_what_tar_makes_of_them(shared, root, tmp_path, name):
    blob = "busybox/blobs/sha256/b05093807bb0294152bb9cf86d64da722732dddaf7f8882fa1f120477dbc4db3"
    path = shared / "images" / (blob if name == "busybox" else "alpine-3.20-x86_64.tar.gz")
    other = tmp_path / "other"
    other.mkdir()
    with open(path, "rb") as stream:
        layer.apply(stream, root)
    subprocess.run(["tar", "-xpzf", path, "-C", other, "--numeric-owner"], check=True)
    assert listing(root) == listing(other)
    assert subprocess.run(["diff", "-r", "--no-dereference", root, other]).returncode == 0


@pytest.mark.root
def test_owners_special_bits_and_nodes(root):
    unpack(
        root,
        file("su", "x", mode=0o4755, uid=1234, gid=4321),
        directory("sticky", mode=0o1777, uid=5),
        symlink("link", "su", uid=7),
        device("null", 1, 3),
        device("loop", 7, 300, tarfile.BLKTYPE),
        entry("pipe", tarfile.FIFOTYPE, mode=0o600, uid=9, mtime=TIME),
    )
    found = {name: (root / name).lstat() for name in ("su", "sticky", "link", "null", "loop", "pipe")}
    assert (found["su"].st_uid, found["su"].st_gid, stat.S_IMODE(found["su"].st_mode)) == (1234, 4321, 0o4755)
    assert (found["sticky"].st_uid, stat.S_IMODE(found["sticky"].st_mode)) == (5, 0o1777)
    assert found["link"].st_uid == 7
    assert stat.S_ISCHR(found["null"].st_mode) and found["null"].st_rdev == os.makedev(1, 3)
    assert stat.S_ISBLK(found["loop"].st_mode) and found["loop"].st_rdev == os.makedev(7, 300)
    assert stat.S_ISFIFO(found["pipe"].st_mode) and found["pipe"].st_mtime == TIME


def test_without_root_owners_and_devices_are_left_out(root):
    unpack(root, file("f", "x", uid=1234), device("null", 1, 3), entry("pipe", tarfile.FIFOTYPE), as_root=False)
    assert tree(root) == ["f", "pipe"]
    assert (root / "f").stat().st_uid == os.geteuid()


def test_a_closed_directory_is_closed_at_the_end(root):
    unpack(root, directory("d", mode=0o500), directory("d/e", mode=0), file("d/e/f", "x"), as_root=False)
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o500
    assert stat.S_IMODE((root / "d/e").stat().st_mode) == 0
    (root / "d").chmod(0o700)
    (root / "d/e").chmod(0o700)
    assert (root / "d/e/f").read_text() == "x"


def test_times_below_a_second(root):
    unpack(root, entry("f", pax_headers={"mtime": f"{TIME}.123456789"}))
    assert (root / "f").stat().st_mtime_ns == TIME * 10**9 + 123456789


def test_the_umask_has_no_say(root):
    before = os.umask(0o077)
    try:
        unpack(root, file("a/b/f", mode=0o666), directory("d", mode=0o777))
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((root / name).stat().st_mode) for name in ("a", "a/b", "a/b/f", "d")]
    assert modes == [0o755, 0o755, 0o666, 0o777]


def test_attributes_are_kept_but_not_those_of_overlayfs_and_the_host(root):
    names = ("user.mine", "user.overlay.redirect", "trusted.overlay.redirect", "trusted.other", "security.selinux")
    headers = {f"SCHILY.xattr.{name}": "/etc" for name in names}
    unpack(root, entry("f", pax_headers=headers), entry("d", tarfile.DIRTYPE, mode=0o755, pax_headers=headers))
    for name in ("f", "d"):
        kept = [key for key in os.listxattr(root / name) if key.startswith(("user.", "trusted."))]
        assert kept == ["user.mine"]
        assert os.getxattr(root / name, "user.mine") == b"/etc"


@pytest.mark.root
def test_file_capabilities_survive_chown(root):
    net_raw = b"\x01\0\0\x02\0\x20" + bytes(14)  # struct vfs_cap_data, version 2, see capabilities(7)
    info = entry("ping", uid=1000, mode=0o755, pax_headers={"SCHILY.xattr.security.capability": net_raw.decode()})
    unpack(root, info)
    assert os.getxattr(root / "ping", "security.capability") == net_raw


def test_hard_links(root):
    unpack(
        root,
        file("a/f", "x"),
        hardlink("a/g", "a/f"),
        hardlink("h", "/a/f"),
        hardlink("a/f", "a/f"),
        symlink("s", "q"),
        hardlink("t", "s"),
    )
    assert (root / "a/f").stat().st_nlink == 3
    assert (root / "h").samefile(root / "a/f")
    assert os.readlink(root / "t") == "q"


def test_names_in_every_spelling(root):
    unpack(root, directory("./"), file("./a", "1"), file("/b", "2"), file("c//./d", "3"), directory("e/"))
    assert tree(root) == ["a", "b", "c", "c/d", "e"]


def test_the_root_entry_speaks_of_the_root(root):
    unpack(root, directory("./", mode=0o711, mtime=TIME), file("f"))
    assert stat.S_IMODE(root.stat().st_mode) == 0o711
    assert root.stat().st_mtime == TIME


def test_changes_over_existing_files(root):
    unpack(
        root,
        directory("d", mode=0o700),
        file("d/old", "1"),
        file("f", "1"),
        symlink("s", "/etc/passwd"),
        directory("becomes"),
        file("becomes/x"),
    )
    unpack(
        root,
        directory("d", mode=0o755),
        file("d/new", "2"),
        directory("f"),
        file("f/x", "3"),
        file("s", "4"),
        file("becomes", "5"),
    )
    assert tree(root) == ["becomes", "d", "d/new", "d/old", "f", "f/x", "s"]
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o755
    assert not (root / "s").is_symlink()
    assert (root / "becomes").read_text() == "5"


def test_a_changed_directory_loses_its_old_attributes(root):
    unpack(root, entry("d", tarfile.DIRTYPE, mode=0o755, pax_headers={"SCHILY.xattr.user.old": "1"}))
    unpack(root, entry("d", tarfile.DIRTYPE, mode=0o755, pax_headers={"SCHILY.xattr.user.new": "1"}))
    assert [key for key in os.listxattr(root / "d") if key.startswith("user.")] == ["user.new"]


def test_a_directory_that_a_layer_only_passes_through_keeps_its_time(root):
    unpack(root, directory("d", mtime=TIME))
    unpack(root, file("d/f"))
    assert (root / "d").stat().st_mtime == TIME


def test_links_of_earlier_layers_lead_on_inside_the_root(root):
    unpack(
        root,
        directory("usr"),
        directory("usr/bin"),
        symlink("bin", "usr/bin"),
        symlink("abs", "/usr"),
        symlink("up", "../../../usr"),
    )
    unpack(root, file("bin/sh", "1"), file("abs/bin/ls", "2"), file("up/bin/cp", "3"), file("abs/lib/x"))
    assert (root / "bin").is_symlink()
    assert sorted(os.listdir(root / "usr/bin")) == ["cp", "ls", "sh"]
    assert os.listdir(root / "usr/lib") == ["x"]


def test_a_dangling_link_is_filled_inside_the_root(root):
    unpack(root, symlink("data", "/srv/data"), file("data/f", "x"))
    assert (root / "srv/data/f").read_text() == "x"


def test_whiteouts_delete(root):
    unpack(root, file("file1"), file("a/file2"), file("b/x/y"), file("c/file3"))
    unpack(root, file(".wh.file1"), file("a/.wh.file2"), file(".wh.b"), file("file4"), file("c/.wh.absent"))
    assert tree(root) == ["a", "c", "c/file3", "file4"]


@pytest.mark.parametrize("order", [1, -1])
def test_whiteouts_speak_of_lower_layers_only(root, order):
    unpack(root, file("a/b/c/bar"), file("a/x"), file("f", "old"), file("d/old"))
    changes = [file("a/.wh..wh..opq"), file("a/b/c/foo"), file(".wh.f"), file("f", "new"), file(".wh.d"), file("d/new")]
    unpack(root, *changes[::order])
    assert tree(root) == ["a", "a/b", "a/b/c", "a/b/c/foo", "d", "d/new", "f"]
    assert (root / "f").read_text() == "new"


def test_the_bookkeeping_of_aufs_is_skipped(root):
    unpack(root, directory(".wh..wh.plnk"), file(".wh..wh.plnk/5.6", "x"), file(".wh..wh.aufs"), file("f"))
    assert tree(root) == ["f"]


OPAQUE = "trusted.overlay.opaque" if ROOT else "user.overlay.opaque"


def test_whiteouts_for_overlayfs(root):
    unpack(root, file("a/.wh.gone"), file("b/.wh..wh..opq"), file("b/f"), whiteouts="overlay")
    assert is_whiteout((root / "a/gone").lstat())
    assert os.getxattr(root / "b", OPAQUE) == b"y"
    assert tree(root) == ["a", "a/gone", "b", "b/f"]


@pytest.mark.parametrize("order", [1, -1])
def test_for_overlayfs_a_directory_made_anew_hides_the_old_one(root, order):
    unpack(root, *[file(".wh.d"), file("d/new"), file(".wh.f"), file("f", "x")][::order], whiteouts="overlay")
    assert os.getxattr(root / "d", OPAQUE) == b"y"
    assert tree(root) == ["d", "d/new", "f"]
    assert (root / "f").read_text() == "x"


def test_a_whiteout_turns_into_what_the_layer_brings(root):
    unpack(root, file(".wh.d"), directory("d"), file(".wh.s"), symlink("s", "x"), whiteouts="overlay")
    assert os.getxattr(root / "d", OPAQUE) == b"y"
    assert os.readlink(root / "s") == "x"


def test_parents_that_a_layer_does_not_list_are_as_below(tmp_path, root):
    low, high = tmp_path / "low", tmp_path / "high"
    for folder in (low, high):
        folder.mkdir()
    unpack(
        low,
        directory("etc", mode=0o711, mtime=TIME),
        directory("usr"),
        directory("usr/bin"),
        symlink("bin", "usr/bin"),
        directory("gone", mode=0o711),
    )
    unpack(high, directory("etc", mode=0o751, mtime=TIME + 1), file(".wh.gone"), whiteouts="overlay")
    lowers = [str(high), str(low)]
    unpack(root, file("etc/f"), file("bin/sh"), file("gone/f"), whiteouts="overlay", lowers=lowers)
    assert stat.S_IMODE((root / "etc").stat().st_mode) == 0o751
    assert (root / "etc").stat().st_mtime == TIME + 1
    assert tree(root) == ["etc", "etc/f", "gone", "gone/f", "usr", "usr/bin", "usr/bin/sh"]
    assert stat.S_IMODE((root / "gone").stat().st_mode) == 0o755


def test_progress_counts_compressed_bytes(root):
    data = zipped(file("f", "x" * 100_000))
    told: list[int] = []
    layer.apply(io.BytesIO(data), root, progress=told.append)
    assert sum(told) == len(data)


def test_packing_gives_the_same_bytes_each_time(root, tmp_path):
    unpack(
        root,
        directory("d", mode=0o1777, mtime=TIME),
        file("d/f", "x"),
        hardlink("g", "d/f"),
        symlink("s", "d"),
        entry("p", tarfile.FIFOTYPE),
    )
    os.setxattr(root / "d/f", "user.k", b"\xff\0v")
    data = layer.create(str(root), mtime=0, owner=(0, 0))
    os.utime(root / "d/f", (1, 1))
    assert layer.create(str(root), mtime=0, owner=(0, 0)) == data
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["d", "d/f", "g", "p", "s"]
        assert {info.mtime for info in archive} == {0}
    again = tmp_path / "again"
    again.mkdir()
    applied = layer.apply(io.BytesIO(layer.create(str(root))), again)
    assert listing(again) == listing(root)
    assert os.getxattr(again / "d/f", "user.k") == b"\xff\0v"
    assert applied.diff_id == Digest.of(layer.create(str(again)))


def test_packing_turns_overlayfs_marks_into_whiteouts(root, tmp_path):
    changes = [directory("a"), file("a/.wh.gone"), directory("b"), file("b/.wh..wh..opq"), file("b/f")]
    unpack(root, *changes, whiteouts="overlay")
    with tarfile.open(fileobj=io.BytesIO(layer.create(str(root)))) as archive:
        assert archive.getnames() == ["a", "a/.wh.gone", "b", "b/.wh..wh..opq", "b/f"]


@pytest.mark.root
def test_a_full_disk_is_said_so(root):
    from labrt.linux import mounts, process

    def fill() -> tuple[int, str]:
        mounts.Mount(str(root), "tmpfs", "tmpfs", ("size=1m",)).attach()
        with pytest.raises(KernelError) as caught:
            layer.apply(tar(file("big", bytes(4 << 20))), root)
        return caught.value.errno, str(caught.value)

    code, message = process.run_in_child(fill, namespaces="mnt")
    assert code == errno.ENOSPC
    assert "'big'" in message


def test_a_directory_is_no_file_in_the_same_layer(root):
    with pytest.raises(UnsafeLayer, match="file and a directory"):
        unpack(root, file("a", "x"), file("a/b", "y"))


def test_an_absolute_link_begins_at_the_root_wherever_it_lies(root):
    unpack(root, directory("a/b"), symlink("a/b/link", "/c/d"), symlink("a/b/near", "c"), file("a/b/link/f"))
    unpack(root, file("a/b/near/g"))
    assert tree(root) == ["a", "a/b", "a/b/c", "a/b/c/g", "a/b/link", "a/b/near", "c", "c/d", "c/d/f"]


def test_what_replaces_a_directory_of_its_own_layer_keeps_its_own_time(root):
    entries = [directory("a/b", mtime=1), file("a/b/c"), file("a", "x", mtime=TIME, mode=0o600), file(".wh.a")]
    unpack(root, *entries)
    assert (root / "a").stat().st_mtime == TIME
    assert tree(root) == ["a"]
