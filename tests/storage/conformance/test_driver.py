"""What every storage driver must do, whatever it is made of. Its promises are in labrt/storage/driver.py.

The same questions are put to each driver; where it matters the answer is also that of tar(1)'s way of unpacking.
"""

import errno
import io
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from archives import directory, entry, file, hardlink, symlink
from stacks import stack

from labrt.errors import (
    Conflict,
    ContainerNotFound,
    DigestMismatch,
    InvalidInput,
    KernelError,
    NotFound,
    NotSupported,
    UnsafeLayer,
)
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.linux import mounts as mounting
from labrt.linux import process
from labrt.storage.driver import NAMES, Driver, open_driver

TIME = 1_600_000_000
BASE = [
    directory("etc", mode=0o711, mtime=TIME),
    file("etc/passwd", "root:x:0:0::/:/bin/sh\n", mode=0o600),
    directory("usr"),
    directory("usr/bin"),
    file("usr/bin/sh", "#!", mode=0o4755),
    symlink("bin", "usr/bin"),
    directory("gone"),
    file("gone/file"),
    directory("opaque"),
    file("opaque/old"),
    directory("again"),
    file("again/old"),
    file("kind", "a file"),
    directory("tmp", mode=0o1777),
]
CHANGE = [
    file(".wh.gone"),
    directory("opaque"),
    file("opaque/.wh..wh..opq"),
    file("opaque/new"),
    file(".wh.again"),
    file("again/new"),
    directory("kind"),
    file("kind/inner"),
    file("etc/group", "root:x:0:\n"),
]
TOP = [file("usr/bin/ls", "#!!"), file(".wh.kind"), file("etc/passwd", "changed\n")]
IMAGE = stack(BASE, CHANGE, TOP)
SEEN = [
    "again",
    "again/new",
    "bin",
    "etc",
    "etc/group",
    "etc/passwd",
    "opaque",
    "opaque/new",
    "tmp",
    "usr",
    "usr/bin",
    "usr/bin/ls",
    "usr/bin/sh",
]


@pytest.fixture(params=NAMES)
def driver(request, paths) -> Driver:
    try:
        return open_driver(request.param, paths)
    except NotSupported as error:
        pytest.skip(error.message)


def tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def on_disk(driver) -> list[str]:
    """What a driver has in its directory, its permanent places and locks left out."""
    return [name for name in tree(Path(driver.root)) if "/" in name] if os.path.isdir(driver.root) else []


def fill(root: Path) -> dict[str, object]:
    """Change a container's root in every way, and say what is there then."""
    (root / "etc/passwd").write_text("mine\n")
    (root / "usr/bin/sh").unlink()
    (root / "opaque/new").rename(root / "tmp/moved")
    os.mkdir(root / "gone")
    os.symlink("x", root / "gone/link")
    os.chmod(root / "tmp", 0o700)
    return {"tree": tree(root), "passwd": (root / "etc/passwd").read_text()}


def look(root: Path) -> dict[str, object]:
    return {"tree": tree(root), "passwd": (root / "etc/passwd").read_text()}


def test_it_keeps_the_protocol(driver):
    words = [name for name in vars(Driver) if not name.startswith("_")]
    assert {"add", "prepare", "mounts"} <= set(words) and all(callable(getattr(driver, word)) for word in words)
    assert driver.name in repr(type(driver)).lower()


def test_layers_become_one_tree(driver, inside):
    IMAGE.add_to(driver)
    mounts = driver.prepare("c1", IMAGE.chain_ids)
    assert mounts[0].destination == "/"
    assert inside(mounts, tree) == SEEN
    assert driver.layers() == sorted(IMAGE.chain_ids)
    assert driver.containers() == ["c1"]
    assert driver.mounts("c1") == mounts


def test_each_number_of_layers_is_an_image(driver, inside):
    IMAGE.add_to(driver)
    first = inside(driver.prepare("one", IMAGE.chain_ids[:1]), tree)
    assert "gone/file" in first and "opaque/old" in first
    second = inside(driver.prepare("two", IMAGE.chain_ids[:2]), tree)
    assert "kind/inner" in second and "gone" not in second and "opaque/old" not in second and "again/old" not in second


