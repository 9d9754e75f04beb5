"""Push: to Debian's docker-registry, to our own, to one that breaks; read back by skopeo and podman."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import oracles
import pytest
from hub import Seen, _Loopback, send
from samples import AMD64, ARM64, TAG, USERS, platform, signed_in

from labrt.errors import DigestMismatch, ImageNotFound, RegistryError, Unauthorized, Unreachable
from labrt.image.descriptor import OCI_EMPTY, OCI_MANIFEST, Descriptor
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.registry.client import Client
from labrt.registry.events import (
    AlreadyThere,
    Event,
    Exchange,
    Mounted,
    OnePlatform,
    Pushed,
    Resuming,
    UploadDone,
    UploadProgress,
)
from labrt.registry.server import RegistryServer

NAME = f"docker.io/library/busybox:{TAG}"
SBOM = "application/vnd.example.sbom"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    with RegistryServer(Layout(tmp_path / "served"), push=True) as one:
        yield one


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    oracles.need("docker-registry")
    http = {"http": {}}
    with oracles.docker_registry(tmp_path_factory.mktemp("theirs"), **http) as host:
        yield host


@pytest.fixture(params=["ours", pytest.param("docker-registry", marks=pytest.mark.oracle)])
def host(request: pytest.FixtureRequest) -> str:
    """Our registry, and the real one."""
    if request.param == "ours":
        return request.getfixturevalue("server").host
    return request.getfixturevalue("theirs")


def of(kind: type, events: list[Event]) -> list:
    return [event for event in events if type(event) is kind]


def copy(busybox: Layout, store: Layout, *architectures: str) -> Layout:
    """The index, and the images of these platforms only: what a pull leaves."""
    index = busybox.resolve(NAME)
    store.put(busybox.read(index.digest))
    for architecture in architectures:
        image = busybox.image(NAME, platform(architecture))
        for blob in (image.manifest.digest, image.manifest.config.digest, *(x.digest for x in image.manifest.layers)):
            store.put(Path(busybox.blob_path(blob)).read_bytes())
    store.tag(Reference.parse(NAME), index)
    return store


# The road -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 1_000_000, 100])
def test_an_index_with_all_its_images(
    busybox: Layout, host: str, client: Client, store: Layout, events: list[Event], chunk: int | None
) -> None:
    if chunk == 100:  # few bytes in each piece, of a blob of few bytes
        raw = b"z" * 1050
        store.put(raw)
        path = store.blob_path(Digest.of(raw))
        upload = client.upload(f"{host}/small/{chunk}", Descriptor(OCI_EMPTY, Digest.of(raw), len(raw)), path)
        assert not upload.exists()
        upload.send(chunk=chunk)
        assert upload.exists()
        assert len([one for one in of(Exchange, events) if one.method == "PATCH"]) == 11
        return
    name = f"{host}/library/busybox{chunk or ''}:{TAG}"
    pushed = client.push(name, busybox, source=NAME, chunk=chunk)
    assert pushed.digest == busybox.resolve(NAME).digest == client.resolve(name)
    assert [event.digest for event in of(Pushed, events)] == [pushed.digest]
    for architecture, digest in (("amd64", AMD64), ("arm64", ARM64)):
        image = client.pull(name, store, platform=platform(architecture))
        assert str(image.manifest.digest) == digest
        layer = image.manifest.layers[0].digest
        assert Path(store.blob_path(layer)).read_bytes() == Path(busybox.blob_path(layer)).read_bytes()
    progress = of(UploadProgress, events)
    assert {event.offset for event in progress} >= {event.total for event in progress}
    # Again: nothing is sent that is there.
    before = len(events)
    client.push(name, busybox, source=NAME, chunk=chunk)
    assert not of(UploadDone, events[before:])
    assert len(of(AlreadyThere, events[before:])) == 4


def test_one_platform_of_an_index(
    busybox: Layout, host: str, client: Client, store: Layout, events: list[Event]
) -> None:
    copy(busybox, store, "amd64")
    name = f"{host}/one/platform:1"
    pushed = client.push(name, store, source=NAME, platform=platform("amd64"))
    assert str(pushed.digest) == AMD64
    assert pushed.media_type == OCI_MANIFEST
    assert str(client.manifest(name).digest) == AMD64
    assert not of(OnePlatform, events)


def test_an_index_that_is_here_in_part(
    busybox: Layout, server: RegistryServer, client: Client, store: Layout, events: list[Event]
) -> None:
    here = Platform.host().architecture
    if here not in ("amd64", "arm64"):
        pytest.skip(f"the fixture has no image for {here}")
    copy(busybox, store, here)
    pushed = client.push(f"{server.host}/part:1", store, source=NAME)
    assert str(pushed.digest) == {"amd64": AMD64, "arm64": ARM64}[here]
    assert [event.reference.familiar for event in of(OnePlatform, events)] == [f"busybox:{TAG}"]


def test_a_blob_is_mounted_from_another_repository(
    busybox: Layout, host: str, client: Client, store: Layout, events: list[Event]
) -> None:
    copy(busybox, store, "amd64")
    image = store.image(NAME, platform("amd64"))
    store.tag(Reference.parse(f"{host}/mount/from:1"), image.descriptor)
    store.tag(Reference.parse(f"{host}/mount/to:1"), image.descriptor)
    client.push(f"{host}/mount/from:1", store)
    assert len(of(UploadDone, events)) == 2
    before = len(events)
    client.push(f"{host}/mount/to:1", store)
    assert [event.source for event in of(Mounted, events[before:])] == ["mount/from"] * 2
    assert not of(UploadDone, events[before:])
    assert str(client.manifest(f"{host}/mount/to:1").digest) == AMD64
    assert [one for one in of(Exchange, events[before:]) if "from=" in one.url]


def test_a_source_that_is_not_there_is_sent(busybox: Layout, host: str, client: Client, events: list[Event]) -> None:
    layer = busybox.image(NAME, platform("amd64")).manifest.layers[0]
    upload = client.upload(f"{host}/no/source", layer, busybox.blob_path(layer.digest))
    assert upload.mount("is/not/there") is False
    upload.send()
    assert upload.exists()
    posts = [one for one in of(Exchange, events) if one.method == "POST"]
    assert len(posts) == 1, "the upload that the registry began instead of a mount is used"


def test_what_is_not_here_as_a_whole(
    busybox: Layout, server: RegistryServer, client: Client, store: Layout
) -> None:
    copy(busybox, store, "amd64")
    layer = store.image(NAME, platform("amd64")).manifest.layers[0]
    Path(store.blob_path(layer.digest)).unlink()
    with pytest.raises(ImageNotFound, match=f"not here as a whole: {layer.digest}"):
        client.push(f"{server.host}/part:1", store, source=NAME, platform=platform("amd64"))
    assert server.layout.references() == {}


# Other people's programs ----------------------------------------------------------------------------------------------


@pytest.mark.oracle
def test_skopeo_reads_what_labrt_pushed(busybox: Layout, theirs: str, client: Client, tmp_path: Path) -> None:
    oracles.need("skopeo")
    client.push(f"{theirs}/for/skopeo:1", busybox, source=NAME)
    oracles.run("skopeo", "copy", "-q", "--all", "--src-tls-verify=false", f"docker://{theirs}/for/skopeo:1",
                f"oci:{tmp_path}/copied:it")  # fmt: skip
    assert {Digest.parse(AMD64), Digest.parse(ARM64)} <= set(Layout(tmp_path / "copied").blobs())


@pytest.mark.oracle
def test_skopeo_pushes_to_us_and_pulls(busybox: Layout, server: RegistryServer, tmp_path: Path) -> None:
    oracles.need("skopeo")
    target = f"docker://{server.host}/team/app:1"
    oracles.run("skopeo", "copy", "-q", "--all", "--dest-tls-verify=false", f"oci:{busybox.path}:{NAME}", target)
    oracles.run("skopeo", "copy", "-q", "--all", "--src-tls-verify=false", target, f"oci:{tmp_path}/back:it")
    assert {Digest.parse(AMD64), Digest.parse(ARM64)} <= set(Layout(tmp_path / "back").blobs())
    assert "localhost/team/app:1" in server.layout.references()
    # Docker's own format, which skopeo makes of it, and a copy within the registry.
    docker = f"docker://{server.host}/team/docker:2"
    oracles.run("skopeo", "--override-arch=amd64", "copy", "-q", "--format=v2s2", "--src-tls-verify=false",
                "--dest-tls-verify=false", target, docker)  # fmt: skip
    raw = json.loads(oracles.run("skopeo", "inspect", "--raw", "--tls-verify=false", docker))
    assert raw["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    oracles.run("skopeo", "delete", "--tls-verify=false", docker)
    with Client() as client, pytest.raises(ImageNotFound):
        client.manifest(f"{server.host}/team/docker:2")


@pytest.mark.oracle
@pytest.mark.root
def test_podman_pushes_to_us_and_pulls(
    busybox: Layout, server: RegistryServer, tmp_path: Path, request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    oracles.need("podman")
    short = tempfile.mkdtemp(prefix="labrt-")  # podman wants its paths short
    request.addfinalizer(lambda: shutil.rmtree(short, ignore_errors=True))
    monkeypatch.delenv("DOCKER_CONFIG")  # podman wants the folder to be there
    monkeypatch.setenv("HOME", short)
    podman = ["podman", "--root", f"{short}/root", "--runroot", f"{short}/run", "--storage-driver=vfs",
              "--cgroup-manager=cgroupfs", "--tmpdir", f"{short}/tmp"]  # fmt: skip
    first, second = f"{server.host}/library/busybox:{TAG}", f"{server.host}/team/tools:2"
    with Client() as client:
        client.push(first, busybox, source=NAME)
    oracles.run(*podman, "pull", "-q", "--tls-verify=false", "--arch=amd64", first)
    oracles.run(*podman, "push", "-q", "--tls-verify=false", first, second)
    image = json.loads(oracles.run(*podman, "image", "inspect", first))[0]
    with Client() as client:
        config = client.config(second, platform=platform("amd64"))
        assert config.digest == Digest.parse(f"sha256:{image['Id']}")
        again = Layout(tmp_path / "again")
        assert client.pull(second, again, platform=platform("amd64")).config.diff_ids == config.diff_ids


# Signed in ------------------------------------------------------------------------------------------------------------


@pytest.mark.oracle
def test_with_tls_and_tokens(
    busybox: Layout, signed_registry: tuple, authority: tuple, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority[0]))
    host, tokens = signed_registry
    before = len(tokens.seen)
    name = f"{host}/signed/busybox:1"
    with Client(config=signed_in(host, "learner", USERS["learner"]), on_event=events.append) as client:
        pushed = client.push(name, busybox, source=NAME)
        assert client.resolve(name) == pushed.digest
    scopes = [seen.query["scope"] for seen in tokens.seen[before:]]
    assert scopes[0] == ["repository:signed/busybox:pull,push"], "one token serves the whole push"
    shown = repr(events)
    assert not any(secret in shown for secret in (*tokens.tokens, *USERS.values()))
    assert of(UploadDone, events)
    with Client() as client, pytest.raises(Unauthorized, match="signed/other"):
        client.push(f"{host}/signed/other:1", busybox, source=NAME)


@pytest.mark.oracle
def test_with_user_and_password(busybox: Layout, tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text(f"learner:{oracles.bcrypt('secret-word')}\n")
    auth = {"htpasswd": {"realm": "labrt", "path": str(tmp_path / "htpasswd")}}
    with oracles.docker_registry(tmp_path / "registry", auth=auth) as host:
        name = f"{host}/basic:1"
        with Client() as client, pytest.raises(Unauthorized, match="labrt login"):
            client.push(name, busybox, source=NAME)
        with Client(config=signed_in(host, "learner", "secret-word")) as client:
            pushed = client.push(name, busybox, source=NAME)
            assert client.resolve(name) == pushed.digest


# Referrers and removal ------------------------------------------------------------------------------------------------


def artifact(client: Client, store: Layout, name: str, subject: Descriptor, text: str) -> Digest:
    """Push an artifact that refers to `subject`."""
    blobs = []
    for raw in (b"{}", text.encode()):
        blob = Descriptor(OCI_EMPTY if raw == b"{}" else "text/plain", store.put(raw), len(raw))
        upload = client.upload(name, blob, store.blob_path(blob.digest))
        if not upload.exists():
            upload.send()
        blobs.append(blob.to_json())
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": SBOM, "config": blobs[0],
                "layers": blobs[1:], "subject": subject.to_json(), "annotations": {"text": text}}  # fmt: skip
    raw = json.dumps(document).encode()
    return client.put_manifest(Reference.parse(name).with_digest(Digest.of(raw)), raw, OCI_MANIFEST)


def test_referrers(busybox: Layout, host: str, client: Client, store: Layout, events: list[Event]) -> None:
    name = f"{host}/with/sbom:1"
    subject = client.push(name, busybox, source=NAME)
    assert client.referrers(name) == []
    first = artifact(client, store, name, subject, "first")
    second = artifact(client, store, name, subject, "second")
    artifact(client, store, name, subject, "second")  # again: still listed once
    found = client.referrers(name)
    assert {one.digest for one in found} == {first, second}
    assert len(found) == 2
    assert {one.artifact_type for one in found} == {SBOM}
    assert sorted(one.annotations["text"] for one in found) == ["first", "second"]
    assert len(client.referrers(name, artifact_type=SBOM)) == 2
    assert client.referrers(name, artifact_type="application/other") == []
    assert "with/sbom" in repr(client.tags(name)) and SBOM in repr(found)
    # docker-registry has no referrers API: there the client keeps the list, under a tag.
    tag = f"sha256-{subject.digest.hex}"
    assert found.fallback is (tag in client.tags(name))


def test_removal(busybox: Layout, server: RegistryServer, client: Client, store: Layout) -> None:
    name = f"{server.host}/gone:1"
    subject = client.push(name, busybox, source=NAME)
    client.push(f"{server.host}/gone:2", busybox, source=NAME)
    assert client.tags(name) == ["1", "2"]
    client.delete(name)
    assert client.tags(f"{server.host}/gone") == ["2"]
    with pytest.raises(ImageNotFound):
        client.delete(name)
    referrer = artifact(client, store, f"{server.host}/gone:2", subject, "x")
    client.delete(Reference.parse(f"{server.host}/gone").with_digest(referrer))
    assert client.referrers(f"{server.host}/gone:2") == []


@pytest.mark.oracle
def test_a_referrer_is_taken_off_the_list_that_clients_keep(
    busybox: Layout, client: Client, store: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_STORAGE_DELETE_ENABLED", "true")
    with oracles.docker_registry(tmp_path / "registry") as host:
        name = f"{host}/gone:1"
        subject = client.push(name, busybox, source=NAME)
        first, second = (artifact(client, store, name, subject, text) for text in ("first", "second"))
        client.delete(Reference.parse(name).with_digest(first))
        found = client.referrers(name)
        assert found.fallback
        assert [one.digest for one in found] == [second]


def test_a_registry_that_forbids_removal(theirs: str, client: Client, busybox: Layout) -> None:
    client.push(f"{theirs}/stays:1", busybox, source=NAME)
    with pytest.raises(RegistryError, match="UNSUPPORTED"):
        client.delete(Reference.parse(f"{theirs}/stays").with_digest(busybox.resolve(NAME).digest))


# When it breaks -------------------------------------------------------------------------------------------------------


class Breaking(RegistryServer):
    """Our registry, which hangs up in the body of the first requests that bring bytes."""

    def __init__(self, layout: Layout, *, after: list[int], forget: bool = False) -> None:
        super().__init__(layout, push=True)
        self.after, self.forget = after, forget

    def answer(self, request):
        if request.method in ("PATCH", "PUT") and "/uploads/" in request.path and self.after:
            if self.forget and self.desk is not None:
                self.desk.close()
            request = request._replace(body=Cut(request.body, self.after.pop(0)))
        return super().answer(request)


class Cut:
    """A body that breaks off after so many bytes."""

    def __init__(self, body, most: int) -> None:
        self.body, self.left, self.came = body, most, 0

    def read(self, size: int) -> bytes:
        if not self.left:
            raise ConnectionError("broke off")
        data = self.body.read(min(size, self.left))
        self.left -= len(data)
        self.came += len(data)
        return data


@pytest.mark.parametrize("chunk", [None, 1_000_000])
def test_an_upload_that_breaks_off_goes_on(
    busybox: Layout, tmp_path: Path, client: Client, events: list[Event], chunk: int | None
) -> None:
    layer = busybox.image(NAME, platform("amd64")).manifest.layers[0]
    with Breaking(Layout(tmp_path / "served"), after=[700_000, 300_000]) as server:
        upload = client.upload(f"{server.host}/breaks", layer, busybox.blob_path(layer.digest))
        upload.send(chunk=chunk)
        assert server.desk.has_blob("breaks", layer.digest)
    assert [event.offset for event in of(Resuming, events)] == [700_000, 1_000_000]


def test_an_upload_that_was_forgotten_begins_anew(
    busybox: Layout, tmp_path: Path, client: Client, events: list[Event]
) -> None:
    layer = busybox.image(NAME, platform("amd64")).manifest.layers[0]
    with Breaking(Layout(tmp_path / "served"), after=[1], forget=True) as server:
        client.upload(f"{server.host}/breaks", layer, busybox.blob_path(layer.digest)).send()
        assert server.desk.has_blob("breaks", layer.digest)
    assert [one.method for one in of(Exchange, events)].count("POST") == 2


def test_one_that_always_breaks_gives_up(busybox: Layout, tmp_path: Path, client: Client, events: list[Event]) -> None:
    with Breaking(Layout(tmp_path / "served"), after=[0] * 1000) as server:
        with pytest.raises((Unreachable, RegistryError), match="status 500|broke off|ended"):
            client.push(f"{server.host}/breaks:1", busybox, source=NAME)
        assert server.layout.references() == {}


class Elsewhere(_Loopback):
    """Another host, to which a registry's Location leads."""

    def handle(self, http, seen: Seen) -> None:
        send(http, 201, {})


