"""The content store: names and blobs, other tools' layouts, pulls that are killed, and collecting what is left."""

import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import rich.console

from labrt.errors import Conflict, DigestMismatch, ImageNotFound, InvalidManifest, NotFound
from labrt.image import descriptor as types
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.image import human
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.image.reference import Reference

BUSYBOX = "busybox:1.38.0-glibc"
BYTES = bytes(range(256)) * 1000
DIGEST = Digest.of(BYTES)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "images")


def add_image(layout: Layout, name: str, *contents: bytes, kind: str = types.OCI_MANIFEST) -> Descriptor:
    """Put an image of these layers under a name; its config is as small as one can be."""
    diff_ids = [str(Digest.of(content)) for content in contents]
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    ).encode()
    parts = [Descriptor(types.OCI_CONFIG, layout.put(config), len(config))]
    parts += [Descriptor(types.OCI_LAYER, layout.put(content), len(content)) for content in contents]
    config_json, *layers = [part.to_json() for part in parts]
    raw = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": config_json, "layers": layers}).encode()
    descriptor = Descriptor(kind, layout.put(raw), len(raw), Platform("linux", "amd64"))
    layout.tag(Reference.parse(name), descriptor)
    return descriptor


def test_an_empty_store_is_no_file_at_all(layout):
    assert (layout.references(), layout.blobs(), layout.has(DIGEST)) == ({}, [], False)
    with pytest.raises(ImageNotFound, match="labrt pull busybox:latest"):
        layout.resolve("busybox")
    with pytest.raises(NotFound):
        layout.read(DIGEST)
    assert not os.path.exists(layout.path)


def test_blobs(layout):
    assert layout.put(BYTES) == DIGEST
    assert layout.has(DIGEST)
    assert layout.read(DIGEST) == BYTES
    with layout.open(DIGEST) as file:
        assert file.read(3) == b"\0\1\2"
    assert layout.blob_path(DIGEST) == f"{layout.path}/blobs/sha256/{DIGEST.hex}"
    assert layout.put(BYTES) == DIGEST
    big = layout.put(b"x", "sha512")
    assert layout.blobs() == [DIGEST, big]
    with pytest.raises(InvalidManifest, match="more than 9 bytes"):
        layout.read(DIGEST, limit=9)


def test_a_blob_that_changed_on_disk_is_found_out(layout):
    layout.put(BYTES)
    os.chmod(layout.blob_path(DIGEST), 0o600)
    Path(layout.blob_path(DIGEST)).write_bytes(BYTES[:-1])
    with pytest.raises(DigestMismatch, match="changed on disk"):
        layout.read(DIGEST)


def test_names(layout):
    first = add_image(layout, "busybox", b"1")
    second = add_image(layout, "ghcr.io/a/b:v1", b"2")
    assert list(layout.references()) == ["docker.io/library/busybox:latest", "ghcr.io/a/b:v1"]
    assert layout.resolve("docker.io/busybox").digest == first.digest
    layout.tag(Reference.parse("busybox"), second)
    assert layout.resolve("busybox").digest == second.digest
    assert len(layout.references()) == 2
    layout.untag(Reference.parse("busybox"))
    assert list(layout.references()) == ["ghcr.io/a/b:v1"]
    with pytest.raises(ImageNotFound):
        layout.untag(Reference.parse("busybox"))
    with pytest.raises(NotFound, match="before its name"):
        layout.tag(Reference.parse("x"), Descriptor(types.OCI_MANIFEST, DIGEST, 1))


def test_a_digest_is_a_name_too(layout):
    descriptor = add_image(layout, "busybox:1", b"1")
    assert layout.resolve(f"busybox@{descriptor.digest}").digest == descriptor.digest
    for other in (f"busybox@{DIGEST}", f"other@{descriptor.digest}"):
        with pytest.raises(ImageNotFound):
            layout.resolve(other)
    layout.tag(Reference.parse(f"other@{descriptor.digest}"), descriptor)
    assert layout.resolve(f"other@{descriptor.digest}").digest == descriptor.digest


def test_the_real_busybox(shared):
    layout = Layout(shared / "images/busybox")
    for platform, digest in (("amd64", "1cfa4e2b09e1"), ("linux/arm64/v8", "8f2ffdcb46f1")):
        image = layout.image(BUSYBOX, Platform.parse(platform))
        assert image.descriptor.digest.short == image.manifest.digest.short == digest
        assert image.platform == Platform.parse(platform)
        assert layout.has(image.manifest.layers[0].digest)
    with pytest.raises(ImageNotFound, match="there is linux/amd64, linux/arm64/v8"):
        layout.image(BUSYBOX, Platform.parse("riscv64"))


