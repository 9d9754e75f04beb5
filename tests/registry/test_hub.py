"""Are our servers like the real one? RegistryServer and the replica of Docker Hub against Debian's docker-registry."""

from __future__ import annotations

import re
from collections.abc import Iterator

import oracles
import pytest
import requests
from hub import Cdn, Hub
from samples import AMD64, ARM64, TAG

from labrt.image.descriptor import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from labrt.image.layout import Layout
from labrt.registry.server import RegistryServer

pytestmark = pytest.mark.oracle

LAYER = "sha256:b05093807bb0294152bb9cf86d64da722732dddaf7f8882fa1f120477dbc4db3"
SIZE = 2226327
REPOSITORY = "/v2/library/busybox"
ALL = {"Accept": f"{OCI_INDEX}, {OCI_MANIFEST}"}

# Of both answers these must be the same, and status and body.
COMPARED = ("Content-Type", "Content-Length", "Docker-Content-Digest", "Docker-Distribution-Api-Version", "Etag",
            "Content-Range", "Accept-Ranges", "Location", "Www-Authenticate")  # fmt: skip

REQUESTS = [
    ("GET", "/v2/", {}),
    ("GET", f"{REPOSITORY}/tags/list", {}),
    ("GET", "/v2/library/nothing/tags/list", {}),
    ("GET", "/v2/UPPER/tags/list", {}),
    ("GET", f"{REPOSITORY}/manifests/{TAG}", ALL),
    ("HEAD", f"{REPOSITORY}/manifests/{TAG}", ALL),
    ("GET", f"{REPOSITORY}/manifests/{AMD64}", ALL),
    ("GET", f"{REPOSITORY}/manifests/{ARM64}", {"Accept": OCI_MANIFEST}),
    ("GET", f"{REPOSITORY}/manifests/nothing", ALL),
    ("GET", f"/v2/library/nothing/manifests/{TAG}", ALL),
    ("HEAD", f"{REPOSITORY}/manifests/nothing", ALL),
    ("GET", f"{REPOSITORY}/blobs/{LAYER}", {}),
    ("HEAD", f"{REPOSITORY}/blobs/{LAYER}", {}),
    ("GET", f"{REPOSITORY}/blobs/{LAYER}", {"Range": "bytes=1000-1999"}),
    ("GET", f"{REPOSITORY}/blobs/{LAYER}", {"Range": "bytes=2226000-"}),
    ("GET", f"{REPOSITORY}/blobs/{LAYER}", {"Range": "bytes=-10"}),
    ("GET", f"{REPOSITORY}/blobs/{LAYER}", {"Range": "bytes=2226326-9999999"}),
    ("GET", f"{REPOSITORY}/blobs/{LAYER}", {"If-None-Match": f'"{LAYER}"'}),
    ("GET", f"{REPOSITORY}/blobs/sha256:{'0' * 64}", {}),
    ("GET", f"/v2/library/nothing/blobs/{LAYER}", {}),
    ("GET", f"{REPOSITORY}/blobs/sha256:00", {}),
]


@pytest.fixture(scope="module")
def served(busybox: Layout) -> Iterator[RegistryServer]:
    layout = Layout(busybox.path)
    with RegistryServer(layout) as server:
        yield server


def ask(base: str, method: str, path: str, headers: dict[str, str]) -> dict[str, object]:
    """Status, headers that count, and body; JSON read, so that its spelling does not count."""
    how = {"headers": headers, "allow_redirects": False, "timeout": 30, "stream": True}
    with requests.request(method, base + path, **how) as answer:
        # docker-registry's 416 promises the length of the blob and sends one line: nothing to be read or compared.
        body: object = b"" if answer.status_code == 416 else answer.content
        if "json" in answer.headers.get("Content-Type", "") and body:
            body = answer.json()
        found = {name: answer.headers[name] for name in COMPARED if name in answer.headers}
        return {"status": answer.status_code, "body": body, **found}


