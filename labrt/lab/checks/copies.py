"""Notebook 20: one instruction, COPY: the key under which it is remembered, and the layer that comes of it.

    lab.checks.caches(copy)     the check; in a notebook lab.check("20", copy)

`copy(below, source, target)` is given the chain id of what it stands on, a directory with plain files, and a place in
the image. It returns a key and a layer, as text and as bytes of a tar archive. The directory is copied in several ways:
older, made in another order, with other contents. Then the layer becomes an image, which goes to a registry and back.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

from labrt.builder.state import State
from labrt.errors import LabrtError
from labrt.image import descriptor as types
from labrt.image import layer as layers
from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.lab.checks import attempt
from labrt.lab.checks.verdict import Check, not_yet, passed
from labrt.linux import mounts, syscalls
from labrt.registry.client import Client
from labrt.registry.server import RegistryServer

Copy = Callable[[str, str, str], object]
BELOW, OTHER = (str(Digest.of(word)) for word in (b"below", b"another below"))
FILES = {"hello": ("echo hello\n", 0o755), "notes": ("one\n", 0o644), "a list": ("1\n2\n", 0o600)}
EXPECTED = "the same key and the same bytes for the same files; another key where anything is another; pulled as pushed"
_UNWRITTEN = (
    "go through the directory's files by name; each is a part of what the key is made of, and a member of the archive",
    "key: hashlib.sha256 of below, target, and each file's name, mode and contents; layer: tarfile, into io.BytesIO",
    "entry = tar.gettarinfo(path, name); entry.mtime = 0; tar.addfile(entry, file), for name in sorted(os.listdir(…))",
)


class Way(NamedTuple):
    """One way to call it: how the files are laid out, and on what they are to stand."""

    files: dict[str, tuple[str, int]]
    times: int = 1_000_000_000
    backwards: bool = False
    below: str = BELOW
    target: str = "/srv"


_OTHERS = {
    "contents": Way({**FILES, "notes": ("two\n", 0o644)}),
    "name": Way({**{name: FILES[name] for name in ("hello", "a list")}, "remarks": FILES["notes"]}),
    "mode": Way({**FILES, "notes": ("one\n", 0o755)}),
    "below": Way(FILES, below=OTHER),
    "target": Way(FILES, target="/opt"),
}
WAYS = {
    "first": Way(FILES), "older": Way(FILES, times=500_000_000), "backwards": Way(FILES, backwards=True), **_OTHERS,
}  # fmt: skip
_CHANGED = {
    "contents": ("a file has other contents", "hash what is in the files, not only what they are called"),
    "name": ("a file has another name", "the name is a part of what comes out, too"),
    "mode": ("a file may be executed, which it might not before", "os.stat(path).st_mode, or the entry's .mode"),
    "below": ("it stands on other layers", "the same COPY on another base is another step: below belongs into the key"),
    "target": ("it copies to another place", "the instruction's own words belong into the key"),
}


def caches(copy: Copy) -> Check:
    """Judge `copy`: its keys, its bytes, and what comes back from a registry."""
    tried = attempt.run(lambda: _call_all(copy), namespaces="pid,mnt")
    if tried.problem:
        return not_yet("copy", tried.problem, EXPECTED, tried.hints(_UNWRITTEN))
    made: dict[str, Any] = tried.value
    for judge in (_shape, _content, _keys, _bytes):
        saw, hints = judge(made)
        if hints:
            return not_yet("copy", saw, EXPECTED, hints)
    saw, hints = _round_trip(made["first"][1])
    return not_yet("copy", saw, EXPECTED, hints) if hints else passed("copy", saw, EXPECTED)


def _call_all(copy: Copy) -> dict[str, object]:
    """Call it in every way. Each directory is a file system of its own, in memory: there the order can be chosen."""
    made = {}
    for name, way in WAYS.items():
        with tempfile.TemporaryDirectory(prefix="labrt-") as place:
            syscalls.mount("files", place, "tmpfs")
            try:
                _lay_out(place, way)
                made[name] = _plain(copy(way.below, place, way.target))
            finally:
                mounts.unmount(place)
    return made


def _lay_out(place: str, way: Way) -> None:
    for name in sorted(way.files, reverse=way.backwards):
        text, mode = way.files[name]
        path = os.path.join(place, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        os.utime(path, (way.times, way.times))


def _plain(answer: object) -> object:
    if isinstance(answer, tuple | list) and len(answer) == 2 and isinstance(answer[1], bytes):
        return (answer[0] if isinstance(answer[0], str | bytes) else repr(answer[0]), answer[1])
    return f"{answer!r:.80}"


def _shape(made: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    wrong = next((one for one in made.values() if not isinstance(one, tuple)), None)
    if wrong is None:
        return "", ()
    return f"it returned {wrong}", ("a key and the bytes of a layer were wanted", "return key, buffer.getvalue()",
                                    _UNWRITTEN[1])  # fmt: skip


def _content(made: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Look into the archive."""
    found: dict[str, tuple[str, int]] = {}
    if made["first"][1].startswith(b"\x1f\x8b"):
        return "the layer is compressed", (
            "the layer is compressed: its digest would hang on the compressor, and on the time that gzip writes",
            "a layer is packed on its way to a registry; what is named by a diff id is the plain archive",
            'tarfile.open(fileobj=buffer, mode="w"), without :gz',
        )
    try:
        with tarfile.open(fileobj=io.BytesIO(made["first"][1])) as tar:
            for member in tar:
                if (file := tar.extractfile(member)) is not None:
                    found[member.name.lstrip("./")] = (file.read().decode(errors="replace"), member.mode & 0o7777)
    except tarfile.TarError as error:
        return f"the layer is no tar archive: {error}", (
            "the layer cannot be read: is the archive closed before its bytes are taken?",
            "with tarfile.open(fileobj=buffer, mode=\"w\") as tar: …, and buffer.getvalue() after the block",
            _UNWRITTEN[2],
        )  # fmt: skip
    expected = {f"srv/{name}": about for name, about in FILES.items()}
    if found == expected:
        return "", ()
    return f"in the archive: {', '.join(sorted(found)) or 'no file'}", (
        "in the archive are not the directory's files below target, with their contents and modes",
        f"a member's name is target and the file's name, such as {sorted(expected)[1]}",
        _UNWRITTEN[2],
    )


