"""What a command left behind: its exit code and its output, collected while it is given its input."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from labrt.errors import LabrtError
from labrt.runtime import wire
from labrt.runtime.attachment import Attachment
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from labrt.engine.container import Container


class Result(Record):
    """What a command left behind. Output is text, decoded as UTF-8; `raw_stdout` and `raw_stderr` are the bytes."""

    exit_code: int
    raw_stdout: bytes
    raw_stderr: bytes

    @property
    def stdout(self) -> str:
        """What it wrote to standard output. With a terminal, that is everything, and lines end in CR LF."""
        return self.raw_stdout.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """What it wrote to standard error."""
        return self.raw_stderr.decode(errors="replace")

    def __repr__(self) -> str:
        return f"Result(exit_code={self.exit_code}, stdout={self.stdout!r:.200}, stderr={self.stderr!r:.200})"


def run_to_end(container: Container, input: bytes | None) -> Result:
    """Start it, give it `input`, collect its output. See Container.run_to_end."""
    output: dict[int, list[bytes]] = {wire.STDOUT: [], wire.STDERR: []}
    try:
        with container.launch(stdin=input is not None) as attached:
            for stream, data in communicate(attached, input):
                output[stream].append(data)
        code = attached.exit_code if attached.exit_code is not None else container.wait()
    except BaseException:  # Ctrl-C, too
        with contextlib.suppress(LabrtError):
            if container.record()["options"]["remove"]:
                container.remove(force=True)
            elif container.state.pid and container.state.kept:
                container.kill("KILL")
        raise
    if container.record_or_none("remove"):
        container.remove(force=True)
    return Result(code if code is not None else 255, *(b"".join(pieces) for pieces in output.values()))


def communicate(attached: Attachment, input: bytes | None) -> Iterator[tuple[int, bytes]]:
    """Feed input and collect output at the same time: a command may answer before it has read everything."""
    if not input:
        if input is not None:
            attached.end_input()
        yield from attached.output()
        return
    import threading

    def feed() -> None:
        with contextlib.suppress(OSError):  # it ended without reading all
            attached.send(input)
            attached.end_input()

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    yield from attached.output()
    feeder.join(1)
