"""The steps of a client by hand, from the replica of Docker Hub, and the events that they tell."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest
from hub import Hub, Seen, _Loopback, send
from samples import AMD64, ARM64, TAG, platform

from labrt.errors import DigestMismatch, ImageNotFound, InvalidReference, RegistryError, Unreachable
from labrt.image.descriptor import OCI_LAYER_GZIP, Descriptor
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.manifest import Index, Manifest
from labrt.image.reference import Reference
from labrt.registry import events as all_events
from labrt.registry.client import Client
from labrt.registry.events import Emitter, Event, Exchange, RateLimit, Waiting

LAYER = Descriptor(
    OCI_LAYER_GZIP, Digest.parse("sha256:b05093807bb0294152bb9cf86d64da722732dddaf7f8882fa1f120477dbc4db3"), 2226327
)


def name(hub: Hub) -> str:
    return f"{hub.host}/library/busybox:{TAG}"


def test_a_cell_for_each_step(hub: Hub, client: Client, busybox: Layout) -> None:
    index = client.manifest(name(hub))
    assert isinstance(index, Index)
    assert index.digest == client.resolve(name(hub)) == busybox.resolve(f"busybox:{TAG}").digest
    manifest = client.manifest(name(hub), platform=platform("amd64"))
    assert isinstance(manifest, Manifest)
    assert str(manifest.digest) == AMD64
    assert client.manifest(f"{hub.host}/library/busybox@{ARM64}").digest == Digest.parse(ARM64)
    assert client.config(name(hub), platform=platform("arm64")).architecture == "arm64"
    layer = b"".join(client.blob(name(hub), manifest.layers[0]))
    assert Digest.of(layer) == manifest.layers[0].digest
    assert client.tags(name(hub)) == [TAG, "latest"]
    assert client.ping(hub.host) == "registry/2.0"


def test_the_wire_as_one_would_draw_it(hub: Hub, client: Client, events: list[Event]) -> None:
    client.manifest(name(hub))
    wire = [(event.method, event.url.removeprefix("http://"), event.status, event.signed)
            for event in events if isinstance(event, Exchange)]  # fmt: skip
    manifest = f"{hub.host}/v2/library/busybox/manifests/{TAG}"
    token = f"127.0.0.1:{hub.tokens.port}/token?service=registry.replica&scope=repository:library/busybox:pull"
    assert wire == [
        ("GET", f"{hub.host}/v2/", 401, ""),  # does it speak TLS?
        ("GET", manifest, 401, ""),
        ("GET", token, 200, ""),
        ("GET", manifest, 200, "Bearer"),
    ]
    assert RateLimit(hub.host, 100, 99, 21600) in events


def test_a_blob_that_is_another(hub: Hub, client: Client) -> None:
    hub.cdn.corrupt = True
    chunks = client.blob(name(hub), LAYER)
    with pytest.raises(DigestMismatch, match="the bytes have digest sha256:"):
        for _ in chunks:
            pass


@pytest.mark.parametrize("size", [LAYER.size - 1, LAYER.size + 1])
def test_a_blob_of_another_size(hub: Hub, client: Client, size: int) -> None:
    wrong = LAYER._replace(size=size)
    with pytest.raises(DigestMismatch, match=f"the manifest says {size} bytes, the registry has {LAYER.size}"):
        list(client.blob(name(hub), wrong))


def test_nothing_is_there_behind_the_offset(hub: Hub, client: Client) -> None:
    longer = LAYER._replace(size=LAYER.size + 5)
    with pytest.raises(DigestMismatch, match=f"no more than {LAYER.size}"):
        list(client.stream(name(hub), longer, LAYER.size))


def test_an_empty_blob_is_not_asked_for(hub: Hub, client: Client) -> None:
    empty = Descriptor(OCI_LAYER_GZIP, Digest.of(b""), 0)
    assert list(client.blob(name(hub), empty)) == []
    assert list(client.stream(name(hub), LAYER, LAYER.size)) == []
    assert hub.front.seen == []


def test_a_blob_that_is_not_there(hub: Hub, client: Client) -> None:
    nothing = LAYER._replace(digest=Digest.of(b"nothing"))
    with pytest.raises(ImageNotFound, match=f"has no blob {nothing.digest} of .*BLOB_UNKNOWN"):
        list(client.blob(name(hub), nothing))


def test_names_that_are_none(client: Client) -> None:
    with pytest.raises(InvalidReference):
        client.manifest("UPPER")


class Odd(_Loopback):
    """A registry with one answer to everything but /v2/."""

    answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")

    def handle(self, http: BaseHTTPRequestHandler, seen: Seen) -> None:
        send(http, *((200, {}, b"{}") if seen.path == "/v2/" else self.answer))

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


@pytest.fixture
def odd() -> Iterator[Odd]:
    with Odd() as registry:
        yield registry


def test_a_range_that_was_not_asked_for(odd: Odd, client: Client) -> None:
    odd.answer = 206, {"Content-Range": f"bytes 0-4/{LAYER.size}"}, b"12345"
    with pytest.raises(RegistryError, match="asked for bytes from 1000 on, it answers with others"):
        list(client.stream(f"{odd.host}/x", LAYER, 1000))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"tags": 3}', b'{"tags": [3]}', b"[" * 100_000, b"{}"])
def test_tags_that_are_none(odd: Odd, client: Client, body: bytes) -> None:
    odd.answer = 200, {}, body
    with pytest.raises(RegistryError, match="the answer is no list of tags"):
        client.tags(f"{odd.host}/x")


def test_tags_without_end(odd: Odd, client: Client) -> None:
    odd.answer = 200, {"Link": '</v2/x/tags/list?n=1&last=a>; rel="next"'}, b'{"tags": ["a"]}'
    with pytest.raises(RegistryError, match="the list of tags does not end"):
        client.tags(f"{odd.host}/x")


def test_a_link_leads_to_the_same_registry_only(odd: Odd, client: Client) -> None:
    odd.answer = 200, {"Link": '<https://evil.example/steal>; rel="next"'}, b'{"tags": null}'
    assert client.tags(f"{odd.host}/x") == []


def test_an_index_in_an_index_without_end(odd: Odd, client: Client) -> None:
    entry = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": f"sha256:{'0' * 64}", "size": 2}
    odd.answer = 200, {}, json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    with pytest.raises(RegistryError, match="is named sha256:0000"):
        client.manifest(f"{odd.host}/x", platform=platform("amd64"))


def test_a_registry_whose_own_digest_is_wrong(odd: Odd, client: Client) -> None:
    odd.answer = 200, {"Docker-Content-Digest": AMD64}, b'{"schemaVersion": 2, "manifests": []}'
    with pytest.raises(DigestMismatch, match=f"is named {AMD64} but has digest"):
        client.manifest(f"{odd.host}/x")


def test_a_registry_without_head(odd: Odd, client: Client) -> None:
    odd.answer = 405, {}, b""
    assert client.resolve(f"{odd.host}/x") is None


@pytest.mark.parametrize("status", [404, 503])
def test_what_is_no_registry(status: int, client: Client) -> None:
    class Website(Odd):
        def handle(self, http: BaseHTTPRequestHandler, seen: Seen) -> None:
            send(http, status, {"Content-Type": "text/html"}, b"\x1b[2J<html>no</html>")

    with Website() as site:
        for ask in (client.challenge, client.ping):
            with pytest.raises((ImageNotFound, RegistryError)) as caught:
                ask(site.host)
            assert site.host in str(caught.value)
            assert str(caught.value).isprintable()


def test_what_a_registry_says_is_quoted_safely(odd: Odd, client: Client) -> None:
    error = {"code": "\x1b[31mDENIED", "message": "no\r\n" + "x" * 10_000}
    odd.answer = 403, {}, json.dumps({"errors": [error]}).encode()
    with pytest.raises(RegistryError, match="DENIED, no") as caught:
        client.manifest(f"{odd.host}/x")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_a_port_where_nobody_listens(client: Client, store: Layout) -> None:
    with Odd() as gone:
        host = gone.host
    with pytest.raises(Unreachable, match=f"{host}.*Connection refused.*is the port right"):
        client.pull(f"{host}/busybox", store)
    assert store.references() == {}


# Events ---------------------------------------------------------------------------------------------------------------

EXAMPLES = {
    "host": "h", "scope": "s", "account": "", "seconds": 1.5, "method": "GET", "url": "https://h/", "status": 200,
    "signed": "Bearer", "source": "https://h/", "target": "https://c/", "keeps_authorization": False, "reason": "r",
    "size": 610, "attempt": 1,
    "helper": "p", "mirror": "m", "limit": 100, "remaining": 9, "window": 21600, "offset": 3, "total": 9,
    "reference": Reference.parse("busybox"), "digest": LAYER.digest, "media_type": "m", "platform": "linux/amd64",
    "descriptor": LAYER,
}  # fmt: skip
KINDS = [kind for kind in vars(all_events).values()
         if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_event_is_a_frozen_value_in_plain_words(kind: type[Event]) -> None:
    made = [kind(**{field.name: EXAMPLES[field.name] for field in dataclasses.fields(kind)}) for _ in range(2)]
    assert made[0] == made[1]
    assert str(made[0]) == made[0].describe()
    assert len(made[0].describe()) > 10
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made[0], dataclasses.fields(kind)[0].name, "else")


def test_events_come_one_at_a_time() -> None:
    inside = threading.Lock()
    heard: list[Event] = []

    def listen(event: Event) -> None:
        assert inside.acquire(blocking=False), "two at once"
        heard.append(event)
        inside.release()

    emit = Emitter(listen)
    threads = [threading.Thread(target=lambda: [emit(Waiting(0, "", n)) for n in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heard) == 2000


def test_a_second_listener_for_a_while() -> None:
    one: list[Event] = []
    two: list[Event] = []
    emit = Emitter(one.append)
    with emit.heard_by(two.append), emit.heard_by(None):
        emit(Waiting(0, "", 1))
    emit(Waiting(0, "", 2))
    assert (len(one), len(two)) == (2, 1)


# Start-up -------------------------------------------------------------------------------------------------------------


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    program = """
import sys
import labrt.registry.client, labrt.registry.pull
print(sorted({"requests", "urllib3", "rich", "subprocess", "ssl", "labrt.linux.syscalls"} & set(sys.modules)))
import labrt.registry.server
print(sorted({"requests", "urllib3", "rich"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


def test_what_one_types_first_is_there():
    from labrt import registry

    assert registry.Client is Client
    assert registry.RegistryServer.__name__ == "RegistryServer"
    with pytest.raises(AttributeError, match="Client, RegistryServer"):
        _ = registry.Klient
