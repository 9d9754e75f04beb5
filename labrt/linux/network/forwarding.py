"""Being a router: the kernel hands a packet from one interface to another only if it was told to.

    enable("labrt", 4)       net.ipv4.ip_forward = 1, unless it is
    release("labrt", 4)      as it was before, if nobody else of labrt's needs it

Several labrts may live on one machine (LABRT_ROOT), and each may come first and go last. So what was found is written
down where it lives exactly as long as the setting does, in this network namespace's memory: in a table of nft's without
any rule, `labrt-forwarding`. Its sets name who needs it, and their comments say what was there before.

For IPv6 there is one more thing: a router does not listen to other routers, so an interface that got its default route
by an announcement would lose it. Where there is one, it is told to listen nevertheless (accept_ra = 2).
See "ip_forward" and "accept_ra" in the kernel's Documentation/networking/ip-sysctl.rst. Notebook 15.
"""

from __future__ import annotations

import contextlib
import os

from labrt.errors import NotSupported
from labrt.linux.network import nft, routes

TABLE = "labrt-forwarding"
SETTINGS = {4: "/proc/sys/net/ipv4/ip_forward", 6: "/proc/sys/net/ipv6/conf/all/forwarding"}


def enabled(version: int) -> bool:
    """Whether this network namespace forwards packets of IPv4 (4) or IPv6 (6)."""
    return _read(SETTINGS[version]) == "1"


def is_others(version: int) -> bool:
    """Whether it is on, and that is not labrt's doing."""
    return enabled(version) and f"ipv{version}" not in _sets()


def enable(who: str, version: int) -> None:
    """Switch it on, and remember for whom. Raises NotSupported where it may not be switched.

    Harmless when it is on; not to be called when `is_others`, for then it would be switched off in the end.
    """
    _note(who, version)
    for interface in _announced() if version == 6 else ():
        path = f"/proc/sys/net/ipv6/conf/{interface}/accept_ra"
        if _read(path) == "1":
            nft.run(f'add set inet {TABLE} ra-{interface} {{ type ifname; comment "accept_ra was 1"; }}')
            _write(path, "2")
    if not enabled(version):
        _write(SETTINGS[version], "1")


def release(who: str, version: int) -> bool:
    """Say that `who`, for whom it was enabled, does not need it any more; the last one's word puts it back.

    False when it is off already. Where the table is gone (`nft flush ruleset`), what is left are the other labrts'
    tables: if there is none, nobody needs it.
    """
    found = _sets()
    users = found.get(f"ipv{version}")
    if users is None:
        others = [name for _, name in nft.tables() if name.startswith("labrt") and name not in (who, TABLE)]
        users = [] if others else [who]
    if users and users != [who]:
        with contextlib.suppress(FileNotFoundError):
            nft.run(f'delete element inet {TABLE} ipv{version} {{ "{who}" }}')
        return who in users
    was = enabled(version)
    if users:
        _put_back(version, found)
    return was and bool(users)


def _put_back(version: int, found: dict[str, list[str]]) -> None:
    _write(SETTINGS[version], "0")
    mine = [f"ipv{version}", *(name for name in found if version == 6 and name.startswith("ra-"))]
    for name in mine[1:]:
        with contextlib.suppress(NotSupported):  # that interface is gone
            _write(f"/proc/sys/net/ipv6/conf/{name.removeprefix('ra-')}/accept_ra", "1")
    with contextlib.suppress(FileNotFoundError):
        for name in mine:
            nft.run(f"delete set inet {TABLE} {name}")
        if not _sets():
            nft.run(f"delete table inet {TABLE}")


def _note(who: str, version: int) -> None:
    nft.run(
        f"add table inet {TABLE}\n"
        f'add set inet {TABLE} ipv{version} {{ type ifname; comment "was 0"; }}\n'
        f'add element inet {TABLE} ipv{version} {{ "{who}" }}'
    )


def _sets() -> dict[str, list[str]]:
    """Return what our table says: who needs ipv4 and ipv6, and which interfaces hear routers nevertheless."""
    with contextlib.suppress(FileNotFoundError):
        listed = nft.ask("list", "table", "inet", TABLE)
        return {entry["set"]["name"]: entry["set"].get("elem", []) for entry in listed if "set" in entry}
    return {}


def _announced() -> list[str]:
    """Name the interfaces whose IPv6 default route a router has announced."""
    return sorted({one.interface for one in routes.listed() if one.destination == "::/0" and one.protocol == "ra"})


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:  # no such interface, or no IPv6 at all
        return ""


def _write(path: str, value: str) -> None:
    # With open() this would look for the file as a new one; /proc/sys has only what the kernel knows.
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        setting = path.removeprefix("/proc/sys/").replace("/", ".")
        remedy = f"sysctl -w {setting}={value}; or a network that is --internal"
        raise NotSupported(f"{setting} cannot be set: {error.strerror}", remedy=remedy) from error
