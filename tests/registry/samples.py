"""What the tests of this folder share and is no fixture: the names of the real busybox, and two ways to write less."""

from __future__ import annotations

import base64
import json

import oracles

from labrt.image.descriptor import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.registry.credentials import DockerConfig

TAG = "1.38.0-glibc"
AMD64 = "sha256:1cfa4e2b09e127b9c4ed43578d3f3c18e7d44ea47b9ea98475c0cbe9086525f8"
ARM64 = "sha256:8f2ffdcb46f1b83e46665954ec130e497b979db766854f79ca9eee43242b7e4c"
USERS = {"learner": "a-password-that-is-secret"}


def push(layout: Layout, host: str, *options: str) -> None:
    source = f"oci:{layout.path}:docker.io/library/busybox:{TAG}"
    oracles.run("skopeo", "copy", "-q", "--all", *options, source, f"docker://{host}/library/busybox:{TAG}")


def platform(architecture: str) -> Platform:
    return Platform.parse(f"linux/{architecture}")


def signed_in(host: str, user: str, password: str) -> DockerConfig:
    return DockerConfig(auths={host: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}})


def made_up(layout: Layout, layers: list[bytes], diff_ids: int | None = None) -> list[Descriptor]:
    """An image of these layers for linux/amd64, named library/busybox:made-up. `diff_ids`: how many, None: as layers.

    The layers need not be archives: a pull does not unpack them.
    """
    found = [Descriptor(OCI_LAYER_GZIP, layout.put(layer), len(layer)) for layer in layers]
    ids = [str(Digest.of(b"%d" % n)) for n in range(len(layers) if diff_ids is None else diff_ids)]
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": ids}}
    raw = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor(OCI_CONFIG, layout.put(raw), len(raw)).to_json(),
        "layers": [layer.to_json() for layer in found],
    }
    raw = json.dumps(manifest).encode()
    layout.tag(
        Reference("docker.io", "library/busybox", "made-up"), Descriptor(OCI_MANIFEST, layout.put(raw), len(raw))
    )
    return found
