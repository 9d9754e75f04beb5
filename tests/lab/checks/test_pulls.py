"""Notebook 13's check: a pull by hand. What passes, and what each mistake is told."""

from __future__ import annotations

import hashlib
import json
import time

import pytest

from labrt.lab import faulty
from labrt.lab.checks import pulls

pytestmark = pytest.mark.root  # an attempt has namespaces of its own


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """A registry that is busy for a moment only."""
    begin = faulty.Registry.__init__

    def quick(self, *arguments, **options):
        begin(self, *arguments, **options)
        self.retry_after = 0.3

    monkeypatch.setattr(faulty.Registry, "__init__", quick)


def pull(ask, name, tag, architecture, *, wait=1.0, patient=True, first=False, blobs=True, manifests=True, index=True):
    def get(path):
        while True:
            status, headers, body = ask(path)
            if status == 429 and patient:
                time.sleep(wait * float(headers["retry-after"]))
                continue
            if status != 200:
                raise OSError(f"status {status}")
            return body

    def fetch(kind, digest, check):
        body = get(f"/v2/{name}/{kind}/{digest}")
        if check and f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise ValueError(digest)
        return body

    document = json.loads(get(f"/v2/{name}/manifests/{tag}"))
    if index and "manifests" in document:
        fitting = [one for one in document["manifests"] if first or one["platform"]["architecture"] == architecture]
        document = json.loads(fetch("manifests", fitting[0]["digest"], manifests))
    return [fetch("blobs", layer["digest"], blobs) for layer in document["layers"]]


def unwritten(*_):
    raise NotImplementedError


def but(**how):
    return lambda *arguments: pull(*arguments, **how)


MISTAKES = {
    "unwritten": (unwritten, "first the manifest of the tag"),
    "the manifest alone": (lambda ask, name, tag, _: [ask(f"/v2/{name}/manifests/{tag}")[2]], "list of the layers"),
    "text": (lambda *arguments: repr(pull(*arguments)), "list of the layers"),
    "no index": (but(index=False), "of an index"),
    "the first entry": (but(first=True), "the first is no image"),
    "impatient": (but(patient=False), "status 429 says"),
    "too quick": (but(wait=0.0), "asked again at once"),
    "believes layers": (but(blobs=False), "the registry sent a layer with other bytes"),
    "believes manifests": (but(manifests=False), "the manifest that named them"),
    "raises": (lambda *_: {}["layers"], "KeyError"),
}


def test_a_pull_that_trusts_nobody_passes(labrt_root):
    check = pulls.pulls_safely(pull)
    assert check.passed, (check.saw, check.hints)
    assert "waited 2 times" in check.saw and "refused a wrong manifest" in check.saw


@pytest.mark.parametrize(("mistake", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_is_told_what_it_is(mistake, hint, labrt_root):
    check = pulls.pulls_safely(mistake)
    assert not check.passed
    assert hint in check.hint(), (check.hint(), check.saw)
    assert len(check.hints) >= 2