def test_an_image_shows_itself(shared):
    image = Layout(shared / "images/busybox").image(BUSYBOX, Platform.parse("amd64"))
    assert repr(image) == f"<Image {BUSYBOX} linux/amd64 c6348fa86ba0 1 layers 2.23MB>"
    console = rich.console.Console(width=120, file=io.StringIO())
    console.print(image)
    shown = console.file.getvalue()
    for word in (
        BUSYBOX,
        "manifest sha256:1cfa4e2b09e1",
        "config   sha256:c6348fa86ba0",
        "runs sh",
        "layer 0  sha256:b05093807bb0",
    ):
        assert word in shown


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (2226327, "2.23MB"), (999_600, "1MB"), (5 * 10**12, "5TB")],
)
def test_sizes_for_people(size, text):
    assert human(size) == text


def test_an_index_leads_to_the_platform(layout):
    entries = [add_image(layout, f"x:{number}", bytes([number])).to_json() for number in (1, 2)]
    entries[1]["platform"] = {"os": "linux", "architecture": "arm64"}
    absent = {**entries[0], "digest": str(DIGEST), "platform": {"os": "linux", "architecture": "s390x"}}
    raw = json.dumps({"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": [*entries, absent]}).encode()
    layout.tag(Reference.parse("multi"), Descriptor(types.OCI_INDEX, layout.put(raw), len(raw)))
    chosen = layout.image("multi", Platform.parse("linux/arm64/v8"))
    assert str(chosen.manifest.digest) == entries[1]["digest"]
    with pytest.raises(ImageNotFound, match="not here as a whole"):
        layout.image("multi", Platform.parse("s390x"))
    layout.untag(Reference.parse("x:1"))
    layout.untag(Reference.parse("x:2"))
    assert layout.collect() == []


def test_an_index_that_lists_itself_ends(layout):
    raw = json.dumps({"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": []}).encode()
    for _ in range(6):
        entry = Descriptor(types.OCI_INDEX, layout.put(raw), len(raw)).to_json()
        raw = json.dumps({"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": [entry]}).encode()
    layout.tag(Reference.parse("deep"), Descriptor(types.OCI_INDEX, layout.put(raw), len(raw)))
    with pytest.raises(InvalidManifest, match="too deep"):
        layout.image("deep")


@pytest.mark.parametrize("index", [b"", b"[]", b'{"manifests":7}', b'{"manifests":[{"digest":"x"}]}', b"{" * 9999])
def test_a_broken_index_json_is_said_so(layout, index):
    layout.put(b"")
    Path(layout.path, "index.json").write_bytes(index)
    with pytest.raises(InvalidManifest):
        layout.references()


# Blobs on their way in ------------------------------------------------------------------------------------------------


def partial(layout: Layout) -> Path:
    return Path(layout.path, "ingest", f"sha256-{DIGEST.hex}")


def test_a_blob_streams_in(layout):
    with layout.writer(DIGEST, len(BYTES)) as writer:
        assert writer.offset == 0
        for start in range(0, len(BYTES), 999):
            assert not layout.has(DIGEST)
            writer.write(BYTES[start : start + 999])
        assert writer.complete
    assert layout.read(DIGEST) == BYTES
    assert os.listdir(partial(layout).parent) == []
    with layout.writer(DIGEST, len(BYTES)) as writer:
        assert writer.complete


def test_it_goes_on_where_it_was_broken_off(layout):
    with pytest.raises(KeyboardInterrupt), layout.writer(DIGEST, len(BYTES)) as writer:
        writer.write(BYTES[:1000])
        raise KeyboardInterrupt
    assert not layout.has(DIGEST)
    with pytest.raises(DigestMismatch, match="2000 of 256000 bytes"), layout.writer(DIGEST, len(BYTES)) as writer:
        assert writer.offset == 1000
        writer.write(BYTES[1000:2000])
    with layout.writer(DIGEST, len(BYTES)) as writer:
        assert writer.offset == 2000
        writer.write(BYTES[2000:])
    assert layout.read(DIGEST) == BYTES


