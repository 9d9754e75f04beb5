"""lab.source: live source, where it is, and which manual page."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from labrt import lab
from labrt.errors import NotFound
from labrt.image.manifest import Manifest
from labrt.linux import mounts, rootfs, syscalls

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("thing", [mounts.overlay, syscalls.pivot_root, rootfs.PivotRoot, mounts.Mount.attach])
def test_the_place_is_where_the_text_is(thing):
    found = lab.source(thing)
    lines = (PROJECT / found.file).read_text().splitlines()
    for number, line in enumerate(found.text.splitlines(), found.line):
        assert lines[number - 1].strip() == line.strip()
    assert str(found).splitlines()[0].startswith(f"{found.name}  {found.file}:{found.line}")


def test_of_a_context_manager_it_shows_what_was_written_not_the_wrapper():
    assert lab.source(mounts.overlay).text.startswith("@contextlib.contextmanager\ndef overlay(")


def test_a_method_begins_at_the_margin():
    assert lab.source(mounts.Mount.attach).text.startswith("def attach(")


def test_a_property_and_a_module():
    assert lab.source(Manifest.size).name == "manifest.Manifest.size"
    module = lab.source(mounts)
    assert (module.name, module.place) == ("linux.mounts", "labrt/linux/mounts.py:1")
    assert module.man[:2] == ("openat2(2)", "mount(2)")


def test_several_make_a_table():
    picture = lab.source(rootfs.PivotRoot, syscalls.pivot_root)
    assert "labrt/linux/rootfs.py" in picture.text and "labrt/linux/syscalls.py" in picture.text
    assert picture.html.count("<tr>") == 3


def test_it_shows_itself_everywhere():
    found = lab.source(rootfs.PivotRoot)
    assert f"`{found.place}`" in found._repr_markdown_() and "````python\nclass PivotRoot" in found._repr_markdown_()
    console = Console(width=100)
    with console.capture() as said:
        console.print(found)
    assert "class PivotRoot" in said.get()


@pytest.mark.parametrize("thing", [3, len, "no such thing"])
def test_what_has_no_source_says_so(thing):
    with pytest.raises(NotFound, match="give a function"):
        lab.source(thing)
