"""Image configs: what to run by default, and which layers in which order.

    ImageConfig.parse(raw)            bytes to value
    config.chain_ids                  the names of "layer n on all layers below it"
    config.command(args, entrypoint)  ENTRYPOINT and CMD, merged as Docker merges them

The digest of these bytes is the image's id, as `docker images` shows it. Specification: OCI image-spec, config.md.
Notebook 12.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from labrt.errors import InvalidInput, InvalidManifest
from labrt.image.digest import EMPTY, Digest
from labrt.image.fields import Fields, digest, parse_object
from labrt.image.platform import Platform
from labrt.shapes import NOTHING, Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any


class History(Record):
    """One line of `docker history`. An `empty_layer` changed the config only, so it has no diff id."""

    created: str
    created_by: str
    comment: str
    author: str
    empty_layer: bool


class ImageConfig(Record):
    """An image's config. `diff_ids` has the base layer first; `env` has NAME=value; `created` is RFC 3339 text."""

    architecture: str
    os: str
    variant: str = ""
    created: str = ""
    author: str = ""
    env: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    labels: Mapping[str, str] = NOTHING
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    shell: tuple[str, ...] = ()
    healthcheck: Mapping[str, Any] | None = None
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()
    raw: bytes = b""
    digest: Digest = EMPTY

    @classmethod
    def parse(cls, raw: bytes) -> ImageConfig:
        """Read a config's bytes, OCI's or Docker's. Raises InvalidManifest."""
        fields = parse_object(raw, "image config")
        run = fields.object("config")
        return cls(
            architecture=fields.string("architecture"),
            os=fields.string("os"),
            variant=fields.string("variant", ""),
            created=fields.string("created", ""),
            author=fields.string("author", ""),
            env=run.strings("Env"),
            cmd=run.strings("Cmd"),
            entrypoint=run.strings("Entrypoint"),
            working_dir=run.string("WorkingDir", ""),
            user=run.string("User", ""),
            labels=run.mapping("Labels"),
            exposed_ports=tuple(run.object("ExposedPorts").value),
            volumes=tuple(run.object("Volumes").value),
            stop_signal=run.string("StopSignal", ""),
            shell=run.strings("Shell"),
            healthcheck=run.object("Healthcheck").value if "Healthcheck" in run else None,
            diff_ids=_diff_ids(fields.object("rootfs")),
            history=tuple(map(_history, fields.objects("history"))),
            raw=raw,
            digest=Digest.of(raw),
        )

    @property
    def platform(self) -> Platform:
        """For which machine the image's programs are."""
        return Platform(self.os, self.architecture, self.variant).normalized()

    @property
    def chain_ids(self) -> tuple[Digest, ...]:
        """The chain id of each layer, base first: what a storage driver calls the layer on all those below it."""
        return chain_ids(self.diff_ids)

    def command(self, args: Sequence[str] = (), entrypoint: Sequence[str] | None = None) -> tuple[str, ...]:
        """Merge ENTRYPOINT and CMD with what the user gave. Raises InvalidInput when nothing is left to run.

        `args` replace CMD. An `entrypoint` replaces ENTRYPOINT and drops the image's CMD, which was written for the
        other program; [""], as `--entrypoint ""` sends it, is none at all. An empty list, which only the API can send,
        takes ENTRYPOINT away and leaves CMD. None means: the image's own.
        """
        program = self.entrypoint if entrypoint is None else tuple(entrypoint)
        replaced = bool(entrypoint)
        merged = (*(() if program == ("",) else program), *(args or (() if replaced else self.cmd)))
        if not merged:
            raise InvalidInput("no command: the image names none and none was given", remedy="add a command, like sh")
        return merged

    def __repr__(self) -> str:
        shown = " ".join((*self.entrypoint, *self.cmd))
        return f"<ImageConfig {self.digest.short} {self.platform} {len(self.diff_ids)} layers runs {shown!r:.60}>"


def chain_ids(diff_ids: Iterable[Digest]) -> tuple[Digest, ...]:
    """Return the chain ids of these layers, base first.

    The first is the diff id itself; each further one is the digest of "<chain id below> <diff id>". So equal chain ids
    mean equal trees, while a diff id alone says nothing of what lies below it.
    """
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(Digest.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)


def _diff_ids(rootfs: Fields) -> tuple[Digest, ...]:
    kind = rootfs.string("type", "layers")
    if kind != "layers":
        raise InvalidManifest(f"{rootfs.where}.type is {kind!r:.40}", remedy="labrt reads 'layers'")
    places = enumerate(rootfs.strings("diff_ids"))
    return tuple(digest(text, f"{rootfs.where}.diff_ids[{number}]") for number, text in places)


def _history(fields: Fields) -> History:
    created, created_by = fields.string("created", ""), fields.string("created_by", "")
    comment, author = fields.string("comment", ""), fields.string("author", "")
    return History(created, created_by, comment, author, fields.boolean("empty_layer", False))