def test_a_blob_that_comes_between_look_and_lock_is_not_fetched_again(layout, monkeypatch):
    digest, look = Digest.of(b"abc"), os.path.exists

    def look_and_be_late(path):
        found = look(path)
        if not found and os.path.basename(path) == digest.hex:
            monkeypatch.setattr(os.path, "exists", look)
            layout.put(b"abc")  # another one is quicker
        return found

    monkeypatch.setattr(os.path, "exists", look_and_be_late)
    with layout.writer(digest, 3) as writer:
        assert writer.complete and writer.offset == 3, "nothing is left to fetch"
    assert layout.read(digest) == b"abc" and os.listdir(layout.ingest) == []


def test_it_begins_anew_when_the_server_does(layout):
    with pytest.raises(KeyboardInterrupt), layout.writer(DIGEST, len(BYTES)) as writer:
        writer.write(b"wrong" * 100)
        raise KeyboardInterrupt
    with layout.writer(DIGEST, len(BYTES)) as writer:
        writer.restart()
        assert writer.offset == 0
        writer.write(BYTES)
    assert layout.read(DIGEST) == BYTES


def test_wrong_bytes_are_thrown_away(layout):
    with pytest.raises(DigestMismatch, match="have digest"), layout.writer(DIGEST, len(BYTES)) as writer:
        writer.write(b"x" * len(BYTES))
    assert not partial(layout).exists()
    with pytest.raises(DigestMismatch, match="more than"), layout.writer(DIGEST, len(BYTES)) as writer:
        writer.write(BYTES)
        writer.write(b"x")
    assert not partial(layout).exists()
    assert not layout.has(DIGEST)


def test_a_partial_that_is_too_long_is_not_gone_on_with(layout):
    layout.put(b"")
    partial(layout).write_bytes(BYTES + b"more")
    with layout.writer(DIGEST, len(BYTES)) as writer:
        assert writer.offset == 0
        writer.write(BYTES)
    assert layout.read(DIGEST) == BYTES


def test_put_finishes_what_a_killed_pull_began(layout):
    with pytest.raises(KeyboardInterrupt), layout.writer(DIGEST, len(BYTES)) as writer:
        writer.write(BYTES[:7])
        raise KeyboardInterrupt
    assert layout.put(BYTES) == DIGEST
    assert layout.read(DIGEST) == BYTES


def test_another_size_than_announced(layout):
    layout.put(BYTES)
    with pytest.raises(DigestMismatch, match="announced"), layout.writer(DIGEST, 7):
        pytest.fail("it has another size")


def in_children(count: int, work) -> list[int]:
    """Run `work(number)` in that many processes at once; return their exit codes."""
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=work, args=(number,)) for number in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return [child.exitcode for child in children]


def test_many_processes_that_bring_the_same_blob(layout, tmp_path):
    def bring(number: int) -> None:
        with layout.writer(DIGEST, len(BYTES)) as writer:
            if not writer.complete:
                (tmp_path / f"brought-{number}").touch()
                writer.write(BYTES)
        assert layout.read(DIGEST) == BYTES

    assert in_children(6, bring) == [0] * 6
    assert len(list(tmp_path.glob("brought-*"))) == 1


def test_many_processes_that_fail_with_the_same_blob(layout):
    def bring(number: int) -> None:
        try:
            with layout.writer(DIGEST, len(BYTES)) as writer:
                writer.write(BYTES[:-1] + (b"\xff" if number == 3 else b"x"))
        except DigestMismatch:
            assert number != 3

    assert in_children(6, bring) == [0] * 6
    assert layout.read(DIGEST) == BYTES


def test_many_processes_that_tag_at_once(layout):
    descriptor = add_image(layout, "base", b"1")
    assert in_children(6, lambda number: layout.tag(Reference.parse(f"x:{number}"), descriptor)) == [0] * 6
    assert len(layout.references()) == 7


@pytest.mark.parametrize("moment", [1, 500, 128_000, 255_999])
def test_a_pull_that_is_killed_leaves_a_store_that_is_right(layout, moment):
    def pull(number: int) -> None:
        with layout.writer(DIGEST, len(BYTES)) as writer:
            writer.write(BYTES[:moment])
            writer._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_children(1, pull) == [-signal.SIGKILL]
    assert (layout.blobs(), layout.references()) == ([], {})
    with layout.writer(DIGEST, len(BYTES)) as writer:
        assert writer.offset == moment
        writer.write(BYTES[moment:])
    assert layout.collect() == [DIGEST]


