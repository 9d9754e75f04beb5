"""lab.sheets: from which layer each file of a union comes, compared with what is mounted."""

from __future__ import annotations

import os

import pytest

from labrt.lab import sheets
from labrt.linux import mounts

pytestmark = pytest.mark.root


@pytest.fixture
def union(labrt_root, tmp_path):
    layers = {name: str(tmp_path / name) for name in ("base", "update", "upper")}
    for name, files in {"base": ("a", "d/x", "gone", "kind/y"), "update": ("a", "d/z"), "upper": ()}.items():
        os.mkdir(layers[name])
        for file in files:
            os.makedirs(os.path.dirname(os.path.join(layers[name], file)), exist_ok=True)
            with open(os.path.join(layers[name], file), "w") as stream:
                stream.write(name)
    with mounts.overlay([layers["update"], layers["base"]], upper=layers["upper"]) as root:
        yield layers, root


def test_each_file_has_the_layer_that_the_kernel_reads_it_from(union):
    layers, root = union
    os.unlink(f"{root}/gone")
    os.unlink(f"{root}/kind/y")
    os.rmdir(f"{root}/kind")
    with open(f"{root}/kind", "w") as file:
        file.write("upper")
    read = [sheets.read(path) for path in layers.values()]
    assert read[2].whiteouts == {"gone"}
    for path in ("a", "d/x", "d/z", "kind"):
        with open(os.path.join(root, path)) as file:
            assert list(layers)[sheets.origin(path, read)] == file.read()
    assert sheets.origin("gone", read) is None and sheets.origin("kind/y", read) is None
    picture = sheets.pile(layers, root)
    lines = {line.split("  ")[0]: line for line in picture.text.splitlines()}
    assert "from 1" in lines["what you see"] and "whiteout" in lines["2"] and picture.html.count("<polygon") > 10


def test_an_opaque_directory_hides_what_is_below(union):
    layers, root = union
    for name in ("x", "z"):
        os.unlink(f"{root}/d/{name}")
    os.rmdir(f"{root}/d")
    os.mkdir(f"{root}/d")
    read = [sheets.read(path) for path in layers.values()]
    assert read[2].opaque == {"d"} and sheets.origin("d/x", read) is None and sheets.origin("d", read) == 2
    assert "hidden" in sheets.pile(layers, root).text
