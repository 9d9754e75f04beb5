"""Notebook 13: a pull by hand, from a registry that has several platforms, is busy, and lies.

    lab.checks.pulls_safely(pull)       the check; in a notebook lab.check("13", pull)

`pull(ask, name, tag, architecture)` returns an image's layers as bytes. `ask(path)` makes one request and returns
(status, headers, body). What is looked at is what came back, and what the registry saw on the wire.
"""

from __future__ import annotations

import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import NamedTuple

from labrt.image.descriptor import Descriptor
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.lab import faulty, samples
from labrt.lab.checks import attempt
from labrt.lab.checks.attempt import Attempt
from labrt.lab.checks.verdict import Check, not_yet, passed

Ask = Callable[[str], tuple[int, Mapping[str, str], bytes]]
Pull = Callable[[Ask, str, str, str], object]
NAME = "library/sample"
EXPECTED = "the right layers of the right platform, after waiting, and no byte that is not right"
_FILES = {"amd64": {"bin/app": "for amd64\n"}, "arm64": {"bin/app": "for arm64\n"}}
_UNWRITTEN = (
    "first the manifest of the tag; if it is an index, the manifest that it names for the architecture; then layers",
    'ask(f"/v2/{name}/manifests/{tag}"), and ask(f"/v2/{name}/blobs/{digest}") for each layer',
    "three things on the way: status 429 waits and asks again; a digest that is not right raises; else go on",
)
_RAISE = 'if "sha256:" + hashlib.sha256(body).hexdigest() != digest: raise ValueError(…)'


class Shop(NamedTuple):
    """A registry with one image, and what is in it."""

    registry: faulty.Registry
    manifests: dict[str, Descriptor]
    layers: dict[str, list[bytes]]
    blobs: dict[str, list[str]]


def pulls_safely(pull: Pull) -> Check:
    """Judge `pull` at a registry that is honest, has several platforms, is busy, and at last lies."""
    with tempfile.TemporaryDirectory(prefix="labrt-") as place:
        layout = Layout(os.path.join(place, "layout"))
        with faulty.Registry(layout) as registry:
            shop = _stock(registry)
            saw: list[str] = []
            for judge in (_honest, _platform, _busy, _lying_layer, _lying_manifest):
                word, hints = judge(pull, shop)
                if hints:
                    return not_yet("pull", word, EXPECTED, hints)
                saw.append(word)
    return passed("pull", "; ".join(saw), EXPECTED)


def _stock(registry: faulty.Registry) -> Shop:
    """Put an image for one platform, tagged `one`, and one for two, tagged `both`, on the shelf."""
    layout, manifests, layers, blobs = registry.layout, {}, {}, {}
    for architecture, files in _FILES.items():
        platform = Platform("linux", architecture)
        with layout.lease():
            manifests[architecture] = samples.manifest(layout, [{"etc/motd": "hello\n"}, files], platform=platform)
            samples.index(layout, f"docker.io/{NAME}:{architecture}", [manifests[architecture]])
        image = layout.image(f"docker.io/{NAME}:{architecture}", platform)
        layers[architecture] = [layout.read(layer.digest) for layer in image.manifest.layers]
        blobs[architecture] = [str(layer.digest) for layer in image.manifest.layers]
    nobody = samples.manifest(layout, [{"note": "no image\n"}], platform=Platform("unknown", "unknown"))
    samples.index(layout, f"docker.io/{NAME}:both", [nobody, *manifests.values()])
    layout.tag(Reference.parse(f"docker.io/{NAME}:one"), manifests["amd64"])
    return Shop(registry, manifests, layers, blobs)


def asker(url: str) -> Ask:
    """Return `ask` for a registry: one GET, whatever the status."""

    def ask(path: str) -> tuple[int, Mapping[str, str], bytes]:
        kinds = ["application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"]
        request = urllib.request.Request(url + path, headers={"Accept": ", ".join(kinds)})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=10) as answer:
                return answer.status, _lower(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _lower(error.headers), error.read()

    return ask


def _lower(headers: object) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}  # type: ignore[attr-defined]


