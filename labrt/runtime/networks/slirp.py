"""An ordinary user's network by slirp4netns(1), where pasta is not installed: a NAT in user space.

    Slirp(where, id, wishes).attach(pid, name)       see tap.py

The container has an address of its own, always the same, on a cable where nobody else is; 10.0.2.2 is the router, and
10.0.2.3 asks this machine's name servers, also those on its loopback. Nothing else of that loopback is to be seen from
in there (--disable-host-loopback). Ports are published by a word to slirp4netns' socket, and for IPv4 only; who comes
by them seems to come from the router. See https://github.com/rootless-containers/slirp4netns; notebook 15.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Sequence

from labrt.errors import Conflict, ContainerError, NotSupported
from labrt.linux import process
from labrt.runtime.networks import etc, tap
from labrt.runtime.networks.tap import Claim

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

ADDRESS, NAMES = "10.0.2.100", "10.0.2.3"
MTU = "65520"  # bytes: the larger a packet, the fewer of them to carry
SOCKET = "slirp.sock"
READY = 3  # the descriptor to which it writes when it stands


class Slirp(tap.Tap):
    """One container's slirp4netns."""

    addresses = (ADDRESS,)

    def start(self, namespace: int, claims: Sequence[Claim]) -> None:
        """Start it, wait until it stands, and have it publish the ports."""
        path, sock = tap.program("slirp4netns", "slirp4netns"), os.path.join(self.directory, SOCKET)
        if any(":" in one.host for one in claims):
            raise NotSupported("slirp4netns publishes no port on an IPv6 address", remedy="`apt-get install passt`")
        if etc.needs_resolver(self.wishes):
            self.wishes["dns"] = [NAMES]
        words = ["slirp4netns", "--configure", f"--mtu={MTU}", "--disable-host-loopback", "--enable-sandbox",
                 "--enable-seccomp", f"--ready-fd={READY}", f"--api-socket={SOCKET}", "--netns-type=path",
                 "/proc/self/fd/0", "eth0"]  # fmt: skip
        stands, ready = os.pipe2(os.O_CLOEXEC)
        said = os.memfd_create("said", os.MFD_CLOEXEC)
        try:
            self._spawn(path, words, (namespace, said, said, ready))
            os.close(ready)
            ready = -1
            if not self.stands(stands):
                answer = os.pread(said, 4096, 0).decode(errors="replace").strip() or "it said nothing"
                raise ContainerError(f"slirp4netns: {answer.splitlines()[-1]}", remedy="--network none or host")
            for one in claims:
                _publish(self.directory, one)
        finally:
            for fd in (stands, said, ready):
                if fd >= 0:
                    os.close(fd)
            with contextlib.suppress(FileNotFoundError):  # nobody is to tell it more
                os.unlink(sock)

    def _spawn(self, path: str, words: list[str], fds: Sequence[int]) -> None:
        parent = os.getpid()

        def run() -> None:
            os.chdir(self.directory)  # a socket's path has room for 107 bytes, and ours may be longer
            tap.become(path, words, fds, parent)

        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.directory, SOCKET))  # of a monitor that was killed
        self.child = process.spawn(run)


def _publish(directory: str, claim: Claim) -> None:
    """Have one port published. Raises Conflict when it cannot be."""
    arguments = {"proto": claim.protocol, "host_addr": claim.host or "0.0.0.0", "host_port": claim.port,  # noqa: S104
                 "guest_addr": ADDRESS, "guest_port": claim.to}  # fmt: skip
    answer = _ask(directory, {"execute": "add_hostfwd", "arguments": arguments})
    if "error" in answer:
        problem = f"slirp4netns cannot publish port {claim.port}/{claim.protocol}: {answer['error'].get('desc', '')}"
        raise Conflict(problem, remedy="publish another port")


def _ask(directory: str, question: dict[str, Any]) -> dict[str, Any]:
    """Say one thing to slirp4netns' socket, which takes one for each connection, and return its answer."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(tap.PATIENCE)
            sock.connect(f"/proc/self/fd/{fd}/{SOCKET}")
            sock.sendall(json.dumps(question).encode())
            sock.shutdown(socket.SHUT_WR)
            answer: dict[str, Any] = json.loads(b"".join(iter(lambda: sock.recv(4096), b"")))
    except (OSError, ValueError) as error:
        raise ContainerError(f"slirp4netns does not answer: {error}", remedy="--network none or host") from error
    finally:
        os.close(fd)
    return answer
