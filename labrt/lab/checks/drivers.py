"""Notebook 11: a storage driver, held to what a driver promises (labrt/storage/driver.py).

    lab.checks.drives(Copies)           the check; in a notebook lab.check("11", Copies)
    lab.checks.drives(Overlay)          labrt's own are judged by the same suite

A kind of driver is given a place of its own and three layers; containers are made, mounted in a mount namespace of
their own, read and written, and removed. Promise by promise; the first that is broken is told.
"""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from labrt import paths
from labrt.errors import LabrtError
from labrt.image import config
from labrt.image.digest import Digest
from labrt.lab import samples
from labrt.lab.checks import attempt, unions
from labrt.lab.checks.verdict import Check, not_yet, passed
from labrt.linux import process
from labrt.storage.driver import Driver

T = TypeVar("T")
LAYERS: tuple[unions.Layer, ...] = (
    {"etc": None, "etc/motd": "old", "gone": "1", "tool": "#!"},
    {"etc": None, "etc/motd": "new", ".wh.gone": ""},
    {"top": "3"},
)
_ARCHIVES = [samples.archive(one) for one in LAYERS]
_DIFF_IDS = [Digest.of(archive) for archive in _ARCHIVES]
CHAIN = config.chain_ids(_DIFF_IDS)
SEEN = {"etc": None, "etc/motd": "new", "tool": "#!", "top": "3"}
_UNWRITTEN = (
    "three methods: how a layer is unpacked onto the ones below, what a container writes to, and how that is mounted",
    "_unpack: first a copy of the layer below, then layer.apply(stream, target, whiteouts=\"delete\")",
    'copy_tree(self.diff(below[-1]), target); and Mount("/", "bind", os.path.join(container, "root"), ("bind",))',
)


class Promise(NamedTuple):
    """One thing that a driver promises: `test` returns what was seen, which must be `expected`."""

    name: str
    test: Callable[[Driver, str], object]
    expected: object
    hints: tuple[str, ...]


def drives(kind: Callable[..., Any]) -> Check:
    """Judge a kind of driver, promise by promise."""
    name = getattr(kind, "__name__", repr(kind))
    kept: list[str] = []
    for promise in PROMISES:
        with _place() as (where, root):
            tried = attempt.run(lambda p=promise, w=where, r=root: p.test(kind(w), r), namespaces="pid,mnt")  # type: ignore[misc]
        expected = f"{promise.name}: {promise.expected!r:.120}"
        if tried.problem:
            return not_yet(name, f"{promise.name}: {tried.problem}", expected, tried.hints(_UNWRITTEN))
        if tried.value != promise.expected:
            return not_yet(name, f"{promise.name}: {tried.value!r:.160}", expected, promise.hints)
        kept.append(promise.name)
    return passed(name, f"{len(kept)} promises kept: {'; '.join(kept)}", "every promise of this suite")


@contextmanager
def _place() -> Iterator[tuple[paths.Paths, str]]:
    """Yield places for a driver, and an empty directory to mount on. Beside labrt's own: that disk suits drivers."""
    ours = paths.default()
    os.makedirs(ours.state, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="check-", dir=ours.state) as place:
        root = os.path.join(place, "root")
        os.mkdir(root)
        yield ours._replace(state=os.path.join(place, "lib")), root


def add(driver: Driver, most: int = 3) -> None:
    """Give a driver the layers, base first."""
    for number, archive in enumerate(_ARCHIVES[:most]):
        driver.add(CHAIN[: number + 1], io.BytesIO(archive), _DIFF_IDS[number])


def within(driver: Driver, container: str, root: str, look: Callable[[], T]) -> T:
    """Run `look` where the container's root is mounted, and nobody else sees that."""

    def child() -> T:
        for mount in driver.mounts(container):
            mount.attach(root)
        return look()

    return process.run_in_child(child, namespaces="mnt")


def _one_tree(driver: Driver, root: str) -> object:
    add(driver)
    driver.prepare("c1", CHAIN)
    return within(driver, "c1", root, lambda: unions.read(root))


def _each_image(driver: Driver, root: str) -> object:
    add(driver)
    driver.prepare("first", CHAIN[:1])
    return within(driver, "first", root, lambda: unions.read(root))


def _writes(driver: Driver, root: str) -> object:
    add(driver)
    for name in ("c1", "c2"):
        driver.prepare(name, CHAIN)
    within(driver, "c1", root, lambda: _write(root))
    return [within(driver, name, root, lambda: unions.read(root).get("etc/motd")) for name in ("c1", "c2")]


def _write(root: str) -> None:
    with open(f"{root}/etc/motd", "w") as file:
        file.write("mine")


def _modes(driver: Driver, root: str) -> object:
    archive = samples.archive({"d": None, "d/x": "1"}, modes={"d": 0o2711, "d/x": 0o4640}, mtime=1_600_000_000)
    other = samples.archive({"y": "2"})
    ids = [Digest.of(archive), Digest.of(other)]
    chain = config.chain_ids(ids)
    driver.add(chain[:1], io.BytesIO(archive), ids[0])
    driver.add(chain, io.BytesIO(other), ids[1])
    driver.prepare("c1", chain)

    def look() -> list[object]:
        found = [os.lstat(f"{root}/{name}") for name in ("d", "d/x")]
        return [*(oct(stat.S_IMODE(one.st_mode)) for one in found), int(found[1].st_mtime)]

    return within(driver, "c1", root, look)


def _none(driver: Driver, root: str) -> object:
    driver.prepare("scratch", [])
    return within(driver, "scratch", root, lambda: unions.read(root))


def _broken(driver: Driver, root: str) -> object:
    add(driver, 1)
    try:
        driver.add(CHAIN[:2], io.BytesIO(_ARCHIVES[1][:700]), _DIFF_IDS[1])
    except LabrtError:
        return len(driver.layers())
    return "a broken layer was taken"


def _removed(driver: Driver, root: str) -> object:
    add(driver)
    driver.prepare("c1", CHAIN)
    driver.remove("c1")
    return driver.containers(), len(driver.layers())


PROMISES = (
    Promise("three layers become one tree", _one_tree, SEEN, (
        "is what the lower layers brought there, and what a whiteout names gone?",
        "a layer is only what changed: it is unpacked onto a copy of the one below",
        _UNWRITTEN[2],
    )),
    Promise("the first layer alone is an image, too", _each_image,
        {"etc": None, "etc/motd": "old", "gone": "1", "tool": "#!"}, (
        "a higher layer has changed the one below it: other images stand on that",
        "copy before you unpack; and a container copies the last of its own chain_ids",
    )),
    Promise("what one container writes, no other sees, and it stays", _writes, ["mine", "new"], (
        "two containers have written into the same place, or nothing has stayed",
        "each container has a directory of its own: make its root in there, and mount that one",
    )),
    Promise("mode and time of each file arrive", _modes, ["0o2711", "0o4640", 1_600_000_000], (
        "a copy must have the mode (set-user-ID too) and the time of the original",
        "labrt.storage.copy.copy_tree keeps them, owners, links and attributes as well; shutil.copytree does not",
    )),
    Promise("an image without layers is an empty root", _none, {}, (
        "FROM scratch: there is no layer to copy, chain_ids is empty",
        "then make an empty directory: os.mkdir",
    )),
    Promise("of a broken layer nothing stays", _broken, 1, (
        "a layer that ends in the middle must raise, and not be there",
        "let layer.apply's error through",
    )),
    Promise("a container goes, its layers stay", _removed, ([], 3), (
        "after remove there is no container, and there are still three layers",
        "keep what is the container's in its own directory: that is what is removed",
    )),
)  # fmt: skip