def test_attributes_arrive(driver, inside):
    def attributes(root: Path) -> list[object]:
        etc, shell, passwd = (os.stat(root / name) for name in ("etc", "usr/bin/sh", "etc/passwd"))
        return [stat.S_IMODE(etc.st_mode), int(etc.st_mtime), stat.S_IMODE(shell.st_mode), stat.S_IMODE(passwd.st_mode)]

    IMAGE.add_to(driver)
    # The second layer writes into etc without listing it: it is as the first layer made it.
    assert inside(driver.prepare("c1", IMAGE.chain_ids), attributes) == [0o711, TIME, 0o4755, 0o644]


@pytest.mark.root
def test_owners_nodes_attributes_and_links_arrive(driver, inside):
    from archives import device

    image = stack(
        [
            file("f", "x", uid=1000, gid=1001),
            hardlink("g", "f"),
            device("null", 1, 3),
            entry("a", pax_headers={"SCHILY.xattr.user.k": "v"}),
            entry(
                "p",
                uid=3,
                pax_headers={"SCHILY.xattr.security.capability": (b"\x01\0\0\x02\0\x20" + bytes(14)).decode()},
            ),
        ],
        [file("other")],
    )

    def facts(root: Path) -> list[object]:
        found = os.stat(root / "f")
        extra = os.getxattr(root / "a", "user.k"), os.getxattr(root / "p", "security.capability")[:4]
        null = os.stat(root / "null").st_rdev
        return [found.st_uid, found.st_gid, found.st_nlink, os.path.samefile(root / "f", root / "g"), null, *extra]

    image.add_to(driver)
    expected = [1000, 1001, 2, True, os.makedev(1, 3), b"v", b"\x01\0\0\x02"]
    assert inside(driver.prepare("c1", image.chain_ids), facts) == expected


def test_the_roots_own_attributes_are_the_images(driver, inside):
    image = stack([directory("./", mode=0o711), file("f")], [file("g")])
    image.add_to(driver)
    assert inside(driver.prepare("c1", image.chain_ids), lambda root: stat.S_IMODE(root.stat().st_mode)) == 0o711


def test_an_image_without_layers(driver, inside):
    mounts = driver.prepare("scratch", [])
    assert inside(mounts, lambda root: [tree(root), stat.S_IMODE(root.stat().st_mode)]) == [[], 0o755]
    assert inside(mounts, lambda root: (root / "f").write_text("x")) == 1
    assert inside(mounts, tree) == ["f"]
    driver.remove("scratch")


def test_two_containers_of_one_image_do_not_see_each_other(driver, inside):
    IMAGE.add_to(driver)
    first, second = driver.prepare("first", IMAGE.chain_ids), driver.prepare("second", IMAGE.chain_ids)
    before = inside(second, look)
    changed = inside(first, fill)
    assert changed["passwd"] == "mine\n"
    assert "tmp/moved" in changed["tree"] and "usr/bin/sh" not in changed["tree"]
    assert inside(second, look) == before
    assert inside(first, look) == changed  # what was written stays, mount after mount
    assert inside(driver.prepare("third", IMAGE.chain_ids), look) == before


def test_what_a_container_wrote_goes_with_it(driver, inside):
    IMAGE.add_to(driver)
    layers = on_disk(driver)
    inside(driver.prepare("c1", IMAGE.chain_ids), fill)
    driver.remove("c1")
    assert driver.containers() == []
    assert on_disk(driver) == layers
    driver.remove("c1")
    driver.remove("never-there")
    with pytest.raises(ContainerNotFound):
        driver.mounts("c1")
    driver.prepare("c1", IMAGE.chain_ids)


def test_a_container_is_made_once(driver):
    IMAGE.add_to(driver)
    driver.prepare("c1", IMAGE.chain_ids)
    with pytest.raises(Conflict):
        driver.prepare("c1", IMAGE.chain_ids)
    assert driver.containers() == ["c1"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "-x", "a\0b", "x" * 200])
def test_a_container_id_is_no_path(driver, name):
    for method in (driver.remove, driver.mounts, lambda name: driver.prepare(name, [])):
        with pytest.raises(InvalidInput):
            method(name)


