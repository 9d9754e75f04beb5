"""AUFS's rules on plain directories, and the program that serves them."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from stacks import stack

from labrt.errors import NotSupported
from labrt.linux import ledger, procfs
from labrt.storage.aufs_rules import Union
from labrt.storage.driver import open_driver

from archives import file  # isort: skip


@pytest.fixture
def branches(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in ("upper", "middle", "low")]
    for path in made:
        path.mkdir()
    return made


def union(branches: list[Path]) -> Union:
    return Union([*map(str, branches)])


def put(branch: Path, *names: str, text: str = "") -> None:
    for name in names:
        (branch / name).parent.mkdir(parents=True, exist_ok=True)
        (branch / name).write_text(text or branch.name)


class TestLooking:
    def test_the_highest_branch_wins(self, branches):
        put(branches[2], "f", "g")
        put(branches[1], "f")
        assert [Path(union(branches).find(path).path).read_text() for path in ("/f", "/g")] == ["middle", "low"]

    def test_directories_are_merged(self, branches):
        put(branches[2], "d/low", "d/both")
        put(branches[1], "d/middle", "d/both")
        assert union(branches).names("/d") == ["both", "low", "middle"]

    def test_a_whiteout_hides_below_its_branch_only(self, branches):
        put(branches[2], "f", "g")
        put(branches[1], ".wh.f", "f", ".wh.g")
        assert union(branches).names("/") == ["f"]
        assert union(branches).find("/f").branch == 1
        with pytest.raises(FileNotFoundError):
            union(branches).find("/g")

    def test_an_opaque_directory_shows_nothing_below(self, branches):
        put(branches[2], "d/old")
        put(branches[1], "d/.wh..wh..opq", "d/new")
        assert union(branches).names("/d") == ["new"]
        assert union(branches).stack("/d/old") == []

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_a_file_and_a_directory_are_not_merged(self, branches, order):
        put(branches[1:][order[0]], "x")
        put(branches[1:][order[1]], "x/inner")
        assert union(branches).find("/x").is_directory == (order[1] == 0)
        assert len(union(branches).stack("/x")) == 1

    def test_names_of_marks_are_nobodys(self, branches):
        put(branches[2], ".wh.f", ".wh..wh.aufs")
        assert union(branches).names("/") == []
        with pytest.raises(FileNotFoundError):
            union(branches).find("/.wh.f")
        with pytest.raises(PermissionError):
            union(branches).upper("/.wh.mine")

    def test_a_link_in_one_branch_is_no_way_out_of_another(self, branches, tmp_path):
        """A low layer says that d is a link to a place of the host's; a higher one, that it is a directory."""
        (tmp_path / "host").mkdir()
        (tmp_path / "host/secret").write_text("secret")
        (branches[2] / "d").symlink_to(tmp_path / "host")
        put(branches[1], "d/own")
        assert union(branches).names("/d") == ["own"]
        assert union(branches).stack("/d/secret") == []


class TestWriting:
    def test_copy_up_brings_the_directories_too(self, branches):
        put(branches[2], "a/b/f", text="text")
        os.chmod(branches[2] / "a/b", 0o751)
        os.chmod(branches[2] / "a/b/f", 0o4711)
        os.utime(branches[2] / "a/b/f", ns=(1, 2_000_000_003))
        union(branches).copy_up("/a/b/f")
        found = os.stat(branches[0] / "a/b/f")
        assert ((branches[0] / "a/b/f").read_text(), found.st_mtime_ns) == ("text", 2_000_000_003)
        modes = [stat.S_IMODE(os.stat(branches[0] / name).st_mode) for name in ("a/b", "a/b/f")]
        assert modes == [0o751, 0o4711]
        assert os.listdir(branches[0] / "a/b") == ["f"]  # nothing of the copying is left

    def test_removing_leaves_a_whiteout_where_one_is_needed(self, branches):
        put(branches[2], "low")
        put(branches[0], "own", "low")
        for path in ("/low", "/own"):
            union(branches).remove_file(path)
        assert os.listdir(branches[0]) == [".wh.low"]
        assert union(branches).names("/") == []

    def test_a_directory_that_comes_again_is_empty(self, branches):
        put(branches[2], "d/old")
        union(branches).remove_file("/d/old")
        union(branches).remove_directory("/d")
        assert union(branches).names("/") == []
        union(branches).make_directory("/d", 0o755)
        assert union(branches).names("/d") == []
        assert sorted(os.listdir(branches[0])) == ["d"]

    def test_only_an_empty_directory_is_removed(self, branches):
        put(branches[2], "d/f")
        with pytest.raises(OSError, match="not empty"):
            union(branches).remove_directory("/d")
        with pytest.raises(NotADirectoryError):
            union(branches).remove_directory("/d/f")

    def test_renaming(self, branches):
        put(branches[2], "f", "d/g", "target/hidden")
        put(branches[0], "own/x")
        union(branches).rename("/f", "/d/g")
        assert (union(branches).names("/"), (branches[0] / "d/g").read_text()) == (["d", "own", "target"], "low")
        with pytest.raises(OSError, match="ross-device"):
            union(branches).rename("/d", "/e")
        with pytest.raises(OSError, match="not empty"):
            union(branches).rename("/own", "/target")
        union(branches).remove_file("/target/hidden")
        union(branches).rename("/own", "/target")
        assert union(branches).names("/target") == ["x"]


