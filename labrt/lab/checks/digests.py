"""Notebook 12: from an image's layers, as they are sent, to their diff ids and chain ids.

    lab.checks.names_layers(names)      the check; in a notebook lab.check("12", names)

`names(blobs)` is given the compressed layers, base first, and returns two lists of digests as text. An image is made
for the purpose; where skopeo is installed, it is asked what the diff ids are, else the image's config is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence

from labrt.image import config
from labrt.image.digest import Digest
from labrt.image.image import Image
from labrt.image.layout import Layout
from labrt.lab import samples
from labrt.lab.checks import attempt
from labrt.lab.checks.verdict import Check, judged, not_yet

LAYERS = ({"etc/motd": "hello\n"}, {"app": "version 1\n" * 50}, {"data": "x" * 4000})
_UNWRITTEN = (
    "a diff id is the SHA-256 of the layer as it is before compression",
    'gzip.decompress(blob), then "sha256:" + hashlib.sha256(…).hexdigest()',
    'the first chain id is the first diff id; each next one is the digest of f"{chain id below} {diff id}"',
)


def names_layers(names: Callable[[list[bytes]], object]) -> Check:
    """Judge `names`: what it makes of three layers, against what others say of the same image."""
    with tempfile.TemporaryDirectory(prefix="labrt-") as place:
        layout = Layout(os.path.join(place, "layout"))
        image = samples.image(layout, "docker.io/library/sample:1", LAYERS)
        blobs = [layout.read(layer.digest) for layer in image.manifest.layers]
        diff_ids, witness = _diff_ids(layout, image)
    chain = [str(each) for each in config.chain_ids(map(Digest.parse, diff_ids))]
    tried = attempt.run(lambda: _plain(names(list(blobs))), namespaces="pid,mnt")
    expected = f"diff ids {_short(diff_ids)}, as {witness} says; chain ids {_short(chain)}"
    if tried.problem:
        return not_yet("names", tried.problem, expected, tried.hints(_UNWRITTEN))
    return judged("names", _say(tried.value), expected, _hints(tried.value, blobs, diff_ids, chain))


def _diff_ids(layout: Layout, image: Image) -> tuple[list[str], str]:
    """Ask for the diff ids; returns them, and who has said so."""
    if shutil.which("skopeo"):
        command = ["skopeo", "inspect", "--config", f"oci:{layout.path}:{image.reference}"]
        done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            return list(json.loads(done.stdout)["rootfs"]["diff_ids"]), "skopeo"
    return [str(each) for each in image.config.diff_ids], "the image's config"


def _plain(answer: object) -> object:
    if isinstance(answer, Sequence) and len(answer) == 2 and all(isinstance(one, Sequence) for one in answer):
        return [[str(each) for each in one] for one in answer]
    return repr(answer)


def _short(digests: Sequence[str]) -> str:
    return " ".join(each.replace("sha256:", "")[:6] + "…" for each in digests)


def _say(answer: object) -> str:
    if not isinstance(answer, list):
        return f"{answer!s:.100}"
    return f"diff ids {_short(answer[0])}; chain ids {_short(answer[1])}"


def _hints(answer: object, blobs: list[bytes], diff_ids: list[str], chain: list[str]) -> tuple[str, ...]:
    if not isinstance(answer, list):
        return (
            "it should return two lists: diff_ids, chain_ids",
            "two values with a comma between them are a tuple, and that is what is looked for",
            "return diff_ids, chain_ids",
        )
    found, found_chain = answer
    if found != diff_ids:
        return _hints_for_diff_ids(found, blobs, diff_ids)
    if found_chain != chain:
        return _hints_for_chain(found_chain, diff_ids, chain)
    return ()


def _hints_for_diff_ids(found: list[str], blobs: list[bytes], diff_ids: list[str]) -> tuple[str, ...]:
    if found == [f"sha256:{hashlib.sha256(blob).hexdigest()}" for blob in blobs]:
        return (
            "these are the layers' digests as they are sent: the manifest has those already",
            "a diff id is of the layer before compression",
            "gzip.decompress(blob)",
        )
    if found == [each.removeprefix("sha256:") for each in diff_ids]:
        return (
            "the algorithm is a part of a digest",
            "who reads it later knows only from the digest itself how to compare",
            'it is written "sha256:" + the 64 digits',
        )
    if sorted(found) == sorted(diff_ids):
        return (
            "the right ones, in another order",
            "layers are laid upon each other: the order is a part of the image",
            "base first, as they were given: for blob in blobs",
        )
    return ("the diff ids are others", *_UNWRITTEN[:2])


def _hints_for_chain(found: list[str], diff_ids: list[str], chain: list[str]) -> tuple[str, ...]:
    rule = 'chain.append(digest(f"{chain[-1]} {diff_id}"))'
    if found == diff_ids:
        return ("these are the diff ids again: they say nothing of what lies below", _UNWRITTEN[2], rule)
    if found[:1] != chain[:1]:
        return (
            "the first chain id is the first diff id itself: below it is nothing",
            "only from the second on is there a chain id to hash a diff id with",
            _UNWRITTEN[2],
        )
    if found[:2] == chain[:2]:
        return (
            "the first two are right; the third must be made of the *chain id* below, not of the diff id",
            "for the second layer these two are the same, from the third on they are not",
            rule,
        )
    return (
        "the second is wrong already: what exactly is hashed?",
        "two digests as text, both with their sha256:, and one blank between them; no line end",
        rule,
    )
