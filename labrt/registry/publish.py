"""What a client changes in a registry: put a manifest, delete one; and keep the list of referrers.

    put_manifest(endpoints, base, reference, raw, media_type)        PUT, under a tag or its digest
    delete(endpoints, base, reference)                               DELETE, of a tag or a manifest

A manifest may have a subject: a signature has the image that it signs. A registry that keeps the list of what refers to
an image says so (header OCI-Subject); where it does not, the client does, in an index under the tag `sha256-<hex>`.
Distribution-spec, "Pushing Manifests", "Deleting Manifests", "Unavailable Referrers API". A mirror is never written to.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from labrt.errors import DigestMismatch, ImageNotFound, InvalidDigest, InvalidManifest
from labrt.image.descriptor import INDEXES, MANIFESTS, OCI_INDEX, Descriptor
from labrt.image.digest import Digest
from labrt.image.manifest import parse
from labrt.image.reference import Reference
from labrt.registry import failures, listings
from labrt.registry.endpoints import Endpoints, scope

Entries = tuple[Descriptor, ...]


def subject_of(raw: bytes) -> Digest | None:
    """The digest of what a manifest refers to; None: nothing. Raises InvalidManifest for a subject that is none."""
    document = json.loads(raw)
    subject = document.get("subject") if isinstance(document, dict) else None
    return None if subject is None else Descriptor.from_json(subject, "manifest.subject").digest


def as_referrer(raw: bytes, media_type: str) -> Descriptor:
    """The entry of a manifest in a list of referrers: with its annotations, and an artifact type."""
    document = parse(raw, media_type)
    config = getattr(document, "config", None)
    kind = getattr(document, "artifact_type", "") or str(json.loads(raw).get("artifactType") or "")
    kind = kind or (config.media_type if config else "")
    digest = Digest.of(raw)
    return Descriptor(document.media_type, digest, len(raw), annotations=document.annotations, artifact_type=kind)


def put_manifest(endpoints: Endpoints, base: str, reference: Reference, raw: bytes, media_type: str) -> Digest:
    """Put a manifest or an index under the reference's tag, or by its digest. Returns its digest.

    Raises DigestMismatch when the registry calls it otherwise than we do.
    """
    ours = Digest.of(raw, reference.digest.algorithm if reference.digest else "sha256")
    if reference.digest and reference.digest != ours:
        raise DigestMismatch(f"the manifest has digest {ours}, not {reference.digest}", remedy="push it by a tag")
    path = f"/v2/{reference.repository}/manifests/{reference.digest or reference.tag}"
    how = {"headers": {"Content-Type": media_type}, "body": lambda: raw}
    response = endpoints.ask("PUT", reference.registry, base, path, scope=scope(reference, "pull,push"), **how)
    if response.status not in (200, 201):
        raise failures.refusal(response, f"the manifest of {reference.familiar}")
    try:
        theirs = Digest.parse(response.headers.get("Docker-Content-Digest", str(ours)))
    except InvalidDigest:
        theirs = ours
    if theirs != Digest.of(raw, theirs.algorithm):
        message = f"{response.asked}: we sent {ours}, the registry has {theirs}"
        raise DigestMismatch(message, remedy="try again; if it stays so, somebody changes bytes on the way")
    subject = subject_of(raw)
    if subject is not None and "OCI-Subject" not in response.headers:
        entry = as_referrer(raw, media_type)
        _edit(endpoints, base, reference, subject, lambda old: (*(x for x in old if x.digest != entry.digest), entry))
    return ours


def delete(endpoints: Endpoints, base: str, reference: Reference) -> None:
    """Delete a tag, or a manifest with all its tags. Raises ImageNotFound; RegistryError where it is not allowed."""
    subject = _subject_there(endpoints, reference) if reference.digest else None
    path = f"/v2/{reference.repository}/manifests/{reference.digest or reference.tag}"
    response = endpoints.ask("DELETE", reference.registry, base, path, scope=scope(reference, "pull,push,delete"))
    if response.status not in (200, 202):
        raise failures.refusal(response, f"delete of {reference.familiar}" if response.status != 404
                               else reference.familiar)  # fmt: skip
    if subject is not None and reference.digest:
        gone = reference.digest
        _edit(endpoints, base, reference, subject, lambda old: tuple(x for x in old if x.digest != gone))


def _subject_there(endpoints: Endpoints, reference: Reference) -> Digest | None:
    """What a manifest there refers to, where clients keep the list themselves; else None."""
    try:
        response = endpoints.fetch(reference, f"manifests/{reference.digest}", reference.familiar,
                                   headers={"Accept": ", ".join((*INDEXES, *MANIFESTS))})  # fmt: skip
        subject = subject_of(response.body)
    except (ImageNotFound, InvalidManifest, ValueError):
        return None
    if subject is None or not listings.referrers(endpoints, reference, subject).fallback:
        return None
    return subject


def _edit(
    endpoints: Endpoints, base: str, reference: Reference, subject: Digest, change: Callable[[Entries], Entries]
) -> None:
    """Change the list of referrers that clients keep under a tag. Two at once: the specification knows no lock."""
    old = listings.by_tag(endpoints, reference, subject)
    new = change(old)
    if new == old:
        return
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry.to_json() for entry in new]}
    tag = reference.with_tag(listings.referrers_tag(subject))
    put_manifest(endpoints, base, tag, json.dumps(index, separators=(",", ":")).encode(), OCI_INDEX)
