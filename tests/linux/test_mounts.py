"""Mounts: options, attaching below hostile roots, and undoing."""

from __future__ import annotations

import os

import pytest

from labrt.errors import InvalidInput, KernelError
from labrt.linux import ledger, mounts, process, procfs
from labrt.linux.flags import MOUNT_ATTR, MS
from labrt.linux.mounts import Mount


def test_options_are_sorted_by_who_reads_them():
    options = mounts.parse_options(["ro", "nosuid", "size=1m", "rprivate", "mode=755", "rro"])
    assert options.set == MS.RDONLY | MS.NOSUID
    assert options.data == "size=1m,mode=755"
    assert options.propagation == (MS.PRIVATE | MS.REC,)
    assert options.recursive_set == MOUNT_ATTR.RDONLY


def test_the_later_option_wins():
    assert mounts.parse_options(["ro", "rw"]).set == MS(0)
    assert mounts.parse_options(["ro", "rw"]).clear == MS.RDONLY
    assert mounts.parse_options(["rw", "ro"]).set == MS.RDONLY


def test_json_there_and_back():
    mount = Mount("/data", "bind", "/srv", ("rbind", "ro"))
    assert Mount.from_json(mount.to_json()) == mount
    assert Mount.from_json({"destination": "/data", "source": "/srv", "options": ["rbind"]}).type == "bind"
    with pytest.raises(InvalidInput, match="not a mount"):
        Mount.from_json({"destination": 7})


def mount_line(path: str) -> procfs.MountInfo | None:
    return next((line for line in reversed(procfs.mountinfo()) if line.mount_point == path), None)


def in_namespace(function):
    return process.run_in_child(function, namespaces="mnt")


@pytest.mark.root
class TestAttach:
    def test_a_bind_is_read_only_at_once_and_below(self, tmp_path):
        source, target = tmp_path / "source", tmp_path / "target"
        source.mkdir()
        target.mkdir()

        def look():
            (source / "below").mkdir()
            Mount(str(source / "below"), "tmpfs", "tmpfs", ()).attach()
            Mount(str(target), "bind", str(source), ("rbind", "rro")).attach()
            return [mount_line(str(path)).options for path in (target, target / "below")]

        assert all("ro" in options for options in in_namespace(look))

    def test_a_missing_target_is_made_as_what_the_source_is(self, tmp_path):
        root = tmp_path / "root"
        root.mkdir()
        (tmp_path / "file").write_text("content")

        def look():
            Mount("/a/b/file", "bind", str(tmp_path / "file"), ("bind",)).attach(str(root))
            Mount("/c/d", "bind", str(tmp_path), ("rbind",)).attach(str(root))
            return (root / "a/b/file").read_text(), (root / "c/d/file").read_text()

        assert in_namespace(look) == ("content", "content")

    def test_links_do_not_lead_out_of_the_root(self, tmp_path):
        root, outside = tmp_path / "root", tmp_path / "outside"
        root.mkdir()
        outside.mkdir()
        (root / "absolute").symlink_to(outside)
        (root / "relative").symlink_to("../outside")

        def look():
            for link in ("absolute", "relative"):
                Mount(f"/{link}/x", "tmpfs", "tmpfs", ()).attach(str(root))
            return [line.mount_point for line in procfs.mountinfo() if str(tmp_path) in line.mount_point]

        # Both point at what is not in the root, so it is made there, where a process inside would see it.
        assert in_namespace(look) == [f"{root}{outside}/x", f"{root}/outside/x"]
        assert not list(outside.iterdir())

    def test_links_that_lead_nowhere_end(self, tmp_path):
        (tmp_path / "one").symlink_to("two")
        (tmp_path / "two").symlink_to("one")
        for path in ("/one", "/one/x"):
            with pytest.raises(OSError, match="ELOOP"):
                mounts.open_in_root(str(tmp_path), path, create="directory")
        (tmp_path / "chain").symlink_to("further")
        (tmp_path / "further").symlink_to("../../at/last")
        os.close(mounts.open_in_root(str(tmp_path), "/chain", create="file"))
        assert (tmp_path / "at/last").is_file()

    def test_a_link_within_the_root_is_followed_within(self, tmp_path):
        root = tmp_path / "root"
        (root / "real").mkdir(parents=True)
        (root / "link").symlink_to("/real")

        def look():
            Mount("/link/x", "tmpfs", "tmpfs", ()).attach(str(root))
            return mount_line(str(root / "real/x")) is not None

        assert in_namespace(look)

    def test_propagation_words_take_effect(self, tmp_path):
        def look():
            Mount(str(tmp_path), "tmpfs", "tmpfs", ("shared",)).attach()
            return mount_line(str(tmp_path)).propagation

        assert "shared" in in_namespace(look)

    def test_more_options_than_a_page_are_refused_not_cut(self, tmp_path):
        with pytest.raises(KernelError, match="E2BIG"):
            Mount(str(tmp_path), "tmpfs", "tmpfs", ("x" * os.sysconf("SC_PAGE_SIZE"),)).attach()

    def test_an_overlay_of_more_layers_than_fit_a_page(self, tmp_path):
        layers = []
        for number in range(100):
            layer = tmp_path / f"a-layer-with-quite-a-long-name-{number:03}"
            layer.mkdir()
            (layer / f"file-{number}").touch()
            layers.append(str(layer))
        target = tmp_path / "target"
        target.mkdir()

        def look():
            here = os.getcwd()
            Mount(str(target), "overlay", "overlay", (f"lowerdir={':'.join(layers)}", "index=off")).attach()
            return len(os.listdir(target)), os.getcwd() == here

        assert len(":".join(layers)) > os.sysconf("SC_PAGE_SIZE")
        assert in_namespace(look) == (100, True)

    def test_an_error_names_call_and_flags(self, tmp_path):
        with pytest.raises(KernelError, match=r"mount\('none', .*'nosuchfs', MS_NOSUID.*ENODEV.*proc/filesystems"):
            Mount(str(tmp_path), "nosuchfs", "none", ("nosuid",)).attach()


