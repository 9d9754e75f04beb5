"""The real `labrt`, as a program of its own, in a house of its own with busybox in it. No network."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from labrt.engine import embedded
from labrt.engine.containers import Containers
from labrt.engine.images import Images
from labrt.linux import ledger, pty
from labrt.paths import Paths

PATIENCE = 60  # seconds until something that should have happened is taken for missing
# In a new session, make standard error the controlling terminal, then become the command. (Not as preexec_fn: there may
# be threads here, a registry's.)
IN_FRONT = "import fcntl, os, sys, termios; fcntl.ioctl(2, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
LABRT = (sys.executable, "-m", "labrt")


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def eventually(condition: Callable[[], object], what: str) -> object:
    """Wait for a condition, and return what it returned."""
    deadline = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.02)


class Terminal:
    """A command with a controlling terminal, and what a person in front of it does."""

    def __init__(self, arguments: tuple[str, ...], env: dict[str, str], rows: int, columns: int, **how: object) -> None:
        self.pair = pty.open_in()
        pty.set_size(self.pair.master, rows, columns)
        self.before = termios.tcgetattr(self.pair.master)
        ends = {name: self.pair.peer for name in ("stdin", "stdout", "stderr")} | how
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_FRONT, *LABRT, *arguments], env=env, start_new_session=True, **ends
        )
        self.seen = ""

    def expect(self, text: str) -> str:
        """Wait until this appears; return what came before it."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            ready = select.select([self.pair.master], [], [], max(0.0, deadline - time.monotonic()))[0]
            assert ready, f"{text!r} never came, but {self.seen!r}"
            self.seen += os.read(self.pair.master, 65536).decode(errors="replace")
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, keys: str) -> None:
        """Type."""
        os.write(self.pair.master, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Pull at the window's corner: the kernel sends SIGWINCH."""
        pty.set_size(self.pair.master, rows, columns)

    def wait(self) -> int:
        """Wait for the end; the terminal must be as it was."""
        code = self.process.wait(PATIENCE)
        assert termios.tcgetattr(self.pair.master) == self.before, "the terminal was not restored"
        return code

    def close(self) -> None:
        """Turn it off."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.pair.close()


class Cli:
    """`cli("ps", "-a")` runs a command to its end."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.where = Paths(str(root / "lib"), str(root / "run"))
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("LABRT", "_LABRT"))}
        self.env |= {"LABRT_NETWORK": "none", "LABRT_ROOT": str(root), "DOCKER_CONFIG": str(root), "COLUMNS": "100"}
        self.python = sys.executable
        self.started: list[subprocess.Popen[bytes]] = []
        self.terminals: list[Terminal] = []

    def __call__(self, *arguments: str, input: bytes | None = b"", **env: str) -> Done:
        done = subprocess.run(
            [*LABRT, *arguments], input=input, capture_output=True, env=self.env | env, timeout=PATIENCE, check=False
        )
        return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def ok(self, *arguments: str, input: bytes | None = b"") -> str:
        """Run a command that must succeed; return what it printed."""
        done = self(*arguments, input=input)
        assert done.code == 0, done
        return done.out

    def start(self, *arguments: str, **how: object) -> subprocess.Popen[bytes]:
        """Begin a command; its three ends are pipes unless said otherwise."""
        ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
        process = subprocess.Popen([*LABRT, *arguments], env=self.env, **ends)  # type: ignore[call-overload]
        self.started.append(process)
        return process

    def terminal(self, *arguments: str, rows: int = 24, columns: int = 80, **how: object) -> Terminal:
        """Begin a command in front of a terminal."""
        terminal = Terminal(arguments, self.env, rows, columns, **how)
        self.terminals.append(terminal)
        return terminal

    eventually = staticmethod(eventually)

    def containers(self) -> list[str]:
        """Name all containers."""
        return [container.name for container in Containers(self.where).list(all=True)]

    def status(self, name: str) -> str:
        """Return a container's status."""
        return Containers(self.where).get(name).status

    def tidy(self) -> None:
        """Remove what a test has left, and look whether labrt itself has left anything."""
        for terminal in self.terminals:
            terminal.close()
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.communicate()
        for container in Containers(self.where).list(all=True):
            container.remove(force=True)
        eventually(lambda: not ledger.entries(self.where.ledger), f"an empty ledger: {self.where.ledger}")
        assert not os.path.isdir(self.where.sockets) or not os.listdir(self.where.sockets)
        self.started.clear()
        self.terminals.clear()


@pytest.fixture(scope="session")
def cli_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """One house for all tests of the command line: to pull and unpack takes longer than they do."""
    if not os.path.exists(embedded.BUSYBOX):
        pytest.skip(f"{embedded.BUSYBOX} is absent: {embedded.INSTALL}")
    house = Cli(tmp_path_factory.mktemp("cli") / "labrt")
    images = Images(house.where)
    with embedded.serve(house.where) as server:
        images.unpack(images._pull(embedded.REFERENCE, None, None, {"docker.io": server.url}))
    yield house
    done = house("reset", "--all", "--force")
    assert done.code == 0 and "Untagged: busybox:latest" in done.out, done
    assert ledger.entries(house.where.ledger) == [] and Images(house.where).all() == []


@pytest.fixture
def cli(cli_house: Cli) -> Iterator[Cli]:
    """The command line, in a house with busybox and without containers."""
    yield cli_house
    cli_house.tidy()