# Collecting -----------------------------------------------------------------------------------------------------------


def test_what_no_name_reaches_is_collected(layout):
    keep = add_image(layout, "keep", b"shared", b"keep")
    lost = add_image(layout, "lost", b"shared", b"lost")
    assert layout.collect() == []
    layout.untag(Reference.parse("lost"))
    assert layout.collect(keep=[lost.digest]) == []
    removed = layout.collect()
    assert set(removed) >= {lost.digest, Digest.of(b"lost")}
    assert len(removed) == 3
    assert layout.image("keep", Platform.parse("amd64")).descriptor.digest == keep.digest
    assert layout.has(Digest.of(b"shared"))


def test_nothing_is_collected_while_a_pull_is_under_way(layout):
    with layout.lease():
        layout.put(BYTES)
        with pytest.raises(Conflict):
            layout.collect()
    assert layout.collect() == [DIGEST]


def test_partials_stay_unless_they_are_asked_for(layout):
    with pytest.raises(KeyboardInterrupt), layout.writer(DIGEST, len(BYTES)) as writer:
        writer.write(BYTES[:7])
        raise KeyboardInterrupt
    layout.collect()
    assert partial(layout).exists()
    layout.collect(partial=True)
    assert not partial(layout).exists()


# Other tools ----------------------------------------------------------------------------------------------------------

needs_skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="no skopeo here")


def skopeo(*args: object) -> str:
    command = ["skopeo", "--insecure-policy", *map(str, args)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def copy_busybox(shared: Path, layout: Layout) -> None:
    source = Layout(shared / "images/busybox")
    for digest in source.blobs():
        with source.open(digest) as file, layout.writer(digest, os.stat(file.fileno()).st_size) as writer:
            writer.write(file.read())


@pytest.mark.oracle
@needs_skopeo
@pytest.mark.parametrize("name", ["busybox", "localhost:5000/a/b:t", "ghcr.io/x/y_z-1:V1.0"])
def test_skopeo_reads_our_layout(shared, layout, name):
    copy_busybox(shared, layout)
    image = Layout(shared / "images/busybox").image(BUSYBOX, Platform.parse("amd64"))
    reference = Reference.parse(name)
    layout.tag(reference, image.descriptor)
    seen = json.loads(skopeo("inspect", f"oci:{layout.path}:{reference}"))
    assert seen["Digest"] == str(image.manifest.digest)
    assert seen["Layers"] == [str(each.digest) for each in image.manifest.layers]


@pytest.mark.oracle
@needs_skopeo
def test_skopeo_chooses_from_our_index(shared, layout):
    copy_busybox(shared, layout)
    index = json.loads((shared / "images/busybox/index.json").read_bytes())
    for entry in index["manifests"]:
        entry.pop("annotations")
    raw = json.dumps(index).encode()
    reference = Reference.parse("busybox")
    layout.tag(reference, Descriptor(types.OCI_INDEX, layout.put(raw), len(raw)))
    for architecture in ("amd64", "arm64"):
        seen = json.loads(skopeo("--override-arch", architecture, "inspect", f"oci:{layout.path}:{reference}"))
        assert seen["Architecture"] == architecture
        assert seen["Digest"] in (
            str(Digest.of(raw)),
            str(layout.image("busybox", Platform.parse(architecture)).manifest.digest),
        )


@pytest.mark.oracle
@needs_skopeo
def test_we_read_skopeos_layout_and_it_can_write_into_ours(shared, layout, tmp_path):
    image = Layout(shared / "images/busybox").image(BUSYBOX, Platform.parse("amd64"))
    copy_busybox(shared, layout)
    layout.tag(Reference.parse("mine"), image.descriptor)
    skopeo("copy", f"oci:{layout.path}:docker.io/library/mine:latest", f"oci:{tmp_path}/theirs:busybox:1")
    theirs = Layout(tmp_path / "theirs")
    assert theirs.image("busybox:1").manifest.digest == image.manifest.digest
    assert list(theirs.references()) == ["docker.io/library/busybox:1"]
    skopeo("copy", f"oci:{tmp_path}/theirs:busybox:1", f"oci:{layout.path}:second:v2")
    assert layout.image("second:v2").manifest.digest == image.manifest.digest
    assert layout.image("mine").manifest.digest == image.manifest.digest
    layout.untag(Reference.parse("second:v2"))
    assert list(layout.references()) == ["docker.io/library/mine:latest"]