def _keys(made: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    key = made["first"][0]
    if made["older"][0] != key:
        return "the same files with older times: another key", (
            "the key hangs on the files' times: each git clone would build everything anew",
            "take contents and modes into the key, and no st_mtime; nor the bytes of an archive that has times in it",
            "key: below, target, and for each file name, mode, and the digest of its contents",
        )
    if made["backwards"][0] != key:
        return "the same files, made in another order: another key", _by_name("key")
    for what in _OTHERS:
        if made[what][0] == key:
            change, how = _CHANGED[what]
            return f"{change}, and the key stays {str(key)[:12]}…", (
                f"{change}: the key must be another, or the old layer would be taken for it",
                how,
                _UNWRITTEN[1],
            )
    return "", ()


def _by_name(what: str) -> tuple[str, ...]:
    return (
        f"the {what} hangs on the order in which the directory lists its files",
        "a file system lists files as it likes; the same files on another machine come in another order",
        "for name in sorted(os.listdir(source)): …",
    )


def _bytes(made: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    digest = Digest.of(made["first"][1])
    if Digest.of(made["backwards"][1]) != digest:
        return "the same files, made in another order: another layer", _by_name("layer")
    if Digest.of(made["older"][1]) != digest:
        return f"the same files with older times: {Digest.of(made['older'][1]).short}, not {digest.short}", (
            "the layer's digest hangs on the files' times, so nobody can build it again",
            "SOURCE_DATE_EPOCH is for that: one time for all; here 0 will do",
            "entry.mtime = 0, before tar.addfile(entry, …)",
        )
    return "", ()


# To a registry and back -----------------------------------------------------------------------------------------------


def _round_trip(layer: bytes) -> tuple[str, tuple[str, ...]]:
    """Make an image of it, push it, pull it into another store, and look what is there."""
    with tempfile.TemporaryDirectory(prefix="labrt-") as place, contextlib.ExitStack() as stack:
        mine, shelf, back = (Layout(os.path.join(place, name)) for name in ("mine", "shelf", "back"))
        registry = stack.enter_context(RegistryServer(shelf, push=True))
        client = stack.enter_context(Client())
        reference = Reference.parse(f"{registry.host}/lesson/copied:1")
        stack.enter_context(mine.lease())
        pushed = _image(mine, reference, layer)
        try:
            client.push(reference, mine)
            image = client.pull(reference, back)
            root = os.path.join(place, "root")
            os.mkdir(root)
            with back.open(image.manifest.layers[0].digest) as blob:
                layers.apply(blob, root)
            there = sorted(os.listdir(os.path.join(root, "srv")))
        except (LabrtError, OSError) as error:
            return f"on its way to a registry and back: {error}", (
                "the layer cannot be unpacked where the image is pulled",
                "members are plain files with names below target; try layer.apply on it",
                _UNWRITTEN[2],
            )
    same = image.descriptor.digest == pushed.digest
    saw = f"{len(WAYS)} calls: equal keys and bytes for equal files, {len(_OTHERS)} other keys for others; "
    saw += f"pushed as {pushed.digest.short}, pulled as {image.descriptor.digest.short} with {', '.join(there)}"
    if same and there == sorted(FILES):
        return saw, ()
    return saw, ("what came back is not what was sent", "are all files in the layer?", _UNWRITTEN[2])


def _image(layout: Layout, reference: Reference, layer: bytes) -> Descriptor:
    """Put an image of this one layer into a store."""
    state, diff_id = State(Platform.host()), layout.put(layer)
    state.add(Descriptor(types.OCI_LAYER, diff_id, len(layer)), diff_id)
    state.note("COPY . /srv", "1970-01-01T00:00:00Z", layer=True)
    image = state.image(layout, reference)
    layout.tag(reference, image.descriptor)
    return image.descriptor
