"""Being a router: the kernel hands a packet from one interface to another only if it was told to.

    enable("labrt", 4)       net.ipv4.ip_forward = 1, unless it is
    release("labrt")         as it was before, if nobody else of labrt's needs it

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


def enable(who: str, version: int) -> None:
    """Switch it on, and remember for whom, and how it was. Raises NotSupported where it may not be switched."""
    if _users(version) is None:
        if enabled(version):
            return  # somebody else's doing, and theirs to undo
        _note(who, version, "was 0")
        for interface in _announced() if version == 6 else ():
            path = f"/proc/sys/net/ipv6/conf/{interface}/accept_ra"
            if _read(path) == "1":
                nft.run(f'add set inet {TABLE} ra-{interface} {{ type ifname; comment "accept_ra was 1"; }}')
                _write(path, "2")
        _write(SETTINGS[version], "1")
    else:
        _note(who, version, "was 0")


def release(who: str) -> bool:
    """Say that `who` does not need it any more; the last one's word puts it back. False if they had not said so."""
    found = False
    for version in (4, 6):
        users = _sets().get(f"ipv{version}", [])
        if who in users:
            found = True
            if len(users) == 1:
                _put_back(version)
            else:
                nft.run(f'delete element inet {TABLE} ipv{version} {{ "{who}" }}')
    if found and not any(name.startswith("ipv") for name in _sets()):
        with contextlib.suppress(FileNotFoundError):
            nft.run(f"delete table inet {TABLE}")
    return found


def _put_back(version: int) -> None:
    _write(SETTINGS[version], "0")
    if version == 6:
        for name in _sets():
            if name.startswith("ra-"):
                with contextlib.suppress(NotSupported):  # that interface is gone
                    _write(f"/proc/sys/net/ipv6/conf/{name.removeprefix('ra-')}/accept_ra", "1")
    nft.run(f"delete set inet {TABLE} ipv{version}")


def _note(who: str, version: int, before: str) -> None:
    nft.run(
        f"add table inet {TABLE}\n"
        f'add set inet {TABLE} ipv{version} {{ type ifname; comment "{before}"; }}\n'
        f'add element inet {TABLE} ipv{version} {{ "{who}" }}'
    )


def _users(version: int) -> list[str] | None:
    """Return who needs it; None if it was not labrt that switched it on."""
    found = _sets().get(f"ipv{version}")
    return found if found is None or enabled(version) else None  # somebody switched it off since


def _sets() -> dict[str, list[str]]:
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