def test_another_host_gets_the_bytes_and_no_password(busybox: Layout) -> None:
    config = busybox.image(NAME, platform("amd64")).manifest.config

    class Sends(_Loopback):
        def handle(self, http, seen: Seen) -> None:
            if "authorization" not in seen.headers:
                send(http, 401, {"WWW-Authenticate": 'Basic realm="x"'})
            elif seen.method == "POST":
                send(http, 202, {"Location": f"{elsewhere.url}/put?key=1"})
            else:
                send(http, 404, {})

    events: list[Event] = []
    with Elsewhere() as elsewhere, Sends() as sends:
        do_put(elsewhere)
        host = sends.url.removeprefix("http://")
        with Client(config=signed_in(host, "me", "a-secret"), on_event=events.append) as client:
            client.upload(f"{host}/x", config, busybox.blob_path(config.digest)).send()
    assert [seen.method for seen in elsewhere.seen] == ["PUT"]
    assert "authorization" not in elsewhere.seen[0].headers
    assert elsewhere.seen[0].query["digest"] == [str(config.digest)]
    assert sends.seen[-1].method == "POST" and "authorization" in sends.seen[-1].headers
    assert "a-secret" not in repr(events)


def do_put(server: _Loopback) -> None:
    """Let it take PUT too: hub.py's servers are only asked."""
    handler = server._server.RequestHandlerClass

    def take(self) -> None:
        length = int(self.headers["Content-Length"])
        self.rfile.read(length)
        self.headers.replace_header("Content-Length", "0")
        self.do_GET()

    handler.do_PUT = take


