"""Signals, as exceptions and as something to read.

    end_by_exception()               from here on SIGTERM and SIGHUP end us as Ctrl-C does: by way of every `finally`
    with caught((SIGINT,)) as fd:    in here they do nothing but come out of a descriptor, a byte each: their numbers

See signal(7), and signal.set_wakeup_fd in Python's library: a handler may run between any two of our instructions, a
descriptor is read when we choose to.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from types import FrameType

from labrt.cli.exitcodes import Terminated

# What a container in the foreground gets in our place. Not SIGTSTP and its kin: Ctrl-Z stops us, as any other job.
FORWARDED = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
)  # fmt: skip


def end_by_exception() -> None:
    """Let SIGTERM and SIGHUP raise Terminated. One that is ignored, as nohup(1) does it, stays so."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminate)


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise Terminated(number)


@contextlib.contextmanager
def caught(numbers: Iterable[int]) -> Iterator[int]:
    """Yield a descriptor from which the numbers of these signals can be read as they come, one byte each."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    wanted = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _nothing) for number in wanted}
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Python wants a handler before it writes to the descriptor."""
