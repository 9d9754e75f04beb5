"""Layers that want out: the answer is UnsafeLayer or harmless, and nothing outside the root changes."""

import errno
import io
import os
import tarfile
import zlib
from pathlib import Path

import pytest
import zstandard
from archives import device, directory, entry, file, hardlink, symlink, tar

from labrt.errors import LabrtError, UnsafeLayer
from labrt.image import compression, layer, tree
from labrt.image import tar as tar_module
from labrt.linux import beneath

SECRET = "untouched"


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A root to unpack into, and beside it what must not change."""
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text(SECRET)
    return tmp_path


def outside(house: Path) -> list[object]:
    found = (house / "outside").stat(), (house / "outside/secret").stat()
    status = [(each.st_mode, each.st_uid, each.st_mtime_ns, each.st_nlink) for each in found]
    return [sorted(os.listdir(house)), os.listdir(house / "outside"), (house / "outside/secret").read_text(), *status]


REFUSED = {
    "up": [file("../outside/secret", "x")],
    "up from inside": [directory("a"), file("a/../../outside/secret", "x")],
    "up and down again": [directory("a"), file("a/../b", "x")],
    "only up": [directory("..")],
    "up by a whiteout": [file("../outside/.wh.secret")],
    "whiteout of up": [file(".wh...")],
    "whiteout of here": [file(".wh..")],
    "whiteout of nothing": [file(".wh.")],
    "a whiteout as directory": [file("a/.wh.x/y", "x")],
    "hard link up": [hardlink("x", "../outside/secret")],
    "hard link to what is not there": [hardlink("x", "outside/secret")],
    "hard link to a directory": [directory("d"), hardlink("x", "d")],
    "hard link to the root": [hardlink("x", "/")],
    "hard link to nothing": [hardlink("x", "")],
    "no name": [file("", "x")],
    "the root as a file": [file("./", "x", type=tarfile.CHRTYPE)],
    "the root as a link": [symlink(".", "../outside")],
    "a link to nothing": [symlink("x", "")],
    "links in a circle": [symlink("a", "b"), symlink("b", "a"), file("a/x")],
    "a link to itself": [symlink("a", "a"), file("a/x")],
    "a file as directory": [file("a", "x"), file("a/b", "x")],
    "overlayfs's mark": [device("x", 0, 0)],
    "a device that cannot be": [device("x", 5000, 1)],
    "deep": [directory("/".join("d" * 300))],
    "a long name": [file("n" * 300, "x")],
    "NUL in a link": [entry("x", tarfile.SYMTYPE, pax_headers={"linkpath": "a\0b"})],
}


# The portable way, and the engine's, by which the kernel judges each step.
by_each_way = pytest.mark.parametrize("step", [tree.step, beneath.directory], ids=["image", "linux"])


@by_each_way
@pytest.mark.parametrize("mode", ["delete", "overlay"])
@pytest.mark.parametrize("case", REFUSED)
def test_refused(house, case, mode, step):
    if case == "a device that cannot be" and os.geteuid() != 0:
        pytest.skip("devices are left out without root")
    before = outside(house)
    with pytest.raises(UnsafeLayer) as caught:
        layer.apply(tar(*REFUSED[case]), house / "root", whiteouts=mode, step=step)
    assert len(str(caught.value)) < 500
    assert outside(house) == before


def contained(house: Path) -> dict[str, list]:
    there = str(house / "outside")
    return {
        "absolute": [file(f"{there}/secret", "x")],
        "absolute hard link": [file(f"{there}/secret", "x"), hardlink("x", f"{there}/secret")],
        "through a link": [symlink("a", "../outside"), file("a/secret", "x")],
        "through an absolute link": [symlink("a", there), file("a/secret", "x")],
        "through two links": [symlink("a", ".."), symlink("b", "a/outside"), file("b/secret", "x")],
        "through a link far up": [symlink("a", "../" * 50 + there), file("a/secret", "x")],
        "directory through a link": [symlink("a", there), directory("a/new")],
        "directory over a link": [symlink("a", there), directory("a", mode=0o777)],
        "file over a link": [symlink("a", f"{there}/secret"), file("a", "x")],
        "whiteout through a link": [symlink("a", there), file("a/.wh.secret")],
        "opaque through a link": [symlink("a", there), file("a/.wh..wh..opq")],
        "whiteout of a link": [symlink("a", there), file(".wh.a")],
        "device over a link": [symlink("a", f"{there}/secret"), entry("a", tarfile.FIFOTYPE)],
        "hard link to a link": [symlink("a", f"{there}/secret"), hardlink("b", "a"), file("b", "x")],
        "owner and time through a link": [symlink("a", f"{there}/secret", uid=1, mtime=1), symlink("a", there, uid=1)],
        "link that becomes a directory": [symlink("a", there), directory("a"), file("a/secret", "x")],
        "directory that becomes a link": [directory("a"), file("a/x"), symlink("a", there), file("a/secret", "x")],
    }


@by_each_way
@pytest.mark.parametrize("mode", ["delete", "overlay"])
@pytest.mark.parametrize("case", contained(Path("/x")))
def test_kept_inside(house, case, mode, step):
    before = outside(house)
    layer.apply(tar(*contained(house)[case]), house / "root", whiteouts=mode, step=step)
    assert outside(house) == before


def test_where_a_step_would_lead_out_the_kernel_says_no(house):
    """Also of names that no archive can have: what our own code would get wrong, the engine's way does not open."""
    (house / "root/in").mkdir()
    (house / "root/link").symlink_to("in")
    with tree.Tree(house / "root", beneath.directory) as inside:
        top = inside.descriptor(0)
        os.close(beneath.directory(top, "in"))
        for name, code in {"..": errno.EXDEV, f"{house}/outside": errno.EXDEV, "in/../..": errno.EXDEV,
                           "link": errno.ELOOP, "nothing": errno.ENOENT}.items():  # fmt: skip
            with pytest.raises(OSError) as caught:
                beneath.directory(top, name)
            assert caught.value.errno == code, name


