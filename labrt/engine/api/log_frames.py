"""From a log's lines to what goes over the wire: a log may have millions, and `docker logs` waits for each.

    Wanted({wire.STDOUT}, tty=False).frames(lines)        the bytes for the lines that are wanted

Most lines are as labrt's own Writer writes them (runtime/log.py), and say nothing that JSON must escape but the newline
at their end: of those, the text is cut out. All others are parsed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from labrt.runtime import wire
from labrt.runtime.log import parse

STREAMS = {"stdout": wire.STDOUT, "stderr": wire.STDERR}
_BEGIN = b'{"log":"'
_MIDDLE = {f'","stream":"{name}","time":"'.encode(): number for name, number in STREAMS.items()}  # of one length
_TIME = len('2026-11-24T05:22:13.123456789Z"}')
_REST = _TIME + len(next(iter(_MIDDLE)))
_HEADS = {number: [wire.HEADER.pack(number, length) for length in range(512)] for number in STREAMS.values()}


class Wanted(NamedTuple):
    """What of a log is wanted, and how. `first` and `last` are times as they stand in the log."""

    shown: Collection[int]
    tty: bool
    stamps: bool = False
    details: bool = False
    first: bytes = b""
    last: bytes = b""

    def frames(self, lines: Iterable[bytes]) -> bytes:
        """Return the frames of these lines."""
        plain = not (self.stamps or self.details or self.first or self.last)
        out: list[bytes] = []
        for line in lines:
            stream, text, moment = _fields(line)
            if stream not in self.shown:
                continue
            if not plain:
                if (self.first and moment < self.first) or (self.last and moment > self.last):
                    continue
                text = self._dressed(text, moment)
            if not self.tty:
                out.append(_HEADS[stream][len(text)] if len(text) < 512 else wire.HEADER.pack(stream, len(text)))
            out.append(text)
        return b"".join(out)

    def _dressed(self, text: bytes, moment: bytes) -> bytes:
        text = b" " + text if self.details else text
        return moment + b" " + text if self.stamps else text


def _fields(line: bytes) -> tuple[int, bytes, bytes]:
    """Return stream, text and time of a line; the stream 0 if it is not whole."""
    stream = _MIDDLE.get(line[-_REST:-_TIME])
    if stream is not None and line[:8] == _BEGIN:
        text = line[8:-_REST]
        escaped = text.find(b"\\")
        if escaped < 0:
            return stream, text, line[-_TIME:-2]
        if escaped == len(text) - 2 and text[-1] == 0x6E:  # the newline
            return stream, text[:-2] + b"\n", line[-_TIME:-2]
    entry = parse(line)
    if entry is None or entry.stream not in STREAMS:
        return 0, b"", b""
    return STREAMS[entry.stream], entry.text.encode(errors="replace"), entry.time.encode()