# The program ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def driver(paths):
    try:
        return open_driver("aufs", paths)
    except NotSupported as error:
        pytest.skip(error.message)


def wait_until(holds, seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.01)
    return False


def servers(paths) -> list[int]:
    noted = [entry for entry in ledger.entries(paths.ledger) if entry.kind == "process"]
    return [int(entry.what) for entry in noted if procfs.alive(int(entry.what), int(entry.detail["starttime"]))]


@pytest.mark.root
def test_the_server_is_in_the_ledger_and_ends_with_the_last_mount(driver, paths, inside):
    image = stack([file("f", "content")])
    image.add_to(driver)

    def look(root: Path) -> tuple[str, bool]:
        return (root / "f").read_text(), wait_until(lambda: len(servers(paths)) == 1)

    assert inside(driver.prepare("c1", image.chain_ids), look) == ("content", True)
    assert wait_until(lambda: ledger.entries(paths.ledger) == [])


@pytest.mark.root
def test_what_programs_do_with_files(driver, inside):
    """Open files without names, times that are left alone, links, sparse files, attributes."""
    image = stack([file("f", "0123456789", mode=0o640), file("d/g", "x")])
    image.add_to(driver)

    def work(root: Path) -> dict[str, object]:
        facts: dict[str, object] = {}
        with open(root / "f", "r+") as stream:
            os.unlink(root / "f")
            stream.seek(5)
            stream.write("abc")
            stream.flush()
            facts["nameless"] = (os.pread(stream.fileno(), 20, 0), os.fstat(stream.fileno()).st_size)
            os.ftruncate(stream.fileno(), 2)
            facts["cut"] = os.fstat(stream.fileno()).st_size
        os.utime(root / "d/g", ns=(10**18, 10**18))
        os.link(root / "d/g", root / "second")
        os.symlink("second", root / "third")
        facts["links"] = (os.stat(root / "d/g").st_nlink, (root / "third").read_text(), os.readlink(root / "third"))
        os.setxattr(root / "second", "user.k", b"v")
        facts["attribute"] = (os.getxattr(root / "d/g", "user.k"), os.listxattr(root / "d/g"))
        os.mkdir(root / "shared", 0o2775)
        os.chmod(root / "shared", 0o2775)
        os.chown(root / "shared", 0, 77)
        os.mkdir(root / "shared/in")
        facts["group"] = (os.stat(root / "shared/in").st_gid, bool(os.stat(root / "shared/in").st_mode & stat.S_ISGID))
        facts["time"] = os.stat(root / "d/g").st_mtime_ns
        with pytest.raises(PermissionError):
            (root / ".wh.x").write_text("")
        return facts

    assert inside(driver.prepare("c1", image.chain_ids), work) == {
        "nameless": (b"01234abc89", 10), "cut": 2, "links": (2, "x", "second"), "attribute": (b"v", ["user.k"]),
        "group": (77, True), "time": 10**18,
    }  # fmt: skip
    assert inside(driver.mounts("c1"), lambda root: sorted(os.listdir(root))) == ["d", "second", "shared", "third"]


@pytest.mark.root
def test_another_user_makes_files_of_their_own(driver, inside):
    image = stack([file("x", "")])
    image.add_to(driver)

    def work(root: Path) -> tuple[int, int]:
        os.chmod(root, 0o777)
        os.chdir(root)  # the directories above are root's
        pid = os.fork()
        if pid == 0:
            os.setgid(1001)
            os.setuid(1000)
            os.close(os.open("mine", os.O_WRONLY | os.O_CREAT))
            os._exit(0)
        os.waitpid(pid, 0)
        found = os.stat(root / "mine")
        return found.st_uid, found.st_gid

    assert inside(driver.prepare("c1", image.chain_ids), work) == (1000, 1001)
