"""What a network is, as written in /var/lib/labrt/networks/NAME/network.json.

    load(directory, "web")      a Network; NotFound

A value; what it is made of in the kernel is uplink.py's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from labrt.errors import NotFound
from labrt.paths import Paths
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

DEFAULT = "bridge"  # the network of who asks for none


class Subnet(Record):
    """One range of addresses. `gateway` is the host's own on the bridge; `ip_range` "" means all of the subnet."""

    subnet: str
    gateway: str
    ip_range: str = ""

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.subnet else 4

    @property
    def prefix(self) -> int:
        """The length of the network's prefix in bits."""
        return int(self.subnet.partition("/")[2])


class Network(Record):
    """One network. `interface` is its bridge, of a macvlan the host's card; `mtu` 0 is the kernel's own."""

    name: str
    id: str
    driver: str  # bridge or macvlan
    created: float
    interface: str
    subnets: tuple[Subnet, ...] = ()
    internal: bool = False
    masquerade: bool = True
    mtu: int = 0
    mode: str = ""  # of a macvlan
    labels: Mapping[str, str] = {}
    options: Mapping[str, str] = {}

    @property
    def is_default(self) -> bool:
        """Whether it is the default network, on which nobody has a name: as with Docker."""
        return self.name == DEFAULT

    def of(self, version: int) -> Subnet | None:
        """Return its subnet of IPv4 (4) or IPv6 (6)."""
        return next((one for one in self.subnets if one.version == version), None)

    def to_json(self) -> dict[str, Any]:
        """As it is written down."""
        return {**self._asdict(), "subnets": [subnet._asdict() for subnet in self.subnets]}

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> Network:
        """Read what `to_json` has written."""
        known = {name: about[name] for name in cls._fields if name in about}
        return cls(**{**known, "subnets": tuple(Subnet(**subnet) for subnet in about["subnets"])})


def load(directory: str, name: str) -> Network:
    """Read one network's definition. Raises NotFound."""
    try:
        with open(os.path.join(directory, name, "network.json")) as file:
            return Network.from_json(json.load(file))
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"no network is called {name}", remedy="`labrt network ls` lists them") from None


def house(where: Paths) -> str:
    """Return what this labrt's tables and interfaces are called by: several may live on one machine."""
    if where.state == "/var/lib/labrt":
        return "labrt"
    import hashlib  # 5 ms, which most labrts need not wait for

    return f"labrt-{hashlib.sha256(where.state.encode()).hexdigest()[:6]}"