@pytest.mark.root
class TestUndoing:
    def test_an_overlay_lasts_as_long_as_its_block(self, tmp_path, labrt_root):
        lower, upper = tmp_path / "lower", tmp_path / "upper"
        lower.mkdir()
        upper.mkdir()
        (lower / "file").write_text("old")
        with mounts.overlay([str(lower)], upper=str(upper)) as root:
            with open(f"{root}/file", "w") as file:
                file.write("new")
            assert [entry.kind for entry in ledger.entries()] == ["directory", "mount"]
        assert (lower / "file").read_text() == "old"
        assert (upper / "file").read_text() == "new"
        assert not os.path.exists(root)
        assert not os.path.exists(f"{upper}.work")
        assert ledger.entries() == []

    def test_without_an_upper_directory_nothing_is_kept(self, tmp_path, labrt_root):
        (tmp_path / "lower").mkdir()
        with mounts.overlay([str(tmp_path / "lower")]) as root:
            os.mkdir(f"{root}/made")
        assert ledger.entries() == []
        assert not list((tmp_path / "lower").iterdir())

    def test_a_failure_leaves_nothing(self, tmp_path, labrt_root):
        with pytest.raises(KernelError), mounts.overlay([str(tmp_path / "absent")]):
            raise AssertionError("mounted what is not there")
        assert ledger.entries() == []
        assert str(tmp_path) not in "".join(line.mount_point for line in procfs.mountinfo())

    def test_a_busy_mount_goes_as_soon_as_it_can(self, tmp_path, labrt_root):
        with mounts.tmpfs(str(tmp_path)):
            held = os.open(tmp_path / "held", os.O_CREAT)
        assert mount_line(str(tmp_path)) is None
        os.close(held)

    def test_an_exception_in_the_block_undoes_too(self, tmp_path, labrt_root):
        with pytest.raises(ZeroDivisionError), mounts.tmpfs(str(tmp_path)):
            1 / 0  # noqa: B018
        assert mount_line(str(tmp_path)) is None
        assert ledger.entries() == []

    @pytest.mark.parametrize("path", ["/a:b", "/a,b", "/a\\b"])
    def test_names_that_overlayfs_would_misread(self, path):
        with pytest.raises(InvalidInput, match="symbolic link"), mounts.overlay([path]):
            raise AssertionError("mounted")


def test_no_lower_directory_is_an_error():
    with pytest.raises(InvalidInput, match="no lower"), mounts.overlay([]):
        raise AssertionError("mounted")


def test_an_unknown_propagation_is_named():
    with pytest.raises(InvalidInput, match="'sharedd'"):
        mounts.set_propagation("/", "sharedd")
