"""Small images made on the spot, to look at and to change: the same files give the same digests.

    samples.image(layout, "sample", [{"etc/motd": "hello"}, {"app": "1"}])      two blobs more than layers; tagged

Each layer is a dict of path and text. Specification: OCI image-spec. Notebooks 12 and 13; checks of 10 and 11.
"""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from collections.abc import Mapping, Sequence

from labrt.image.descriptor import OCI_INDEX, OCI_LAYER_GZIP, Descriptor
from labrt.image.digest import Digest
from labrt.image.image import Image
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.image.reference import Reference


def archive(
    files: Mapping[str, str | None], *, modes: Mapping[str, int] | None = None, mtime: int = 0
) -> bytes:
    """Make an uncompressed layer; None is a directory, `modes` are of those that have an unusual one.

    No time of day and no owner is in it, so the same files are the same bytes.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.type = tarfile.DIRTYPE if text is None else tarfile.REGTYPE
            entry.size = len((text or "").encode())
            entry.mode, entry.mtime = (modes or {}).get(path, 0o755 if text is None else 0o644), mtime
            tar.addfile(entry, io.BytesIO((text or "").encode()))
    return buffer.getvalue()


def compress(data: bytes, level: int = 6) -> bytes:
    """Compress as gzip does, without the time that gzip would put into the head."""
    return zlib.compress(data, level, wbits=31)


def manifest(
    layout: Layout, layers: Sequence[Mapping[str, str]], *, platform: Platform | None = None, level: int = 6
) -> Descriptor:
    """Put an image's blobs and its manifest into a store, and return what names the manifest."""
    platform = platform or Platform.host()
    archives = [archive(files) for files in layers]
    config = {
        "architecture": platform.architecture, "os": platform.os,
        **({"variant": platform.variant} if platform.variant else {}),
        "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(one)) for one in archives]},
    }  # fmt: skip
    parts = [_put(layout, OCI_LAYER_GZIP, compress(one, level)) for one in archives]
    return layout.put_image(_json(config), parts, platform)[0]


def image(layout: Layout, name: str, layers: Sequence[Mapping[str, str]], *, level: int = 6) -> Image:
    """Make an image of these layers for this machine, tagged; `level` is gzip's."""
    reference = Reference.parse(name)
    with layout.lease():
        layout.tag(reference, manifest(layout, layers, level=level))
    return layout.image(reference)


def index(layout: Layout, name: str, manifests: Sequence[Descriptor]) -> Descriptor:
    """Tag an index of several platforms' images."""
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [one.to_json() for one in manifests]}
    found = _put(layout, OCI_INDEX, _json(document))
    layout.tag(Reference.parse(name), found)
    return found


def _put(layout: Layout, kind: str, data: bytes, platform: Platform | None = None) -> Descriptor:
    return Descriptor(kind, layout.put(data), len(data), platform)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
