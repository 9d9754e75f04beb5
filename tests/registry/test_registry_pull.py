"""Pulls from the replica of Docker Hub: on a good day, and on every bad one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hub import Cdn, Hub
from samples import AMD64, ARM64, TAG, made_up, platform

from labrt.errors import (
    DigestMismatch,
    ImageNotFound,
    InvalidManifest,
    LabrtError,
    RateLimited,
    RegistryError,
    Unauthorized,
    Unreachable,
)
from labrt.image.descriptor import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.manifest import Index, parse
from labrt.image.reference import Reference
from labrt.registry.client import Client
from labrt.registry.distribution import Request
from labrt.registry.events import (
    Event,
    Exchange,
    Exists,
    LayerDone,
    LayerProgress,
    MirrorFailed,
    Pulled,
    RateLimit,
    Redirected,
    Resolved,
    Resolving,
    Resuming,
)
from labrt.registry.server import RegistryServer

LAYER = Digest.parse("sha256:b05093807bb0294152bb9cf86d64da722732dddaf7f8882fa1f120477dbc4db3")
CONFIG = Digest.parse("sha256:c6348fa86ba0fb2108c9334f5fe913ddc6d853313e655891f133a0127c30099f")
SIZE = 2226327


def name(hub: Hub, tag: str = TAG) -> str:
    return f"{hub.host}/library/busybox:{tag}"


def pull(client: Client, hub: Hub, store: Layout, **how: object):
    return client.pull(name(hub), store, platform=platform("amd64"), **how)


def of(kind: type, events: list[Event]) -> list:
    return [event for event in events if isinstance(event, kind)]


def ranges(hub: Hub) -> list[str]:
    return [seen.headers["range"] for seen in hub.cdn.seen if "range" in seen.headers]


def partials(store: Layout) -> dict[str, int]:
    folder = Path(store.path) / "ingest"
    return {path.name: path.stat().st_size for path in folder.iterdir()} if folder.is_dir() else {}


def nothing_half_made(store: Layout) -> None:
    """No name, and every blob that is there is what it is called."""
    assert store.references() == {}
    for digest in store.blobs():
        assert Digest.of(Path(store.blob_path(digest)).read_bytes()) == digest


# Good days ------------------------------------------------------------------------------------------------------------


def test_a_pull_from_the_first_byte_to_the_name(hub: Hub, client: Client, store: Layout, events: list[Event]) -> None:
    image = pull(client, hub, store)
    assert str(image.manifest.digest) == AMD64
    index = store.resolve(name(hub))
    assert index.media_type == OCI_INDEX
    assert set(store.blobs()) == {index.digest, Digest.parse(AMD64), CONFIG, LAYER}
    assert partials(store) == {}
    kinds = [type(event) for event in events if not isinstance(event, (Exchange, LayerProgress))]
    assert kinds[0] is Resolving
    assert kinds[-1] is Pulled
    assert [event.digest for event in of(Resolved, events)] == [index.digest, Digest.parse(AMD64)]
    assert [event.descriptor.digest for event in of(LayerDone, events)] == [CONFIG, LAYER]
    offsets = [event.offset for event in of(LayerProgress, events) if event.descriptor.digest == LAYER]
    assert offsets == sorted(offsets)
    assert offsets[-1] == SIZE
    assert [event.remaining for event in of(RateLimit, events)] == [99, 98]
    assert len(hub.tokens.seen) == 1, "one token serves the whole pull"


def test_authorization_stays_with_the_registry(hub: Hub, client: Client, store: Layout, events: list[Event]) -> None:
    pull(client, hub, store)
    assert len(hub.cdn.seen) == 2
    assert not any("authorization" in seen.headers for seen in hub.cdn.seen)
    assert [event.keeps_authorization for event in of(Redirected, events)] == [False, False]


def test_nothing_is_fetched_twice(hub: Hub, client: Client, store: Layout, events: list[Event]) -> None:
    first = pull(client, hub, store)
    blobs, pulls = len(hub.cdn.seen), hub.front.remaining
    events.clear()
    assert pull(client, hub, store) == first
    assert len(hub.cdn.seen) == blobs
    assert hub.front.remaining == pulls, "a HEAD says that the name has not moved, and is not counted"
    assert [event.descriptor.digest for event in of(Exists, events)] == [CONFIG, LAYER]


def test_a_digest_that_is_here_asks_nobody(hub: Hub, client: Client, store: Layout) -> None:
    pull(client, hub, store)
    asked = len(hub.front.seen)
    by_digest = f"{hub.host}/library/busybox@{store.resolve(name(hub)).digest}"
    assert client.pull(by_digest, store, platform=platform("amd64")).manifest.digest == Digest.parse(AMD64)
    assert len(hub.front.seen) == asked


def test_a_second_platform_shares_the_index(hub: Hub, client: Client, store: Layout) -> None:
    pull(client, hub, store)
    image = client.pull(name(hub), store, platform=platform("arm64"))
    assert str(image.manifest.digest) == ARM64
    assert str(store.image(name(hub), platform("amd64")).manifest.digest) == AMD64


def test_a_tag_beside_a_digest_says_nothing(hub: Hub, client: Client, store: Layout) -> None:
    client.pull(f"{hub.host}/library/busybox:{TAG}@{AMD64}", store, platform=platform("amd64"))
    assert list(store.references()) == [f"{hub.host}/library/busybox@{AMD64}"]


def test_a_name_that_moves(client: Client, store: Layout, busybox: Layout, tmp_path: Path) -> None:
    served = Layout(tmp_path / "served")
    for digest in busybox.blobs():
        served.put(Path(busybox.blob_path(digest)).read_bytes())
    index = parse(busybox.read(busybox.resolve(f"busybox:{TAG}").digest))
    assert isinstance(index, Index)
    with RegistryServer(served) as server:
        reference = f"{server.host}/library/busybox:{TAG}"
        for architecture, entry in zip(("amd64", "arm64"), index.manifests, strict=True):
            served.tag(Reference("docker.io", "library/busybox", TAG), entry)
            assert client.pull(reference, store, platform=platform(architecture)).manifest.digest == entry.digest
            assert store.resolve(reference).digest == entry.digest


def test_a_mirror_is_asked_first(hub: Hub, busybox: Layout, store: Layout) -> None:
    with RegistryServer(busybox) as mirror, Client(mirrors={hub.host: mirror.url}) as client:
        pull(client, hub, store)
    assert hub.front.seen == []
    assert list(store.references()) == [name(hub)]


def test_a_mirror_that_fails_is_passed_over(hub: Hub, store: Layout, tmp_path: Path, events: list[Event]) -> None:
    with (
        RegistryServer(Layout(tmp_path / "empty")) as mirror,
        Client(mirrors={hub.host: mirror.url}, on_event=events.append) as client,
    ):
        image = pull(client, hub, store)
    assert str(image.manifest.digest) == AMD64
    assert {event.mirror for event in of(MirrorFailed, events)} == {mirror.url}


# Bad days: waiting helps ----------------------------------------------------------------------------------------------


def test_a_registry_that_stumbles(hub: Hub, client: Client, store: Layout, waits: Callable) -> None:
    hub.refuse_with(500, times=2)
    hub.refuse_with(503)
    pull(client, hub, store)
    assert len(waits()) == 3
    for low, wait in zip((0.25, 0.5, 1), waits(), strict=True):
        assert low <= wait <= 2 * low, "doubling, and random between half and all of it"


def test_retry_after_is_obeyed(hub: Hub, client: Client, store: Layout, waits: Callable) -> None:
    hub.refuse_with(429, retry_after="7")
    pull(client, hub, store)
    assert waits() == [7.0]


def test_a_connection_cut_in_a_layer_goes_on(
    hub: Hub, client: Client, store: Layout, events: list[Event], busybox: Layout
) -> None:
    hub.cdn.cut_after.extend([10**9, 1_000_000, 500_000])  # the config whole, the layer twice cut
    pull(client, hub, store)
    offsets = [event.offset for event in of(Resuming, events)]
    assert offsets == [1_000_000, 1_500_000]
    assert ranges(hub) == [f"bytes={offset}-" for offset in offsets]
    assert Path(store.blob_path(LAYER)).read_bytes() == Path(busybox.blob_path(LAYER)).read_bytes()


def test_a_cdn_without_range_sends_all_again(hub: Hub, client: Client, store: Layout) -> None:
    hub.cdn.ranges = False
    hub.cdn.cut_after.extend([10**9, 1_000_000])
    pull(client, hub, store)
    assert ranges(hub) == ["bytes=1000000-"]
    assert store.image(name(hub), platform("amd64")).manifest.layers[0].digest == LAYER


def test_a_layer_begun_by_an_earlier_pull(hub: Hub, client: Client, store: Layout, busybox: Layout) -> None:
    with store.lease():  # makes its directories
        pass
    begun = Path(busybox.blob_path(LAYER)).read_bytes()[:1234567]
    (Path(store.path) / "ingest" / f"sha256-{LAYER.hex}").write_bytes(begun)
    pull(client, hub, store)
    assert ranges(hub) == ["bytes=1234567-"]


@pytest.mark.parametrize("length", [1000, SIZE, SIZE + 5])
def test_a_layer_begun_wrongly_is_fetched_anew(hub: Hub, client: Client, store: Layout, length: int) -> None:
    with store.lease():  # makes its directories
        pass
    (Path(store.path) / "ingest" / f"sha256-{LAYER.hex}").write_bytes(b"?" * length)
    pull(client, hub, store)
    assert partials(store) == {}
    assert store.has(LAYER)


def test_a_token_that_expires_on_the_way(hub: Hub, client: Client, store: Layout) -> None:
    granted = hub.tokens.granted

    def forget(event: Event) -> None:
        if isinstance(event, LayerDone) and event.descriptor.digest == CONFIG:
            granted.update({token: (scopes, 0.0) for token, (scopes, _) in granted.items()})

    pull(client, hub, store, on_event=forget)
    assert len(hub.tokens.seen) == 2


# Bad days: one clear error --------------------------------------------------------------------------------------------


def test_too_many_pulls(hub: Hub, client: Client, store: Layout, waits: Callable) -> None:
    hub.refuse_with(429, times=99, retry_after="3")
    with pytest.raises(RateLimited, match=r"429; it asks to wait 3 s .*labrt login") as caught:
        pull(client, hub, store)
    assert hub.host in str(caught.value)
    assert waits() == [3.0] * 4
    nothing_half_made(store)


def test_a_wait_of_hours_is_not_waited(hub: Hub, client: Client, store: Layout, waits: Callable) -> None:
    hub.refuse_with(429, retry_after="21600")
    with pytest.raises(RateLimited, match="it asks to wait 21600 s"):
        pull(client, hub, store)
    assert waits() == []


def test_a_registry_that_stays_down(hub: Hub, client: Client, store: Layout, waits: Callable) -> None:
    hub.refuse_with(502, times=99)
    with pytest.raises(RegistryError, match="status 502.*try again later"):
        pull(client, hub, store)
    assert len(waits()) == 4


def test_a_layer_with_a_wrong_byte(hub: Hub, client: Client, store: Layout, busybox: Layout) -> None:
    store.put(Path(busybox.blob_path(CONFIG)).read_bytes())
    hub.cdn.corrupt = True
    with pytest.raises(DigestMismatch, match="the bytes have digest (?!b050)"):
        pull(client, hub, store)
    nothing_half_made(store)
    assert not store.has(LAYER)
    assert partials(store) == {}, "what is known to be wrong is not kept"


def test_a_layer_that_is_too_short(hub: Hub, client: Client, store: Layout) -> None:
    hub.cdn.short = True
    with pytest.raises(DigestMismatch, match="the manifest says 459 bytes, the registry has 458"):
        pull(client, hub, store)
    nothing_half_made(store)
    assert store.blobs() == []


def test_a_connection_that_always_breaks(hub: Hub, client: Client, store: Layout, waits: Callable) -> None:
    hub.cdn.cut_after.extend([10**9, 1000, *[0] * 50])
    with pytest.raises(Unreachable, match=f"at byte 1000 of {SIZE} .*it goes on from there"):
        pull(client, hub, store)
    nothing_half_made(store)
    assert partials(store) == {f"sha256-{LAYER.hex}": 1000}
    hub.cdn.cut_after.clear()
    pull(client, hub, store)
    assert ranges(hub)[-1] == "bytes=1000-"


@pytest.mark.parametrize(
    ("tag", "error", "words"),
    [
        ("library/busybox:nothing", ImageNotFound, "has no .*library/busybox:nothing: MANIFEST_UNKNOWN"),
        ("library/secret:latest", Unauthorized, "denies .*library/secret:latest.*if it is private, sign in"),
        (f"library/busybox@sha256:{'0' * 64}", ImageNotFound, "MANIFEST_UNKNOWN"),
    ],
)
def test_an_image_that_one_does_not_get(
    hub: Hub, client: Client, store: Layout, tag: str, error: type[LabrtError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        client.pull(f"{hub.host}/{tag}", store)
    assert hub.host in str(caught.value)
    nothing_half_made(store)


def test_a_platform_that_is_not_there(hub: Hub, client: Client, store: Layout) -> None:
    with pytest.raises(ImageNotFound, match="no image for linux/s390x here; there is linux/amd64, linux/arm64/v8"):
        client.pull(name(hub), store, platform=platform("s390x"))
    with pytest.raises(ImageNotFound, match="is there for linux/arm64/v8 only, not for linux/amd64"):
        client.pull(f"{hub.host}/library/busybox@{ARM64}", store, platform=platform("amd64"))
    nothing_half_made(store)


def test_a_manifest_that_is_not_the_one_asked_for(hub: Hub, client: Client, store: Layout, busybox: Layout) -> None:
    hub.front.manifest = busybox.read(Digest.parse(ARM64)), OCI_MANIFEST
    with pytest.raises(DigestMismatch, match=f"named {AMD64} but has digest {ARM64}"):
        client.pull(f"{hub.host}/library/busybox@{AMD64}", store)
    nothing_half_made(store)


def descriptor(digest: str = f"sha256:{'1' * 64}", size: int = 5, media_type: str = OCI_LAYER_GZIP) -> dict:
    return {"mediaType": media_type, "digest": digest, "size": size}


def manifest(**changes: object) -> bytes:
    whole = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(media_type=OCI_CONFIG), "layers": []}
    return json.dumps({**whole, **changes}).encode()


HELM = descriptor(media_type="application/vnd.cncf.helm.config.v1+json")
SELF = {"schemaVersion": 2, "manifests": [descriptor(AMD64, 610, OCI_INDEX)]}
HOSTILE = {
    "no JSON": (b"<html>", "is no JSON"),
    "deep": (b"[" * 100_000, "nested too deep|is no JSON"),
    "a list": (b"[]", "must be a JSON object"),
    "layers are a number": (manifest(layers=3), "layers must be a list"),
    "a digest that climbs": (manifest(config=descriptor("../../etc/passwd")), "is no digest"),
    "a size below nothing": (manifest(layers=[descriptor(size=-1)]), "size is -1"),
    "a config of a terabyte": (manifest(config=descriptor(size=1 << 40, media_type=OCI_CONFIG)), "said to have"),
    "no image": (manifest(config=HELM), "no image that could run"),
    "schema 1": (b'{"schemaVersion": 1, "fsLayers": []}', "schema 1"),
    "two things at once": (manifest(manifests=[]), "at once"),
    "an index of itself": (json.dumps(SELF).encode(), "named"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_manifest(hub: Hub, client: Client, store: Layout, case: str) -> None:
    raw, words = HOSTILE[case]
    hub.front.manifest = raw, OCI_MANIFEST if b"manifests" not in raw or b"layers" in raw else OCI_INDEX
    with pytest.raises((InvalidManifest, DigestMismatch), match=words):
        # Docker-Content-Digest is that of the true manifest no more: the replica sends what it was told.
        pull(client, hub, store)
    nothing_half_made(store)
    assert store.blobs() == []


def test_a_manifest_without_end(hub: Hub, client: Client, store: Layout) -> None:
    hub.front.manifest = b" " * (5 << 20), OCI_MANIFEST
    with pytest.raises(RegistryError, match="longer than 4194304 bytes"):
        pull(client, hub, store)


def test_a_listener_that_fails_ends_the_pull(hub: Hub, client: Client, store: Layout) -> None:
    def full(event: Event) -> None:
        if isinstance(event, LayerProgress) and event.descriptor.digest == LAYER:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        pull(client, hub, store, on_event=full)
    nothing_half_made(store)
    assert threading.active_count() < 50
    pull(client, hub, store)  # and the client is good for the next


def test_layers_that_do_not_fit_the_config(client: Client, store: Layout, tmp_path: Path) -> None:
    served = Layout(tmp_path / "served")
    made_up(served, [b"one", b"two"], diff_ids=3)
    with Hub(served) as hub, pytest.raises(InvalidManifest, match="2 layers, but 3 diff ids"):
        client.pull(name(hub, "made-up"), store, platform=platform("amd64"))
    nothing_half_made(store)
    assert len(store.blobs()) == 1, "the config, and no layer"


def test_one_failing_layer_ends_the_others(client: Client, store: Layout, tmp_path: Path) -> None:
    """One layer is not there; the other one stalls, and would do so for as long as the read timeout lets it."""
    served = Layout(tmp_path / "served")
    stalls, lacks = made_up(served, [b"x" * 10_000, b"not there"])
    os.unlink(served.blob_path(lacks.digest))
    with Hub(served) as hub:

        def before(request: Request) -> None:
            if str(lacks.digest) in request.path:
                assert hub.cdn.stalling.wait(30)
            elif str(stalls.digest) in request.path:
                hub.cdn.stalled = threading.Event()

        hub.front.before = before
        with pytest.raises(ImageNotFound, match=f"no blob {lacks.digest}"):
            client.pull(name(hub, "made-up"), store, platform=platform("amd64"))
        assert [thread for thread in threading.enumerate() if thread.name.startswith("labrt-pull")] == []
    nothing_half_made(store)


def test_a_layer_that_is_there_twice_is_fetched_once(client: Client, store: Layout, tmp_path: Path) -> None:
    served = Layout(tmp_path / "served")
    layers = made_up(served, [b"same", b"other", b"same", b"same"])
    events: list[Event] = []
    with Hub(served) as hub:
        image = client.pull(name(hub, "made-up"), store, platform=platform("amd64"), on_event=events.append)
        assert len(hub.cdn.seen) == 3
    assert list(image.manifest.layers) == layers
    assert {event.descriptor.digest for event in of(LayerDone, events)} >= {layer.digest for layer in layers}
    assert len(of(LayerDone, events)) == 3
    assert of(Exists, events) == []


# Killed ---------------------------------------------------------------------------------------------------------------

PROGRAM = """
    import sys
    from labrt.image.layout import Layout
    from labrt.image.platform import Platform
    from labrt.registry.client import Client
    from labrt.registry.events import LayerProgress
    def tell(event):
        if isinstance(event, LayerProgress) and event.total > 1000:
            print(event.offset, flush=True)
    try:
        with Client() as client:
            client.pull(sys.argv[1], Layout(sys.argv[2]), platform=Platform.parse("linux/amd64"), on_event=tell)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def start_and_stall(hub: Hub, store: Layout) -> subprocess.Popen[str]:
    """A pull in a process of its own, which has half a layer and waits for the rest in vain."""
    hub.cdn.stalled = threading.Event()
    store.put(Path(hub.front.layout.blob_path(CONFIG)).read_bytes())
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), name(hub), store.path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while not hub.cdn.stalling.wait(0.1):
        assert process.poll() is None, f"the pull did not come to the layer: {process.communicate()[1]}"
    for line in process.stdout:
        if int(line) > SIZE // 2 - (256 << 10):  # all that came, but for what is still on its way
            break
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_pull_that_is_killed_goes_on(hub: Hub, client: Client, store: Layout, number: int, status: int) -> None:
    process = start_and_stall(hub, store)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=30)  # the read timeout is 60 s: it must not be what ends it
    assert (process.returncode, errors) == (status, "")
    nothing_half_made(store)
    (begun,) = partials(store).values()
    assert 0 < begun < SIZE
    assert hub.cdn.stalled is not None
    hub.cdn.stalled.set()
    hub.cdn.stalled = None
    pull(client, hub, store)
    assert ranges(hub) == [f"bytes={begun}-"]
    assert partials(store) == {}


def test_two_pulls_of_one_image_at_once(hub: Hub, store: Layout) -> None:
    errors: list[BaseException] = []

    def one() -> None:
        try:
            with Client() as client:
                pull(client, hub, store)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    blobs = [seen.path for seen in hub.cdn.seen]
    assert len(blobs) == len(set(blobs)) == 2, "whoever comes second waits, and finds it there"


# Secrets --------------------------------------------------------------------------------------------------------------


def test_no_event_shows_a_secret(hub: Hub, client: Client, store: Layout, events: list[Event]) -> None:
    hub.cdn.cut_after.extend([10**9, 1000])
    pull(client, hub, store)
    shown = "".join(f"{event!r} {event} {event.describe()}" for event in events) + repr(client) + repr(client.transport)
    assert Cdn.SIGNATURE in hub.secrets
    assert len(hub.secrets) == 2
    assert not any(secret in shown for secret in hub.secrets)
