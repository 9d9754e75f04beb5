"""Images sent away, and named anew.

    tag("busybox", "localhost:5000/team/tools:1")     one more name for what is here; nothing is copied
    push("localhost:5000/team/tools:1")               to the registry that the name begins with

What is sent are the bytes of the store, layer by layer as they came: digests stay what they were. Only layers that lie
here uncompressed, such as those of a commit, are packed first (packing.py), as docker does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from labrt import paths
from labrt.errors import ImageNotFound, InvalidInput
from labrt.image.descriptor import Descriptor
from labrt.image.platform import Platform
from labrt.image.reference import Reference

if TYPE_CHECKING:
    from labrt.registry.credentials import DockerConfig

Listener = Callable[[object], None]


def tag(source: str, target: str, *, where: paths.Paths | None = None) -> Reference:
    """Give an image one more name; one that is taken moves. `source` is a name or the beginning of an id.

    Raises ImageNotFound, and InvalidInput where the new name says a digest, which nobody can choose.
    """
    from labrt.engine.images import Images

    images = Images(where)
    reference = Reference.parse(target)
    if reference.digest:
        raise InvalidInput(f"{target}: a digest is no name to give", remedy="give a tag, such as team/tools:1")
    try:
        # The index, where there is one: all its platforms keep their name.
        descriptor = images.layout.resolve(source)
    except (ImageNotFound, ValueError):
        image = images.find(source)
        descriptor = images.layout.resolve(image.reference)
    images.layout.tag(reference, _bare(descriptor))
    return reference


def push(
    name: str,
    *,
    platform: Platform | None = None,
    on_event: Listener | None = None,
    where: paths.Paths | None = None,
    config: DockerConfig | None = None,
) -> Descriptor:
    """Send an image to the registry that its name begins with. Returns what the name means there.

    An index goes with all its images if they are here, else the image of this machine alone, or that of `platform`.
    Raises ImageNotFound, Unauthorized, Unreachable, RegistryError.
    """
    from labrt.engine.images import Images
    from labrt.engine.packing import pack
    from labrt.registry.client import Client

    images = Images(where)
    with images.layout.lease(), Client(config=config) as client:
        pack(images, Reference.parse(name), on_event=on_event)
        return client.push(name, images.layout, platform=platform, on_event=on_event)


def tags_here(name: str, *, where: paths.Paths | None = None) -> list[str]:
    """All names that images of this repository have here, sorted. Raises ImageNotFound when there is none."""
    from labrt.engine.images import Images

    wanted = Reference.parse(name)
    found = []
    for known in Images(where).layout.references():
        try:
            reference = Reference.parse(known)
        except InvalidInput:
            continue  # another tool's name
        if reference.name == wanted.name and reference.tag:
            found.append(reference.familiar)
    if not found:
        raise ImageNotFound(f"{wanted.name} has no tag here", remedy="labrt images lists what is here")
    return found


def _bare(descriptor: Descriptor) -> Descriptor:
    """Without the annotations of the old name, such as that name itself."""
    return Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, platform=descriptor.platform)
