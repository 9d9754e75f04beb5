"""What only the overlay driver has: the order and length of lowerdir, its reasons, its attributes."""

import os
from pathlib import Path

import pytest
from archives import file
from stacks import stack

from labrt.errors import InvalidInput, NotSupported
from labrt.linux import process
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
    with pytest.raises(InvalidInput, match="overlay, vfs"):
        open_driver("zfs", paths)


@pytest.mark.root
def test_a_place_that_cannot_be_written(tmp_path):
    def look() -> list[object]:
        Mount(str(tmp_path / "ro"), "tmpfs", "tmpfs", ("ro",)).attach()
        paths = Paths(str(tmp_path / "ro/lib"), str(tmp_path / "run"))
        return [Overlay.can_use(paths), Vfs.can_use(paths)]

    assert all("ead-only" in str(reason) for reason in process.run_in_child(look, namespaces="mnt"))
