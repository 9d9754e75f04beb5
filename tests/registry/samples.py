"""What the tests of this folder share and is no fixture: the names of the real busybox, and two ways to write less."""

from __future__ import annotations

import base64

import oracles

from labrt.image.layout import Layout
from labrt.image.platform import Platform
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
