"""Notebook 10: layers laid on top of each other by hand, compared with what the kernel's overlay shows.

    lab.checks.unites(merge)        the check; in a notebook lab.check("10", merge)

`merge(layers)` is given layers base first, each a dict of path and content (None: a directory), with whiteouts as they
are in an archive. Each case is also made real: the same layers are unpacked by labrt, and mounted; what is read from
there is the right answer.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from labrt.image import layer
from labrt.lab import samples
from labrt.lab.checks import attempt
from labrt.lab.checks.verdict import Check, not_yet, passed
from labrt.linux import mounts, process

Layer = Mapping[str, str | None]
_UNWRITTEN = (
    "go through the layers, base first, and keep a dict of what is seen so far",
    "of each layer, first carry out its whiteouts on what is seen, then add its own files",
    'hide(seen, path) takes a path away; name.startswith(".wh."), and what is hidden is name[4:]',
)


class Case(NamedTuple):
    """Layers that show one rule, and what to say to who breaks it."""

    rule: str
    layers: tuple[Layer, ...]
    hints: tuple[str, ...]


CASES = (
    Case("what is higher wins", (
        {"etc": None, "etc/motd": "old"}, {"etc": None, "etc/motd": "new", "etc/hosts": "a"}
    ), (
        "a file that a higher layer has, too, must be the higher one's",
        "the base layer comes first: later ones overwrite",
    )),
    Case("a whiteout removes", ({"a": "1", "b": "2"}, {".wh.a": ""}), (
        "a layer with the file .wh.a says that a is gone, and .wh.a itself is never seen",
        "hide(seen, …) before this layer's own files are added; and those with .wh. are not added",
    )),
    Case("a directory goes with all in it", ({"d": None, "d/x": "1", "dx": "2"}, {".wh.d": ""}), (
        "when the directory d is gone, so is d/x; dx is somebody else",
        "what is below d begins with 'd/', not only with 'd'",
    )),
    Case("an opaque directory hides what was in it", (
        {"d": None, "d/old": "1"}, {"d": None, "d/new": "2", "d/.wh..wh..opq": ""}
    ), (
        "d/.wh..wh..opq says: of d, nothing of the layers below; d itself stays, and so does this layer's own d/new",
        "carry out all whiteouts of a layer before its first file is added, whatever their order",
        "hide(seen, folder, itself=False)",
    )),
    Case("a file in the place of a directory", ({"d": None, "d/x": "1"}, {"d": "now a file"}), (
        "where d is a file now, nothing can be below it any more: d/x is still seen",
        "before a file (content is not None) is added, hide what has its name",
    )),
    Case("gone, and back again", ({"a": "1"}, {".wh.a": ""}, {"a": "3"}), (
        "a whiteout speaks of the layers below it only: what a higher layer brings is seen",
    )),
    Case("gone and new in one layer", ({"d": None, "d/old": "1"}, {"d": None, "d/new": "2", ".wh.d": ""}), (
        "a whiteout never hides what its own layer brings, in whatever order the two come",
        "two rounds through each layer: whiteouts first, then files",
    )),
)  # fmt: skip


def unites(merge: Callable[[Sequence[Layer]], Mapping[str, str | None]]) -> Check:
    """Judge `merge`: for each case it must say what the kernel's overlay shows."""
    right: list[str] = []
    for case in CASES:
        kernel = process.run_in_child(lambda case=case: by_the_kernel(case.layers), namespaces="mnt")  # type: ignore[misc]
        tried = attempt.run(lambda case=case: _plain(merge([dict(one) for one in case.layers])))  # type: ignore[misc]
        expected = f"{case.rule}: {_say(kernel)}, as the kernel's overlay shows it"
        if tried.problem:
            return not_yet("merge", f"{case.rule}: {tried.problem}", expected, tried.hints(_UNWRITTEN))
        if not isinstance(tried.value, dict):
            hints = ("it gave back no dict", "return seen: {path: content}, and None as the content of a directory")
            return not_yet("merge", f"{case.rule}: {tried.value!r:.80}", expected, hints)
        if tried.value != kernel:
            return not_yet("merge", f"{case.rule}: {_say(tried.value)}", expected, case.hints + _layers(case))
        right.append(case.rule)
    saw = f"the same as the kernel's overlay in {len(right)} cases: {', '.join(right)}"
    return passed("merge", saw, "what the kernel's overlay shows")


def _plain(answer: object) -> object:
    return dict(answer) if isinstance(answer, Mapping) else repr(answer)


def _say(seen: Mapping[str, str | None]) -> str:
    return ", ".join(path + ("/" if content is None else f"={content}") for path, content in sorted(seen.items())) or (
        "nothing"
    )


def _layers(case: Case) -> tuple[str, ...]:
    return ("try it: merge([" + ", ".join(repr(dict(one)) for one in case.layers) + "])",)


def by_the_kernel(layers: Sequence[Layer]) -> dict[str, str | None]:
    """Unpack the layers, mount their union in this process's own mount namespace, and read what is there."""
    with tempfile.TemporaryDirectory(prefix="labrt-") as place:
        lowers: list[str] = []
        for number, one in enumerate(layers):
            directory = os.path.join(place, f"layer-{number}")
            os.mkdir(directory)
            layer.apply(io.BytesIO(samples.archive(one)), directory, whiteouts="overlay", lowers=lowers)
            lowers.insert(0, directory)
        with mounts.overlay(lowers) as root:
            return read(root)


def read(root: str) -> dict[str, str | None]:
    """Read a small tree as such a dict."""
    seen: dict[str, str | None] = {}
    for place, folders, names in os.walk(root):
        for name in folders:
            seen[os.path.relpath(os.path.join(place, name), root)] = None
        for name in names:
            path = os.path.join(place, name)
            with open(path) as file:
                seen[os.path.relpath(path, root)] = file.read()
    return seen
