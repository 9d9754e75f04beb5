"""Disk usage, and that clearing it takes what nobody needs and nothing else."""

from __future__ import annotations

import io
import json
import os
import tarfile

import pytest

import labrt
from labrt.engine import archives, info, prune, views
from labrt.engine.containers import Containers
from labrt.engine.history import history
from labrt.engine.images import Images
from labrt.engine.networks import Networks
from labrt.engine.options import Options
from labrt.errors import Conflict
from labrt.image.config import ImageConfig
from labrt.image.descriptor import OCI_LAYER, Descriptor
from labrt.image.digest import Digest


def row(kind: str) -> prune.Usage:
    return next(each for each in prune.usage() if each.kind == kind)


@pytest.fixture
def unpacked(house) -> Images:
    images = Images()
    images.unpack(images.find("busybox"))
    return images


def test_usage_of_nothing(labrt_root):
    assert [each[1:] for each in prune.usage()] == [(0, 0, 0, 0)] * 6


def test_usage_counts(unpacked):
    image = unpacked.find("busybox")
    blobs = sum(os.path.getsize(unpacked.layout.blob_path(digest)) for digest in unpacked.layout.blobs())
    assert row("Images") == ("Images", 1, 0, blobs, blobs)
    assert row("Layers")[1:3] == (1, 1)
    assert row("Layers").size == unpacked.driver.usage(image.config.chain_ids[0]) and row("Layers").reclaimable == 0
    container = Containers().create(Options("busybox", ("true",)))
    assert row("Images") == ("Images", 1, 1, blobs, 0)
    size = unpacked.driver.usage(container.id)
    assert row("Containers") == ("Containers", 1, 0, size, size)
    with open(os.path.join(unpacked.layout.ingest, "sha256-half"), "wb") as file:
        file.write(b"half")
    assert row("Partial downloads") == ("Partial downloads", 1, 0, 4, 4)


def test_a_named_image_stays_and_what_nothing_leads_to_goes(unpacked):
    lost = unpacked.layout.put(b"nobody's")
    with open(os.path.join(unpacked.layout.ingest, "sha256-half"), "wb") as file:
        file.write(b"half")
    before = [image.id for image in unpacked.all()], unpacked.driver.layers()
    gone = prune.prune()
    assert (gone.blobs, gone.images, gone.layers, gone.containers) == ([lost], [], [], [])
    assert gone.freed == len(b"nobody's") + len(b"half")
    assert ([image.id for image in unpacked.all()], unpacked.driver.layers()) == before
    assert prune.prune() == prune.Pruned()
    assert labrt.run("busybox", "echo", "still").stdout == "still\n"


def test_all_takes_images_without_containers(unpacked):
    gone = prune.prune(all=True)
    assert gone.images == ["busybox:latest"] and len(gone.layers) == 1 and len(gone.blobs) == 3
    assert unpacked.all() == [] and unpacked.layout.blobs() == [] and unpacked.driver.layers() == []


@pytest.mark.root
def test_a_container_keeps_what_it_needs_and_goes_when_it_has_ended(unpacked):
    container = labrt.run("busybox", "sleep", "1000", detach=True)
    assert prune.prune(all=True) == prune.Pruned()
    assert container.exec("echo", "here").stdout == "here\n"
    container.stop(0)
    size = unpacked.driver.usage(container.id)
    gone = prune.prune()
    assert gone.containers == [container.id] and gone.freed == size and Containers().list(all=True) == []


def test_one_that_has_just_been_created_stays(unpacked, monkeypatch):
    container = Containers().create(Options("busybox", ("true",)))
    assert prune.prune(all=True) == prune.Pruned()
    monkeypatch.setattr(prune, "_FRESH", -1)
    assert prune.prune().containers == [container.id]


@pytest.mark.root
def test_a_container_keeps_its_nameless_images_manifest(unpacked):
    image = unpacked.find("busybox")
    container = labrt.run("busybox", "sleep", "1000", detach=True)
    unpacked.layout.untag(image.reference)
    assert prune.prune(all=True) == prune.Pruned()
    assert ImageConfig.parse(unpacked.layout.read(container.image_id)).chain_ids == image.config.chain_ids
    assert unpacked.driver.layers() == list(image.config.chain_ids)
    container.remove(force=True)
    gone = prune.prune()
    assert len(gone.blobs) == 3 and len(gone.layers) == 1


def test_while_somebody_pulls_nothing_goes(unpacked):
    lost = unpacked.layout.put(b"on its way")
    with unpacked.layout.lease(), pytest.raises(Conflict, match="another process"):
        prune.prune(all=True)
    assert unpacked.layout.has(lost) and len(unpacked.all()) == 1


def test_layers_go_from_the_top_down(unpacked):
    """A stack of three whose name is lost: each stands on the one below."""
    base = unpacked.find("busybox")
    stack = []
    for number in range(3):
        data = tar_of(f"file{number}")
        digest = Digest.of(data)
        unpacked.layout.put(data)
        stack.append((Descriptor(OCI_LAYER, digest, len(data)), digest, ""))
    image = archives.add_image(unpacked, stack, "tower:1", {}, base=base)
    assert len(unpacked.driver.layers()) == 4
    unpacked.layout.untag(image.reference)
    gone = prune.prune()
    assert set(gone.layers) == set(image.config.chain_ids[1:]) and gone.layers == list(image.config.chain_ids[:0:-1])
    assert unpacked.driver.layers() == list(base.config.chain_ids)


def tar_of(name: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return stream.getvalue()


def test_what_a_killed_look_left_goes(unpacked):
    image = unpacked.find("busybox")
    alive, dead = f"{views.PREFIX}{os.getpid()}-a", f"{views.PREFIX}4194305-b"  # beyond the highest pid_max
    for name in (alive, dead):
        unpacked.driver.prepare(name, image.config.chain_ids)
    prune.prune()
    assert unpacked.driver.containers() == [alive]
    unpacked.driver.remove(alive)


def test_history(house):
    image = Images().find("busybox")
    steps = history(image)
    assert [step.created_by for step in steps] == ['CMD ["sh"]', "python -m labrt.engine.embedded"]
    assert [step.size for step in steps] == [0, image.manifest.layers[0].size]
    assert (steps[0].layer, steps[1].layer) == (None, image.manifest.layers[0].digest)
    bare = json.loads(image.config.raw)
    del bare["history"]
    told = history(image._replace(config=ImageConfig.parse(json.dumps(bare).encode())))
    assert [(step.created_by, step.layer) for step in told] == [("", image.manifest.layers[0].digest)]


def test_info_says_which_drivers_work_and_why_others_do_not(house, monkeypatch):
    from labrt.storage import overlay

    about = info.info()
    assert about.driver in about.drivers and about.drivers[about.driver] is None and about.drivers["vfs"] is None
    assert about.images == 1 and about.state == Images().where.state
    monkeypatch.setattr(overlay.Overlay, "can_use", staticmethod(lambda paths: "no overlay for this test"))
    assert info.info().drivers["overlay"] == "no overlay for this test"


def test_networks_without_a_container_go(unpacked):
    networks = Networks()
    networks.create("used")
    networks.create("unused")
    container = Containers().create(Options("busybox", ("sleep", "300"), network="used"))
    assert row("Networks") == ("Networks", 2, 1, 0, 0)
    assert prune.prune().networks == ["unused"]
    assert [network.name for network in networks.list()] == ["bridge", "used"]
    container.remove()
    assert prune.prune().networks == ["used"]
    assert prune.prune() == prune.Pruned()
