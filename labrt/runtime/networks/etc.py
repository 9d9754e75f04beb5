"""A container's /etc/hosts and /etc/resolv.conf, when it has a network, as Docker writes them.

On the default network name servers are the host's, but for those on its loopback, which is not the container's: where
there are no others, and on each user-defined network, it is a resolver of its own at 127.0.0.11.
See hosts(5), resolv.conf(5).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from labrt.linux.network.resolver import ADDRESS

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

HOST = "/etc/resolv.conf"
BEHIND_STUB = "/run/systemd/resolve/resolv.conf"  # what systemd-resolved asks itself
LOCALHOST = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
)


def write(
    directory: str, wishes: Mapping[str, Any], addresses: Sequence[str], gateway: str, own_resolver: bool
) -> None:
    """Write both. They are mounted into the container one by one, so the files stay the same and get other contents."""
    host_text = _read(HOST)
    own = f"\n{wishes['hosts']}".replace("\nhost-gateway\t", f"\n{gateway or '127.0.0.1'}\t")
    hosts = LOCALHOST + own[1:]
    hosts += "".join(f"{address}\t{wishes['names']}\n" for address in addresses)
    _write(os.path.join(directory, "hosts"), hosts)
    servers = [*wishes["dns"]] or servers_of(host_text)
    lines = [f"nameserver {server}" for server in ([ADDRESS] if own_resolver else servers)]
    search = [*wishes["dns_search"]] or _words(host_text, "search", "domain")
    options = [*wishes["dns_option"]] or _words(host_text, "options")
    if own_resolver and not any(option.startswith("ndots:") for option in options):
        options.append("ndots:0")  # a name without a dot may be a neighbour's
    lines += [f"search {' '.join(search)}"] if search and search != ["."] else []
    lines += [f"options {' '.join(options)}"] if options else []
    _write(os.path.join(directory, "resolv.conf"), "".join(f"{line}\n" for line in lines))


def upstream(wishes: Mapping[str, Any]) -> list[str]:
    """Return the name servers that a resolver of ours asks: the container's own wishes, or the host's."""
    return [*wishes["dns"]] or _nameservers(_read(HOST))


def servers_of(text: str) -> list[str]:
    """Return the host's name servers that a container can reach: none when all are on the loopback."""
    servers = [server for server in _nameservers(text) if not _is_loopback(server)]
    return servers or [server for server in _nameservers(_read(BEHIND_STUB)) if not _is_loopback(server)]


def needs_resolver(wishes: Mapping[str, Any]) -> bool:
    """Whether the host's name servers are on its loopback only, and no others are wished for."""
    return not wishes["dns"] and not servers_of(_read(HOST)) and bool(_nameservers(_read(HOST)))


def _nameservers(text: str) -> list[str]:
    return _words(text, "nameserver", every=True)


def _words(text: str, *kinds: str, every: bool = False) -> list[str]:
    found: list[str] = []
    for line in text.splitlines():
        kind, *words = line.split() or [""]
        if kind in kinds:
            found = [*found, *words[:1]] if every else words
    return found


def _is_loopback(server: str) -> bool:
    return server.startswith("127.") or server == "::1"


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with open(fd, "w") as file:
        file.write(text)
        os.fchmod(fd, 0o644)  # whatever our umask is, the container's users must be able to read it
