"""The embedded default: an image that is there without any network, made at set-up from Debian's static busybox.

    layout = embedded.ensure(paths)               made if it is not there yet: an OCI layout, tagged busybox:latest
    with embedded.serve() as server: server.url   the same, from a registry on loopback

One layer: /bin/busybox, a symbolic link for each of its programs, and the few files a root file system wants. The same
busybox gives the same digest, for the only time in it is the binary's own (or SOURCE_DATE_EPOCH, as everywhere in
reproducible builds). It is tagged docker.io/library/busybox:latest because that is what one asks for first; its labels
say that it is not Docker's.

    python -m labrt.engine.embedded               makes it anew, and says what it made

Specification: OCI image-spec, layer.md and config.md. Notebooks 00 and 12.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from labrt import paths
from labrt.errors import Conflict, LabrtError, NotFound, NotSupported
from labrt.image.descriptor import OCI_LAYER_GZIP, Descriptor
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.paths import Paths
from labrt.runtime.config import PATH

if TYPE_CHECKING:
    from labrt.registry.server import RegistryServer

BUSYBOX = "/bin/busybox"
INSTALL = "sudo apt-get install -y busybox-static"
REFERENCE = Reference.parse("docker.io/library/busybox:latest")

# path: mode. Owned by root, all of them.
DIRECTORIES = {
    "bin": 0o755, "dev": 0o755, "etc": 0o755, "home": 0o755, "proc": 0o755, "root": 0o700, "sbin": 0o755, "sys": 0o755,
    "tmp": 0o1777, "usr": 0o755, "usr/bin": 0o755, "usr/sbin": 0o755, "var": 0o755, "var/tmp": 0o1777,
}  # fmt: skip
FILES = {
    "etc/group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\nusers:x:100:\nnogroup:x:65534:\n",
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
        "nobody:x:65534:65534:nobody:/home:/bin/false\n"
    ),
}


def directory(where: Paths) -> str:
    """Return where the layout with the embedded image lies."""
    return os.path.join(where.cache, "embedded")


def present(where: Paths) -> bool:
    """Whether the image is there, whole."""
    layout = Layout(directory(where))
    try:
        image = layout.image(REFERENCE)
    except LabrtError:
        return False
    return all(layout.has(layer.digest) for layer in image.manifest.layers)


def ensure(where: Paths | None = None) -> Layout:
    """Return the layout with the embedded image, made now if it is not there. None means this user's places."""
    where = where or paths.default()
    return Layout(directory(where)) if present(where) else build(where)


def build(where: Paths, busybox: str = BUSYBOX) -> Layout:
    """Make the image from a busybox, whatever was there before. NotFound or NotSupported when it is not usable."""
    check_static(busybox)
    made = _time(busybox)
    archive = _layer(busybox, made)
    # 16 + 15: gzip's format as zlib itself writes it, with no time of day and no file name in the header.
    compressed = zlib.compress(archive, wbits=31)
    layout = Layout(directory(where))
    with layout.lease():
        config = _json(_config(busybox, made, Digest.of(archive)))
        layer = Descriptor(OCI_LAYER_GZIP, layout.put(compressed), len(compressed))
        layout.tag(REFERENCE, layout.put_image(config, [layer], Platform.host())[0])
    with contextlib.suppress(Conflict):  # somebody reads: what an older busybox left goes next time
        layout.collect()
    return layout


@contextlib.contextmanager
def serve(where: Paths | None = None) -> Iterator[RegistryServer]:
    """Serve the embedded image from a registry on loopback, for as long as the block runs."""
    from labrt.registry.server import RegistryServer

    with RegistryServer(ensure(where)) as server:
        yield server


