"""nft(8): the kernel's packet filter and NAT, told in its own words.

    run("add table inet mine; …")          all of it, or nothing: one transaction of the kernel's
    ask("list", "table", "inet", "mine")   what is there, counters too, as nft's JSON

labrt writes to tables of its own only. A packet passes through every table's chains that hang at its way, and one that
drops it is enough: so nobody's rules are changed by ours, and ours do not open what another firewall has closed.
See nft(8), libnftables-json(5); https://wiki.nftables.org. Notebook 15.
"""

from __future__ import annotations

import errno
import json
import os

from labrt.errors import LabrtError, NotSupported, kernel_error

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

PLACES = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft")


def program() -> str:
    """Return the path of nft. Raises NotSupported where it is not installed."""
    for path in PLACES:
        if os.access(path, os.X_OK):
            return path
    raise NotSupported(
        "nft is not installed, and labrt writes its rules with nothing else: iptables' are not touched",
        remedy="`apt-get install nftables`; or --network none or host",
    )


def run(script: str) -> None:
    """Have these commands done, all or none. Raises KernelError in nft's words: FileNotFoundError for no such table."""
    _run(["-f", "-"], script)


def ask(*words: str) -> list[dict[str, Any]]:
    """Return the objects that a `list` names, each {"chain": {…}}, {"rule": {…}} and so on."""
    found = json.loads(_run(["-j", *words], ""))
    return [entry for entry in found["nftables"] if "metainfo" not in entry]


def tables() -> list[tuple[str, str]]:
    """Name all tables of this network namespace: (family, name)."""
    return [(entry["table"]["family"], entry["table"]["name"]) for entry in ask("list", "tables") if "table" in entry]


def _run(arguments: list[str], text: str) -> str:
    """Run nft, without a shell and without subprocess, which takes longer to import than nft to run."""
    path = program()
    given, said = (os.memfd_create(f"labrt-nft-{what}", os.MFD_CLOEXEC) for what in ("in", "out"))
    try:
        os.write(given, text.encode())
        os.lseek(given, 0, os.SEEK_SET)
        actions = [(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, said, 1), (os.POSIX_SPAWN_DUP2, said, 2)]
        pid = os.posix_spawn(path, ["nft", *arguments], {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        answer = os.pread(said, os.fstat(said).st_size, 0).decode(errors="replace")
    except OSError as error:
        raise NotSupported(f"nft cannot be run: {error.strerror}", remedy=f"look at {path}") from error
    finally:
        os.close(given)
        os.close(said)
    if status:
        raise _refused(answer.strip())
    return answer


def _refused(answer: str) -> LabrtError:
    """Make an error of nft's words, which end with the kernel's: so that `except FileNotFoundError` catches ENOENT."""
    line = answer.splitlines()[0] if answer else "it said nothing"
    for number in (errno.EPERM, errno.ENOENT, errno.EEXIST, errno.EBUSY, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT):
        if os.strerror(number) in line:
            break
    else:
        return kernel_error(f"nft: {answer}", errno.EINVAL, remedy="`nft list ruleset` shows what is there")
    if number in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT):
        remedy = "a kernel with nf_tables, NAT and fib (Debian's and Ubuntu's have them); or --network none"
        return NotSupported(f"this kernel's nf_tables cannot do it: {line}", remedy=remedy)
    remedy = "needs CAP_NET_ADMIN over this network namespace" if number == errno.EPERM else "`nft list ruleset`"
    return kernel_error(f"nft: {line}", number, remedy=remedy)
