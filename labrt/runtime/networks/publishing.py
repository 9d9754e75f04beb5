"""The published ports of one container: claimed on this machine, and led to the container.

    published = Published(where)
    published.publish(wishes, {4: "172.24.0.2"}, repair)     wishes are those of engine/networks.py
    published.claims            sockets, and where the helper carries what comes to them
    published.unpublish(); published.release()

A port of no address in particular is claimed on IPv4 and IPv6, of a range the first that is free. What comes from
outside is led by the firewall's maps, what comes from the loopback is carried by the helper.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence

from labrt.errors import Conflict, LabrtError
from labrt.linux.network import ports
from labrt.linux.network.firewall import Firewall, Publication
from labrt.paths import Paths
from labrt.runtime.networks import definition

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

ANY = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - it is what is wished for


class Published:
    """What is claimed, and what the firewall was told. Nothing at first."""

    def __init__(self, where: Paths) -> None:
        self.firewall = Firewall(definition.house(where))
        self.claims: list[tuple[socket.socket, tuple[str, int]]] = []
        self.publications: list[Publication] = []

    def publish(
        self, wishes: Sequence[Mapping[str, Any]], targets: Mapping[int, str], repair: Callable[[], object]
    ) -> None:
        """Claim ports, and lead them to `targets`, an address by IP version. `repair` writes rules that are gone anew.

        Raises Conflict and what else went wrong; what was claimed by then is to be released.
        """
        for wish in wishes:
            self._claim(wish, targets)
        try:
            self.firewall.publish(self.publications)
        except FileNotFoundError:  # somebody has flushed our rules
            repair()
            self.firewall.publish(self.publications)

    def unpublish(self) -> None:
        """Lead the ports nowhere any more; they are still claimed."""
        self.firewall.unpublish(self.publications)

    def release(self) -> None:
        """Let others have the ports."""
        for sock, _ in self.claims:
            sock.close()
        self.claims, self.publications = [], []

    def report(self) -> dict[str, Any]:
        """Say it for `endpoints.json`."""
        return {
            "ports": [
                {"protocol": "udp" if sock.type == socket.SOCK_DGRAM else "tcp", "host": sock.getsockname()[0],
                 "port": sock.getsockname()[1], "to": to[1]} for sock, to in self.claims
            ],
            "publications": [[*one] for one in self.publications],
        }  # fmt: skip

    def _claim(self, wish: Mapping[str, Any], targets: Mapping[int, str]) -> None:
        """Claim one port, on IPv4 and IPv6 if no address is named; of a range, the first that is free."""
        hosts = [wish["host"]] if wish["host"] else [ANY[4], ANY[6]]
        problem: LabrtError | None = None
        for port in [*range(wish["first"], wish["last"] + 1)] if wish["first"] else [0] * 8:
            try:
                claimed = _claim_all(wish["protocol"], hosts, port)
            except LabrtError as error:
                problem = error
                continue
            for sock in claimed:
                self._lead(sock, wish, targets)
            return
        raise problem or Conflict("no port is free")

    def _lead(self, sock: socket.socket, wish: Mapping[str, Any], targets: Mapping[int, str]) -> None:
        address, port = sock.getsockname()[:2]
        to = targets.get(6 if ":" in address else 4)
        if to:
            host = "" if address in ANY.values() else address
            self.publications.append(Publication(wish["protocol"], host, port, to, wish["port"]))
        else:  # the other version's address, by the relay alone
            to = next(iter(targets.values()))
        self.claims.append((sock, (to, wish["port"])))


def _claim_all(protocol: str, hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Claim the same port on each of these addresses: all or none. Of IPv4 and IPv6, only what this machine has."""
    claimed: list[socket.socket] = []
    try:
        for host in hosts:
            if host == ANY[6] and len(hosts) > 1 and not os.path.exists("/proc/net/if_inet6"):
                continue
            claimed.append(ports.claim(protocol, host, port))
            port = claimed[-1].getsockname()[1]
    except BaseException:
        for sock in claimed:
            sock.close()
        raise
    return claimed
