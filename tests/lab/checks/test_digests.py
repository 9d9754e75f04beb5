"""Notebook 12's check: names(blobs), against skopeo. What passes, and what each mistake is told."""

from __future__ import annotations

import gzip
import hashlib

import pytest

from labrt.lab.checks import digests

pytestmark = pytest.mark.root  # an attempt has namespaces of its own


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def chain(diff_ids, between=" ", onto=None):
    found = [digest(diff_ids[0].encode())] if onto == "nothing" else diff_ids[:1]
    for number, diff_id in enumerate(diff_ids[1:]):
        below = diff_ids[number] if onto == "diff" else found[-1]
        found.append(digest(f"{below}{between}{diff_id}".encode()))
    return found


def names(blobs, **how):
    diff_ids = [digest(gzip.decompress(blob)) for blob in blobs]
    return diff_ids, chain(diff_ids, **how)


def unwritten(blobs):
    raise NotImplementedError


def swapped(blobs):
    diff_ids, chained = names(blobs)
    return diff_ids[::-1], chained


def bare(blobs):
    diff_ids, chained = names(blobs)
    return [each.removeprefix("sha256:") for each in diff_ids], chained


MISTAKES = {
    "unwritten": (unwritten, "before compression"),
    "as sent": (lambda blobs: ([digest(one) for one in blobs], []), "the manifest has those already"),
    "no algorithm": (bare, "algorithm is a part"),
    "top first": (swapped, "another order"),
    "no chain": (lambda blobs: (names(blobs)[0],) * 2, "the diff ids again"),
    "on the diff id": (lambda blobs: names(blobs, onto="diff"), "the third must be made"),
    "hashes the first": (lambda blobs: names(blobs, onto="nothing"), "is the first diff id itself"),
    "line ends": (lambda blobs: names(blobs, between="\n"), "what exactly is hashed"),
    "one list": (lambda blobs: names(blobs)[0], "two lists"),
    "raises": (lambda blobs: gzip.decompress(blobs), "TypeError"),
}


def test_what_names_them_passes(labrt_root):
    check = digests.names_layers(names)
    assert check.passed, check.saw
    assert "as skopeo says" in check.expected or "config says" in check.expected


@pytest.mark.parametrize(("mistake", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_is_told_what_it_is(mistake, hint, labrt_root):
    check = digests.names_layers(mistake)
    assert not check.passed
    assert hint in check.hint(), (check.hint(), check.saw)
    assert len(check.hints) >= 2
