"""The real busybox as a store, and places to fetch it from."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Helpers lie beside this file, whichever way pytest imports the tests.
sys.path.append(str(Path(__file__).parent))

import oracles
from hub import Hub
from samples import TAG, USERS, push

from labrt.image.descriptor import OCI_INDEX, Descriptor
from labrt.image.layout import Layout
from labrt.image.reference import Reference
from labrt.registry.client import Client
from labrt.registry.events import Event, Waiting

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test signs in as whoever runs it, or goes through his proxy."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-docker-config"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The real busybox for two platforms, under an index, as docker.io/library/busybox:1.38.0-glibc and :latest."""
    images = PROJECT.parent / "shared" / "images" / "busybox"
    if not images.is_dir():
        pytest.skip(f"{images} is absent: no real image to test with")
    layout = Layout(tmp_path_factory.mktemp("busybox"))
    for blob in (images / "blobs" / "sha256").iterdir():
        layout.put(blob.read_bytes())
    entries = json.loads((images / "index.json").read_bytes())["manifests"]
    for entry in entries:
        del entry["annotations"]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    descriptor = Descriptor(OCI_INDEX, layout.put(index), len(index))
    for tag in (TAG, "latest"):
        layout.tag(Reference("docker.io", "library/busybox", tag), descriptor)
    return layout


@pytest.fixture
def hub(busybox: Layout) -> Iterator[Hub]:
    with Hub(busybox) as replica:
        yield replica


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "store")


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def client(events: list[Event]) -> Iterator[Client]:
    """A client that waits for nothing: what it would have waited is in the events."""
    with Client(on_event=events.append, wait=lambda seconds: None) as one:
        yield one


@pytest.fixture
def waits(events: list[Event]) -> Callable[[], list[float]]:
    return lambda: [event.seconds for event in events if isinstance(event, Waiting)]


@pytest.fixture(scope="session")
def distribution(busybox: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's docker-registry with the same busybox in it, pushed by skopeo. Gives host:port."""
    oracles.need("docker-registry", "skopeo")
    with oracles.docker_registry(tmp_path_factory.mktemp("registry")) as host:
        push(busybox, host, "--dest-tls-verify=false")
        yield host


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return oracles.certificate(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def signed_registry(
    busybox: Layout, authority: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, oracles.JwtServer]]:
    oracles.need("docker-registry", "skopeo", "openssl")
    root, cert, key = authority
    where = tmp_path_factory.mktemp("registry")
    tls = {"tls": {"certificate": str(cert), "key": str(key)}}
    with (
        oracles.JwtServer(cert, key, USERS) as tokens,
        oracles.docker_registry(where, tls, oracles.token_auth(tokens, root)) as host,
    ):
        user = ":".join(*USERS.items())
        push(busybox, host, f"--dest-creds={user}", f"--dest-cert-dir={root.parent}")
        yield host, tokens
