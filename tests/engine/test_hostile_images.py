"""Images that arrive well and are hostile inside: found out when they are unpacked, and then nothing of them stays."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import labrt
from labrt.engine.images import Images
from labrt.errors import ContainerError, DigestMismatch, ImageNotFound, LabrtError, UnsafeLayer
from labrt.image.descriptor import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.registry.server import RegistryServer


def layer(*names: str, **fields: object) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            for field, value in fields.items():
                setattr(info, field, value)
            tar.addfile(info)
    return raw.getvalue()


def offer(layout: Layout, layers: list[bytes], diff_ids: list[bytes] | None = None) -> None:
    """An image named hostile:1 of these layers, whose config says that they are those of `diff_ids`."""
    found = [gzip.compress(each, mtime=0) for each in layers]
    host = Platform.host()
    config = json.dumps({
        "os": "linux", "architecture": host.architecture,
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(each)) for each in diff_ids or layers]},
    }).encode()  # fmt: skip
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": Descriptor(OCI_CONFIG, layout.put(config), len(config)).to_json(),
        "layers": [Descriptor(OCI_LAYER_GZIP, layout.put(each), len(each)).to_json() for each in found],
    }).encode()  # fmt: skip
    pointer = Descriptor(OCI_MANIFEST, layout.put(manifest), len(manifest))
    layout.tag(Reference.parse("localhost/hostile:1"), pointer)


GOOD, OTHER = layer("good"), layer("other")
# What it attempts; how it is offered; the one error.
ATTEMPTS: list[tuple[str, Callable[[Layout], None], type[LabrtError], str]] = [
    ("a config that lies about a diff id", lambda it: offer(it, [GOOD], [OTHER]), DigestMismatch, "diff id is"),
    ("a config that lies about the second", lambda it: offer(it, [GOOD, GOOD], [GOOD, OTHER]), DigestMismatch, "diff"),
    ("diff ids in the wrong order", lambda it: offer(it, [GOOD, OTHER], [OTHER, GOOD]), DigestMismatch, "diff id is"),
    ("a name that leads out", lambda it: offer(it, [GOOD, layer("../../etc/x")]), UnsafeLayer, "leads out"),
    ("no tar at all", lambda it: offer(it, [b"#!/bin/sh\n" * 100]), UnsafeLayer, "no tar"),
    ("half a tar", lambda it: offer(it, [layer("a", size=10**6)[:700]]), UnsafeLayer, "cut off"),
]


@pytest.fixture
def served(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "served")


@pytest.mark.root
@pytest.mark.parametrize(("make", "kind", "words"), [each[1:] for each in ATTEMPTS], ids=[each[0] for each in ATTEMPTS])
def test_what_an_image_attempts(labrt_root: Path, served: Layout, make, kind: type[LabrtError], words: str) -> None:
    make(served)
    with RegistryServer(served) as server, pytest.raises(kind, match=words):
        Images().pull(f"{server.host}/hostile:1")
    images = Images()
    assert images.all() == [] and images.layout.references() == {}
    assert Digest.of(OTHER) not in images.driver.layers()
    assert os.listdir(os.path.join(images.driver.root, "building")) == []
    images.layout.collect(partial=True)
    assert images.layout.blobs() == []


@pytest.mark.root
def test_the_name_goes_back_to_the_image_that_had_it(labrt_root: Path, served: Layout) -> None:
    offer(served, [GOOD])
    with RegistryServer(served) as server:
        good = Images().pull(f"{server.host}/hostile:1")
        offer(served, [GOOD], [OTHER])
        with pytest.raises(DigestMismatch):
            Images().pull(f"{server.host}/hostile:1")
        assert Images().get(f"{server.host}/hostile:1").id == good.id
        with pytest.raises(ImageNotFound):
            Images().get(f"{server.host}/other:1", policy="never")


@pytest.mark.root
def test_set_user_id_programs_are_out_of_others_reach(labrt_root: Path, served: Layout) -> None:
    """In the container they are what they should be; on the host only root comes to where they lie."""
    offer(served, [layer("su", mode=0o4755)])
    with RegistryServer(served) as server:
        image = Images().pull(f"{server.host}/hostile:1")
    driver = Images().driver
    path = Path(driver.diff(image.config.chain_ids[-1])) / "su"
    assert stat.S_IMODE(path.stat().st_mode) == 0o4755
    modes = [stat.S_IMODE(parent.stat().st_mode) for parent in path.parents if labrt_root in parent.parents]
    assert any(mode & 0o077 == 0 for mode in modes)
    assert stat.S_IMODE(Path(Images().layout.path).stat().st_mode) == 0o700
    with RegistryServer(served) as server, pytest.raises(ContainerError):
        labrt.run(f"{server.host}/hostile:1", "/su")
