"""RegistryServer: what it serves, to whom, and to skopeo. test_hub.py holds its answers against docker-registry's."""

from __future__ import annotations

import json
from pathlib import Path

import oracles
import pytest
import requests
from samples import AMD64, ARM64, TAG, platform

from labrt.errors import InvalidInput, NotSupported, Unreachable
from labrt.image.descriptor import DOCKER_INDEX, DOCKER_MANIFEST, OCI_MANIFEST, Descriptor
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.reference import Reference
from labrt.registry.client import Client
from labrt.registry.server import RegistryServer

NAME = Reference("docker.io", "library/busybox", TAG)


@pytest.fixture
def copy(busybox: Layout, store: Layout) -> Layout:
    """The busybox in a store of its own, to be changed."""
    for digest in busybox.blobs():
        store.put(Path(busybox.blob_path(digest)).read_bytes())
    store.tag(NAME, busybox.resolve(NAME))
    return store


@pytest.mark.oracle
@pytest.mark.parametrize(("architecture", "digest"), [("amd64", AMD64), ("arm64", ARM64)])
def test_skopeo_copies_from_it(busybox: Layout, tmp_path: Path, architecture: str, digest: str) -> None:
    oracles.need("skopeo")
    with RegistryServer(busybox) as server:
        source = f"docker://{server.host}/library/busybox:{TAG}"
        options = ["--src-tls-verify=false", "--override-arch", architecture]
        if architecture == "arm64":
            options += ["--override-variant", "v8"]
        oracles.run("skopeo", *options[1:], "copy", "-q", options[0], source, f"oci:{tmp_path}/copied:busybox")
    copied = Layout(tmp_path / "copied").image("busybox", platform(architecture))
    assert str(copied.manifest.digest) == digest


@pytest.mark.oracle
def test_skopeo_inspects_and_copies_everything(busybox: Layout, tmp_path: Path) -> None:
    oracles.need("skopeo")
    with RegistryServer(busybox) as server:
        name = f"docker://{server.host}/library/busybox"
        inspect = oracles.run("skopeo", "inspect", "--tls-verify=false", "--override-arch=amd64", f"{name}:{TAG}")
        oracles.run("skopeo", "copy", "-q", "--all", "--src-tls-verify=false", name, f"oci:{tmp_path}/all:busybox")
        tags = oracles.run("skopeo", "list-tags", "--tls-verify=false", name)
    shown = json.loads(inspect)
    assert shown["Digest"] == str(busybox.resolve(NAME).digest)
    assert sorted(shown["RepoTags"]) == json.loads(tags)["Tags"] == [TAG, "latest"]
    assert set(Layout(tmp_path / "all").blobs()) >= {Digest.parse(AMD64), Digest.parse(ARM64)}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "example.com", "127.0.0.1.example.com"])
def test_it_listens_to_this_machine_only(store: Layout, host: str) -> None:
    with pytest.raises(InvalidInput, match="which others can reach"):
        RegistryServer(store, host=host)


def test_a_port_that_is_taken(store: Layout) -> None:
    with (
        RegistryServer(store) as server,
        pytest.raises(NotSupported, match=f"cannot listen on 127.0.0.1 port {server.port}: Address already in use"),
    ):
        RegistryServer(store, port=server.port)


def test_at_its_end_nobody_is_served(busybox: Layout) -> None:
    seen = []
    with requests.Session() as session:
        with RegistryServer(busybox, on_request=lambda request, answer: seen.append((request, answer))) as server:
            assert session.get(f"{server.url}/v2/", timeout=30).status_code == 200
            assert server.url in repr(server)
        with pytest.raises(requests.ConnectionError):  # nor on the connection that was kept
            session.get(f"{server.url}/v2/", timeout=30)
    ((request, answer),) = seen
    assert (request.method, request.path, answer.status) == ("GET", "/v2/", 200)
    with Client() as client, pytest.raises(Unreachable, match="nobody listens"):
        client.challenge(server.host)


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
def test_it_is_read_only(copy: Layout, method: str) -> None:
    before = copy.references()
    with RegistryServer(copy) as server:
        url = f"{server.url}/v2/library/busybox/manifests/{TAG}"
        answer = requests.request(method, url, data=b"{}" * 1000, timeout=30)
    assert answer.status_code == 405
    assert answer.json()["errors"][0]["code"] == "UNSUPPORTED"
    assert copy.references() == before


def test_referrers_of_no_digest(copy: Layout) -> None:
    """As the distribution-spec has it: 400 for what is no digest, an empty list for one that nobody refers to."""
    with RegistryServer(copy) as server:
        url = f"{server.url}/v2/library/busybox/referrers"
        for digest in ("bad", "sha256:abc", "sha256:" + "z" * 64):
            answer = requests.get(f"{url}/{digest}")
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "DIGEST_INVALID")
        assert requests.get(f"{url}/sha256:{'0' * 64}").json()["manifests"] == []


@pytest.mark.parametrize("path", ["/v2/../../etc/passwd", "/v2/%2e%2e/", "//", "/v2/x", "*",
                                  "/v2/library/busybox/blobs/../../../oci-layout",
                                  "/v2/library/busybox/blobs/sha256:../../index.json"])  # fmt: skip
