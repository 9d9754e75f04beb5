"""How the processes of the runtime talk: frames on the attach socket, messages with descriptors elsewhere.

A frame has Docker's header for multiplexed streams (Engine API, "Attach to a container"), so that what a monitor sends
could go to a docker client as it is: one byte of stream, three of zero, four of length, big-endian, then the payload.

    0 stdin     to the container; an empty one is the end of its input
    1 stdout    2 stderr    from the container
    4 control   one JSON object; to the monitor {"start": true}, {"resize": [rows, columns]}, {"stdin": true},
                {"output": false}, and orders.py's; from it {"done": word}, {"started": pid}, {"failed": error},
                {"exit": code}
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator, Sequence

from labrt import errors

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

STDIN, STDOUT, STDERR, CONTROL = 0, 1, 2, 4
HEADER = struct.Struct(">BxxxI")
LARGEST = 1 << 24  # of a payload; more means that somebody is not speaking this protocol


def frame(stream: int, payload: bytes) -> bytes:
    """Pack one frame."""
    return HEADER.pack(stream, len(payload)) + payload


def control(**message: object) -> bytes:
    """Pack a control frame."""
    return frame(CONTROL, json.dumps(message).encode())


class Unpacker:
    """Cuts a stream of bytes, arriving in any pieces, into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Add what has arrived; yield each frame that is now whole, as (stream, payload)."""
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            stream, length = HEADER.unpack_from(self._buffer)
            if length > LARGEST:
                raise errors.InvalidInput(f"a frame of {length} bytes", remedy="this is not an attach socket's peer")
            if len(self._buffer) < HEADER.size + length:
                return
            payload = bytes(self._buffer[HEADER.size : HEADER.size + length])
            del self._buffer[: HEADER.size + length]
            yield stream, payload


# Messages on SOCK_SEQPACKET sockets: one JSON object each, with file descriptors beside it ----------------------------


def send(sock: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one message; the receiver gets duplicates of the descriptors."""
    socket.send_fds(sock, [json.dumps(message).encode()], list(fds))


def receive(sock: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Receive one message and its descriptors, close-on-exec; (None, []) when the other end is closed."""
    # Not socket.recv_fds: in Python 3.11 it ignores the flag, and what we execute would inherit the descriptors.
    space = (1 << 18, socket.CMSG_SPACE(16 * 4), socket.MSG_CMSG_CLOEXEC)
    try:
        data, ancillary, _, _ = sock.recvmsg(*space)
    except ConnectionResetError:
        # The other end was closed before it had read all that we sent. The kernel says that first, once; what it sent
        # us before is still to be had.
        data, ancillary, _, _ = sock.recvmsg(*space)
    fds = array.array("i")
    for level, kind, raw in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
    return (json.loads(data) if data else None), list(fds)


def pair() -> tuple[socket.socket, socket.socket]:
    """Make two connected ends for messages."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def error_to_json(error: BaseException) -> dict[str, Any]:
    """Write an exception so that its class survives the way to another process."""
    if isinstance(error, errors.KernelError):
        return {"class": "KernelError", "call": error.call, "errno": error.errno, "remedy": error.remedy}
    if isinstance(error, errors.LabrtError):
        return {"class": type(error).__name__, "message": error.message, "remedy": error.remedy}
    if isinstance(error, OSError) and error.errno:
        what = f"{type(error).__name__} on {error.filename}" if error.filename else type(error).__name__
        return {"class": "KernelError", "call": what, "errno": error.errno, "remedy": ""}
    return {"class": "ContainerError", "message": f"{type(error).__name__}: {error}", "remedy": ""}


def error_from_json(value: dict[str, Any]) -> errors.LabrtError:
    """Make the exception again."""
    if value["class"] == "KernelError":
        return errors.kernel_error(value["call"], value["errno"], remedy=value["remedy"])
    kind = getattr(errors, value["class"], errors.ContainerError)
    made: errors.LabrtError = kind(value["message"], remedy=value["remedy"])
    return made


@contextlib.contextmanager
def short_path(path: str) -> Iterator[str]:
    """Yield another name for a unix socket's path: sockaddr_un has room for 107 bytes only, see unix(7)."""
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{os.path.basename(path)}"
    finally:
        os.close(directory)