def test_layers_that_are_in_use_stay(driver):
    IMAGE.add_to(driver)
    first, second, third = IMAGE.chain_ids
    driver.prepare("c1", IMAGE.chain_ids[:2])
    for chain_id in (first, second):
        with pytest.raises(Conflict):
            driver.remove_layer(chain_id)
    driver.remove_layer(third)
    driver.remove("c1")
    with pytest.raises(Conflict, match="stands on"):
        driver.remove_layer(first)
    driver.remove_layer(second)
    driver.remove_layer(first)
    assert driver.layers() == []
    assert on_disk(driver) == []
    with pytest.raises(NotFound):
        driver.remove_layer(first)


def test_a_layer_that_is_here_costs_nothing(driver):
    class Untouchable:
        def read(self, size: int) -> bytes:
            raise AssertionError("the stream was read")

    IMAGE.add_to(driver)
    driver.add(IMAGE.chain_ids, Untouchable(), IMAGE.diff_ids[-1])


def test_absent_layers_are_said_so(driver):
    with pytest.raises(NotFound):
        driver.add(IMAGE.chain_ids[:2], io.BytesIO(IMAGE.archives[1]), IMAGE.diff_ids[1])
    with pytest.raises(NotFound):
        driver.prepare("c1", IMAGE.chain_ids)
    with pytest.raises(NotFound):
        driver.usage(IMAGE.chain_ids[0])
    with pytest.raises(NotFound):
        driver.usage("c1")
    assert (driver.layers(), driver.containers(), on_disk(driver)) == ([], [], [])


@pytest.mark.parametrize(
    ("archive", "kind"),
    [
        (IMAGE.archives[1], DigestMismatch),
        (IMAGE.archives[0][:3000], UnsafeLayer),
        (b"no tar at all" * 100, UnsafeLayer),
        (stack([file("ok"), file("../out")]).archives[0], UnsafeLayer),
    ],
)
def test_a_bad_layer_leaves_nothing(driver, archive, kind):
    with pytest.raises(kind):
        driver.add(IMAGE.chain_ids[:1], io.BytesIO(archive), IMAGE.diff_ids[0])
    assert (driver.has(IMAGE.chain_ids[0]), driver.layers(), on_disk(driver)) == (False, [], [])
    IMAGE.add_to(driver)
    assert driver.has(IMAGE.chain_ids[-1])


def test_a_broken_off_stream_leaves_nothing(driver):
    class Broken(io.BytesIO):
        def read(self, size: int = -1, /) -> bytes:
            if self.tell():
                raise KeyboardInterrupt
            return super().read(600)

    with pytest.raises(KeyboardInterrupt):
        driver.add(IMAGE.chain_ids[:1], Broken(IMAGE.archives[0]), IMAGE.diff_ids[0])
    assert on_disk(driver) == []


def test_a_real_image(driver, inside, shared):
    layout = Layout(shared / "images/busybox")
    image = layout.image("busybox:1.38.0-glibc", Platform.parse("amd64"))
    for number, layer in enumerate(image.manifest.layers):
        with layout.open(layer.digest) as stream:
            driver.add(image.config.chain_ids[: number + 1], stream, image.config.diff_ids[number])
    assert inside(driver.prepare("c1", image.config.chain_ids), lambda root: (root / "bin/sh").stat().st_size) > 100_000
    assert driver.usage(image.config.chain_ids[-1]) > 1_000_000


def test_usage_grows_with_what_is_written(driver, inside):
    IMAGE.add_to(driver)
    mounts = driver.prepare("c1", IMAGE.chain_ids)
    before = driver.usage("c1")
    inside(mounts, lambda root: (root / "big").write_bytes(os.urandom(1 << 20)))
    assert driver.usage("c1") - before in range(1 << 20, (1 << 20) + 300_000)  # and some blocks of metadata


def children(count: int, work) -> list[int]:
    fork = multiprocessing.get_context("fork")
    made = [fork.Process(target=work, args=(number,)) for number in range(count)]
    for child in made:
        child.start()
    for child in made:
        child.join()
    return [child.exitcode for child in made]