def _try(pull: Pull, shop: Shop, tag: str, architecture: str) -> Attempt:
    shop.registry.seen.clear()
    ask = asker(shop.registry.url)
    return attempt.run(lambda: _bytes(pull(ask, NAME, tag, architecture)))


def _bytes(answer: object) -> object:
    return [bytes(one) for one in answer] if isinstance(answer, list | tuple) else repr(answer)


Judged = tuple[str, tuple[str, ...]]


def _honest(pull: Pull, shop: Shop) -> Judged:
    tried = _try(pull, shop, "one", "amd64")
    if tried.problem:
        return tried.problem, tried.hints(_UNWRITTEN)
    if tried.value != shop.layers["amd64"]:
        saw = "other things than the layers" if isinstance(tried.value, list) else str(tried.value)
        return saw, ("return a list of the layers' bytes, base first, as they were sent", _UNWRITTEN[1])
    return f"{len(tried.value)} layers", ()


def _platform(pull: Pull, shop: Shop) -> Judged:
    found = []
    for architecture in _FILES:
        tried = _try(pull, shop, "both", architecture)
        if tried.problem:
            hints = (
                f"of an index, for {architecture}: {tried.problem}",
                'an index has "manifests" in the place of "layers": each entry has a digest and a platform',
                'entry["platform"]["architecture"] == architecture',
            )
            return f"an index, for {architecture}: {tried.problem}", hints
        found.append(tried.value == shop.layers[architecture])
    if not all(found):
        return "layers of another platform", (
            "the index has three entries, and the first is no image: which one did you take?",
            'take the entry whose entry["platform"]["architecture"] is the one that was asked for',
        )
    return "of each platform its own", ()


def _busy(pull: Pull, shop: Shop) -> Judged:
    shop.registry.busy = 2
    tried = _try(pull, shop, "one", "amd64")
    shop.registry.busy = 0
    refused = [number for number, seen in enumerate(shop.registry.seen) if seen.status == 429]
    if tried.problem or tried.value != shop.layers["amd64"]:
        return f"at a busy registry: {tried.problem or 'other layers'}", (
            "status 429 says: too many requests, come back later. That is no failure, and no content",
            'headers["retry-after"] says after how many seconds',
            'while status == 429: time.sleep(float(headers["retry-after"])), and ask again',
        )
    seen = shop.registry.seen
    waits = [seen[number + 1].at - seen[number].at for number in refused if number + 1 < len(seen)]
    if any(wait < 0.9 * shop.registry.retry_after for wait in waits):
        return f"asked again after {min(waits):.2f} s, where Retry-After was {shop.registry.retry_after}", (
            "a registry that is asked again at once stays busy, and may lock you out",
            'time.sleep(float(headers["retry-after"]))',
        )
    return f"waited {len(waits)} times for a busy registry", ()


def _believes(pull: Pull, shop: Shop, tag: str, lies: dict[str, bytes]) -> bool:
    """Whether the pull takes what a registry that lies has sent."""
    shop.registry.lies = lies
    tried = _try(pull, shop, tag, "amd64")
    shop.registry.lies = {}
    return not tried.problem


def _lying_layer(pull: Pull, shop: Shop) -> Judged:
    path = f"/v2/{NAME}/blobs/{shop.blobs['amd64'][1]}"
    if _believes(pull, shop, "one", {path: shop.layers["arm64"][1]}):
        return "it took a layer that is another one", (
            "the registry sent a layer with other bytes than the digest names, and it was taken",
            "hash each body, and compare with the digest that you asked for",
            _RAISE,
        )
    return "refused a wrong layer", ()


def _lying_manifest(pull: Pull, shop: Shop) -> Judged:
    honest, other = (shop.manifests[name].digest for name in ("amd64", "arm64"))
    path = f"/v2/{NAME}/manifests/{honest}"
    if _believes(pull, shop, "both", {path: shop.registry.layout.read(other)}):
        return "it took a manifest that is another one", (
            "the layers were checked. But the manifest that named them was another one than the index names",
            "a chain of digests holds only if each of its links is checked: index, manifest, layers",
            _RAISE,
        )
    return "refused a wrong manifest", ()
