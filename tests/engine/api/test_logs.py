"""A container's log on its way to a client. Pure: nothing runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from labrt.engine.api import context, logs
from labrt.engine.api.log_frames import Wanted
from labrt.runtime import wire
from labrt.runtime.log import Writer


def test_a_long_log_comes_in_pieces(labrt_root: Path, tmp_path: Path) -> None:
    """Whoever writes gigabytes costs the daemon no memory when somebody asks for them."""
    path = str(tmp_path / "log")
    with contextlib.closing(Writer(path)) as writer:
        for number in range(40_000):
            writer.write("stdout", f"{number:08} {'x' * 60}\n".encode())
    container: Any = SimpleNamespace(runtime=SimpleNamespace(log=path))

    async def sizes(tail: int | None = None) -> list[int]:
        shared = context.Context()
        try:
            return [piece.count(b"\n") async for piece in logs.frames(container, shared, Wanted({1}, True), tail=tail)]
        finally:
            shared.close()

    found = asyncio.run(sizes())
    assert sum(found) == 40_000 and len(found) > 3
    assert asyncio.run(sizes(7)) == [7]


LINES = (
    b"plain\n", b"", b"\n", b"no end", b"tab\there\n", b'"quoted" \\ \\n\n', b"\xc3\xa9 \xf0\x9f\x90\xb3\n",
    b"\x00\x1b[1m\n",
    b'a","stream":"stderr","time":"2026-11-24T05:22:13.123456789Z"}\n', b"\\\n", b"\\n", b"x" * 3000 + b"\n",
    b"n\n", b"\\\\n\n",
)  # fmt: skip


def test_frames_are_what_was_written(tmp_path: Path) -> None:
    """The quick way and the thorough one agree, also about what looks like the end of a line's JSON."""
    path = str(tmp_path / "log")
    with contextlib.closing(Writer(path)) as writer:
        for number, line in enumerate(LINES):
            writer.write(("stdout", "stderr")[number % 2], line)
            writer.flush()
    lines = [*Path(path).read_bytes().splitlines(), b'{"log":"half', b"", b'{"log":1,"stream":"stdout","time":"x"}']
    frames = [*wire.Unpacker().feed(Wanted({1, 2}, False).frames(lines))]
    assert frames == [(1 + number % 2, line) for number, line in enumerate(LINES) if line]
    assert Wanted({1}, True).frames(lines) == b"".join(line for line in LINES[::2])
    times = [json.loads(line)["time"].encode() for line in lines[: len(frames)]]
    stamped = [*wire.Unpacker().feed(Wanted({1, 2}, False, stamps=True).frames(lines))]
    assert [text.partition(b" ") for _, text in stamped] == [
        (moment, b" ", text) for moment, (_, text) in zip(times, frames, strict=True)
    ]
    since = Wanted({1, 2}, False, first=times[3], last=times[6])
    assert [*wire.Unpacker().feed(since.frames(lines))] == frames[3:7]


def test_lines_of_docker_s_own(tmp_path: Path) -> None:
    """Its times have as many digits as they need, and its JSON escapes < and >."""
    line = b'{"log":"\\u003ca\\u003e\\n","stream":"stdout","time":"2026-11-24T05:22:13.1234Z"}'
    assert Wanted({1}, True, stamps=True).frames([line]) == b"2026-11-24T05:22:13.1234Z <a>\n"
