"""The embedded default: made from the real busybox, the same each time, whole or not there."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path

import pytest

from labrt import errors, paths
from labrt.engine import embedded
from labrt.image import layer
from labrt.image.digest import Digest
from labrt.image.platform import Platform

pytestmark = pytest.mark.skipif(not os.path.exists(embedded.BUSYBOX), reason="needs Debian's busybox-static")


@pytest.fixture
def where(labrt_root: Path) -> paths.Paths:
    return paths.default()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> paths.Paths:
    """Places in which the image is there. Only to be read."""
    root = tmp_path_factory.mktemp("whole")
    where = paths.Paths(str(root / "lib"), str(root / "run"))
    embedded.build(where)
    return where


def layer_of(where: paths.Paths) -> tarfile.TarFile:
    layout = embedded.ensure(where)
    image = layout.image(embedded.REFERENCE)
    with layout.open(image.manifest.layers[0].digest) as blob:
        return tarfile.open(fileobj=io.BytesIO(blob.read()), mode="r:gz")


def test_the_image_says_what_it_is(whole: paths.Paths) -> None:
    image = embedded.ensure(whole).image("busybox")
    assert image.config.platform == Platform.host()
    assert image.config.command() == ("sh",)
    assert "PATH=" in image.config.env[0]
    assert image.config.labels["org.opencontainers.image.description"] == "made by labrt from Debian's busybox-static"
    show = ["dpkg-query", "--show", "--showformat=${Version}", "busybox-static"]
    version = subprocess.run(show, capture_output=True, text=True)
    if version.returncode == 0:
        assert image.config.labels["org.opencontainers.image.version"] == version.stdout
    assert len(image.manifest.layers) == len(image.config.diff_ids) == 1
    assert image.config.created.endswith("Z")


def test_the_layer_is_a_root_file_system(whole: paths.Paths) -> None:
    with layer_of(whole) as archive, open(embedded.BUSYBOX, "rb") as busybox:
        entries = {entry.name: entry for entry in archive}
        binary = archive.extractfile("bin/busybox")
        assert binary and binary.read() == busybox.read()
    assert entries["tmp"].mode == 0o1777 and entries["root"].mode == 0o700 and entries["bin/busybox"].mode == 0o755
    assert all(entry.uid == entry.gid == 0 for entry in entries.values())
    assert entries["bin/sh"].issym() and entries["bin/sh"].linkname == "busybox"
    assert entries["usr/bin/env"].linkname == "../../bin/busybox"
    listed = subprocess.run([embedded.BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    programs = {os.path.basename(name) for name, entry in entries.items() if entry.issym()}
    assert programs == set(listed) - {"busybox", "linuxrc"}


def test_parents_come_before_what_is_in_them(whole: paths.Paths) -> None:
    seen = {""}
    with layer_of(whole) as archive:
        for entry in archive:
            assert os.path.dirname(entry.name) in seen
            seen.add(entry.name)


def test_the_diff_id_is_that_of_the_uncompressed_layer(whole: paths.Paths) -> None:
    layout = embedded.ensure(whole)
    image = layout.image(embedded.REFERENCE)
    with layout.open(image.manifest.layers[0].digest) as blob:
        assert layer.compute_diff_id(blob) == image.config.diff_ids[0]


def test_the_same_busybox_gives_the_same_digest(where: paths.Paths, whole: paths.Paths) -> None:
    first = embedded.ensure(whole).resolve(embedded.REFERENCE)
    elsewhere = embedded.build(where).resolve(embedded.REFERENCE)
    again = embedded.build(where).resolve(embedded.REFERENCE)
    assert first == elsewhere == again


def test_the_time_comes_from_the_binary_or_from_source_date_epoch(
    where: paths.Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert embedded.ensure(where).image("busybox").config.created == "2023-11-14T22:13:20Z"
    with layer_of(where) as archive:
        assert {entry.mtime for entry in archive} == {1700000000}
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    with_own = embedded.build(where)
    assert with_own.image("busybox").config.created != "2023-11-14T22:13:20Z"
    assert len(with_own.blobs()) == 3  # what the other one left is collected


def test_ensure_makes_it_once(where: paths.Paths) -> None:
    assert not embedded.present(where)
    index = Path(embedded.ensure(where).path, "index.json")
    before = index.stat()
    assert embedded.present(where)
    embedded.ensure(where)
    assert index.stat().st_ino == before.st_ino  # a new one would be another file


@pytest.mark.parametrize("number", range(3))
def test_what_is_not_whole_is_made_again(where: paths.Paths, whole: paths.Paths, number: int) -> None:
    shutil.copytree(whole.state, where.state)
    layout = embedded.ensure(where)
    blobs = layout.blobs()
    os.unlink(layout.blob_path(blobs[number]))
    assert not embedded.present(where)
    assert embedded.ensure(where).blobs() == blobs
    assert embedded.present(where)


def test_a_broken_manifest_is_seen(where: paths.Paths, whole: paths.Paths) -> None:
    shutil.copytree(whole.state, where.state)
    layout = embedded.ensure(where)
    path = layout.blob_path(layout.resolve(embedded.REFERENCE).digest)
    os.chmod(path, 0o600)
    Path(path).write_text("{}")
    assert not embedded.present(where)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"#!/bin/sh\n", "no 64-bit ELF"),
        (b"", "no 64-bit ELF"),
        (b"\x7fELF\x02\x01" + bytes(30), "no 64-bit ELF"),
        (b"\x7fELF\x01\x01" + bytes(100), "no 64-bit ELF"),
        (b"\x7fELF\x02\x01" + bytes(100), "without usable program headers"),
        (b"\x7fELF\x02\x01" + b"\xff" * 100, "without usable program headers"),
    ],
)
def test_what_is_no_program_is_refused(where: paths.Paths, tmp_path: Path, content: bytes, says: str) -> None:
    fake = tmp_path / "busybox"
    fake.write_bytes(content)
    with pytest.raises(errors.NotSupported, match=says) as caught:
        embedded.build(where, str(fake))
    assert "apt-get install" in caught.value.remedy
    assert not embedded.present(where) and not os.path.exists(where.state)


def test_a_dynamic_program_is_refused(where: paths.Paths) -> None:
    with pytest.raises(errors.NotSupported, match="not static"):
        embedded.build(where, os.path.realpath("/bin/sh"))


def test_an_absent_busybox_is_not_found(where: paths.Paths) -> None:
    with pytest.raises(errors.NotFound, match="no busybox at /nowhere/busybox"):
        embedded.build(where, "/nowhere/busybox")


def test_a_busybox_that_does_not_run_leaves_nothing(where: paths.Paths, tmp_path: Path) -> None:
    copy = tmp_path / "busybox"
    shutil.copy(embedded.BUSYBOX, copy)
    copy.chmod(0o644)
    if os.access(copy, os.X_OK):
        pytest.skip("everything is executable here")
    with pytest.raises(errors.NotSupported, match="cannot be run"):
        embedded.build(where, str(copy))
    assert not os.path.exists(where.state)


def test_the_module_makes_it_and_prints_one_line(where: paths.Paths) -> None:
    done = subprocess.run([sys.executable, "-m", "labrt.engine.embedded"], capture_output=True, text=True, check=True)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 1
    assert "busybox:latest" in done.stdout and embedded.present(where)


@pytest.mark.root
def test_it_runs(whole: paths.Paths, tmp_path: Path) -> None:
    layout = embedded.ensure(whole)
    root = tmp_path / "root"
    root.mkdir()
    with layout.open(layout.image("busybox").manifest.layers[0].digest) as blob:
        layer.apply(blob, str(root))
    script = "ls /bin/busybox && id -u && echo hello | sed s/hello/good/ && stat -c %a /tmp"
    done = subprocess.run(["chroot", str(root), "sh", "-c", script], capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["/bin/busybox", "0", "good", "1777"], "")


def test_serve_is_a_registry_with_it(whole: paths.Paths) -> None:
    with embedded.serve(whole) as server:
        assert server.url.startswith("http://127.0.0.1:")
        request = urllib.request.Request(f"{server.url}/v2/library/busybox/manifests/latest")
        with urllib.request.urlopen(request, timeout=10) as answer:
            raw = answer.read()
    assert Digest.of(raw) == embedded.ensure(whole).resolve(embedded.REFERENCE).digest
    assert json.loads(raw)["layers"]


@pytest.mark.oracle
@pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo")
def test_skopeo_reads_it(whole: paths.Paths) -> None:
    layout = embedded.ensure(whole)
    command = ["skopeo", "inspect", f"oci:{layout.path}:{embedded.REFERENCE}"]
    seen = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert seen["Digest"] == str(layout.resolve(embedded.REFERENCE).digest)
    assert seen["Architecture"] == Platform.host().architecture
