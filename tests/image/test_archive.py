"""Archives of images: written, read back, and refused when hostile."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile

import pytest
from archives import directory, entry, file, symlink, tar

from labrt.errors import DigestMismatch, InvalidInput, InvalidManifest, LabrtError, NotFound, UnsafeLayer
from labrt.image import archive
from labrt.image import descriptor as types
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.image.reference import Reference

PLAIN = tar(file("hello", "hello\n")).getvalue()
GZIP = gzip.compress(PLAIN, mtime=0)
HOST = Platform.host()


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def config(*diff_ids: Digest, **more: object) -> bytes:
    rootfs = {"type": "layers", "diff_ids": [*map(str, diff_ids or (Digest.of(PLAIN),))]}
    return dump({"architecture": HOST.architecture, "os": "linux", "rootfs": rootfs, **more})


def pointer(data: bytes, media_type: str) -> dict:
    return Descriptor(media_type, Digest.of(data), len(data)).to_json()


def manifest(about: bytes, *layers: bytes, **more: object) -> bytes:
    parts = {"config": pointer(about, types.OCI_CONFIG), "layers": [pointer(x, types.OCI_LAYER_GZIP) for x in layers]}
    return dump({"schemaVersion": 2, "mediaType": types.OCI_MANIFEST, **parts, **more})


def blob(data: bytes):
    return file(f"blobs/sha256/{Digest.of(data).hex}", data)


def index(*entries: dict) -> bytes:
    return dump({"schemaVersion": 2, "manifests": entries})


def oci(*blobs: bytes, entries: tuple[dict, ...] = ()) -> io.BytesIO:
    """An OCI archive whose index comes before the blobs: any order is fine."""
    head = [file("oci-layout", dump({"imageLayoutVersion": "1.0.0"})), file("./index.json", index(*entries))]
    return tar(*head, directory("blobs/"), *map(blob, blobs))


def docker(**more: object) -> io.BytesIO:
    """An archive as old dockers wrote it: a directory for each layer."""
    about = {"Config": "c.json", "RepoTags": ["old:1", "old:2"], "Layers": ["one/layer.tar"], **more}
    return tar(
        directory("one"), file("one/VERSION", "1.0"), file("one/layer.tar", PLAIN), file("c.json", config()),
        file("manifest.json", dump([about])),
    )  # fmt: skip


@pytest.fixture
def layout(tmp_path) -> Layout:
    return Layout(tmp_path / "images")


def is_empty(layout: Layout) -> bool:
    return layout.blobs() == [] and os.listdir(layout.ingest) == [] and layout.references() == {}


def keep(layout: Layout, loaded: list[archive.Loaded]) -> None:
    for each in loaded:
        layout.tag(each.reference, each.descriptor)


# Both ways -----------------------------------------------------------------------------------------------------------


def test_an_old_dockers_archive(layout):
    found = archive.load(docker(), layout)
    assert [each.reference.familiar for each in found] == ["old:1", "old:2"]
    keep(layout, found)
    image = layout.image("old:2")
    assert image.id == Digest.of(config()) and image.manifest.layers[0].digest == Digest.of(PLAIN)
    assert image.manifest.layers[0].media_type == types.OCI_LAYER
    assert os.listdir(layout.ingest) == []


@pytest.mark.parametrize("form", archive.FORMS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_what_is_saved_is_loaded_again(layout, tmp_path, form, pack):
    keep(layout, archive.load(docker(), layout))
    image = layout.image("old:1")
    stream = io.BytesIO()
    archive.save([image, layout.image("old:2")], stream, layout, form=form)
    other = Layout(tmp_path / "other")
    keep(other, archive.load(io.BytesIO(pack(stream.getvalue())), other))
    assert sorted(other.references()) == ["docker.io/library/old:1", "docker.io/library/old:2"]
    assert other.image("old:1").id == image.id and set(other.blobs()) == set(layout.blobs())
    again = io.BytesIO()
    archive.save([other.image("old:1"), other.image("old:2")], again, other, form=form)
    assert again.getvalue() == stream.getvalue()


def test_dockers_types_become_ocis_in_ocis_form(layout):
    about = layout.put(config())
    layer = layout.put(GZIP)
    raw = dump({
        "schemaVersion": 2, "mediaType": types.DOCKER_MANIFEST,
        "config": Descriptor(types.DOCKER_CONFIG, about, len(config())).to_json(),
        "layers": [Descriptor(types.DOCKER_LAYER_GZIP, layer, len(GZIP)).to_json()],
    })  # fmt: skip
    layout.tag(Reference.parse("v2s2"), Descriptor(types.DOCKER_MANIFEST, layout.put(raw), len(raw)))
    stream = io.BytesIO()
    archive.save([layout.image("v2s2")], stream, layout, form="oci")
    with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as opened:
        said = json.load(opened.extractfile("index.json"))["manifests"][0]
        inner = json.load(opened.extractfile(f"blobs/sha256/{said['digest'][7:]}"))
        assert "manifest.json" not in opened.getnames()
    assert (said["mediaType"], inner["mediaType"]) == (types.OCI_MANIFEST, types.OCI_MANIFEST)
    assert inner["config"] == Descriptor(types.OCI_CONFIG, about, len(config())).to_json()
    assert inner["layers"][0]["mediaType"] == types.OCI_LAYER_GZIP


def test_links_of_older_archives_are_followed_inside(layout):
    stream = tar(
        file("abc.tar", PLAIN), symlink("one/layer.tar", "../abc.tar"), symlink("two/layer.tar", "../one/layer.tar"),
        file("c.json", config(Digest.of(PLAIN), Digest.of(PLAIN))),
        file("manifest.json", dump([{"Config": "c.json", "RepoTags": None,
                                     "Layers": ["one/layer.tar", "two/layer.tar"]}])),
    )  # fmt: skip
    (loaded,) = archive.load(stream, layout)
    assert len(loaded.image.manifest.layers) == 2
    assert str(loaded.reference) == f"localhost/loaded:{loaded.image.id.short}"


@pytest.mark.parametrize(
    ("annotations", "name"),
    [
        ({"org.opencontainers.image.ref.name": "quay.io/a/b:1"}, "quay.io/a/b:1"),
        ({"org.opencontainers.image.ref.name": "b:1"}, "docker.io/library/b:1"),
        ({"org.opencontainers.image.ref.name": "latest"}, "localhost/latest:latest"),
        ({"org.opencontainers.image.ref.name": "1", "io.containerd.image.name": "quay.io/a/b:1"}, "quay.io/a/b:1"),
        ({"org.opencontainers.image.ref.name": "no:such:name"}, f"localhost/loaded:{Digest.of(config()).short}"),
    ],
)
def test_names_in_an_index(layout, annotations, name):
    raw = manifest(config(), GZIP)
    found = archive.load(oci(raw, config(), GZIP, entries=(pointer(raw, types.OCI_MANIFEST) | {
        "annotations": annotations},)), layout)  # fmt: skip
    assert [str(each.reference) for each in found] == [name]
    assert found[0].descriptor.annotations == {}


def test_an_index_may_lack_other_platforms_and_what_is_no_image_is_left_alone(layout):
    here, note = manifest(config(), GZIP), b"a note"
    there = Descriptor(types.OCI_MANIFEST, Digest.of(b"absent"), 6, Platform.parse("linux/s390x")).to_json()
    inner = index(there, pointer(here, types.OCI_MANIFEST))
    entries = (pointer(inner, types.OCI_INDEX), pointer(note, "text/plain"))
    (loaded,) = archive.load(oci(inner, here, config(), GZIP, note, entries=entries), layout)
    assert loaded.descriptor.digest == Digest.of(inner)
    assert loaded.image.manifest.digest == Digest.of(here)
    assert set(layout.blobs()) == {Digest.of(x) for x in (inner, here, config(), GZIP)}


def test_nothing_is_written_of_an_image_that_is_not_whole(layout):
    keep(layout, archive.load(docker(), layout))
    os.unlink(layout.blob_path(Digest.of(PLAIN)))
    stream = io.BytesIO()
    with pytest.raises(NotFound, match="old:1 is not here as a whole"):
        archive.save([layout.image("old:1")], stream, layout)
    assert stream.getvalue() == b""


def test_another_form_and_no_image(layout):
    with pytest.raises(InvalidInput, match="'rpm'"):
        archive.save([], io.BytesIO(), layout, form="rpm")
    with pytest.raises(InvalidInput, match="no image"):
        archive.save([], io.BytesIO(), layout)


# Hostile archives ----------------------------------------------------------------------------------------------------

WRONG = Digest.of(b"another")
RAW = manifest(config(), GZIP)
ENTRY = pointer(RAW, types.OCI_MANIFEST)
TWO = manifest(config(), GZIP, GZIP)


def nested(depth: int) -> tuple[bytes, ...]:
    found = [RAW]
    for _ in range(depth):
        found.append(index(pointer(found[-1], types.OCI_INDEX if len(found) > 1 else types.OCI_MANIFEST)))
    return tuple(found)


def circle() -> io.BytesIO:
    """An index that lists an index that lists the first: no digest can be right in a circle, so one is wrong."""
    first = index({"mediaType": types.OCI_INDEX, "digest": str(WRONG), "size": 2})
    second = index(pointer(first, types.OCI_INDEX))
    head = [file("oci-layout", dump({"imageLayoutVersion": "1.0.0"})), file("index.json", second)]
    return tar(*head, blob(first), file(f"blobs/sha256/{WRONG.hex}", second))


# What each attempts, the archive, the error, and a part of what it says.
HOSTILE = {
    "a name that leads out": (tar(file("../x", "x")), UnsafeLayer, "leads out"),
    "a name that leads out later": (tar(file("blobs/../../x", "x")), UnsafeLayer, "leads out"),
    "a link to the host": (
        tar(symlink("c.json", "../../etc/passwd"), file("manifest.json", dump([{"Config": "c.json", "Layers": []}]))),
        UnsafeLayer, "leads out",
    ),
    "an absolute link": (
        tar(symlink("c.json", "/etc/passwd"), file("manifest.json", dump([{"Config": "c.json", "Layers": []}]))),
        NotFound, "c.json",
    ),
    "links in a circle": (
        tar(symlink("a", "b"), symlink("b", "a"), file("manifest.json", dump([{"Config": "a", "Layers": []}]))),
        UnsafeLayer, "links",
    ),
    "a device": (tar(entry("sda", tarfile.BLKTYPE, devmajor=8)), UnsafeLayer, "is a block"),
    "two files of one name": (tar(file("c.json", "a"), file("c.json", "b")), UnsafeLayer, "two files"),
    "a file in the way of itself": (tar(file("c.json", "a"), file("./c.json", "b")), UnsafeLayer, "two files"),
    "nothing": (tar(), InvalidManifest, "no archive of images"),
    "a root file system": (tar(directory("bin"), file("bin/sh", "x")), InvalidManifest, "labrt import"),
    "no tar": (io.BytesIO(b"hello" * 400), UnsafeLayer, "checksum"),
    "cut off": (io.BytesIO(docker().getvalue()[:700]), UnsafeLayer, "cut off"),
    "a cut gzip": (io.BytesIO(gzip.compress(docker().getvalue())[:-40]), UnsafeLayer, "cut off"),
    "of 2014": (tar(file("repositories", "{}")), InvalidManifest, "before 1.10"),
    "no list": (tar(file("manifest.json", "{}")), InvalidManifest, "images must be a list"),
    "an empty list": (tar(file("manifest.json", "[]")), InvalidManifest, "lists no image"),
    "a good image and a bad one": (
        tar(file("l", PLAIN), file("c", config()), file("manifest.json", dump([
            {"Config": "c", "Layers": ["l"]}, {"Config": "c", "Layers": ["absent"]}]))),
        NotFound, "absent",
    ),
    "JSON beside the list": (tar(file("manifest.json", '[], "images": [7]')), InvalidManifest, ""),
    "a config that is missing": (docker(Config="absent.json"), NotFound, "absent.json"),
    "a layer that is missing": (docker(Layers=["absent/layer.tar"]), NotFound, "absent/layer.tar"),
    "a layer that leads out": (docker(Layers=["../layer.tar"]), UnsafeLayer, "leads out"),
    "a config that is none": (docker(Config="one/VERSION"), InvalidManifest, "image config"),
    "a name that is none": (docker(RepoTags=["Not A Name"]), InvalidManifest, "RepoTags"),
    "more layers than diff ids": (docker(Layers=["one/layer.tar"] * 2), InvalidManifest, "2 layers"),
    "a layer that is another": (docker(Layers=["one/VERSION"]), DigestMismatch, "diff id"),
    "a layer that only looks packed": (
        tar(file("l", GZIP[:-9]), file("c", config()), file("manifest.json", dump([{"Config": "c", "Layers": ["l"]}]))),
        UnsafeLayer, "",
    ),
    "a manifest of many megabytes": (tar(file("manifest.json", b" " * (5 << 20))), InvalidManifest, "5242880 bytes"),
    "a blob with another digest": (
        tar(file(f"blobs/sha256/{WRONG.hex}", "x")), DigestMismatch, "has digest",
    ),
    "a manifest that is missing": (oci(entries=(ENTRY,)), NotFound, "no blob"),
    "a config blob that is missing": (oci(RAW, GZIP, entries=(ENTRY,)), NotFound, str(Digest.of(config()))),
    "a layer blob that is missing": (oci(RAW, config(), entries=(ENTRY,)), NotFound, str(Digest.of(GZIP))),
    "another size": (oci(RAW, config(), GZIP, entries=({**ENTRY, "size": 3},)), DigestMismatch, "not the 3"),
    "an index of nothing": (
        oci(index(ENTRY), entries=(pointer(index(ENTRY), types.OCI_INDEX),)), NotFound, "none of the manifests",
    ),
    "a newer layout": (
        tar(file("oci-layout", dump({"imageLayoutVersion": "2.0.0"})), file("index.json", index())),
        InvalidManifest, "2.0.0",
    ),
    "a config that lies about layers": (
        oci(TWO, config(), GZIP, entries=(pointer(TWO, types.OCI_MANIFEST),)), InvalidManifest, "2 layers",
    ),
    "indexes far too deep": (
        oci(*nested(9), config(), GZIP, entries=(pointer(nested(9)[-1], types.OCI_INDEX),)), InvalidManifest, "deep",
    ),
    "indexes in a circle": (circle(), DigestMismatch, "has digest"),
}  # fmt: skip


@pytest.mark.parametrize("attempt", HOSTILE)
def test_a_hostile_archive_is_one_error_and_leaves_nothing(layout, attempt):
    stream, kind, says = HOSTILE[attempt]
    stream.seek(0)
    with pytest.raises(LabrtError) as caught:
        archive.load(stream, layout)
    assert type(caught.value) is kind and says in str(caught.value), caught.value
    assert is_empty(layout)


def test_a_bomb_ends_at_the_limit(layout):
    packed = gzip.compress(tar(file("zeros", bytes(4 << 20))).getvalue())
    assert len(packed) < 1 << 14
    with pytest.raises(UnsafeLayer, match="more than 1048576 bytes"):
        archive.load(io.BytesIO(packed), layout, limit=1 << 20)
    assert is_empty(layout)


def test_many_entries_are_refused(layout, monkeypatch):
    from labrt.image import spool

    monkeypatch.setattr(spool, "MOST_ENTRIES", 10)
    with pytest.raises(UnsafeLayer, match="more than 10 entries"):
        archive.load(tar(*(file(str(number)) for number in range(11))), layout)
    assert is_empty(layout)


def test_indexes_that_list_each_other_over_and_over_are_read_once(layout):
    """Four levels of twenty entries each: 160,000 ways to one manifest, if each were walked."""
    levels = [RAW]
    for level in range(4):
        media = types.OCI_INDEX if level else types.OCI_MANIFEST
        levels.append(index(*(pointer(levels[-1], media) | {"annotations": {"n": str(n)}} for n in range(20))))
    (loaded,) = archive.load(oci(*levels, config(), GZIP, entries=(pointer(levels[-1], types.OCI_INDEX),)), layout)
    assert loaded.image.manifest.digest == Digest.of(RAW)


def test_a_blob_that_is_here_already_stays_as_it_is(layout):
    layout.put(GZIP)
    before = os.stat(layout.blob_path(Digest.of(GZIP)))
    keep(layout, archive.load(oci(RAW, config(), GZIP, entries=(ENTRY,)), layout))
    assert os.stat(layout.blob_path(Digest.of(GZIP))).st_ino == before.st_ino
