"""--add-host, --dns and their like: lines of the container's own /etc/hosts and /etc/resolv.conf.

See hosts(5), resolv.conf(5).
"""

from __future__ import annotations

import ipaddress
from typing import Any

from labrt.engine.options.model import Options
from labrt.errors import InvalidInput


def check(options: Options) -> None:
    """Raise InvalidInput for what would be no line of these files."""
    hosts(options)
    for address in options.dns:
        _address(address, "--dns")
    words = {"--dns-search": options.dns_search, "--dns-option": options.dns_option}
    words["--domainname"] = (options.domainname,) if options.domainname is not None else ()
    for flag, given in words.items():
        for word in given:
            if not word or any(letter.isspace() or letter == "\0" for letter in word):
                raise InvalidInput(f"{flag} {word!r} is no word of resolv.conf", remedy="one word without spaces")
    if options.domainname is not None and len(options.domainname) > 64:  # __NEW_UTS_LEN
        raise InvalidInput(f"--domainname {options.domainname}: too long", remedy="64 letters at most")
    if options.domainname is not None and options.uts == "host":
        raise InvalidInput("--domainname with --uts host: it would be the host's", remedy="leave out one of them")


def apply(options: Options, config: dict[str, Any]) -> None:
    """Write the domain's name into config.json; the rest is in files."""
    if options.domainname:
        config["domainname"] = options.domainname


def host_config(options: Options) -> dict[str, Any]:
    """Return docker's ExtraHosts, Dns, DnsSearch and DnsOptions."""
    return {
        "ExtraHosts": list(options.add_host),
        "Dns": list(options.dns),
        "DnsSearch": list(options.dns_search),
        "DnsOptions": list(options.dns_option),
    }


def hosts(options: Options) -> str:
    """Write the lines of `--add-host NAME:ADDRESS` (or NAME=ADDRESS, which is easier to read with IPv6)."""
    lines = []
    for entry in options.add_host:
        name, found, address = entry.partition("=" if "=" in entry else ":")
        if not found or not name or any(letter.isspace() for letter in name):
            raise InvalidInput(f"--add-host {entry!r}: not understood", remedy="NAME:ADDRESS")
        if address == "host-gateway":
            if options.network == "none":
                remedy = "another network than none"
                raise InvalidInput(f"--add-host {entry}: without a network there is no way to it", remedy=remedy)
            if options.network != "host":  # known when it starts: runtime/networks/etc.py
                lines.append(f"host-gateway\t{name}\n")
                continue
            address = "127.0.0.1"
        lines.append(f"{_address(address.removeprefix('[').removesuffix(']'), '--add-host')}\t{name}\n")
    return "".join(lines)


def _address(text: str, flag: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise InvalidInput(f"{flag} {text!r} is no IP address", remedy="like 192.168.1.5 or fd00::5") from None


def resolv_conf(options: Options, ours: str) -> str:
    """Change the host's resolv.conf: what is given takes the place of all lines of its kind."""
    given = {
        "nameserver": [f"nameserver {address}" for address in options.dns],
        "search": [] if not options.dns_search else [f"search {' '.join(options.dns_search)}"],
        "options": [f"options {' '.join(options.dns_option)}"] if options.dns_option else [],
    }
    if options.dns_search and options.dns_search[0] == ".":  # Docker's way to say: none at all
        given["search"] = ["search ."]
    kept = []
    for line in ours.splitlines():
        word = line.split(maxsplit=1)[0] if line.strip() else ""
        kind = "search" if word == "domain" else word
        if not given.get(kind):
            kept.append(line)
    return "".join(f"{line}\n" for line in [*kept, *(line for lines in given.values() for line in lines)])