def test_a_directory_that_becomes_a_link_between_two_entries(house):
    """The chain of open directories must not outlive the directory: the last file belongs where the link leads."""
    entries = [directory("a"), directory("b"), file("a/1"), symlink("a", "b"), file("a/2")]
    layer.apply(tar(*entries), house / "root")
    assert os.listdir(house / "root/b") == ["2"]


def test_lower_layers_that_want_out(house):
    """Lower layers are strangers', too: their links are read, not followed."""
    (house / "low").mkdir()
    (house / "low/a").symlink_to(house / "outside")
    before = outside(house)
    layer.apply(tar(file("a/secret", "x")), house / "root", whiteouts="overlay", lowers=[str(house / "low")])
    assert outside(house) == before
    assert not (house / "root/a").exists()  # followed inside the root, where it made its own "outside"


@pytest.mark.parametrize("size", [1 << 40, (1 << 63) - 1])
def test_a_huge_file_that_does_not_come(house, size):
    raw = tar(file("big", "x", pax_headers={"size": str(size)})).getvalue()
    with pytest.raises(UnsafeLayer, match="cut off"):
        layer.apply(io.BytesIO(raw), house / "root")
    assert (house / "root/big").stat().st_blocks < 100


def test_a_limit_on_what_comes(house):
    with pytest.raises(UnsafeLayer, match="more than 100000 bytes"):
        layer.apply(tar(file("big", bytes(200_000))), house / "root", limit=100_000)


def test_every_byte_wrong_once(house):
    """Flip each byte of a header: the answer is a tree inside the root or an error of ours, nothing else."""
    raw = tar(file("name", "content"), symlink("s", "../outside"), form=tarfile.GNU_FORMAT).getvalue()
    before = outside(house)
    for position in range(512):
        for value in (0xFF, 0x2E, 0x00):
            broken = bytearray(raw)
            broken[position] = value
            broken[148:156] = b" " * 8
            broken[148:156] = b"%06o\0 " % sum(broken[:512])
            try:
                layer.apply(io.BytesIO(bytes(broken)), house / "root")
            except LabrtError:
                continue
    assert outside(house) == before