def check_static(path: str) -> None:
    """Raise NotFound or NotSupported unless this is a program that needs no other file: an ELF without PT_INTERP.

    A dynamic one would ask for /lib64/ld-linux-x86-64.so.2, which the image does not have. See elf(5).
    """
    try:
        with open(path, "rb") as file:
            head = file.read(65536)
    except OSError as error:
        raise NotFound(f"no busybox at {path}: {error.strerror}", remedy=INSTALL) from None
    # 0x7f ELF, class 2 (64 bits), data 1 (little-endian): all that labrt runs on.
    if head[:6] != b"\x7fELF\x02\x01" or len(head) < 64:
        raise NotSupported(f"{path} is no 64-bit ELF program", remedy=INSTALL)
    (offset,) = struct.unpack_from("<Q", head, 32)  # e_phoff
    entry_size, count = struct.unpack_from("<HH", head, 54)  # e_phentsize, e_phnum
    if not count or entry_size < 56 or offset + entry_size * count > len(head):
        raise NotSupported(f"{path} is an ELF file without usable program headers", remedy=INSTALL)
    types = [struct.unpack_from("<I", head, offset + entry_size * number)[0] for number in range(count)]
    if 3 in types:  # PT_INTERP
        raise NotSupported(f"{path} is not static: it needs a loader and libraries", remedy=INSTALL)


def _time(busybox: str) -> int:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(epoch) if epoch.isdecimal() else int(os.stat(busybox).st_mtime)


def _layer(busybox: str, made: int) -> bytes:
    """Make the layer's tar archive: directories, files, the binary, and a link for each program, in a fixed order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:

        def add(name: str, kind: bytes, mode: int, content: bytes = b"", link: str = "") -> None:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.size, entry.linkname, entry.mtime = kind, mode, len(content), link, made
            entry.uname = entry.gname = "root"
            archive.addfile(entry, io.BytesIO(content))

        for name, mode in sorted(DIRECTORIES.items()):
            add(name, tarfile.DIRTYPE, mode)
        with open(busybox, "rb") as file:
            add("bin/busybox", tarfile.REGTYPE, 0o755, file.read())
        for name, text in sorted(FILES.items()):
            add(name, tarfile.REGTYPE, 0o644, text.encode())
        for name in _programs(busybox):
            # Relative, so that they are right also when the root is looked at from outside.
            add(name, tarfile.SYMTYPE, 0o777, link=os.path.relpath("bin/busybox", os.path.dirname(name)))
    return buffer.getvalue()


def _programs(busybox: str) -> list[str]:
    """Ask busybox where its programs belong: bin/sh, usr/bin/env, …; sorted, in the directories that we have."""
    listed = set(_output(busybox, "--list-full").split()) - {"bin/busybox"}
    return sorted(name for name in listed if os.path.dirname(name) in DIRECTORIES)


def _config(busybox: str, made: int, diff_id: Digest) -> dict[str, Any]:
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made))
    host = Platform.host()
    labels = {
        "org.opencontainers.image.title": "busybox",
        "org.opencontainers.image.description": "made by labrt from Debian's busybox-static",
        "org.opencontainers.image.licenses": "GPL-2.0-only",
    }
    version = _package_version(busybox)
    if version:
        labels["org.opencontainers.image.version"] = version
    return {
        "created": created,
        "architecture": host.architecture,
        **({"variant": host.variant} if host.variant else {}),
        "os": host.os,
        "config": {"Env": [PATH], "Cmd": ["sh"], "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [str(diff_id)]},
        "history": [
            {"created": created, "created_by": "python -m labrt.engine.embedded"},
            {"created": created, "created_by": 'CMD ["sh"]', "empty_layer": True},
        ],
    }


def _package_version(busybox: str) -> str:
    """Return the Debian version of the package that this very file is from, or ""."""
    # dpkg knows a file by the path in its package: with a merged /usr that may be the one or the other.
    for path in (busybox, os.path.realpath(busybox)):
        with contextlib.suppress(LabrtError):
            owner = _output("dpkg-query", "--search", path).partition(":")[0]
            return _output("dpkg-query", "--show", "--showformat=${Version}", owner)
    return ""


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise NotSupported(f"`{' '.join(command)}` cannot be run: {error.strerror}", remedy=INSTALL) from None
    if done.returncode:
        raise NotSupported(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.returncode}", remedy=INSTALL)
    return done.stdout


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def main() -> int:
    """Make the image and say so in one line: what setup.sh calls."""
    try:
        image = build(paths.default()).image(REFERENCE)
    except LabrtError as error:
        print(f"labrt: {error}", file=sys.stderr)
        return 1
    print(f"embedded default: {image!r}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
