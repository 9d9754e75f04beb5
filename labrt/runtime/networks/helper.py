"""The helper: a process beside the monitor that answers names and relays ports for one container.

    child = start(relays=[(socket, ("172.24.0.2", 80)), …], resolver=[sockets], upstream=[…], books=[…])

One for each container that publishes a port or is in a user-defined network. What it reads comes from the container and
from the network, so it is nobody (uid 65534) before it reads a byte: it has its sockets, a descriptor of the directory
with the leases, and nothing else. It ends with its monitor (PR_SET_PDEATHSIG), and so does its hold on the ports.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
from collections.abc import Sequence

from labrt.linux import process, syscalls
from labrt.linux.network.relay import Relay
from labrt.linux.network.resolver import Resolver

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

NOBODY = 65534
Target = tuple[socket.socket, tuple[str, int]]


def start(
    *, relays: Sequence[Target], resolver: Sequence[socket.socket], upstream: Sequence[str], leases: str,
    networks: Sequence[str],
) -> process.Child:  # fmt: skip
    """Fork it. The sockets stay ours as well. `networks` are those whose names it knows, by name."""
    books = os.open(leases, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    parent = os.getpid()
    try:
        return process.spawn(lambda: _serve(parent, relays, resolver, upstream, books, networks))
    finally:
        os.close(books)


def _serve(
    parent: int, relays: Sequence[Target], sockets: Sequence[socket.socket], upstream: Sequence[str], books: int,
    networks: Sequence[str],
) -> None:  # fmt: skip
    """Serve until we are killed."""
    import prctl

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    prctl.set_name("labrt-network")
    with selectors.DefaultSelector() as selector:
        relay = Relay(selector)
        resolver = Resolver(selector, sockets, Neighbours(books, networks), upstream) if sockets else None
        for sock, to in relays:
            (relay.tcp if sock.type == socket.SOCK_STREAM else relay.udp)(sock, to)
        ours = (*sockets, *(sock for sock, _ in relays))
        _keep_only({books, selector.fileno(), *(sock.fileno() for sock in ours)})
        _drop_privileges()
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)  # here: a change of user would undo it
        if os.getppid() != parent:
            return
        while True:
            waits = (relay.idle(), resolver.idle() if resolver else None)
            for key, events in selector.select(min((one for one in waits if one is not None), default=None)):
                with contextlib.suppress(KeyError):  # an earlier one of this round has closed it
                    if selector.get_map()[key.fileobj] is key:
                        key.data(events)


def _keep_only(kept: set[int]) -> None:
    """Close what else we have from the monitor: a terminal, pipes and locks would be held open by us."""
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        if number not in kept:
            os.dup2(quiet, number)
    below = 3
    for fd in [*sorted(fd for fd in kept if fd > 2), 1 << 31]:
        if fd > below:
            syscalls.close_range(below, fd - 1, 0)
        below = fd + 1


def _drop_privileges() -> None:
    with contextlib.suppress(OSError):  # in a user namespace without other users, root there is nobody already
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


class Neighbours:
    """The names of the containers in these networks, read from the leases, and again when they have changed."""

    def __init__(self, books: int, networks: Sequence[str]) -> None:
        self.books = books
        self.networks = networks
        self._parsed: dict[str, tuple[bytes, list[dict[str, Any]]]] = {}

    def addresses(self, name: str, version: int) -> Sequence[str] | None:
        """Return the addresses of a name, in the first of our networks that knows it."""
        for network in self.networks:
            found = [one for one in self._endpoints(network) if name in _called(one, network)]
            if found:
                return [one[f"ipv{version}"] for one in found if version and one[f"ipv{version}"]]
        return None

    def name(self, address: str) -> str | None:
        """Return the name of an address: the container's own, with the network's behind."""
        for network in self.networks:
            for one in self._endpoints(network):
                if address and address in (one["ipv4"], one["ipv6"]):
                    return f"{one['names'][0]}.{network}"
        return None

    def _endpoints(self, network: str) -> list[dict[str, Any]]:
        try:
            fd = os.open(f"{network}.json", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.books)
        except OSError:
            return []
        with open(fd, "rb") as file:
            raw = file.read()
        if network not in self._parsed or self._parsed[network][0] != raw:
            self._parsed[network] = (raw, list(json.loads(raw)["endpoints"].values()))
        return self._parsed[network][1]


def _called(endpoint: dict[str, Any], network: str) -> list[str]:
    names = [name.lower() for name in endpoint["names"]]
    return [*names, *(f"{name}.{network.lower()}" for name in names)]