def test_removing_a_directory_of_any_depth(house):
    """A container can nest deeper than any path, descriptor table or stack is long."""
    fd = os.open(house / "root", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=fd)
        os.symlink("../../outside", "link", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    before = outside(house)
    tree.remove_path(str(house / "root"))
    assert not (house / "root").exists()
    (house / "root").mkdir()
    assert outside(house) == before


def test_removing_what_forbids_it(house):
    (house / "root/closed/inner").mkdir(parents=True)
    (house / "root/closed/inner").chmod(0)
    (house / "root/closed").chmod(0)
    tree.remove_path(str(house / "root/closed"))
    tree.remove_path(str(house / "root/never-there"))
    tree.remove_path(str(house / "nowhere/never-there"))
    assert os.listdir(house / "root") == []


# Bombs ----------------------------------------------------------------------------------------------------------------


class Zeros(io.RawIOBase):
    """A gzip or zstd stream of so many zeros, made as it is read; `given` counts its bytes."""

    def __init__(self, packer, size: int) -> None:
        self.packer, self.left, self.ready, self.given = packer, size, b"", 0

    def read(self, size: int = -1, /) -> bytes:
        while not self.ready and self.packer:
            piece = min(self.left, 1 << 20)
            self.left -= piece
            self.ready = self.packer.compress(bytes(piece))
            if not self.left:
                self.ready, self.packer = self.ready + self.packer.flush(), None
        data, self.ready = self.ready[:size], self.ready[size:]
        self.given += len(data)
        return data


BOMBS = {
    "gzip": lambda: zlib.compressobj(9, wbits=31),
    "zstd": lambda: zstandard.ZstdCompressor().compressobj(),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_by_its_ratio(monkeypatch, kind):
    """Not because it is large: an honest layer of the same size passes, and so does a small one of zeros."""
    monkeypatch.setattr(compression, "SMALL", 1 << 22)
    bomb = Zeros(BOMBS[kind](), 1 << 33)
    with pytest.raises(UnsafeLayer, match=r"\d+ bytes unpack to \d+ and more"):
        layer.compute_diff_id(bomb)
    assert (1 << 33) - bomb.left < 1 << 29  # it was not unpacked to its end
    layer.compute_diff_id(Zeros(BOMBS[kind](), 1 << 22))
    noise = os.urandom(1 << 16) * (5 << 4)
    layer.compute_diff_id(io.BytesIO(zlib.compress(noise, wbits=31)))


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_by_its_size(house, kind):
    with pytest.raises(UnsafeLayer, match="more than 1000000 bytes"):
        layer.compute_diff_id(Zeros(BOMBS[kind](), 1 << 33), limit=1_000_000)


def test_too_many_entries(house, monkeypatch):
    monkeypatch.setattr(tar_module, "MOST_ENTRIES", 10)
    layer.apply(tar(*(file(f"f{number}") for number in range(10))), house / "root")
    with pytest.raises(UnsafeLayer, match="more than 10 entries"):
        layer.apply(tar(*(file(f"g{number}") for number in range(11))), house / "root")


def test_headers_without_an_entry_count_too(house, monkeypatch):
    """A global header for each byte of the layer would never come to an entry."""
    monkeypatch.setattr(tar_module, "MOST_ENTRIES", 10)
    header = entry("pax", b"g").tobuf()
    with pytest.raises(UnsafeLayer, match="more than 10 entries"):
        layer.apply(io.BytesIO(header * 100), house / "root")


# Twice ----------------------------------------------------------------------------------------------------------------

TWICE = {
    "a file": ([file("a", "1", mode=0o4777), file("a", "2")], "2"),
    "a file and a link": ([file("a", "1"), symlink("a", "b"), file("b", "2")], "2"),
    "a directory and a file": ([directory("a"), file("a/x", "1"), file("a", "2")], "2"),
    "a hard link and its target": ([file("b", "1"), hardlink("a", "b"), file("b", "2")], "1"),
    "a hard link to itself": ([file("a", "1"), hardlink("a", "a")], "1"),
    "a whiteout of its own file": ([file("a", "1"), file(".wh.a")], "1"),
    "a name in two spellings": ([file("a", "1"), file("././/a", "2")], "2"),
}


@pytest.mark.parametrize("mode", ["delete", "overlay"])
@pytest.mark.parametrize("case", TWICE)
def test_an_entry_that_is_there_twice(house, case, mode):
    """The last one counts, as for tar itself; and what the first one had, its set-user-ID bit, is gone."""
    entries, expected = TWICE[case]
    layer.apply(tar(*entries), house / "root", whiteouts=mode)
    assert (house / "root/a").read_text() == expected
    assert (house / "root/a").stat().st_mode & 0o7777 == 0o644
