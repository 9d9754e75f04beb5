"""Images in the engine's hands: the embedded default, policies, listing and removal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import labrt
from labrt.engine import embedded
from labrt.engine.images import EmbeddedUsed, Images, Unpacked
from labrt.errors import Conflict, ImageNotFound, InvalidInput, NotFound, Unreachable
from labrt.image.descriptor import OCI_INDEX, OCI_MANIFEST, Descriptor
from labrt.image.digest import Digest
from labrt.image.reference import Reference
from labrt.registry.client import Client


@pytest.fixture
def offline(labrt_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No registry anywhere: whoever asks for a name, hears that it does not resolve."""
    monkeypatch.setenv("DOCKER_CONFIG", str(labrt_root))

    def nobody(self, reference, *_, **__):
        raise Unreachable(f"{reference}: Name or service not known")

    real = Client.pull
    monkeypatch.setattr(
        Client, "pull", lambda self, *a, **k: real(self, *a, **k) if "127.0.0.1" in repr(self) else nobody(self, *a)
    )
    return labrt_root


def test_where_the_hub_is_out_of_reach_the_embedded_busybox_serves_and_says_so(offline):
    embedded.ensure()
    heard = []
    image = labrt.pull("busybox", progress=heard.append)
    assert image.config.labels["org.opencontainers.image.description"].startswith("made by labrt")
    told = [event for event in heard if isinstance(event, EmbeddedUsed)]
    assert "Docker Hub cannot be reached" in str(told[0])
    assert any(isinstance(event, Unpacked) for event in heard)


@pytest.mark.parametrize("name", ["alpine", "busybox:1.36", "quay.io/library/busybox", "someone/busybox"])
def test_nothing_else_is_put_in_anothers_place(offline, name):
    embedded.ensure()
    with pytest.raises(Unreachable, match="not known"):
        labrt.pull(name)


def test_without_a_busybox_to_make_it_of_the_error_is_the_registrys(offline, monkeypatch):
    def absent(where):
        raise NotFound("no busybox")

    monkeypatch.setattr(embedded, "ensure", absent)
    with pytest.raises(Unreachable):
        labrt.pull("busybox")


def test_it_is_made_when_it_is_not_there_yet(offline):
    assert not embedded.present(Images().where)
    assert labrt.run("busybox", "echo", "made").stdout == "made\n"


def test_policies(offline):
    embedded.ensure()
    images = Images()
    with pytest.raises(ImageNotFound, match="labrt pull busybox"):
        images.get("busybox", policy="never")
    first = images.get("busybox", policy="missing")
    heard = []
    assert images.get("busybox", policy="missing", on_event=heard.append).id == first.id
    assert heard == []
    images.get("busybox", policy="always", on_event=heard.append)
    assert heard
    with pytest.raises(InvalidInput, match="'often'"):
        images.get("busybox", policy="often")


def test_found_by_name_and_by_id_and_removed_with_its_layers(offline):
    embedded.ensure()
    images = Images()
    image = images.pull("busybox")
    assert images.find("busybox").id == images.find(image.id.hex[:8]).id == image.id
    assert images.driver.layers() == list(image.config.chain_ids)
    told = images.remove("busybox")
    assert told[0] == "Untagged: busybox:latest"
    assert images.all() == []
    assert images.driver.layers() == []
    assert images.layout.blobs() == []
    with pytest.raises(ImageNotFound):
        images.remove("busybox")


def test_an_id_its_beginning_and_a_digest_are_as_good_as_a_name_wherever_one_is_asked_for(offline):
    import io

    from labrt.engine import archives, push

    embedded.ensure()
    images = Images()
    image = images.pull("busybox")
    id, by_digest = image.id.hex, f"busybox@{image.descriptor.digest}"
    tagged = by_digest.replace("@", ":latest@")
    for text in (id, f"sha256:{id}", id[:2], f"sha256:{id[:12]}", by_digest, tagged):
        assert images.get(text, policy="never").id == image.id
        archives.save([text], archive := io.BytesIO())
        assert id.encode() in archive.getvalue()
    assert labrt.run(id[:12], "echo", "by id").stdout == labrt.run(by_digest, "echo", "by id").stdout == "by id\n"
    push.tag(id[:12], "mine:1")
    push.tag(by_digest, f"{id[:5]}:latest")
    assert images.find(id[:5]).reference.familiar == f"{id[:5]}:latest"  # a name comes before the beginning of an id
    with pytest.raises(Conflict, match="has 3 names: .*busybox:latest.*mine:1"):
        images.remove(id)
    assert images.remove(by_digest) == ["Untagged: busybox:latest"]
    assert images.remove(id, force=True)[2] == f"Deleted: {image.id}"
    assert images.layout.blobs() == []


