"""An ordinary user's network: a process that plays the cable and the router in user space.

    ordinary()            which of them there is: "pasta", or else "slirp4netns"
    of(request, id)       a Pasta or a Slirp, by what the container was made with
    tap.attach(pid, name); tap.detach()

To lay a cable out of a namespace takes root over both of its ends, and a user is root of the inner one only. So the
card in there is a tap (tun(4)): a process of the user's reads each frame from it, and does what that wants with sockets
out here, for which nobody need be root. Published ports are sockets of that process, too; those below 1024 are root's
alone: see sysctl net.ipv4.ip_unprivileged_port_start. It ends with the container, and with the container's monitor.

What is the same for both is here; pasta.py and slirp.py start the one and the other. Notebook 15.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from collections.abc import Iterator, Mapping, Sequence

from labrt.errors import Conflict, LabrtError, NotSupported
from labrt.image import files
from labrt.linux import process, syscalls
from labrt.linux.network import ports
from labrt.paths import Paths
from labrt.runtime.networks import etc
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

TUN = "/dev/net/tun"
PATIENCE = 10.0  # seconds for it to stand
PLACES = ("/usr/bin", "/usr/local/bin", "/bin")


class Claim(Record):
    """One published port: `host` "" is every address of this machine, `to` the port in the container."""

    protocol: str
    host: str
    port: int
    to: int


class Tap:
    """One container's network, of an ordinary user. For the process that is its monitor."""

    addresses: tuple[str, ...] = ()  # those that it has in there, where they are always the same

    def __init__(self, where: Paths, id: str, wishes: dict[str, Any]) -> None:
        self.where, self.wishes = where, wishes
        self.directory = os.path.join(where.containers, id)
        self.sockets = os.path.join(where.sockets, id)
        self.report = os.path.join(self.sockets, "endpoints.json")
        self.child: process.Child | None = None

    def attach(self, pid: int, name: str) -> None:  # noqa: ARG002 - nobody finds it by its name
        """Give it its network. Raises what went wrong; then nothing is left of it."""
        claims = [*_claims(self.wishes["ports"])]
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.start(namespace, claims)
            etc.write(self.directory, self.wishes, self.addresses, "", own_resolver=False)
            os.makedirs(self.sockets, 0o700, exist_ok=True)
            told = [{"protocol": one.protocol, "host": one.host, "port": one.port, "to": one.to} for one in claims]
            report = {"networks": [], "ports": told, "publications": []}
            files.replace(self.report, json.dumps(report).encode(), durable=False)
        except BaseException:
            self.detach()
            raise
        finally:
            os.close(namespace)

    def start(self, namespace: int, claims: Sequence[Claim]) -> None:
        """Start the process, and wait until the card and the ports stand. Raises what went wrong."""
        raise NotImplementedError

    def stands(self, ready: int) -> bool:
        """Wait until it writes to this descriptor; False when it ended first, or was not done in time."""
        assert self.child
        poll = select.poll()
        poll.register(ready, select.POLLIN)
        poll.register(self.child.pidfd, select.POLLIN)
        return any(fd == ready and event & select.POLLIN for fd, event in poll.poll(PATIENCE * 1000))

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
        raise NotSupported(f"network {wish['network']}: an ordinary user's container has one network, and no other")

    def disconnect(self, network: str) -> None:
        """Refuse, likewise."""
        raise NotSupported(f"network {network}: an ordinary user's container has one network, and no other")


def of(request: Mapping[str, Any], id: str) -> Tap:
    """Return what gives this container its network."""
    where = Paths(*request["where"])
    with open(os.path.join(where.containers, id, "network.json")) as file:
        wishes: dict[str, Any] = json.load(file)
    if wishes.get("tap") == "slirp4netns":
        from labrt.runtime.networks.slirp import Slirp

        return Slirp(where, id, wishes)
    from labrt.runtime.networks.pasta import Pasta

    return Pasta(where, id, wishes)


def ordinary() -> str:
    """Return what the network of who asks for none is. Raises NotSupported where neither program can be had."""
    if not _found("pasta") and _found("slirp4netns"):
        program("slirp4netns", "")
        return "slirp4netns"
    program("pasta", "passt")
    return "pasta"


def program(name: str, package: str) -> str:
    """Return the path of one of them. Raises NotSupported where it is not installed, or may not make a card."""
    path = _found(name)
    if not path:
        raise NotSupported(f"{name}, which is an ordinary user's network, is not installed",
                           remedy=f"`apt-get install {package}`; or --network none or host")  # fmt: skip
    if not os.access(TUN, os.R_OK | os.W_OK):
        raise NotSupported(f"{name} needs {TUN}, and this user may not open it", remedy=f"`sudo chmod 666 {TUN}`")
    return path


def _found(name: str) -> str:
    paths = (os.path.join(place, name) for place in PLACES)
    return next((path for path in paths if os.access(path, os.X_OK)), "")


def become(path: str, words: list[str], fds: Sequence[int], parent: int) -> None:
    """Become such a program, with these as its descriptors 0, 1, …; it ends with its monitor. Never returns."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python is deaf to it, and older pastas do not go on if they are
    high = [os.dup(fd) for fd in fds]
    for number, fd in enumerate(high):
        os.dup2(fd, number)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:
        os.execve(path, words, {"PATH": "/usr/bin:/bin"})


def _claims(wishes: Sequence[Mapping[str, Any]]) -> Iterator[Claim]:
    """Find for each port that is wished for one that is free.

    The process claims them itself, a moment later; that it can, and who has them if it cannot, is found out here.
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
                yield Claim(wish["protocol"], wish["host"], sock.getsockname()[1], wish["port"])
            break
        else:
            raise problem or Conflict("no port is free")
