"""Whose function is it: the learner's where it passed, else labrt's; and redis as an image."""

from __future__ import annotations

import gzip

import pytest

from labrt import lab
from labrt.engine import embedded
from labrt.errors import DigestMismatch, NotFound
from labrt.image.digest import Digest
from labrt.image.platform import Platform
from labrt.lab import ours, progress, redis
from labrt.lab.checks import digests
from labrt.registry.client import Client

HUB = lab.hub.Hub("127.0.0.1:9", "no network")


def keep(number: str, name: str, source: str) -> None:
    progress.save(progress.Record(number, attempts=1, passed_at=1.0, source=source, function=name))


def test_labrts_stands_in_until_the_learners_has_passed(labrt_root):
    own = lab.own()
    assert own("12") is ours.OURS["12"] and own.yours == []
    keep("12", "names", "def names(blobs):\n    return 'mine'\n")
    assert own("12")([]) == "mine" and own.yours == ["12"]
    assert "1 of 1 functions are yours" in str(own)
    assert own("12", ours_only=True) is ours.OURS["12"] and own.yours == []
    with pytest.raises(NotFound, match="05"):
        own("05")


def test_an_error_says_whose_it_is(labrt_root):
    keep("12", "names", "def names(blobs):\n    return blobs[0]\n")
    with pytest.raises(IndexError) as caught:
        lab.own()("12")([])
    assert "your function of notebook 12" in caught.value.__notes__[0]


@pytest.mark.root
def test_labrts_own_functions_pass_the_checks_of_the_exercises(labrt_root):
    assert digests.names_layers(ours.names).passed


def test_labrts_pull_takes_no_wrong_byte(labrt_root):
    blob = gzip.compress(b"layer")
    def ask(path):
        if "/manifests/" in path:
            return 200, {}, b'{"layers": [{"digest": "%s"}]}' % str(Digest.of(blob)).encode()
        return 200, {}, answer

    answer = blob
    assert ours.pull(ask, "a/b", "latest", "amd64") == [blob]
    answer = blob + b"!"
    with pytest.raises(DigestMismatch, match="these bytes are not"):
        ours.pull(ask, "a/b", "latest", "amd64")


def test_redis_is_made_of_what_is_here_once(labrt_root):
    if not redis.programs():
        assert redis.reference(HUB, Client()) == ""
        pytest.skip(redis.MISSING)
    assert redis.ensure()
    layout = embedded.ensure()
    image = layout.image(redis.REFERENCE, Platform.host())
    assert len(image.manifest.layers) == len(image.config.diff_ids) == 2
    assert redis.ensure() and layout.image(redis.REFERENCE).id == image.id
    assert redis.reference(HUB, Client()) == "127.0.0.1:9/library/redis:latest"


def test_a_registry_without_redis_is_no_end(labrt_root):
    with embedded.serve() as server, Client() as client:
        hub = lab.hub.Hub(server.host)
        name = redis.reference(hub, client)
        assert name == "" and "skipped" in redis.said(hub, name)
