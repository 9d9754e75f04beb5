"""lab.wire and lab.faulty: a pull as a message sequence, from a registry on a bad day."""

from __future__ import annotations

import pytest

from labrt.errors import DigestMismatch
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.lab import faulty, samples, wire
from labrt.registry.client import Client
from labrt.registry.events import Exchange, Waiting


@pytest.fixture
def shop(tmp_path):
    layout = Layout(tmp_path)
    image = samples.image(layout, "library/sample:1", [{"a": "1"}, {"b": "2"}])
    with faulty.Registry(layout, tokens=True) as registry:
        yield registry, image


def pull(registry, heard):
    name = f"{registry.host}/library/sample:1"
    with Client(on_event=heard.append, wait=lambda seconds: None) as client:
        manifest = client.manifest(name, platform=Platform.host())
        return [b"".join(client.blob(name, layer)) for layer in manifest.layers]


def test_each_request_is_an_arrow_with_its_status(shop):
    registry, image = shop
    heard = []
    layers = pull(registry, heard)
    assert [len(layer) for layer in layers] == [layer.size for layer in image.manifest.layers]
    exchanges = [event for event in heard if isinstance(event, Exchange)]
    assert [event.status for event in exchanges] == [seen.status for seen in registry.seen]
    statuses = [event.status for event in exchanges]
    assert statuses[0] == 401 and statuses[-1] == 200 and [event.signed for event in exchanges][-1] == "Bearer"
    picture = wire.sequence(heard)
    assert picture.html.count("<polygon") == len(exchanges)
    assert "/v2/library/sample/manifests/1" in picture.text and "Bearer" in picture.text and "401" in picture.html
    assert image.manifest.layers[0].digest.short in picture.text  # digests in short
    assert image.manifest.layers[0].digest.hex not in picture.html


def test_busy_then_served(shop):
    registry, _ = shop
    registry.busy, heard = 2, []
    pull(registry, heard)
    assert [seen.status for seen in registry.seen].count(429) == 2
    assert sum(isinstance(event, Waiting) for event in heard) == 2
    assert "· waiting 1.0 s" in wire.sequence(heard).html


def test_a_lie_is_found(shop):
    registry, image = shop
    registry.lies = {f"/v2/library/sample/blobs/{image.manifest.layers[1].digest}": b"something else"}
    with pytest.raises(DigestMismatch):
        pull(registry, [])


def test_nothing_heard():
    assert wire.sequence([]).html.startswith("<svg")