def test_many_processes_add_and_prepare_at_once(driver, inside):
    def work(number: int) -> None:
        IMAGE.add_to(driver)
        driver.prepare(f"c{number}", IMAGE.chain_ids)

    assert children(5, work) == [0] * 5
    assert driver.layers() == sorted(IMAGE.chain_ids)
    assert len(driver.containers()) == 5
    assert os.listdir(os.path.join(driver.root, "building")) == []
    assert inside(driver.mounts("c3"), tree) == SEEN


class DiesAt(io.BytesIO):
    """A stream whose reader is killed when it comes to that byte: kill -9 in the middle of add."""

    def __init__(self, data: bytes, moment: int) -> None:
        super().__init__(data)
        self.moment = moment

    def read(self, size: int = -1, /) -> bytes:
        if self.tell() >= self.moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(min(size, 512))


@pytest.mark.parametrize("moment", [512, 2048, 5120, 10 * 512])
def test_killed_while_adding(driver, inside, moment):
    driver.add(IMAGE.chain_ids[:1], io.BytesIO(IMAGE.archives[0]), IMAGE.diff_ids[0])
    assert moment <= len(IMAGE.archives[1])

    def work(_: int) -> None:
        driver.add(IMAGE.chain_ids[:2], DiesAt(IMAGE.archives[1], moment), IMAGE.diff_ids[1])

    assert children(1, work) == [-signal.SIGKILL]
    assert driver.layers() == [IMAGE.chain_ids[0]]
    assert not driver.has(IMAGE.chain_ids[1])
    IMAGE.add_to(driver)
    assert os.listdir(os.path.join(driver.root, "building")) == []
    assert inside(driver.prepare("c1", IMAGE.chain_ids), tree) == SEEN


def test_what_a_killed_process_left_is_cleared_away(driver):
    def work(_: int) -> None:
        driver.add(IMAGE.chain_ids[:1], DiesAt(IMAGE.archives[0], 2048), IMAGE.diff_ids[0])

    children(1, work)
    assert os.listdir(os.path.join(driver.root, "building")) == [IMAGE.chain_ids[0].hex]
    other = stack([file("other")])
    other.add_to(driver)
    assert os.listdir(os.path.join(driver.root, "building")) == []


@pytest.mark.root
@pytest.mark.parametrize("driver", ["overlay", "vfs", "aufs"], indirect=True)  # the others have a disk of their own
def test_a_full_disk_leaves_nothing(paths, driver):
    image = stack([file("small", "x")], [file("big", bytes(4 << 20))])

    def work() -> list[object]:
        mounting.Mount(paths.state, "tmpfs", "tmpfs", ("size=3m",)).attach()
        driver.add(image.chain_ids[:1], io.BytesIO(image.archives[0]), image.diff_ids[0])
        before = on_disk(driver)
        with pytest.raises(KernelError) as caught:
            driver.add(image.chain_ids, io.BytesIO(image.archives[1]), image.diff_ids[1])
        return [caught.value.errno, driver.layers(), on_disk(driver) == before]

    assert process.run_in_child(work, namespaces="mnt") == [errno.ENOSPC, [image.chain_ids[0]], True]


@pytest.mark.root
@pytest.mark.parametrize("driver", ["btrfs", "devicemapper"], indirect=True)
def test_no_room_for_a_disk_leaves_nothing(paths, driver):
    def work() -> list[object]:
        mounting.Mount(paths.state, "tmpfs", "tmpfs", ("size=3m",)).attach()
        with pytest.raises(KernelError) as caught:
            IMAGE.add_to(driver)
        return [caught.value.errno, driver.layers(), driver.containers()]

    assert process.run_in_child(work, namespaces="mnt") == [errno.ENOSPC, [], []]


@pytest.mark.root
@pytest.mark.parametrize("driver", ["btrfs", "devicemapper"], indirect=True)
def test_a_full_disk_in_a_file_leaves_nothing(driver, monkeypatch):
    monkeypatch.setattr(type(driver), "size", 300 << 20)
    monkeypatch.setattr(type(driver), "disk_size", 64 << 20, raising=False)
    image = stack([file("small", "x")], [file("big", bytes(400 << 20))])
    driver.add(image.chain_ids[:1], io.BytesIO(image.archives[0]), image.diff_ids[0])
    before = on_disk(driver)
    with pytest.raises(KernelError) as caught:
        driver.add(image.chain_ids, io.BytesIO(image.archives[1]), image.diff_ids[1])
    assert (caught.value.errno, driver.layers(), on_disk(driver)) == (errno.ENOSPC, [image.chain_ids[0]], before)


