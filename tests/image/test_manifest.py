"""Manifests, indexes and descriptors: read, written, and refused when hostile."""

import json
from pathlib import Path

import jsonschema
import pytest
import referencing
import referencing.jsonschema

from labrt.errors import ImageNotFound, InvalidManifest
from labrt.image import descriptor as types
from labrt.image import manifest as manifests
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.manifest import Index, Manifest, parse
from labrt.image.platform import Platform

DIGEST = str(Digest.of(b"x"))


def pointer(media_type: str = types.OCI_MANIFEST, **more: object) -> dict:
    return {"mediaType": media_type, "digest": DIGEST, "size": 1, **more}


def manifest(**changes: object) -> bytes:
    whole = {
        "schemaVersion": 2,
        "mediaType": types.OCI_MANIFEST,
        "config": pointer(types.OCI_CONFIG),
        "layers": [pointer(types.OCI_LAYER_GZIP)],
    }
    return json.dumps({**whole, **changes}).encode()


def index(*entries: dict, **changes: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": entries, **changes}).encode()


def on(platform: str) -> dict:
    system, architecture, *variant = platform.split("/")
    return {"os": system, "architecture": architecture, **({"variant": variant[0]} if variant else {})}


@pytest.fixture
def conforms(shared: Path):
    """Return a check against a schema of the image-spec; nothing is fetched from anywhere."""
    folder = shared / "specs/image-spec/schema"
    documents = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
    draft4 = referencing.jsonschema.DRAFT4

    def resource(uri: str) -> referencing.Resource:
        return draft4.create_resource(documents[uri.rpartition("/")[2]])

    registry = referencing.Registry(retrieve=resource)

    def check(value: object, schema: str) -> None:
        jsonschema.Draft4Validator(documents[schema], registry=registry).validate(value)

    return check


def test_the_real_busybox(shared: Path, conforms):
    folder = shared / "images/busybox"
    names = parse((folder / "index.json").read_bytes())
    assert isinstance(names, Index)
    conforms([entry.to_json() for entry in names.manifests][0], "content-descriptor.json")
    conforms(
        {"schemaVersion": 2, "manifests": [entry.to_json() for entry in names.manifests]}, "image-index-schema.json"
    )
    entry = names.choose(Platform.parse("arm64"))
    assert str(entry.digest).startswith("sha256:8f2ffdcb")
    assert str(names.choose(Platform.parse("amd64")).digest).startswith("sha256:1cfa4e2b")
    raw = (folder / "blobs/sha256" / entry.digest.hex).read_bytes()
    image = parse(raw, entry.media_type)
    assert isinstance(image, Manifest)
    assert (image.digest, image.raw) == (entry.digest, raw)
    assert image.layers[0].compression == "gzip"
    assert image.size == image.config.size + 1915158
    written = {
        "schemaVersion": 2,
        "mediaType": image.media_type,
        "config": image.config.to_json(),
        "layers": [layer.to_json() for layer in image.layers],
    }
    conforms(written, "image-manifest-schema.json")
    assert {**written, "annotations": image.annotations} == json.loads(raw)


def test_a_descriptor_loses_nothing(conforms):
    full = pointer(
        types.OCI_LAYER_ZSTD,
        urls=["https://example.org/x"],
        annotations={"a": "b"},
        artifactType="application/x",
        platform={"os": "windows", "architecture": "amd64", "os.version": "10.0", "os.features": ["win32k"]},
    )
    descriptor = Descriptor.from_json(full)
    assert descriptor.to_json() == full
    assert hash(descriptor) == hash(Descriptor.from_json(full))
    conforms(full, "content-descriptor.json")


@pytest.mark.parametrize(
    ("media_type", "index", "manifest", "layer", "compression"),
    [
        (types.OCI_INDEX, True, False, False, ""),
        (types.DOCKER_INDEX, True, False, False, ""),
        (types.OCI_MANIFEST, False, True, False, ""),
        (types.DOCKER_MANIFEST, False, True, False, ""),
        (types.OCI_LAYER, False, False, True, ""),
        (types.OCI_LAYER_GZIP, False, False, True, "gzip"),
        (types.OCI_LAYER_ZSTD, False, False, True, "zstd"),
        (types.DOCKER_LAYER_GZIP, False, False, True, "gzip"),
        (types.DOCKER_LAYER_ZSTD, False, False, True, "zstd"),
        (types.DOCKER_FOREIGN_LAYER_GZIP, False, False, True, "gzip"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", False, False, True, "gzip"),
        (types.OCI_CONFIG, False, False, False, ""),
    ],
)
def test_media_types(media_type, index, manifest, layer, compression):
    descriptor = Descriptor.from_json(pointer(media_type))
    assert (descriptor.is_index, descriptor.is_manifest, descriptor.is_layer) == (index, manifest, layer)
    assert descriptor.compression == compression


def test_docker_types_mean_the_same():
    raw = manifest(mediaType=types.DOCKER_MANIFEST, config=pointer(types.DOCKER_CONFIG))
    document = parse(raw, types.DOCKER_MANIFEST + "; charset=utf-8")
    assert isinstance(document, Manifest)
    assert document.media_type == types.DOCKER_MANIFEST
    assert isinstance(parse(index(mediaType=types.DOCKER_INDEX)), Index)


def test_without_a_media_type_the_document_says_what_it_is():
    assert parse(manifest(mediaType=None)).media_type == types.OCI_MANIFEST
    assert parse(index(mediaType=None), "application/json").media_type == types.OCI_INDEX


def test_layers_stay_in_order_and_null_is_nothing():
    layers = [pointer(types.OCI_LAYER, size=size) for size in (3, 1, 2)]
    assert [layer.size for layer in parse(manifest(layers=layers)).layers] == [3, 1, 2]
    assert parse(manifest(layers=None)).layers == ()


def test_the_best_variant_is_chosen():
    entries = [
        pointer(platform=on(f"linux/arm/{variant}"), size=size) for size, variant in enumerate(("v5", "v7", "v6"))
    ]
    document = parse(index(*entries))
    assert document.choose(Platform.parse("linux/arm/v7")).size == 1
    assert document.choose(Platform.parse("linux/arm/v6")).size == 2
    assert document.choose(Platform("linux", "arm")).size == 1


def test_what_there_is_instead_is_listed():
    entries = [pointer(platform=on(name)) for name in ("linux/amd64", "linux/arm64/v8", "unknown/unknown")]
    with pytest.raises(ImageNotFound) as caught:
        parse(index(*entries)).choose(Platform.parse("riscv64"))
    assert "linux/riscv64" in str(caught.value)
    assert "there is linux/amd64, linux/arm64/v8 " in str(caught.value)
    assert "unknown" not in str(caught.value)


def test_an_entry_without_a_platform_is_the_last_resort():
    entries = [pointer(size=7), pointer(size=8, platform=on("linux/amd64"))]
    assert manifests.choose(map(Descriptor.from_json, entries), Platform.parse("amd64")).size == 8
    assert manifests.choose(map(Descriptor.from_json, entries), Platform.parse("s390x")).size == 7
    with pytest.raises(ImageNotFound, match="none at all"):
        manifests.choose([Descriptor.from_json(pointer("application/xml"))])


DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"x"',
        b"{",
        b"{}",
        b"\xff\xfe",
        DEEP,
        b"[" * 200_000,
        b'{"schemaVersion":' + b"1" * 5000 + b"}",
        manifest(schemaVersion=3),
        manifest(schemaVersion="2"),
        manifest(schemaVersion=True),
        manifest(config=None),
        manifest(config=[]),
        manifest(config={}),
        manifest(config=7),
        manifest(layers={}),
        manifest(layers=[7]),
        manifest(layers=[None]),
        manifest(layers=["x"]),
        manifest(layers=[{}]),
        manifest(mediaType=7),
        manifest(mediaType={}),
        manifest(annotations=[]),
        manifest(annotations={"a": 1}),
        manifest(mediaType="text/html"),
        manifest(mediaType=types.OCI_INDEX),
        manifest(artifactType=1),
        manifest(config=pointer(size=-1)),
        manifest(config=pointer(size=1 << 63)),
        manifest(config=pointer(size=10**400)),
        manifest(config=pointer(size="1")),
        manifest(config=pointer(size=1.5)),
        manifest(config=pointer(size=True)),
        manifest(config=pointer(digest="x")),
        manifest(config=pointer(digest=7)),
        manifest(config=pointer(digest="sha256:../../../etc/passwd")),
        manifest(config=pointer("no type")),
        manifest(config=pointer(urls="x")),
        manifest(config=pointer(urls=[1])),
        manifest(config=pointer(platform="linux")),
        manifest(config=pointer(platform={"os": "linux"})),
        manifest(config=pointer(annotations={"x": "\ud800"})),
        manifest() + b"x",
        manifest(manifests=[]),
        manifest(manifests=[pointer()]),
        index(pointer(), layers=[]),
        index(pointer(), config=pointer()),
        index(7),
        index(pointer(platform=[])),
        b'{"schemaVersion":2,"size":NaN}',
        manifest().replace(b'"size": 1', b'"size": Infinity'),
        manifest(annotations={"pad": "x" * (4 << 20)}),
    ],
)
def test_what_is_no_manifest_gives_one_kind_of_error(raw):
    with pytest.raises(InvalidManifest) as caught:
        parse(raw)
    assert len(str(caught.value)) < 500


def test_errors_name_the_place():
    with pytest.raises(InvalidManifest, match=r"manifest\.layers\[1\]\.size must be a number, not a string"):
        parse(manifest(layers=[pointer(types.OCI_LAYER), pointer(types.OCI_LAYER, size="3")]))


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        (json.dumps({"schemaVersion": 1, "name": "x", "fsLayers": []}).encode(), None),
        (manifest(), types.DOCKER_SCHEMA1[1]),
        (manifest(mediaType=types.DOCKER_SCHEMA1[0]), None),
    ],
)
def test_schema_1_is_refused_with_a_clear_word(raw, media_type):
    with pytest.raises(InvalidManifest, match="schema 1"):
        parse(raw, media_type)


def test_a_document_that_came_under_another_type_is_refused():
    with pytest.raises(InvalidManifest, match="calls itself"):
        parse(manifest(), types.OCI_INDEX)
    with pytest.raises(InvalidManifest, match="no layers"):
        parse(manifest(mediaType=None), types.OCI_INDEX)
    with pytest.raises(InvalidManifest, match="no image manifest"):
        parse(manifest(mediaType=None), "text/html")
