"""What only the overlay driver has: the order and length of lowerdir, its reasons, its attributes."""

import os
from pathlib import Path

import pytest
from archives import directory, file
from stacks import stack

from labrt.errors import InvalidInput, NotSupported
from labrt.linux import fscontext, process
from labrt.linux.mounts import Mount
from labrt.paths import Paths
from labrt.storage.driver import open_driver
from labrt.storage.overlay import Overlay
from labrt.storage.vfs import Vfs


def options(mount: Mount) -> dict[str, str]:
    return dict(option.partition("=")[::2] for option in mount.options)


def test_the_highest_layer_comes_first_by_a_short_name(paths):
    driver = open_driver("overlay", paths)
    image = stack([file("a")], [file("b")], [file("c")])
    image.add_to(driver)
    lower = options(driver.prepare("c1", image.chain_ids)[0])["lowerdir"].split(":")
    assert [os.path.realpath(path) for path in lower] == [driver.diff(each) for each in reversed(image.chain_ids)]
    assert all(len(os.path.basename(path)) == 24 for path in lower)
    driver.remove("c1")
    driver.remove_layer(image.chain_ids[-1])
    assert not os.path.lexists(lower[0])


@pytest.mark.root
def test_128_layers_fit_into_one_page(paths, inside):
    driver = open_driver("overlay", paths)
    image = stack(*([file(f"f{number}"), file("last", str(number))] for number in range(128)))
    image.add_to(driver)
    mounts = driver.prepare("c1", image.chain_ids)
    seen = inside(mounts, lambda root: (len(os.listdir(root)), (root / "last").read_text()))
    assert seen == (129, "127")


def test_the_upper_directory_holds_whole_files(paths, inside):
    """Packing the upper directory must lose nothing: chmod copies a file up, content and all."""
    driver = open_driver("overlay", paths)
    image = stack([file("f", "content")])
    image.add_to(driver)
    mounts = driver.prepare("c1", image.chain_ids)
    inside(mounts, lambda root: os.chmod(root / "f", 0o600))
    assert Path(options(mounts[0])["upperdir"], "f").read_text() == "content"


@pytest.mark.root
def test_on_overlayfs_it_says_why_not(tmp_path):
    """overlayfs takes no upper directory that lies on overlayfs: as in a container that has labrt in it."""

    def look() -> tuple[str | None, str, str]:
        for name in ("low", "up", "work", "merged"):
            (tmp_path / name).mkdir()
        data = tuple(
            f"{key}dir={tmp_path / name}" for key, name in (("lower", "low"), ("upper", "up"), ("work", "work"))
        )
        Mount(str(tmp_path / "merged"), "overlay", "overlay", data).attach()
        paths = Paths(str(tmp_path / "merged/lib"), str(tmp_path / "run"))
        with pytest.raises(NotSupported) as caught:
            open_driver("overlay", paths)
        return Overlay.can_use(paths), open_driver(None, paths).name, str(caught.value)

    reason, chosen, message = process.run_in_child(look, namespaces="mnt")
    assert reason is not None and reason.endswith("merged/lib/layers is on overlay")
    assert chosen == "vfs"
    assert reason in message and "vfs works everywhere" in message


@pytest.mark.parametrize("character", [":", ",", "\\"])
def test_a_path_that_options_cannot_have(tmp_path, character):
    paths = Paths(str(tmp_path / f"a{character}b"), str(tmp_path / "run"))
    assert "a path" in (Overlay.can_use(paths) or "")
    assert open_driver(None, paths).name == "vfs"


def test_trying_leaves_nothing(paths):
    Overlay.can_use(paths)
    Vfs.can_use(paths)
    assert os.listdir(paths.layers) == []


def test_the_choice_is_kept(paths):
    first = open_driver(None, paths)
    assert Path(paths.layers, "driver").read_text() == first.name
    Path(paths.layers, "driver").write_text("vfs")
    assert open_driver(None, paths).name == "vfs"
    Path(paths.layers, "driver").write_text("nonsense")
    assert open_driver(None, paths).name == first.name