@pytest.mark.root
@pytest.mark.parametrize("driver", ["overlay", "vfs", "aufs"], indirect=True)
def test_a_disk_too_full_for_a_container_leaves_nothing(paths, driver):
    image = stack([file("big", bytes(1 << 20))])

    def work() -> list[object]:
        mounting.Mount(paths.state, "tmpfs", "tmpfs", ("size=3m",)).attach()
        image.add_to(driver)
        filler = os.open(os.path.join(paths.state, "filler"), os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError, match="No space"):
            while os.write(filler, bytes(1 << 12)):
                continue
        with pytest.raises(KernelError) as caught:
            driver.prepare("c1", image.chain_ids)
        return [caught.value.errno, driver.containers()]

    assert process.run_in_child(work, namespaces="mnt") == [errno.ENOSPC, []]


@pytest.mark.skipif(sys.platform != "linux", reason="mounts are Linux's")
def test_nothing_is_mounted_on_the_host(driver, inside):
    before = Path("/proc/self/mountinfo").read_text()
    IMAGE.add_to(driver)
    inside(driver.prepare("c1", IMAGE.chain_ids), fill)
    driver.remove("c1")
    assert Path("/proc/self/mountinfo").read_text() == before


def test_others_cannot_reach_the_layers(driver):
    """A set-user-ID program of an image must not be there for the host's users."""
    IMAGE.add_to(driver)
    assert stat.S_IMODE(os.stat(driver.root).st_mode) == 0o700


@pytest.mark.root
def test_it_is_what_tar_would_have_made(driver, inside, shared, tmp_path):
    """Two real layers, one on the other: the same tree as that of tar(1), which knows nothing of drivers."""
    folder = shared / "images"
    blob = folder / "busybox/blobs/sha256/b05093807bb0294152bb9cf86d64da722732dddaf7f8882fa1f120477dbc4db3"
    files = [folder / "alpine-3.20-x86_64.tar.gz", blob]
    ids = []
    for path in files:
        with open(path, "rb") as stream:
            from labrt.image.layer import compute_diff_id

            ids.append(compute_diff_id(stream))
    chain = (ids[0], Digest.of(f"{ids[0]} {ids[1]}".encode()))
    expected = tmp_path / "expected"
    expected.mkdir()
    for number, path in enumerate(files):
        with open(path, "rb") as stream:
            driver.add(chain[: number + 1], stream, ids[number])
        subprocess.run(["tar", "-xpzf", path, "-C", expected, "--numeric-owner", "--overwrite"], check=True)
    say = ["-mindepth", "1", "-printf", r"%P %y %m %U %G %s %l\n"]

    def listing(root: Path) -> list[str]:
        return sorted(
            subprocess.run(["find", root, *say], check=True, capture_output=True, text=True).stdout.splitlines()
        )

    sizes_of_directories_vary = [line for line in listing(expected) if " d " not in line]
    found = [line for line in inside(driver.prepare("c1", chain), listing) if " d " not in line]
    assert found == sizes_of_directories_vary


def test_a_missing_file_in_the_stream_is_the_callers_error(driver):
    class Gone:
        def read(self, size: int) -> bytes:
            raise FileNotFoundError(errno.ENOENT, "the blob has vanished")

    with pytest.raises(FileNotFoundError):
        driver.add(IMAGE.chain_ids[:1], Gone(), IMAGE.diff_ids[0])
    assert on_disk(driver) == []
    IMAGE.add_to(driver)


def test_a_container_whose_note_a_power_cut_emptied_can_be_removed(driver):
    """A container that is removed when it ends is prepared without waiting for the disk."""
    IMAGE.add_to(driver)
    driver.prepare("c1", IMAGE.chain_ids, durable=False)
    Path(driver.root, "containers/c1/container.json").write_bytes(b"")
    with pytest.raises(ContainerNotFound):
        driver.mounts("c1")
    assert driver.containers() == ["c1"]
    driver.remove_layer(IMAGE.chain_ids[-1])
    driver.remove("c1")
    assert driver.containers() == []
