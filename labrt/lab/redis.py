"""redis, as an image: Docker Hub's where it answers, else one made of Debian's packages, for rooms without a network.

    with lab.hub() as hub, Client() as client:
        lab.redis.reference(hub, client)    docker.io/library/redis:latest, 127.0.0.1:40123/library/redis:latest, or ""

The embedded one has two layers: the embedded busybox's, and on it redis-server, redis-cli and the libraries that they
are linked with, as ldd(1) names them on this machine. setup.sh unpacks Debian's packages into .venv/redis; where
neither these nor an installed redis-server are there, there is no redis: the notebook says so. Notebook 21.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile

from labrt import paths
from labrt.engine import embedded
from labrt.errors import ImageNotFound, RegistryError
from labrt.image.descriptor import OCI_LAYER_GZIP, Descriptor
from labrt.image.digest import Digest
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.lab.hub import Hub
from labrt.lab.samples import compress
from labrt.registry.client import Client
from labrt.runtime.config import PATH

REFERENCE = Reference.parse("docker.io/library/redis:latest")
PROGRAMS = ("redis-server", "redis-cli")
MISSING = "skipped: Docker Hub does not answer, and setup.sh could not fetch Debian's redis-server"


def reference(hub: Hub, client: Client) -> str:
    """Return the name of a redis that this registry has; "" where there is none."""
    if hub.embedded:
        return f"{hub.host}/library/redis:latest" if ensure() else ""
    name = hub.reference("redis")
    try:
        client.resolve(name)
    except (ImageNotFound, RegistryError):  # a mirror that has not everything, or a limit of pulls
        return ""
    return name


def said(hub: Hub, name: str) -> str:
    """Say in one line which redis it is, or why there is none."""
    if not name:
        return MISSING if hub.embedded else f"skipped: {hub.host} gives no redis just now"
    if not hub.embedded:
        return f"redis from {hub.host}"
    return "redis from Debian's package, on busybox: the embedded stand-in for Docker Hub's"


def programs() -> dict[str, str]:
    """Find both programs: name and path. Empty unless both are there."""
    unpacked = os.path.join(sys.prefix, "redis", "usr", "bin")
    found = {name: shutil.which(name, path=unpacked) or shutil.which(name) or "" for name in PROGRAMS}
    return found if all(found.values()) else {}


def ensure(where: paths.Paths | None = None) -> bool:
    """Make the image, among the embedded ones, unless it is there. False where there is no redis to make it of."""
    layout = embedded.ensure(where)
    if str(REFERENCE) in layout.references():
        return True
    files = _files(programs())
    if not files:
        return False
    base = layout.image(embedded.REFERENCE)
    archive = _archive(files)
    with layout.lease():
        layer = compress(archive, 1)
        parts = [*base.manifest.layers, Descriptor(OCI_LAYER_GZIP, layout.put(layer), len(layer))]
        config = {
            "architecture": base.config.architecture, "os": "linux",
            "config": {"Env": [PATH], "Cmd": ["redis-server"], "ExposedPorts": {"6379/tcp": {}}},
            "rootfs": {"type": "layers", "diff_ids": [*map(str, base.config.diff_ids), str(Digest.of(archive))]},
        }  # fmt: skip
        raw = json.dumps(config, separators=(",", ":")).encode()
        layout.tag(REFERENCE, layout.put_image(raw, parts, Platform.host())[0])
    return True


def _files(found: dict[str, str]) -> dict[str, str]:
    """Return where each file goes in the image, and where it is here: programs, libraries, the loader."""
    files = {f"usr/bin/{name}": path for name, path in found.items()}
    for path in found.values():
        triplets = os.path.join(os.path.dirname(os.path.dirname(path)), "lib")
        own = [os.path.join(triplets, name) for name in os.listdir(triplets)] if "redis" in triplets else []
        listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=False,
                                env={**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(own)}).stdout  # fmt: skip
        if "not found" in listed:
            return {}
        for name, there in re.findall(r"^\s*(\S+) => (/\S+)", listed, re.MULTILINE):
            files[f"lib/{name}"] = there
        for loader in re.findall(r"^\s*(/\S+) \(0x", listed, re.MULTILINE):
            files[loader.lstrip("/")] = loader
    return files


def _archive(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, path in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            real = os.path.realpath(path)
            entry.mode, entry.size, entry.uname, entry.gname = 0o755, os.path.getsize(real), "root", "root"
            with open(real, "rb") as file:
                archive.addfile(entry, file)
    return buffer.getvalue()
