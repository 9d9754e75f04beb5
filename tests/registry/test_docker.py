"""The real docker, its client and its daemon, with our registry and our archives; podman is in test_push.py."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import oracles
import pytest
from samples import TAG

from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.registry.client import Client
from labrt.registry.distribution import Answer, Request
from labrt.registry.server import RegistryServer

pytestmark = [pytest.mark.oracle, pytest.mark.root]
NAME = f"docker.io/library/busybox:{TAG}"


@pytest.fixture(scope="module")
def docker() -> Iterator[Callable[..., str]]:
    short = Path(tempfile.mkdtemp(prefix="labrt-docker-", dir="/var/tmp"))  # a socket's path is short, a disk real
    try:
        with oracles.dockerd(short) as client:
            yield lambda *words: oracles.run(*client, *words).decode()
    finally:
        shutil.rmtree(short)


@pytest.fixture
def seen() -> list[tuple[str, str, int]]:
    return []


@pytest.fixture
def server(tmp_path: Path, seen: list[tuple[str, str, int]]) -> Iterator[RegistryServer]:
    def note(request: Request, answer: Answer) -> None:
        seen.append((request.method, request.path, answer.status))

    with RegistryServer(Layout(tmp_path / "served"), push=True, on_request=note) as one:
        yield one


@pytest.fixture
def pushed(server: RegistryServer, busybox: Layout) -> str:
    """The real busybox, pushed by labrt: an index of two platforms."""
    name = f"{server.host}/library/busybox:{TAG}"
    with Client() as client:
        client.push(name, busybox, source=NAME)
    return name


def test_docker_pulls_what_we_pushed(docker: Callable[..., str], pushed: str, busybox: Layout) -> None:
    docker("pull", "-q", pushed)
    about = json.loads(docker("image", "inspect", pushed))[0]
    ours = busybox.image(NAME, Platform.host())
    assert about["Id"] == str(ours.id)
    assert about["RepoDigests"] == [f"{pushed.rpartition(':')[0]}@{busybox.resolve(NAME).digest}"]
    assert about["RootFS"]["Layers"] == [str(diff_id) for diff_id in ours.config.diff_ids]
    docker("rmi", pushed)


def test_docker_pushes_and_we_pull(
    docker: Callable[..., str], pushed: str, server: RegistryServer, busybox: Layout, tmp_path: Path, seen: list
) -> None:
    docker("pull", "-q", pushed)
    name = f"{server.host}/team/tools:2"
    docker("tag", pushed, name)
    seen.clear()
    told = docker("push", name)
    assert ("PUT", "/v2/team/tools/manifests/2", 201) in seen
    assert "Mounted from library/busybox" in told, "the layer is in the registry already, under another name"
    with Client() as client:
        image = client.pull(name, Layout(tmp_path / "ours"))
        assert client.tags(name) == ["2"]
    assert image.config.diff_ids == busybox.image(NAME, Platform.host()).config.diff_ids
    assert f"digest: {image.manifest.digest}" in told
    docker("rmi", pushed, name)


def test_docker_sends_a_layer_that_is_new(docker: Callable[..., str], server: RegistryServer, tmp_path: Path) -> None:
    """Large enough that docker sends it in more than one write, and with bytes that do not compress."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "random").write_bytes(os.urandom(9 << 20))
    oracles.run("tar", "-C", root, "-cf", tmp_path / "root.tar", ".")
    name = f"{server.host}/new/image:1"
    docker("import", "-c", 'CMD ["/x"]', tmp_path / "root.tar", name)
    docker("push", "-q", name)
    with Client() as client:
        store = Layout(tmp_path / "ours")
        image = client.pull(name, store)
        assert image.config.cmd == ("/x",)
        assert str(image.id) == json.loads(docker("image", "inspect", name))[0]["Id"]
        docker("rmi", name)
        client.push(f"{server.host}/back:1", store, source=name)
    docker("pull", "-q", f"{server.host}/back:1")  # and what we pulled and pushed, docker takes again
    assert str(image.id) == json.loads(docker("image", "inspect", f"{server.host}/back:1"))[0]["Id"]
    docker("rmi", f"{server.host}/back:1")


def test_what_docker_is_refused(docker: Callable[..., str], server: RegistryServer) -> None:
    with pytest.raises(AssertionError, match="manifest unknown|not found|name unknown"):
        docker("pull", "-q", f"{server.host}/nothing:1")


def test_docker_loads_what_we_save_and_we_what_it_saves(
    docker: Callable[..., str], busybox: Layout, tmp_path: Path
) -> None:
    from labrt.image import archive

    image = busybox.image(NAME, Platform.host())
    with (tmp_path / "ours.tar").open("wb") as stream:
        archive.save([image], stream, busybox)
    assert f"busybox:{TAG}" in docker("load", "-i", tmp_path / "ours.tar")
    assert json.loads(docker("image", "inspect", f"busybox:{TAG}"))[0]["Id"] == str(image.id)
    docker("save", "-o", tmp_path / "theirs.tar", f"busybox:{TAG}")
    with (tmp_path / "theirs.tar").open("rb") as stream:
        (loaded,) = archive.load(stream, Layout(tmp_path / "store"))
    assert (loaded.reference.familiar, loaded.image.id) == (f"busybox:{TAG}", image.id)
    docker("rmi", f"busybox:{TAG}")


def test_what_skopeo_pushes_docker_pulls_and_back(
    docker: Callable[..., str], server: RegistryServer, busybox: Layout, tmp_path: Path
) -> None:
    oracles.need("skopeo")
    first, second = f"{server.host}/from/skopeo:1", f"{server.host}/from/docker:1"
    oracles.run("skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{busybox.path}:{NAME}", f"docker://{first}")
    docker("pull", "-q", first)
    docker("tag", first, second)
    docker("push", "-q", second)
    oracles.run("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{second}", f"oci:{tmp_path}/back:1")
    # skopeo writes docker's config anew in OCI's words, so the id is another; the layers are the same.
    layers = json.loads(docker("image", "inspect", first))[0]["RootFS"]["Layers"]
    assert [str(diff_id) for diff_id in Layout(tmp_path / "back").image("1").config.diff_ids] == layers
    docker("rmi", first, second)
