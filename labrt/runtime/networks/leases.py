"""Who has which address in a network, and which names: one file per network, which several processes change in turn.

    leases = Leases(directory, network)
    mine = leases.take(id, names=["web"], ipv4="", ipv6="", mac="")     the next that nobody has
    leases.give_back(id)
    leases.endpoints()         {id: Endpoint}

The file is changed under a lock and replaced at once, so that a kill -9 leaves either the old one or the new one. An
endpoint belongs to a process, the container's monitor, by pid and start time: when that has died without giving back,
the next who takes an address gives back for it. So nothing is lost, and nothing needs repair.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator, Sequence

from labrt.errors import Conflict, InvalidInput
from labrt.image import files
from labrt.linux import process, procfs
from labrt.linux.network import links
from labrt.runtime.networks.definition import Network, Subnet
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any


class Endpoint(Record):
    """What one container has in a network. An address is "" when the network has none of this kind."""

    ipv4: str
    ipv6: str
    mac: str
    names: tuple[str, ...]  # the container's own first, then aliases and its id
    pid: int
    starttime: int

    def address(self, version: int) -> str:
        """Return its address of IPv4 (4) or IPv6 (6)."""
        return self.ipv4 if version == 4 else self.ipv6


class Leases:
    """The endpoints of one network."""

    def __init__(self, directory: str, network: Network) -> None:
        self.network = network
        self.directory = directory
        self.file = os.path.join(directory, f"{network.name}.json")

    def endpoints(self) -> dict[str, Endpoint]:
        """Return what every container has, by its id: also of one whose monitor has just been killed."""
        return {id: _endpoint(entry) for id, entry in self._read()["endpoints"].items()}

    def take(
        self, id: str, *, names: Sequence[str] = (), ipv4: str = "", ipv6: str = "", mac: str = ""
    ) -> Endpoint:
        """Take addresses for a container; those given, if nobody else has them. For the process that we are.

        Raises Conflict when an address is taken, or none is left; InvalidInput for one that is not in the network.
        """
        with self._locked():
            book = self._read()
            kept = {other: entry for other, entry in book["endpoints"].items() if other != id and _held(entry)}
            addresses = {
                version: self._address(book, kept, version, wanted) for version, wanted in ((4, ipv4), (6, ipv6))
            }
            made_up = links.mac_of(addresses[4]) if addresses[4] else links.random_mac()
            pid = os.getpid()
            mine = Endpoint(addresses[4], addresses[6], mac or made_up, (*names,), pid, process.start_time(pid) or 0)
            book["endpoints"] = {**kept, id: mine._asdict()}
            self._write(book)
        return mine

    def give_back(self, id: str) -> None:
        """Give all back that a container has. Harmless when it has nothing."""
        if not os.path.exists(self.file):
            return
        with self._locked():
            book = self._read()
            if book["endpoints"].pop(id, None) is not None:
                self._write(book)

    def rename(self, id: str, names: Sequence[str]) -> None:
        """Give a container other names."""
        with self._locked():
            book = self._read()
            if id in book["endpoints"]:
                book["endpoints"][id]["names"] = [*names]
                self._write(book)

    def _address(self, book: dict[str, Any], kept: dict[str, Any], version: int, wanted: str) -> str:
        subnet = self.network.of(version)
        if subnet is None:
            if wanted:
                raise InvalidInput(f"network {self.network.name} has no IPv{version}: {wanted} cannot be in it",
                                   remedy="`labrt network create --subnet …`")  # fmt: skip
            return ""
        taken = {entry[f"ipv{version}"]: other for other, entry in kept.items()}
        if wanted:
            return self._given(subnet, wanted, taken)
        last = book["last"].get(str(version), "")
        for address in _candidates(subnet, last, len(taken)):
            if address not in taken:
                book["last"][str(version)] = address
                return address
        raise Conflict(f"network {self.network.name} has no free address in {subnet.ip_range or subnet.subnet}",
                       remedy="stop one in it, or `labrt network create` one with a larger --subnet")  # fmt: skip

    def _given(self, subnet: Subnet, wanted: str, taken: dict[str, str]) -> str:
        try:
            address = ipaddress.ip_address(wanted)
        except ValueError:
            raise InvalidInput(f"{wanted!r} is no IP address", remedy="like 172.24.0.5") from None
        if address not in ipaddress.ip_network(subnet.subnet):
            problem = f"{wanted} is not in network {self.network.name}"
            raise InvalidInput(problem, remedy=f"an address of {subnet.subnet}")
        holder = "the gateway" if str(address) == subnet.gateway else taken.get(str(address), "")[:12]
        if holder:
            whose = holder if holder == "the gateway" else f"container {holder}"
            raise Conflict(f"{wanted} in network {self.network.name} belongs to {whose}", remedy="take another one")
        return str(address)

    def _locked(self) -> Any:
        if not os.path.isdir(self.directory):
            os.makedirs(self.directory, exist_ok=True)
            os.chmod(self.directory, 0o755)  # whatever our umask is: the helper reads here as nobody
        return files.locked(os.path.join(self.directory, f".{self.network.name}.lock"))

    def _read(self) -> dict[str, Any]:
        boot = procfs.boot_id()
        try:
            with open(self.file) as file:
                book: dict[str, Any] = json.load(file)
        except (FileNotFoundError, ValueError):  # not JSON: a power cut, which no lease has outlived
            book = {"boot": ""}
        return book if book["boot"] == boot else {"boot": boot, "endpoints": {}, "last": {}}

    def _write(self, book: dict[str, Any]) -> None:
        files.replace(self.file, json.dumps(book).encode(), durable=False)

    def remove(self) -> None:
        """Forget the file itself, with its network."""
        for path in (self.file, os.path.join(self.directory, f".{self.network.name}.lock")):
            if os.path.exists(path):
                os.unlink(path)

    def __repr__(self) -> str:
        return f"<Leases of {self.network.name}: {len(self.endpoints())}>"


def _endpoint(entry: dict[str, Any]) -> Endpoint:
    return Endpoint(**{**entry, "names": tuple(entry["names"])})


def _held(entry: dict[str, Any]) -> bool:
    return procfs.alive(entry["pid"], entry["starttime"])


def _candidates(subnet: Subnet, last: str, taken: int) -> Iterator[str]:
    """Yield addresses of a subnet that may be given away, from after the last one on, then from the beginning.

    As far as is needed: among more than are taken, one is free. What was just given back is thus not given at once to
    another, of whom neighbours would still think that it is the former.
    """
    network, pool = ipaddress.ip_network(subnet.subnet), ipaddress.ip_network(subnet.ip_range or subnet.subnet)
    never = {int(network.network_address), int(ipaddress.ip_address(subnet.gateway)) if subnet.gateway else -1}
    if subnet.version == 4 and network.prefixlen < 31:
        never.add(int(network.broadcast_address))
    first, size = int(pool.network_address), pool.num_addresses
    offset = int(ipaddress.ip_address(last)) - first + 1 if last else 0
    kind = type(network.network_address)
    for step in range(min(size, taken + len(never) + 1)):
        number = first + (offset + step) % size
        if number not in never:
            yield str(kind(number))
