"""Lists that a registry gives: a repository's tags, and what refers to a manifest. Page after page, until the last.

    client.tags("busybox")                                    Tags: a list of strings that shows itself
    client.referrers("team/app:1")                            Referrers: descriptors of signatures, SBOMs …
    client.referrers("team/app:1", artifact_type="application/spdx+json")

A registry from before the referrers API answers 404; its clients keep the list themselves, as an index under a tag that
is made of the digest: `sha256-<hex>`. Distribution-spec, "Content Discovery" and "Referrers Tag Schema".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

from labrt.errors import ImageNotFound, InvalidManifest, RegistryError
from labrt.image import manifest as manifests
from labrt.image.descriptor import INDEXES, OCI_INDEX, Descriptor
from labrt.image.digest import Digest
from labrt.image.manifest import Index
from labrt.image.reference import Reference
from labrt.registry.endpoints import Endpoints
from labrt.registry.response import Response

if TYPE_CHECKING:
    from rich.table import Table

_MOST_PAGES = 1000  # more is a registry that sends us in a circle


class Tags(list[str]):
    """All tags of `repository`, in the registry's order."""

    def __init__(self, repository: str, found: list[str]) -> None:
        super().__init__(found)
        self.repository = repository

    def __repr__(self) -> str:
        return f"<Tags of {self.repository}: {', '.join(self[:20])}{', …' if len(self) > 20 else ''}>"

    def __rich__(self) -> Table:
        from rich.table import Table

        table = Table(f"{self.repository}: {len(self)} tags")
        for tag in self:
            table.add_row(tag)
        return table


class Referrers(list[Descriptor]):
    """What refers to `subject`: signatures, SBOMs, attestations. `fallback`: read from a tag, as there is no API."""

    def __init__(self, subject: Digest, found: list[Descriptor], *, fallback: bool) -> None:
        super().__init__(found)
        self.subject, self.fallback = subject, fallback

    def __repr__(self) -> str:
        return f"<Referrers of {self.subject.short}: {', '.join(one.artifact_type or '?' for one in self) or 'none'}>"

    def __rich__(self) -> Table:
        from rich.table import Table

        table = Table("digest", "artifact type", "size", title=f"refer to {self.subject.short}")
        for one in self:
            table.add_row(one.digest.short, one.artifact_type, str(one.size))
        return table


def tags(endpoints: Endpoints, reference: Reference) -> Tags:
    """All tags of a reference's repository, in the registry's order."""
    found: list[str] = []
    what = f"repository {reference.repository}"
    for response in _pages(endpoints, reference, "tags/list", "", what):
        found += _read_tags(response)
    return Tags(reference.repository, found)


def referrers(endpoints: Endpoints, reference: Reference, subject: Digest, artifact_type: str = "") -> Referrers:
    """What refers to a manifest of this repository; of this artifact type only, unless ""."""
    what = f"referrers of {subject}"
    query = f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
    found: list[Descriptor] = []
    fallback = False
    try:
        for response in _pages(endpoints, reference, f"referrers/{subject}", query, what, key=""):
            found += _read_index(response)
    except ImageNotFound:
        found, fallback = list(by_tag(endpoints, reference, subject)), True
    # A registry need not filter, so we always do.
    chosen = [one for one in found if artifact_type in ("", one.artifact_type)]
    return Referrers(subject, chosen, fallback=fallback)


def referrers_tag(subject: Digest) -> str:
    """The tag under which clients keep the list where the registry does not."""
    return f"{subject.algorithm[:32]}-{subject.hex[:64]}"


def by_tag(endpoints: Endpoints, reference: Reference, subject: Digest) -> tuple[Descriptor, ...]:
    """The list that clients keep themselves; what is there and no index is taken for no list, as specified."""
    path = f"manifests/{referrers_tag(subject)}"
    try:
        response = endpoints.fetch(reference, path, f"referrers of {subject}", headers={"Accept": ", ".join(INDEXES)})
        document = manifests.parse(response.body, response.headers.get("Content-Type"))
    except (ImageNotFound, InvalidManifest):
        return ()
    return document.manifests if isinstance(document, Index) else ()


def _pages(
    endpoints: Endpoints, reference: Reference, path: str, query: str, what: str, key: str = "last"
) -> Iterator[Response]:
    for _ in range(_MOST_PAGES):
        response = endpoints.fetch(reference, f"{path}{query}", what)
        yield response
        query = _next_page(response, key)
        if not query:
            return
    raise RegistryError(f"{response.asked}: the list of tags does not end", remedy="tell its operators")


def _read_tags(response: Response) -> list[str]:
    try:
        found = json.loads(response.body)["tags"] or []  # null: a repository whose last tag was removed
        if isinstance(found, list) and all(isinstance(tag, str) for tag in found):
            return found
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise RegistryError(f"{response.asked}: the answer is no list of tags", remedy="is this an OCI registry?")


def _read_index(response: Response) -> tuple[Descriptor, ...]:
    media_type = response.headers.get("Content-Type", OCI_INDEX)
    document = manifests.parse(response.body, OCI_INDEX if media_type.startswith("application/json") else media_type)
    if isinstance(document, Index):
        return document.manifests
    raise RegistryError(f"{response.asked}: the answer is no list of referrers", remedy="is this an OCI registry?")


def _next_page(response: Response, key: str) -> str:
    """The query of the next page, `?n=…&last=…`; "" when this was the last. Of the link only that is used."""
    link: Any = re.match(r'\s*<([^>]*)>\s*;\s*rel="?next"?', response.headers.get("Link", ""))
    query = urlsplit(link[1]).query if link else ""
    return f"?{query}" if query and (not key or key in parse_qs(query)) else ""
