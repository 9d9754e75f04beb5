"""lab.snapshot: what the host has, and what changed."""

from __future__ import annotations

import os

import pytest

from labrt import lab
from labrt.linux import cgroups, mounts, process


@pytest.mark.root
def test_a_mount_is_new_on_the_host_and_in_the_ledger(labrt_root, tmp_path):
    place = tmp_path / "here"
    place.mkdir()
    before = lab.snapshot()
    with mounts.tmpfs(str(place)):
        new = lab.snapshot() - before
        picture = before.compare(lab.snapshot())
    assert str(place) in new["mounts"] and new["ledger"] == {f"mount {place}"}
    assert f"+ mount {place}" in picture.text
    after = lab.snapshot()
    assert str(place) not in after["mounts"] and not after["ledger"]


@pytest.mark.root
def test_a_cgroup_is_seen_once_though_it_is_in_several_trees(labrt_root):
    name = f"snapshot-{os.getpid()}"
    with cgroups.create(name) as group:
        assert [path for path in lab.snapshot()["cgroups"] if name in path] == [group.path]
    assert name not in str(lab.snapshot()["cgroups"])


@pytest.mark.root
def test_a_namespace_is_there_as_long_as_a_process_is_in_it(labrt_root):
    gate, opener = os.pipe()
    try:
        with process.spawn(lambda: os.read(gate, 1), namespaces="uts") as child:
            inode = os.readlink(f"/proc/{child.pid}/ns/uts")
            assert inode in lab.snapshot()["namespaces"]
    finally:
        os.close(gate)
        os.close(opener)


def test_a_comparison_names_what_came_and_what_went_and_counts_the_rest():
    def snapshot(*names: str) -> lab.snapshot.Snapshot:
        return lab.snapshot.Snapshot({"mounts": frozenset(names), "ledger": frozenset()})

    text = snapshot("/a", "/b").compare(snapshot("/b", "/c", f"/{'0' * 64}")).text
    assert "− /a" in text and "+ /c" in text and "+ /000000000000…" in text and "the same" in text
    text = snapshot().compare(snapshot(*map(str, range(9)))).text
    assert "and 5 more" in text
    assert repr(snapshot("/a")) == "<Snapshot: 1 mounts, 0 ledger>"
