"""Against a real registry, Debian's docker-registry; behind TLS and tokens in test_oracle_signed.py."""

from __future__ import annotations

from pathlib import Path

import oracles
import pytest
from samples import AMD64, ARM64, TAG, platform

from labrt.errors import ImageNotFound
from labrt.image.layout import Layout
from labrt.image.manifest import Index, Manifest
from labrt.registry.client import Client

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize(("architecture", "digest"), [("amd64", AMD64), ("arm64", ARM64)])
def test_what_is_pulled_has_the_digests_of_docker_hub(
    distribution: str, client: Client, store: Layout, busybox: Layout, architecture: str, digest: str
) -> None:
    image = client.pull(f"{distribution}/library/busybox:{TAG}", store, platform=platform(architecture))
    assert str(image.manifest.digest) == digest
    assert image.config.architecture == architecture
    for blob in (image.manifest.config, *image.manifest.layers):
        assert Path(store.blob_path(blob.digest)).read_bytes() == Path(busybox.blob_path(blob.digest)).read_bytes()


def test_every_step_by_hand(distribution: str, client: Client) -> None:
    name = f"{distribution}/library/busybox:{TAG}"
    assert client.challenge(distribution) is None
    assert client.ping(distribution) == "registry/2.0"
    assert client.token(name) is None
    index = client.manifest(name)
    assert isinstance(index, Index)
    assert [str(entry.digest) for entry in index.manifests] == [AMD64, ARM64]
    manifest = client.manifest(name, platform=platform("arm64"))
    assert isinstance(manifest, Manifest)
    assert str(manifest.digest) == ARM64
    assert client.resolve(name) == index.digest
    config = client.config(name, platform=platform("arm64"))
    assert config.digest == manifest.config.digest
    assert sum(map(len, client.blob(name, manifest.layers[0]))) == manifest.layers[0].size
    assert client.tags(name) == [TAG]


def test_an_image_that_is_not_there(distribution: str, client: Client, store: Layout) -> None:
    with pytest.raises(ImageNotFound, match="has no .*nothing:latest.*MANIFEST_UNKNOWN"):
        client.pull(f"{distribution}/nothing", store)
    with pytest.raises(ImageNotFound, match="repository nothing.*NAME_UNKNOWN"):
        client.tags(f"{distribution}/nothing")
    assert store.references() == {}
    assert store.blobs() == []


def test_skopeo_reads_what_labrt_pulled(distribution: str, client: Client, store: Layout) -> None:
    name = f"{distribution}/library/busybox:{TAG}"
    client.pull(name, store, platform=platform("amd64"))
    inspected = oracles.run("skopeo", "--override-arch", "amd64", "inspect", "--raw", f"oci:{store.path}:{name}")
    assert store.resolve(name).digest == client.resolve(name)
    assert AMD64.encode() in inspected
