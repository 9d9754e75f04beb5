"""Network interfaces of the network namespace that we are in, and the one flag that every new one needs.

    interfaces()    name, ifindex, flags, mtu, addresses
    loopback_up()   without it not even 127.0.0.1 answers

By ioctl(2), as in netdevice(7). Bridges and veth pairs need netlink, but one flag does not: a netlink library costs a
fifth of a second at import, and a container's init has no time and, after pivot_root, no library. /sys/class/net is no
source either: it shows the namespace of whoever mounted /sys. See network_namespaces(7). Notebook 14.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct

from labrt.errors import kernel_error
from labrt.shapes import Flags, Record

# linux/sockios.h, the same on every architecture.
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCGIFADDR, SIOCGIFNETMASK, SIOCGIFMTU, SIOCGIFHWADDR = (
    0x8913, 0x8914, 0x8915, 0x891B, 0x8921, 0x8927,
)  # fmt: skip


class IFF(Flags):
    """Flags of an interface, linux/if.h. UP is what the administrator wants, RUNNING what the cable says."""

    UP = 1 << 0
    BROADCAST = 1 << 1
    DEBUG = 1 << 2
    LOOPBACK = 1 << 3
    POINTOPOINT = 1 << 4
    NOTRAILERS = 1 << 5
    RUNNING = 1 << 6
    NOARP = 1 << 7
    PROMISC = 1 << 8
    ALLMULTI = 1 << 9
    MASTER = 1 << 10
    SLAVE = 1 << 11
    MULTICAST = 1 << 12
    PORTSEL = 1 << 13
    AUTOMEDIA = 1 << 14
    DYNAMIC = 1 << 15


class Interface(Record):
    """One interface. `address` is its first IPv4 address with prefix length, or None; `mac` is "" where it has none."""

    name: str
    ifindex: int
    flags: IFF
    mtu: int
    mac: str
    address: str | None

    @property
    def up(self) -> bool:
        """Whether it is switched on."""
        return IFF.UP in self.flags

    def __repr__(self) -> str:
        flags = ",".join(flag.name or "" for flag in IFF if flag in self.flags)
        return f"<Interface {self.ifindex} {self.name} {self.address or '-'} mtu={self.mtu} {flags or 'down'}>"


def loopback_up() -> None:
    """Switch `lo` on; the kernel then gives it 127.0.0.1/8 and ::1. Needs CAP_NET_ADMIN over this namespace."""
    with _socket() as sock:
        (flags,) = struct.unpack_from("H", _ask(sock, "SIOCGIFFLAGS", SIOCGIFFLAGS, "lo"))
        if not flags & IFF.UP:
            _ask(sock, "SIOCSIFFLAGS", SIOCSIFFLAGS, "lo", struct.pack("H", flags | IFF.UP))


def interfaces() -> list[Interface]:
    """Every interface of the calling thread's network namespace, by ifindex: the loopback is the first."""
    found = []
    with _socket() as sock:
        for index, name in sorted(socket.if_nameindex()):
            try:
                found.append(_interface(sock, index, name))
            except OSError as error:
                if error.errno != errno.ENODEV:  # it was taken away while we looked
                    raise
    return found


def _interface(sock: socket.socket, index: int, name: str) -> Interface:
    (flags,) = struct.unpack_from("H", _ask(sock, "SIOCGIFFLAGS", SIOCGIFFLAGS, name))
    (mtu,) = struct.unpack_from("i", _ask(sock, "SIOCGIFMTU", SIOCGIFMTU, name))
    hardware = _ask(sock, "SIOCGIFHWADDR", SIOCGIFHWADDR, name)[2:8]
    return Interface(name, index, IFF(flags), mtu, hardware.hex(":") if any(hardware) else "", _ipv4(sock, name))


def _ipv4(sock: socket.socket, name: str) -> str | None:
    try:
        address = _ask(sock, "SIOCGIFADDR", SIOCGIFADDR, name)[4:8]
        mask = _ask(sock, "SIOCGIFNETMASK", SIOCGIFNETMASK, name)[4:8]
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return None
        raise
    return f"{socket.inet_ntoa(address)}/{int.from_bytes(mask).bit_count()}"


def _socket() -> socket.socket:
    # Any socket will do: it only says which network namespace is meant, that in which it was made.
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


def _ask(sock: socket.socket, request_name: str, request: int, name: str, value: bytes = b"") -> bytes:
    """Make one request on a `struct ifreq`: 16 bytes of name, then 24 of a union, which is returned."""
    try:
        return fcntl.ioctl(sock, request, struct.pack("16s24s", name.encode(), value))[16:]
    except OSError as error:
        remedy = "needs CAP_NET_ADMIN over this network namespace" if error.errno == errno.EPERM else ""
        raise kernel_error(f"ioctl({request_name}, {name!r})", error.errno or 0, remedy=remedy) from error
