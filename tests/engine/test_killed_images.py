"""Killed at any instant: what is in the store is right, and the next one goes on from there.

A pull, a load and a commit each get SIGKILL after a random part of the time that one takes, a few times; with
LABRT_LONG=1, a hundred times each.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrt.engine.containers import Containers
from labrt.engine.images import Images
from labrt.engine.options import Options
from labrt.errors import ImageNotFound
from labrt.image import archive
from labrt.image.descriptor import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.paths import Paths
from labrt.registry.server import RegistryServer

TIMES = 100 if os.environ.get("LABRT_LONG") else 6
NAME = "localhost/killed:1"

# A warm process that forks one child for each line, so that an attempt does not begin with a quarter second of imports.
NURSERY = """
    import json, os, sys
    import isal.isal_zlib, requests
    import labrt.image.ahead, labrt.image.layer, labrt.image.load, labrt.storage.overlay
    import labrt.registry.client, labrt.registry.connections, labrt.registry.pull
    from labrt.engine import archives, commit
    from labrt.engine.containers import Containers
    from labrt.engine.images import Images

    def load(path):
        with open(path, "rb") as stream:
            archives.load(stream)

    do = {"pull": lambda name: Images().pull(name), "load": load,
          "commit": lambda container, name: commit.commit(Containers().get(container), name)}
    for line in sys.stdin:
        root, what, *args = json.loads(line)
        if what == "wait":
            print(os.waitstatus_to_exitcode(os.waitpid(int(args[0]), 0)[1]), flush=True)
            continue
        pid = os.fork()
        if not pid:
            os.environ["LABRT_ROOT"] = root
            try:
                do[what](*args)
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        print(pid, flush=True)
"""


class Nursery:
    """Starts work in processes of their own, with a LABRT_ROOT each."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", textwrap.dedent(NURSERY)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _say(self, *words: object) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps([*map(str, words)]), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def start(self, root: Path, what: str, *args: object) -> int:
        return self._say(root, what, *args)

    def wait(self, pid: int) -> int:
        return self._say("", "wait", pid)

    def kill(self, after: float, root: Path, what: str, *args: object) -> int:
        pid = self.start(root, what, *args)
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)  # it may have ended: the nursery has not waited for it, so the pid is still its
        return self.wait(pid)


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    one = Nursery()
    with one.process:
        yield one
        assert one.process.stdin is not None
        one.process.stdin.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Five layers: large files that do not compress, many small ones, whiteouts of the layer below."""
    dice = random.Random(4)
    layout = Layout(tmp_path_factory.mktemp("served"))
    layers, diff_ids = [], []
    for number in range(5):
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as tar:
            small = [f"layer/{number}-{each}" for each in range(300)]
            for name in (*small, f"big-{number}", f"layer/.wh.{number - 1}-7"):
                info = tarfile.TarInfo(name)
                data = dice.randbytes(1 << 21 if name.startswith("big") else 0 if ".wh." in name else 100)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        packed = gzip.compress(raw.getvalue(), 1, mtime=0)
        diff_ids.append(str(Digest.of(raw.getvalue())))
        layers.append(Descriptor(OCI_LAYER_GZIP, layout.put(packed), len(packed)).to_json())
    host = Platform.host()
    about = {"os": "linux", "architecture": host.architecture, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    config = json.dumps(about).encode()
    pointer = Descriptor(OCI_CONFIG, layout.put(config), len(config)).to_json()
    manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": pointer, "layers": layers}).encode()
    layout.tag(Reference.parse(NAME), Descriptor(OCI_MANIFEST, layout.put(manifest), len(manifest)))
    return layout


class Registry(RegistryServer):
    """One that remembers which blobs it sent, and from where on."""

    def __init__(self, layout: Layout) -> None:
        self.sent: list[tuple[str, str]] = []
        super().__init__(layout, on_request=self._note)

    def _note(self, request, answer) -> None:
        if request.method == "GET" and "/blobs/" in request.path and answer.status in (200, 206):
            self.sent.append((request.path.rpartition(":")[2], request.headers.get("range", "")))

    @property
    def image(self) -> str:
        return f"{self.host}/killed:1"


@pytest.fixture
def registry(served: Layout) -> Iterator[Registry]:
    with Registry(served) as server:
        yield server


def images_in(root: Path) -> Images:
    return Images(Paths(str(root / "lib"), str(root / "run")))


def tree(directory: str) -> list[object]:
    """What a layer's directory holds, down to the bytes and overlayfs's marks."""
    found = []
    for path in sorted(Path(directory).rglob("*")):
        about = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else about.st_rdev
        found.append((str(path.relative_to(directory)), about.st_mode, about.st_size, content))
    return found


def layers_in(images: Images) -> dict[str, list[object]]:
    return {chain.hex: tree(images.driver.diff(chain)) for chain in images.driver.layers()}


def check(root: Path, layers: dict[str, list[object]]) -> None:
    """Everything that has a name in this store is right: blobs, images, unpacked layers."""
    images = images_in(root)
    for digest in images.layout.blobs():
        assert Digest.of(Path(images.layout.blob_path(digest)).read_bytes()) == digest
    for name in images.layout.references():
        image = images.layout.image(name)
        assert all(images.layout.has(part.digest) for part in (image.manifest.config, *image.manifest.layers)), name
    for chain, found in layers_in(images).items():
        assert chain not in layers or found == layers[chain], f"layer {chain} is not what it should be"


@pytest.fixture
def whole(registry: Registry, nursery: Nursery, tmp_path: Path) -> tuple[float, dict[str, list[object]]]:
    """How long a pull takes here, and the layers that it leaves."""
    begin = time.monotonic()
    assert nursery.wait(nursery.start(tmp_path / "whole", "pull", registry.image)) == 0
    took = time.monotonic() - begin
    layers = layers_in(images_in(tmp_path / "whole"))
    assert len(layers) == 5
    return took, layers


@pytest.mark.root
def test_a_pull(registry: Registry, nursery: Nursery, whole, tmp_path: Path) -> None:
    took, layers = whole
    manifest = registry.layout.image(NAME).manifest
    parts = {part.digest.hex: part.size for part in (manifest.config, *manifest.layers)}
    dice = random.Random(1)
    for number in range(TIMES):
        root = tmp_path / f"house-{number}"
        nursery.kill(took * 1.1 * (number + dice.random()) / TIMES, root, "pull", registry.image)
        check(root, layers)
        layout = Layout(root / "lib" / "images")
        have = {digest.hex for digest in layout.blobs()}
        begun = {path.name.partition("-")[2]: path.stat().st_size for path in Path(layout.ingest).glob("*")}
        registry.sent.clear()
        assert nursery.wait(nursery.start(root, "pull", registry.image)) == 0
        check(root, layers)
        assert layers_in(images_in(root)) == layers
        sent = dict(registry.sent)
        assert len(sent) == len(registry.sent) and not have & set(sent), "what was there was fetched once more"
        for blob, size in begun.items():
            if blob in sent:
                assert sent[blob] == (f"bytes={size}-" if size else ""), "the next pull did not go on"
            elif blob in parts:  # all of it had come, and only the name was not given yet
                assert size == parts[blob]
        assert list(Path(layout.ingest).iterdir()) == []


@pytest.mark.root
def test_two_pulls_at_once_fetch_each_blob_once(registry: Registry, nursery: Nursery, tmp_path: Path) -> None:
    pids = [nursery.start(tmp_path / "house", "pull", registry.image) for _ in range(2)]
    assert [nursery.wait(pid) for pid in pids] == [0, 0]
    blobs = [blob for blob, _ in registry.sent]
    assert len(blobs) == len(set(blobs)) == 6
    check(tmp_path / "house", {})


@pytest.mark.root
def test_a_pull_beside_one_that_is_killed(registry: Registry, nursery: Nursery, whole, tmp_path: Path) -> None:
    """Who waits for the other's blob goes on with it when the other is dead."""
    took, layers = whole
    dice = random.Random(2)
    for number in range(TIMES // 3):
        root = tmp_path / f"house-{number}"
        first, second = (nursery.start(root, "pull", registry.image) for _ in range(2))
        time.sleep(took * dice.random())
        os.kill(first, signal.SIGKILL)
        nursery.wait(first)
        assert nursery.wait(second) == 0
        check(root, layers)
        assert layers_in(images_in(root)) == layers


@pytest.mark.root
def test_a_load(registry: Registry, served: Layout, nursery: Nursery, whole, tmp_path: Path) -> None:
    _, layers = whole
    path = tmp_path / "archive.tar"
    with path.open("wb") as stream:
        archive.save([served.image(NAME)], stream, served)
    begin = time.monotonic()
    assert nursery.wait(nursery.start(tmp_path / "loaded", "load", path)) == 0
    took = time.monotonic() - begin
    dice = random.Random(3)
    for number in range(TIMES):
        root = tmp_path / f"load-{number}"
        nursery.kill(took * 1.1 * (number + dice.random()) / TIMES, root, "load", path)
        check(root, layers)
        assert nursery.wait(nursery.start(root, "load", path)) == 0
        check(root, layers)
        assert images_in(root).layout.image(NAME).id == served.image(NAME).id
        images_in(root).layout.collect(partial=True)
        assert os.listdir(root / "lib" / "images" / "ingest") == []  # what the dead one left aside is swept


@pytest.mark.root
def test_a_commit(house: Path, nursery: Nursery) -> None:
    script = "for n in $(seq 200); do echo $n > /root-$n; done; dd if=/dev/urandom of=/big bs=1M count=4 2>/dev/null"
    container = Containers().create(Options("busybox", ("sh", "-ec", script)))
    assert container.run_to_end().exit_code == 0
    begin = time.monotonic()
    assert nursery.wait(nursery.start(house, "commit", container.id, "localhost/whole:1")) == 0
    took = time.monotonic() - begin
    diff_ids = Images().layout.image("localhost/whole:1").config.diff_ids
    dice = random.Random(5)
    for number in range(TIMES):
        name = f"localhost/commit:{number}"
        nursery.kill(took * 1.1 * (number + dice.random()) / TIMES, house, "commit", container.id, name)
        check(house, {})
        try:
            made = Images().layout.image(name)
        except ImageNotFound:
            assert nursery.wait(nursery.start(house, "commit", container.id, name)) == 0
            made = Images().layout.image(name)
        assert made.config.diff_ids == diff_ids
    Images().layout.collect(partial=True)
    assert os.listdir(Images().layout.ingest) == []