def test_no_path_leads_out(busybox: Layout, path: str) -> None:
    import http.client

    with RegistryServer(busybox) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", path)  # as it is: requests would tidy it up
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (404, b"404 page not found\n")
        connection.close()


def test_a_blob_belongs_to_its_repository(copy: Layout) -> None:
    stranger = copy.put(b"what no image names")
    with RegistryServer(copy) as server, requests.Session() as session:
        layer = copy.image(NAME, platform("amd64")).manifest.layers[0].digest
        assert session.head(f"{server.url}/v2/library/busybox/blobs/{layer}", timeout=30).status_code == 200
        here = "library/busybox/blobs"
        for path in (f"other/blobs/{layer}", f"{here}/{stranger}", f"{here}/{AMD64}"):
            answer = session.get(f"{server.url}/v2/{path}", timeout=30)
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "BLOB_UNKNOWN")


def test_an_index_of_one_platform(busybox: Layout, store: Layout, client: Client, tmp_path: Path) -> None:
    """What a pull leaves: the whole index, and one of its manifests."""
    with RegistryServer(busybox) as server:
        first = client.pull(f"{server.host}/library/busybox:{TAG}", store, platform=platform("amd64"))
    with RegistryServer(store) as server:
        again = Layout(tmp_path / "again")
        second = client.pull(f"{server.host}/library/busybox:{TAG}", again, platform=platform("amd64"))
        assert second.manifest == first.manifest
        with pytest.raises(LookupError, match=ARM64):
            client.pull(f"{server.host}/library/busybox:{TAG}", again, platform=platform("arm64"))


def test_docker_s_own_index_for_those_who_know_none(copy: Layout) -> None:
    """Docker Hub does so for clients from before indexes: they get linux/amd64."""
    docker = []
    for digest, architecture in ((ARM64, "arm64"), (AMD64, "amd64")):
        raw = copy.read(Digest.parse(digest)).replace(OCI_MANIFEST.encode(), DOCKER_MANIFEST.encode())
        docker.append(Descriptor(DOCKER_MANIFEST, copy.put(raw), len(raw), platform(architecture)))
    index = {"schemaVersion": 2, "mediaType": DOCKER_INDEX, "manifests": [entry.to_json() for entry in docker]}
    raw = json.dumps(index).encode()
    copy.tag(NAME, Descriptor(DOCKER_INDEX, copy.put(raw), len(raw)))
    with RegistryServer(copy) as server:
        url = f"{server.url}/v2/library/busybox/manifests/{TAG}"
        for accept, media_type in (
            (DOCKER_MANIFEST, DOCKER_MANIFEST), (DOCKER_INDEX, DOCKER_INDEX), ("*/*", DOCKER_INDEX),
            (f"{DOCKER_MANIFEST}, {DOCKER_INDEX};q=0.5", DOCKER_INDEX),
        ):  # fmt: skip
            answer = requests.get(url, headers={"Accept": accept}, timeout=30)
            assert answer.headers["Content-Type"] == media_type
        answer = requests.get(url, headers={"Accept": DOCKER_MANIFEST}, timeout=30)
        assert answer.headers["Docker-Content-Digest"] == str(docker[1].digest)


def test_tags_come_in_pages(copy: Layout, client: Client) -> None:
    tags = sorted(f"v{n}" for n in range(7))
    for tag in tags:
        copy.tag(NAME.with_tag(tag), copy.resolve(NAME))
    whole = sorted([TAG, *tags])
    with RegistryServer(copy) as server, requests.Session() as session:
        url = f"{server.url}/v2/library/busybox/tags/list"
        first = session.get(url, params={"n": 3}, timeout=30)
        assert first.json()["tags"] == whole[:3]
        second = session.get(f"{server.url}{first.links['next']['url']}", timeout=30)
        assert second.json()["tags"] == whole[3:6]
        assert session.get(url, params={"last": whole[5]}, timeout=30).json()["tags"] == whole[6:]
        nothing = session.get(url, params={"n": 0}, timeout=30)
        assert (nothing.json()["tags"], nothing.links) == ([], {})
        assert client.tags(f"{server.host}/library/busybox") == whole


def test_a_store_that_is_broken_is_a_500(copy: Layout) -> None:
    path = Path(copy.blob_path(Digest.parse(AMD64)))
    path.chmod(0o644)
    path.write_bytes(b"{}")
    with RegistryServer(copy) as server:
        answer = requests.get(f"{server.url}/v2/library/busybox/manifests/{AMD64}", timeout=30)
    assert answer.status_code == 500
    assert "changed on disk" in answer.json()["errors"][0]["detail"]


def test_ipv6(busybox: Layout, client: Client, store: Layout) -> None:
    try:
        server = RegistryServer(busybox, host="::1")
    except NotSupported:
        pytest.skip("this machine has no IPv6 loopback")
    with server:
        assert server.host.startswith("[::1]:")
        image = client.pull(f"{server.host}/library/busybox:{TAG}", store, platform=platform("amd64"))
    assert str(image.manifest.digest) == AMD64
