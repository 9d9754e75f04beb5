"""A blob's bytes as they come, going on where a connection broke off.

    stream(endpoints, transport, reference, descriptor, offset)      their number is checked
    checked(chunks, descriptor)                                      and now their digest too

A registry that knows RFC 9110's Range sends the rest (206); one that does not sends all again (200), of which we pass
over what we have. Distribution-spec, "Pulling blobs". Notebook 13.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from labrt.errors import DigestMismatch, RegistryError, Unreachable
from labrt.image.descriptor import Descriptor
from labrt.image.reference import Reference
from labrt.registry.endpoints import Endpoints
from labrt.registry.events import Emitter, Resuming
from labrt.registry.response import Response
from labrt.registry.transport import Transport, backoff

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/([0-9]{1,19}|\*)")
_CHANGED = "try again; if it stays so, the registry is broken or somebody changes bytes on the way"
_MOST_BREAKS = 100  # of one blob: a connection that breaks more often than this is not going to bring it


def checked(chunks: Iterable[bytes], descriptor: Descriptor) -> Iterator[bytes]:
    """Hand the pieces on and hash them; DigestMismatch after the last if they are not what the descriptor names."""
    hasher = descriptor.digest.hasher()
    for chunk in chunks:
        hasher.update(chunk)
        yield chunk
    if hasher.hexdigest() != descriptor.digest.hex:
        found = f"{descriptor.digest.algorithm}:{hasher.hexdigest()}"
        raise DigestMismatch(f"{descriptor.digest}: the bytes have digest {found}", remedy=_CHANGED)


def stream(
    endpoints: Endpoints, transport: Transport, emit: Emitter, reference: Reference, descriptor: Descriptor, offset: int
) -> Iterator[bytes]:
    """The bytes from `offset` to the descriptor's size, in pieces. Gives up when several tries in a row bring none."""
    in_vain = 0
    for _ in range(_MOST_BREAKS):
        if offset == descriptor.size:
            return
        began = offset
        with _open(endpoints, reference, descriptor, offset) as response:
            reason = f"{response.asked}: the answer ended early"
            try:
                for chunk in _from(response, offset):
                    offset += len(chunk)
                    if offset > descriptor.size:
                        raise _wrong_size(descriptor, "more")
                    yield chunk
            except Unreachable as error:
                reason = error.message
        if offset < descriptor.size:
            in_vain = 0 if offset > began else in_vain + 1
            if in_vain == transport.attempts:
                break
            transport.pause(backoff(in_vain + 1), reason, in_vain + 1)
            emit(Resuming(descriptor, offset))
    remedy = "check the network and pull again: it goes on from there"
    raise Unreachable(f"{reason}, at byte {offset} of {descriptor.size}", remedy=remedy)


def _open(endpoints: Endpoints, reference: Reference, descriptor: Descriptor, offset: int) -> Response:
    what = f"blob {descriptor.digest} of {reference.familiar}"
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    try:
        response = endpoints.fetch(reference, f"blobs/{descriptor.digest}", what, headers=headers, limit=None)
    except RegistryError as error:
        if error.status == 416:  # nothing lies behind our offset
            raise _wrong_size(descriptor, f"no more than {offset} of them") from None
        raise
    announced = _announced(response, offset)
    if announced is not None and announced != descriptor.size:
        with response:
            raise _wrong_size(descriptor, str(announced))
    return response


def _announced(response: Response, offset: int) -> int | None:
    """How long the registry says the whole blob is; None when it does not say."""
    if response.status == 200:
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None
    extent = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if extent is None or int(extent[1]) != offset:
        with response:
            message = f"{response.asked}: asked for bytes from {offset} on, it answers with others"
            raise RegistryError(message, status=206, remedy="its Range is broken: remove what is left of the pull")
    return None if extent[2] == "*" else int(extent[2])


def _from(response: Response, offset: int) -> Iterator[bytes]:
    """The pieces from `offset` on: of a 206 all, of a 200 those behind what we have."""
    passed = offset if response.status == 206 else 0
    for chunk in response.chunks():
        begin = min(offset - passed, len(chunk)) if passed < offset else 0
        passed += begin
        if begin < len(chunk):
            yield chunk[begin:]


def _wrong_size(descriptor: Descriptor, found: str) -> DigestMismatch:
    message = f"{descriptor.digest}: the manifest says {descriptor.size} bytes, the registry has {found}"
    return DigestMismatch(message, remedy=_CHANGED)
