"""References: what people type after `docker pull`, and what it means.

    Reference.parse("busybox")                     docker.io/library/busybox:latest
    Reference.parse("localhost:5000/a/b:t")        registry localhost:5000, repository a/b, tag t
    Reference.parse("busybox@sha256:8f2f…")        by content: no tag can move it

The grammar is Docker's, with its three conveniences: no registry means docker.io, a one-word repository there means
library/…, and neither tag nor digest means the tag `latest`. Notebook 12.
"""

from __future__ import annotations

import re

from labrt.errors import InvalidDigest, InvalidReference
from labrt.image.digest import Digest
from labrt.shapes import Record

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"

_LABEL = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(f"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile("[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_ID = re.compile("[a-f0-9]{64}")
_DIGITS = re.compile("[a-f0-9]{12}")
_LONGEST = 255
UNNAMED = ("built", "committed")


class Reference(Record):
    """An image's name in full: `registry/repository[:tag][@digest]`, with at least one of tag and digest."""

    registry: str
    repository: str
    tag: str | None = DEFAULT_TAG
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference as Docker does. Raises InvalidReference, which says what is wrong with it."""
        if not text:
            raise InvalidReference("an image name cannot be empty", remedy="write a name such as busybox")
        if _ID.fullmatch(text):
            raise InvalidReference(
                f"{text} is an image's id, not its name", remedy="a name may not be 64 hex digits; ids are not pulled"
            )
        named, at, digest = text.partition("@")
        registry, rest = _split_registry(named)
        repository, colon, tag = rest.partition(":")
        if registry == DEFAULT_REGISTRY and "/" not in repository:
            repository = f"library/{repository}"
        _check_name(text, registry, repository)
        if colon and not _TAG.fullmatch(tag):
            raise _wrong(text, f"{tag!r:.140} is no tag", "a tag has up to 128 letters, digits, '_', '.', '-'")
        parsed = _digest(text, digest) if at else None
        return cls(registry, repository, tag if colon else None if at else DEFAULT_TAG, parsed)

    @classmethod
    def unnamed(cls, how: str, digits: str) -> Reference:
        """Name what nobody has named, since a store wants a name: localhost/built:1f0c…, localhost/committed:1f0c… .

        `how` is one of UNNAMED; `digits` are the first 12 of a digest or an id.
        """
        return cls("localhost", how, digits)

    @property
    def is_unnamed(self) -> bool:
        """Whether it is such a name: docker shows <none>."""
        known = self.registry == "localhost" and self.repository in UNNAMED
        return known and _DIGITS.fullmatch(self.tag or "") is not None

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest: docker.io/library/busybox."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar(self) -> str:
        """As `docker` prints it, with what goes without saying left out: busybox:latest."""
        name = self.name
        if self.registry == DEFAULT_REGISTRY:
            name = self.repository.removeprefix("library/") if self.repository.count("/") == 1 else self.repository
        return name + self._suffix()

    def with_tag(self, tag: str) -> Reference:
        """Return this name with another tag and no digest."""
        if not _TAG.fullmatch(tag):
            raise InvalidReference(f"{tag!r:.140} is no tag", remedy="up to 128 letters, digits, '_', '.', '-'")
        return self._replace(tag=tag, digest=None)

    def with_digest(self, digest: Digest) -> Reference:
        """Return this name by content: with a digest and no tag."""
        return self._replace(tag=None, digest=digest)

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix()

    def __repr__(self) -> str:
        return f"<Reference {self}>"


def _split_registry(named: str) -> tuple[str, str]:
    """Split off the registry: the part before the first slash, if it could be a host and could not be a user name.

    `a/b` is user a's b on docker.io; `a.b/c`, `a:5000/c`, `localhost/c` and `A/c` (no user has a capital) name hosts.
    """
    first, slash, rest = named.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        return DEFAULT_REGISTRY, named
    return (DEFAULT_REGISTRY if first == "index.docker.io" else first), rest


def _check_name(text: str, registry: str, repository: str) -> None:
    if repository != repository.lower():
        raise _wrong(text, "a repository has no capitals", f"try {text.lower()!r:.300}")
    if not _HOST.fullmatch(registry):
        raise _wrong(text, f"{registry!r:.100} is no host name", "write host[:port]/name[:tag]")
    if not _REPOSITORY.fullmatch(repository):
        shown = repository.removeprefix("library/")
        rule = "lower-case letters and digits, joined by one of '.', '_', '__' or by '-', parted by '/'"
        raise _wrong(text, f"{shown!r:.100} is no repository", rule)
    if len(repository) > _LONGEST:
        raise _wrong(text, f"the repository has {len(repository)} characters", f"at most {_LONGEST} are allowed")


def _digest(text: str, digest: str) -> Digest:
    try:
        return Digest.parse(digest)
    except InvalidDigest as error:
        raise _wrong(text, error.message, error.remedy) from None


def _wrong(text: str, why: str, remedy: str) -> InvalidReference:
    return InvalidReference(f"{text!r:.300} is no image name: {why}", remedy=remedy)
