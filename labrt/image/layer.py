"""A layer onto a directory, safely; and its diff id.

    with open("layer.tar.gz", "rb") as stream:
        applied = layer.apply(stream, "/some/root")       Applied(diff_id=…, size=…)

The archive is a stranger's and this may run as root. So: nothing is written outside of `root` (see tree.py), names
with `..` are refused, absolute ones begin at `root`, and what is broken or cut off is an error.

    compression   unpacks the stream, counts and hashes it       tar        finds the entries in it
    unpack        makes what each entry says                     tree       keeps that inside the root
    whiteouts     carries out removals                           pack       a directory into a layer

On an error what was unpacked so far stays in `root`. Storage drivers unpack into a new directory and throw that away.
Specification: OCI image-spec, layer.md. Notebooks 02 and 10.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from labrt.errors import KernelError, LabrtWarning, UnsafeLayer, file_error
from labrt.image import tree
from labrt.image.compression import LIMIT, Readable, Source
from labrt.image.digest import Digest
from labrt.image.powers import Powers
from labrt.image.tar import entries
from labrt.image.unpack import Unpacker

# What such an errno says about a name in the archive; all others are about this machine (a full disk, no permission).
_ARCHIVE_ERRORS = (
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EXDEV, errno.EEXIST, errno.EINVAL,
)  # fmt: skip


class Applied(NamedTuple):
    """What was unpacked: the digest of the uncompressed archive, and how many bytes of file content it had."""

    diff_id: Digest
    size: int


def apply(
    stream: Readable,
    root: str | os.PathLike[str],
    *,
    whiteouts: Literal["delete", "overlay", "aufs"] = "delete",
    lowers: Sequence[str] = (),
    as_root: bool | None = None,
    limit: int = LIMIT,
    progress: Callable[[int], object] | None = None,
    step: tree.Step = tree.step,
) -> Applied:
    """Unpack one layer, tar or tar in gzip or zstd, onto the directory `root`.

    `whiteouts` says what becomes of files removed from lower layers: "delete" them, they are in `root` too; or leave
    "overlay"'s or "aufs"'s marks in `root`, which is empty, while `lowers` are the layers below, highest first. Without
    `as_root` owners are not set and devices left out; None is as far as this process may (powers.py), and where an
    owner is not known here, that is a LabrtWarning. `limit` is in uncompressed bytes; `progress` is called, in another
    thread, with the number of compressed bytes read since the last call; `step` opens a directory in another (tree.py).
    Raises UnsafeLayer; KernelError for this machine's part (ENOSPC and its like).
    """
    source = Source(stream, limit=limit, progress=progress)
    powers = Powers.ours() if as_root is None else Powers.of(as_root)
    size = 0
    with tree.Tree(root, step) as inside, source.ahead():
        unpacker = Unpacker(inside, whiteouts, lowers, powers)
        for entry in entries(source):
            try:
                unpacker.unpack(entry, source)
            except OSError as error:
                raise _explained(entry.name, error) from error
            size += entry.size
        source.drain()
        try:
            unpacker.finish()
        except OSError as error:
            raise _explained("the layer's directories", error) from error
    if unpacker.foreign:
        import warnings

        remedy = "`labrt doctor` says how to get more ids"
        about = f"{unpacker.foreign} files of a layer belong to users that do not exist here: they are root's now"
        warnings.warn(LabrtWarning(f"{about} ({remedy})"), stacklevel=2)
    return Applied(source.diff_id, size)


def compute_diff_id(stream: Readable, *, limit: int = LIMIT) -> Digest:
    """Return the digest of a layer's uncompressed bytes, without unpacking anything."""
    source = Source(stream, limit=limit)
    source.drain()
    return source.diff_id


def create(directory: str, *, mtime: int | None = None, owner: tuple[int, int] | None = None) -> bytes:
    """Return an uncompressed layer of what is in `directory`, the same bytes for the same tree; see pack.write."""
    from labrt.image import pack

    return pack.create(directory, mtime=mtime, owner=owner)


def _explained(name: str, error: OSError) -> UnsafeLayer | KernelError:
    """Turn an OSError into an error of ours that names the entry."""
    code = error.errno or errno.EIO
    if code in _ARCHIVE_ERRORS:
        return UnsafeLayer(f"{name!r:.200} cannot be unpacked: {os.strerror(code)}")
    return file_error(f"unpacking {name!r:.200}", code)