def test_what_was_pulled_for_another_machine_only_is_listed_and_removed_but_not_run(offline):
    embedded.ensure()
    images = Images()
    image = images.pull("busybox")
    host = image.platform.architecture
    other = {"amd64": "arm64"}.get(host, "amd64")
    config = json.dumps({**json.loads(image.config.raw), "architecture": other}).encode()
    manifest = json.loads(images.layout.read(image.manifest.digest))
    manifest["config"] |= {"digest": str(images.layout.put(config)), "size": len(config)}
    raw = json.dumps(manifest).encode()
    entry = {"mediaType": OCI_MANIFEST, "digest": str(images.layout.put(raw)), "size": len(raw),
             "platform": {"os": "linux", "architecture": other}}  # fmt: skip
    ours = {**entry, "digest": f"sha256:{'0' * 64}", "platform": {"os": "linux", "architecture": host}}
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [ours, entry]}).encode()
    images.layout.tag(Reference.parse("busybox"), Descriptor(OCI_INDEX, images.layout.put(index), len(index)))
    with pytest.raises(ImageNotFound, match="not here as a whole"):
        images.get("busybox", policy="never")
    assert [one.platform.architecture for one in images.all()] == [other]
    assert images.find("busybox").id == images.find(images.find("busybox").id.hex[:12]).id == Digest.of(config)
    assert images.remove("busybox")[0] == "Untagged: busybox:latest"
    assert images.all() == []


def test_ids_that_are_not_here_are_looked_for_nowhere_else_and_those_of_two_images_are_refused(offline, monkeypatch):
    embedded.ensure()
    images = Images()
    image = images.pull("busybox")
    for unknown in ("0" * 64, f"sha256:{'0' * 64}", "sha256:00000000"):
        with pytest.raises(ImageNotFound, match="neither a name nor an id"):
            images.get(unknown)
    with pytest.raises(Unreachable):
        images.get("beef" if not image.id.hex.startswith("beef") else "dead")  # which may be a name
    other = image._replace(manifest=image.manifest._replace(config=image.manifest.config._replace(
        digest=type(image.id)("sha256", image.id.hex[:12] + "0" * 52))))  # fmt: skip
    monkeypatch.setattr(images, "all", lambda: [image, other])
    with pytest.raises(InvalidInput, match="beginning of 2 image ids"):
        images.get(image.id.hex[:4])


def test_removed_by_force_it_leaves_its_container_what_that_was_made_from(offline):
    from labrt.engine.containers import Containers
    from labrt.engine.options import Options

    embedded.ensure()
    images, containers = Images(), Containers()
    image = images.pull("busybox")
    container = containers.create(Options("busybox", ("true",)))
    with pytest.raises(Conflict, match="is used by container"):
        images.remove("busybox")
    images.remove("busybox", force=True)
    assert images.all() == []
    assert set(images.layout.blobs()) >= {image.id, image.manifest.digest}
    container.remove()
    images.layout.collect()
    assert images.layout.blobs() == []


def test_nobody_collects_while_a_container_is_being_created(offline, monkeypatch):
    from labrt.engine.containers import Containers
    from labrt.engine.options import Options

    embedded.ensure()
    images = Images()
    images.pull("busybox")
    driver = type(images.driver)
    real = driver.prepare

    def prepare(self, *args, **how):
        with pytest.raises(Conflict):
            images.layout.collect()
        return real(self, *args, **how)

    monkeypatch.setattr(driver, "prepare", prepare)
    Containers().create(Options("busybox", ("true",))).remove()
    images.layout.collect()


def test_two_names_share_what_the_last_one_takes_along(offline):
    embedded.ensure()
    images = Images()
    image = images.pull("busybox")
    images.layout.tag(image.reference.with_tag("mine"), image.descriptor)
    assert images.remove("busybox:mine") == ["Untagged: busybox:mine"]
    assert images.driver.layers() == list(image.config.chain_ids)
    assert images.find("busybox").id == image.id


def test_the_tree(offline):
    from rich.console import Console

    embedded.ensure()
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(labrt.pull("busybox"))
    text = console.export_text()
    console.file.close()
    assert all(word in text for word in ("busybox:latest", "manifest", "layer"))


def test_a_real_image_from_a_real_layout(labrt_root, shared):
    """The official busybox, as Docker Hub serves it."""
    from labrt.image.layout import Layout
    from labrt.registry.server import RegistryServer

    copy = labrt_root / "layout"
    shutil.copytree(shared / "images" / "busybox", copy)
    with RegistryServer(Layout(copy)) as server:
        reference = f"{server.url.removeprefix('http://')}/library/busybox:1.38.0-glibc"
        image = Images().pull(reference)
    assert str(image.descriptor.digest) in (
        "sha256:1cfa4e2b09e127b9c4ed43578d3f3c18e7d44ea47b9ea98475c0cbe9086525f8",
        "sha256:8f2ffdcb46f1b83e46665954ec130e497b979db766854f79ca9eee43242b7e4c",
    ) or image.config.platform.os == "linux"
    assert len(image.manifest.layers) == 1