def test_an_unknown_driver(paths):
    with pytest.raises(InvalidInput, match="overlay, vfs, btrfs, devicemapper, aufs"):
        open_driver("zfs", paths)


@pytest.mark.root
def test_a_place_that_cannot_be_written(tmp_path):
    def look() -> list[object]:
        Mount(str(tmp_path / "ro"), "tmpfs", "tmpfs", ("ro",)).attach()
        paths = Paths(str(tmp_path / "ro/lib"), str(tmp_path / "run"))
        return [Overlay.can_use(paths), Vfs.can_use(paths)]

    assert all("ead-only" in str(reason) for reason in process.run_in_child(look, namespaces="mnt"))


@pytest.mark.root
@pytest.mark.parametrize("count", [130, 400])
def test_more_layers_than_one_page_of_options_holds(paths, inside, count):
    if count > 130 and not fscontext.takes_single_layers():
        pytest.skip("before Linux 6.7 all layers must fit into one page of options")
    driver = open_driver("overlay", paths)
    image = stack(*([file(f"f{number}"), file("last", str(number))] for number in range(count)))
    image.add_to(driver)
    mounts = driver.prepare("c1", image.chain_ids)
    seen = inside(mounts, lambda root: (len(os.listdir(root)), (root / "last").read_text()))
    assert seen == (count + 1, str(count - 1))


@pytest.mark.root
@pytest.mark.parametrize("character", [":", ",", "\\"])
def test_layers_that_are_given_one_by_one_may_have_any_name(tmp_path, character):
    if not fscontext.takes_single_layers():
        pytest.skip("before Linux 6.7 layers are given in one string")
    for name in ("low", f"high{character}x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name[:3]).touch()
    options = [f"lowerdir+={tmp_path}/high{character}x", f"lowerdir+={tmp_path}/low"]
    fd = fscontext.create("overlay", "overlay", options)
    assert sorted(os.listdir(f"/proc/self/fd/{fd}")) == ["hig", "low"]
    os.close(fd)


def test_both_ways_to_mount_show_the_same(paths, inside, monkeypatch):
    driver = open_driver("overlay", paths)
    image = stack([file("a"), file("gone")], [file("b"), file(".wh.gone")])
    image.add_to(driver)
    mounts = driver.prepare("c1", image.chain_ids)
    seen = [inside(mounts, lambda root: sorted(os.listdir(root)))]
    monkeypatch.setattr(fscontext, "_single_layers", False)
    seen.append(inside(mounts, lambda root: sorted(os.listdir(root))))
    assert seen == [["a", "b"], ["a", "b"]]


def test_without_root(paths):
    """In a user namespace: marks are user.* attributes, and the kernel is told so."""
    image = stack(
        [directory("d"), file("d/old"), file("gone"), file("f", "lower")],
        [file(".wh.gone"), file("d/.wh..wh..opq"), file("d/new")],
    )

    def work() -> list[object]:
        driver = open_driver("overlay", paths)
        image.add_to(driver)
        (mount,) = driver.prepare("c1", image.chain_ids)
        root = Path(paths.state, "root")
        root.mkdir()
        mount.attach(str(root))
        (root / "f").write_text("upper")
        (root / "d/new").unlink()
        below = Path(driver.diff(image.chain_ids[0]), "f").read_text()
        return ["userxattr" in mount.options, sorted(os.listdir(root)), os.listdir(root / "d"), below]

    assert process.run_in_child(work, namespaces="user,mnt") == [True, ["d", "f"], [], "lower"]


def test_the_variable_names_a_driver(paths, monkeypatch):
    monkeypatch.setenv("LABRT_STORAGE_DRIVER", "vfs")
    assert open_driver(None, paths).name == "vfs"
    assert not os.path.exists(os.path.join(paths.layers, "driver"))  # that is for this once
    monkeypatch.setenv("LABRT_STORAGE_DRIVER", "zfs")
    with pytest.raises(InvalidInput):
        open_driver(None, paths)
    monkeypatch.delenv("LABRT_STORAGE_DRIVER")
    assert open_driver(None, paths).name in ("overlay", "vfs")