def only_this_tag(answer: dict[str, object]) -> dict[str, object]:
    """Our fixture is tagged twice, the pushed one once; and lengths of JSON differ by a space."""
    body = answer["body"]
    if isinstance(body, dict):
        answer.pop("Content-Length", None)
        if isinstance(body.get("tags"), list):
            body["tags"] = [tag for tag in body["tags"] if tag != "latest"]
        for error in body.get("errors", ()):
            error.pop("detail", None)  # free text, by the specification
    if answer["status"] in (304, 404):  # the body of a 404 to HEAD is not there to be measured
        answer.pop("Content-Length", None)
    return answer


@pytest.mark.parametrize(("method", "path", "headers"), REQUESTS)
def test_registry_server_answers_as_docker_registry(
    served: RegistryServer, distribution: str, method: str, path: str, headers: dict[str, str]
) -> None:
    ours = only_this_tag(ask(served.url, method, path, headers))
    theirs = only_this_tag(ask(f"http://{distribution}", method, path, headers))
    assert ours == theirs


@pytest.mark.parametrize("accept", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_a_client_that_cannot_read_an_index(served: RegistryServer, distribution: str, accept: str) -> None:
    path = f"{REPOSITORY}/manifests/{TAG}"
    ours = ask(served.url, "GET", path, {"Accept": accept})
    theirs = ask(f"http://{distribution}", "GET", path, {"Accept": accept})
    assert ours["status"] == theirs["status"] == 404
    assert [answer["body"]["errors"][0]["code"] for answer in (ours, theirs)] == ["MANIFEST_UNKNOWN"] * 2


@pytest.mark.parametrize("path", ["/v2/", f"{REPOSITORY}/manifests/{TAG}", f"{REPOSITORY}/blobs/{LAYER}",
                                  "/v2/library/nothing/tags/list"])  # fmt: skip
@pytest.mark.parametrize("token", ["", "made-up"])
def test_the_hub_challenges_as_docker_registry(
    hub: Hub, signed_registry: tuple[str, oracles.JwtServer], authority: tuple, path: str, token: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority[0]))
    host, tokens = signed_registry
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    ours = ask(hub.front.url, "GET", path, headers)
    theirs = ask(f"https://{host}", "GET", path, headers)
    for answer, server in ((ours, hub.tokens), (theirs, tokens)):
        assert server.url in str(answer["Www-Authenticate"])
        answer["Www-Authenticate"] = str(answer["Www-Authenticate"]).replace(server.url, "")
        answer.pop("Content-Length")
        answer["body"]["errors"][0].setdefault("detail", None)
    assert ours == theirs


@pytest.mark.parametrize("first", [0, 1000, SIZE - 1, SIZE, SIZE + 9])
def test_the_cdn_sends_ranges_as_docker_registry(hub: Hub, distribution: str, first: int) -> None:
    header = f"bytes={first}-"
    ours = ask(hub.cdn.url, "GET", f"/{LAYER}?X-Signature={Cdn.SIGNATURE}", {"Range": header})
    theirs = ask(f"http://{distribution}", "GET", f"{REPOSITORY}/blobs/{LAYER}", {"Range": header})
    assert ours["status"] == theirs["status"] == (206 if first < SIZE else 416)
    if first < SIZE:
        assert ours["Content-Range"] == theirs["Content-Range"]
        assert ours["body"] == theirs["body"]


def test_the_hub_sends_blobs_elsewhere_and_counts_pulls(hub: Hub) -> None:
    scope = "repository:library/busybox:pull"
    token = requests.get(f"{hub.tokens.url}/token", params={"scope": scope}, timeout=30).json()["token"]
    signed = {"Authorization": f"Bearer {token}"}
    answer = ask(hub.front.url, "GET", f"{REPOSITORY}/blobs/{LAYER}", signed)
    assert answer["status"] == 307
    assert re.fullmatch(f"{hub.cdn.url}/{LAYER}\\?X-Signature=.+", str(answer["Location"]))
    assert ask(str(answer["Location"]), "GET", "", signed)["status"] == 400, "two ways to sign in at once"
    url = f"{hub.front.url}{REPOSITORY}/manifests/{TAG}"
    for method, remaining in (("HEAD", 100), ("GET", 99), ("HEAD", 99)):
        with requests.request(method, url, headers=signed | ALL, timeout=30) as got:
            assert got.headers["ratelimit-remaining"] == f"{remaining};w=21600"
