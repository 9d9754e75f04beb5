"""One image in the store, to look at: `layout.image("busybox")`.

In a notebook or with rich.print it shows itself as a tree: manifest, config, layers with their sizes and digests.
"""

from __future__ import annotations

from labrt.image.config import ImageConfig
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.manifest import Manifest
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from rich.tree import Tree


class Image(Record):
    """A reference and what it names on one platform. `descriptor` points to the manifest itself, not to an index."""

    reference: Reference
    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig

    @property
    def id(self) -> Digest:
        """The image's id, as `docker images` shows it: the digest of its config."""
        return self.manifest.config.digest

    @property
    def platform(self) -> Platform:
        """For which machine its programs are."""
        return self.config.platform

    @property
    def size(self) -> int:
        """Bytes of config and layers as stored and sent (compressed)."""
        return self.manifest.size

    def __repr__(self) -> str:
        layers = len(self.manifest.layers)
        return f"<Image {self.reference.familiar} {self.platform} {self.id.short} {layers} layers {human(self.size)}>"

    def __rich__(self) -> Tree:
        from rich.text import Text
        from rich.tree import Tree

        def line(kind: str, digest: Digest, size: int, more: str = "") -> Text:
            name = f"{digest.algorithm}:{digest.short}… "
            return Text.assemble((f"{kind:<9}", "bold"), (name, "cyan"), f"{human(size):>9}", (f"  {more}", "dim"))

        tree = Tree(Text(f"{self.reference.familiar}  {self.platform}", style="bold"))
        manifest = tree.add(line("manifest", self.manifest.digest, len(self.manifest.raw), self.manifest.media_type))
        command = " ".join((*self.config.entrypoint, *self.config.cmd))
        manifest.add(line("config", self.id, self.manifest.config.size, f"runs {command}" if command else ""))
        diff_ids = self.config.diff_ids
        for number, layer in enumerate(self.manifest.layers):
            unpacked = f"diff id {diff_ids[number].short}…" if number < len(diff_ids) else "without a diff id"
            manifest.add(line(f"layer {number}", layer.digest, layer.size, unpacked))
        return tree


def human(size: int) -> str:
    """Write a number of bytes for people, with three digits, in powers of 1000 as docker does: 2.21MB."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.4g}TB"
