"""A container's log on its way to a client. Pure: nothing runs."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from labrt.engine.api import context, logs
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
            return [len(batch) async for batch in logs.entries(container, shared, tail=tail)]
        finally:
            shared.close()

    found = asyncio.run(sizes())
    assert sum(found) == 40_000 and len(found) > 3
    assert asyncio.run(sizes(7)) == [7]
