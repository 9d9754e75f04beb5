"""An ordinary user's network: pasta(1), a process that plays the cable and the router in user space.

    pasta = Pasta(request, id)
    pasta.attach(pid, name)         a card in the container, with this machine's own addresses; published ports
    pasta.detach()

To lay a cable out of a namespace takes root over both of its ends, and a user is root of the inner one only. So the
card in there is a tap (tun(4)): pasta reads each frame from it, and does what that wants with sockets of the user's. A
connection in there is one of pasta's out here, for which nobody need be root. It has the machine's addresses, so these
lead to the container itself. Of who listens on the machine's loopback, a container sees nothing. Ports below 1024 are
root's alone: see sysctl net.ipv4.ip_unprivileged_port_start.

It ends with the container, and with the container's monitor. See pasta(1), https://passt.top; notebook 15.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from collections.abc import Iterator, Mapping, Sequence

from labrt.errors import Conflict, ContainerError, LabrtError, NotSupported
from labrt.image import files
from labrt.linux import process, syscalls
from labrt.linux.network import ports
from labrt.paths import Paths
from labrt.runtime.networks import etc

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

PLACES = ("/usr/bin/pasta", "/usr/local/bin/pasta", "/bin/pasta")
TUN = "/dev/net/tun"
PATIENCE = 10.0  # seconds for it to stand
REMEDY = "`apt-get install passt`; or --network none or host"


def program() -> str:
    """Return the path of pasta. Raises NotSupported where it is not installed, or may not make a card."""
    path = next((path for path in PLACES if os.access(path, os.X_OK)), "")
    if not path:
        raise NotSupported("pasta, which is an ordinary user's network, is not installed", remedy=REMEDY)
    if not os.access(TUN, os.R_OK | os.W_OK):
        raise NotSupported(f"pasta needs {TUN}, and this user may not open it", remedy=f"`sudo chmod 666 {TUN}`")
    return path


class Pasta:
    """One container's network, of an ordinary user. For the process that is its monitor."""

    def __init__(self, request: Mapping[str, Any], id: str) -> None:
        self.where = Paths(*request["where"])
        self.directory = os.path.join(self.where.containers, id)
        self.sockets = os.path.join(self.where.sockets, id)
        self.report = os.path.join(self.sockets, "endpoints.json")
        self.wishes: dict[str, Any] = {}
        self.child: process.Child | None = None

    def attach(self, pid: int, name: str) -> None:  # noqa: ARG002 - nobody finds it by its name
        """Give it its network. Raises what went wrong; then nothing is left of it."""
        with open(os.path.join(self.directory, "network.json")) as file:
            self.wishes = json.load(file)
        claims = [*_claims(self.wishes["ports"])]
        try:
            self._start(pid, claims)
            etc.write(self.directory, self.wishes, [], "", own_resolver=False)
            os.makedirs(self.sockets, 0o700, exist_ok=True)
            told = [{"protocol": kind, "host": host, "port": port, "to": to} for kind, host, port, to in claims]
            report = {"networks": [], "ports": told, "publications": []}
            files.replace(self.report, json.dumps(report).encode(), durable=False)
        except BaseException:
            self.detach()
            raise

    def _start(self, pid: int, claims: Sequence[tuple[str, str, int, int]]) -> None:
        """Start it, and wait until it stands: then it writes its pid, for which we hold a FIFO out to it."""
        path, note = program(), os.path.join(self.directory, "pasta.pid")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(note)  # of a monitor that was killed
        os.mkfifo(note, 0o600)
        # As its standard input: by its path it could not open it, for init has powers that pasta has dropped by then.
        opened = [os.open(note, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), os.memfd_create("said", os.MFD_CLOEXEC),
                  os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)]  # fmt: skip
        stands, said, namespace = opened
        words = ["pasta", "--foreground", "--config-net", "--quiet", "--ns-ifname", "eth0", "--pid", note,
                 "--no-map-gw", *_words(claims), "-T", "none", "-U", "none", "--netns-only", "--no-netns-quit",
                 "--netns", "/proc/self/fd/0"]  # fmt: skip
        parent = os.getpid()
        try:
            self.child = process.spawn(lambda: _become(path, words, namespace, said, parent))
            poll = select.poll()
            poll.register(stands, select.POLLIN)
            poll.register(self.child.pidfd, select.POLLIN)
            ready = [fd for fd, event in poll.poll(PATIENCE * 1000) if fd == stands and event & select.POLLIN]
            if not ready:
                raise _refused(os.pread(said, 4096, 0).decode(errors="replace").strip())
        finally:
            for fd in opened:
                os.close(fd)
            os.unlink(note)

    def detach(self) -> None:
        """End it. Harmless when there is none."""
        if self.child:
            self.child.kill()
            self.child.wait()
            self.child.close()
            self.child = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.report)

    def rename(self, name: str) -> None:
        """Nobody finds it by its name."""

    def connect(self, wish: Mapping[str, Any]) -> None:
        """Refuse: there is nothing to plug it into."""
        raise NotSupported(f"network {wish['network']}: an ordinary user's container has pasta, and no other network")

    def disconnect(self, network: str) -> None:
        """Refuse, likewise."""
        raise NotSupported(f"network {network}: an ordinary user's container has pasta, and no other network")


def _claims(wishes: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, int, int]]:
    """Find for each port that is wished for one that is free: protocol, address, port, port in the container.

    pasta claims them itself, a moment later; that it can, and who has them if it cannot, is found out here.
    """
    for wish in wishes:
        problem: LabrtError | None = None
        for port in [*range(wish["first"], wish["last"] + 1)] if wish["first"] else [0]:
            try:
                sock = ports.claim(wish["protocol"], wish["host"] or "0.0.0.0", port)  # noqa: S104 - it is wished for
            except LabrtError as error:
                problem = error
                continue
            with sock:
                yield wish["protocol"], wish["host"], sock.getsockname()[1], wish["port"]
            break
        else:
            raise problem or Conflict("no port is free")


def _words(claims: Sequence[tuple[str, str, int, int]]) -> list[str]:
    """Write published ports as pasta has them: -t ADDRESS/PORT:PORT; none at all is said, too."""
    found = []
    for flag, protocol in (("-t", "tcp"), ("-u", "udp")):
        mine = [f"{f'{host}/' if host else ''}{port}:{to}" for kind, host, port, to in claims if kind == protocol]
        for word in mine or ["none"]:
            found += [flag, word]
    return found


def _become(path: str, words: list[str], namespace: int, said: int, parent: int) -> None:
    """Become pasta, which is to end with its monitor. Never returns."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python is deaf to it, and older pastas do not go on if they are
    for number, fd in enumerate((namespace, said, said)):
        os.dup2(fd, number)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:
        os.execve(path, words, {"PATH": "/usr/bin:/bin"})


def _refused(answer: str) -> LabrtError:
    """Make an error of pasta's words."""
    line = answer.splitlines()[-1] if answer else "it said nothing"
    if "bind" in line or "port" in line.lower():
        return Conflict(f"pasta: {line}", remedy="publish another port")
    if "no usable" in line.lower() or "interface" in line.lower():
        return NotSupported(f"pasta: {line}", remedy="it needs a machine with a network; or --network none")
    return ContainerError(f"pasta: {line}", remedy=REMEDY)
