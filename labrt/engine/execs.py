"""Exec with pipes: run one more command in a container, give it input, collect its output."""

from __future__ import annotations

import contextlib
import os
import selectors
from collections.abc import Callable, Sequence

from labrt.engine.results import Result
from labrt.runtime.container import Container

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

CHUNK = 1 << 16


def run(container: Container, command: Sequence[str], input: bytes = b"", **how: Any) -> Result:
    """Run a command to its end. The container gets pipes, never our own descriptors: those may be a terminal's."""
    output: tuple[list[bytes], list[bytes]] = ([], [])
    code = pump(container, command, (output[0].append, output[1].append), input=input, **how)
    return Result(code, b"".join(output[0]), b"".join(output[1]))


def pump(
    container: Container,
    command: Sequence[str],
    sinks: tuple[Callable[[bytes], Any], Callable[[bytes], Any]],
    *,
    input: bytes = b"",
    stdin: int | None = None,
    **how: Any,
) -> int:
    """Run a command and hand its output to two functions as it comes. Returns its exit code.

    Its standard input is `input`, then what can be read from the descriptor `stdin`, if one is given, then the end.
    """
    with contextlib.ExitStack() as stack:
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        inner = (pipes[0][0], pipes[1][1], pipes[2][1])
        outer = {pipes[0][1], pipes[1][0], pipes[2][0]}
        stack.callback(_close_all, outer)
        try:
            execution = container.exec(command, stdio=inner, **how)
        finally:
            for fd in inner:
                os.close(fd)
        stack.callback(execution.close)
        selector = stack.enter_context(selectors.DefaultSelector())
        _Pump(selector, outer, pipes[0][1], {pipes[1][0]: sinks[0], pipes[2][0]: sinks[1]}, input, stdin).run()
        code = execution.wait()
    return 255 if code is None else code


def _close_all(fds: set[int]) -> None:
    for fd in fds:
        os.close(fd)


class _Pump:
    """Moves bytes both ways at once, for a command may answer before it has read everything."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        open_fds: set[int],
        to_command: int,
        outputs: dict[int, Callable[[bytes], Any]],
        pending: bytes,
        stdin: int | None,
    ) -> None:
        self.selector, self.open = selector, open_fds
        self.to_command, self.outputs, self.pending, self.stdin = to_command, outputs, pending, stdin
        os.set_blocking(to_command, False)
        for fd in outputs:
            selector.register(fd, selectors.EVENT_READ, self._read_output)
        self._next_input()

    def run(self) -> None:
        """Move bytes until both outputs have ended."""
        while self.open & set(self.outputs):
            for key, _ in self.selector.select():
                if key.fd in self.selector.get_map():
                    key.data(key.fd)

    def _next_input(self) -> None:
        """Decide what to wait for on the input's side: that the command reads, that there is more, or nothing."""
        for fd in (self.to_command, self.stdin):
            if fd is not None and fd in self.selector.get_map():
                self.selector.unregister(fd)
        if self.pending:
            self.selector.register(self.to_command, selectors.EVENT_WRITE, self._write_input)
        elif self.stdin is not None:
            try:
                self.selector.register(self.stdin, selectors.EVENT_READ, self._read_input)
            except PermissionError:  # epoll takes no plain files: they can always be read
                self._read_input(self.stdin)
        elif self.to_command in self.open:
            self._close(self.to_command)

    def _write_input(self, fd: int) -> None:
        try:
            self.pending = self.pending[os.write(fd, self.pending[:CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.pending, self.stdin = b"", None
        if not self.pending:
            self._next_input()

    def _read_input(self, fd: int) -> None:
        self.pending = os.read(fd, CHUNK)
        if not self.pending:
            if fd in self.selector.get_map():
                self.selector.unregister(fd)
            self.stdin = None
        self._next_input()

    def _read_output(self, fd: int) -> None:
        data = os.read(fd, CHUNK)
        if data:
            self.outputs[fd](data)
        else:
            self._close(fd)

    def _close(self, fd: int) -> None:
        with contextlib.suppress(KeyError):
            self.selector.unregister(fd)
        self.open.discard(fd)
        os.close(fd)