def test_a_registry_that_names_another_digest(busybox: Layout, server: RegistryServer, client: Client) -> None:
    raw = busybox.read(Digest.parse(AMD64))
    with pytest.raises(DigestMismatch):
        client.put_manifest(Reference(server.host, "x", None, Digest.of(b"other")), raw, OCI_MANIFEST)
    with pytest.raises(ImageNotFound, match="MANIFEST_BLOB_UNKNOWN"):
        client.put_manifest(f"{server.host}/x:1", raw, OCI_MANIFEST)


def test_a_push_that_is_killed_gives_no_name_and_goes_on(
    busybox: Layout, server: RegistryServer, client: Client, events: list[Event]
) -> None:
    """Killed by its listener, as by a signal, when the first layer is half there."""

    class Killed(BaseException):
        pass

    def kill(event: Event) -> None:
        if isinstance(event, UploadProgress) and event.offset > 1_000_000:
            raise Killed

    name = f"{server.host}/killed:1"
    with pytest.raises(Killed):
        client.push(name, busybox, source=NAME, on_event=kill)
    assert server.layout.references() == {}
    with pytest.raises(ImageNotFound):
        client.manifest(name)
    assert client.push(name, busybox, source=NAME).digest == busybox.resolve(NAME).digest
    assert client.resolve(name) == busybox.resolve(NAME).digest
