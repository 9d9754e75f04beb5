"""The image-spec's own examples and schemas: what they allow is read, what they refuse is refused by name."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import referencing
import referencing.jsonschema

from labrt.errors import InvalidManifest
from labrt.image import descriptor as types
from labrt.image.config import ImageConfig
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.manifest import Index, Manifest, parse

SPEC = Path(__file__).resolve().parents[3] / "shared/specs/image-spec"
READERS = {
    "application/vnd.oci.descriptor.v1+json": ("content-descriptor.json", lambda raw: Descriptor.from_json(
        json.loads(raw))),
    "application/vnd.oci.image.index.v1+json": ("image-index-schema.json", parse),
    "application/vnd.oci.image.manifest.v1+json": ("image-manifest-schema.json", parse),
    "application/vnd.oci.image.config.v1+json": ("config-schema.json", ImageConfig.parse),
}  # fmt: skip
_EXAMPLE = re.compile(r"^ *```json,title=([^&\n]*)&mediatype=(\S+)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def examples() -> Iterator[object]:
    """Yield (media type, JSON) of each example in the specification, with a name."""
    for path in sorted(SPEC.glob("*.md")):
        for title, media_type, text in _EXAMPLE.findall(path.read_text()):
            media_type = media_type.replace("%2B", "+")
            if media_type in READERS:
                name = f"{path.stem}-{title.replace('%20', '-')}"
                yield pytest.param(media_type, text, id=name)


EXAMPLES = [*examples()]


@pytest.fixture
def valid(shared: Path):
    """Return whether a value conforms to a schema of the image-spec; nothing is fetched from anywhere."""
    documents = {path.name: json.loads(path.read_text()) for path in (SPEC / "schema").glob("*.json")}
    draft4 = referencing.jsonschema.DRAFT4
    registry = referencing.Registry(
        retrieve=lambda uri: draft4.create_resource(documents[uri.rpartition("/")[2]])  # type: ignore[call-arg]
    )

    def check(value: object, schema: str) -> bool:
        return jsonschema.Draft4Validator(documents[schema], registry=registry).is_valid(value)

    return check


def test_there_are_examples(shared):
    assert len(EXAMPLES) >= 10 and {example.values[0] for example in EXAMPLES} == set(READERS)


@pytest.mark.parametrize(("media_type", "text"), EXAMPLES)
def test_the_specifications_examples_are_read(media_type, text, valid):
    schema, read = READERS[media_type]
    value = json.loads(text)
    found = read(text.encode())
    if isinstance(found, Descriptor):
        assert valid(value, schema) and found.to_json() == value
    elif isinstance(found, Index):
        assert valid(value, schema)
        assert [entry.to_json() for entry in found.manifests] == value["manifests"]
    elif isinstance(found, Manifest):
        assert valid(value, schema)
        assert [layer.to_json() for layer in found.layers] == value["layers"]
        assert found.config.to_json() == value["config"] and found.artifact_type == value.get("artifactType", "")
        assert (found.subject.to_json() if found.subject else None) == value.get("subject")
    else:
        assert valid(value, schema) and [*map(str, found.diff_ids)] == value["rootfs"]["diff_ids"]


WRONG = ({"type": "wrong"}, ["wrong"], 7.5, True, "")


def spoiled(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Yield paths of a document, and what to put there that does not belong."""
    if path:
        yield from ((path, wrong) for wrong in WRONG)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from spoiled(item, (*path, key))


@pytest.mark.parametrize(("media_type", "text"), EXAMPLES)
def test_what_the_schemas_refuse_is_refused_by_the_fields_name(media_type, text, valid):
    """Every field of every example is spoiled in turn. What a schema refuses is refused."""
    schema, read = READERS[media_type]
    refused = 0
    for path, wrong in spoiled(json.loads(text)):
        value = copy.deepcopy(json.loads(text))
        inner = value
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = wrong
        if valid(value, schema):
            continue
        refused += 1
        if _is_taken(path, wrong):
            continue
        names = [key for key in path if isinstance(key, str)]
        with pytest.raises(InvalidManifest) as caught:
            read(json.dumps(value).encode())
        assert any(str(key) in str(caught.value) for key in names), (path, wrong, caught.value)
    assert refused > 5


def _is_taken(path: tuple[str | int, ...], wrong: object) -> bool:
    """What labrt reads although a schema refuses it, because it says nothing.

    A document's own empty media type is none; of sets of ports and volumes only the names are read.
    """
    if path[:2] in (("config", "ExposedPorts"), ("config", "Volumes")):
        return len(path) == 3 or isinstance(wrong, dict)
    return path == ("mediaType",) and wrong == ""


def test_an_artifact_with_a_subject():
    pointed = {"mediaType": types.OCI_MANIFEST, "digest": str(Digest.of(b"image")), "size": 5}
    empty = {"mediaType": types.OCI_EMPTY, "digest": str(Digest.of(b"{}")), "size": 2, "data": "e30="}
    value = {"schemaVersion": 2, "mediaType": types.OCI_MANIFEST, "artifactType": "application/vnd.example+json",
             "config": empty, "layers": [empty], "subject": pointed}  # fmt: skip
    found = parse(json.dumps(value).encode())
    assert isinstance(found, Manifest) and found.subject == Descriptor.from_json(pointed)
    assert found.artifact_type == "application/vnd.example+json" and found.config.data == b"{}"
    assert found.config.to_json() == empty
    for key, wrong in (("artifactType", "no type"), ("subject", {**pointed, "size": -1}), ("subject", [])):
        with pytest.raises(InvalidManifest, match=key):
            parse(json.dumps({**value, key: wrong}).encode())


@pytest.mark.parametrize("data", ["e30", "!!!!", *(base64.b64encode(x).decode() for x in (b"[]", b"{} ")), 7])
def test_data_that_is_not_what_the_digest_says(data):
    value = {"mediaType": types.OCI_EMPTY, "digest": str(Digest.of(b"{}")), "size": 2, "data": data}
    with pytest.raises(InvalidManifest, match=r"descriptor\.data"):
        Descriptor.from_json(value)
