"""Where the daemon listens.

A unix socket is as good as root's password for who may write to it: containers may have the whole disk. So its mode is
0660, and it is the group docker's if there is one. TCP is served only to clients with a certificate of our CA.
systemd may hand over sockets that listen already: sd_listen_fds(3). See unix(7).
"""

from __future__ import annotations

import contextlib
import grp
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from labrt import paths
from labrt.errors import Conflict, InvalidInput

FIRST_FD = 3  # of those that systemd hands over
WAITING = 4096  # connections that are not accepted yet: somaxconn in listen(2), as it is by default


class Settings(NamedTuple):
    """What `labrt daemon` was told."""

    hosts: Sequence[str] = ()
    group: str = "docker"
    pidfile: str = ""
    log_format: str = "text"
    debug: bool = False
    tls: bool = False
    cacert: str = ""
    cert: str = ""
    key: str = ""
    trace: bool = False


def default_host(where: paths.Paths | None = None) -> str:
    """Where we listen if nobody says anything."""
    return f"unix://{(where or paths.default()).run}/labrt.sock"


def listening(
    settings: Settings, where: paths.Paths, stack: contextlib.ExitStack
) -> Iterator[tuple[socket.socket, bool]]:
    """Yield sockets that listen, and whether each is TCP. Those of our own making are removed at the end."""
    for host in settings.hosts or [default_host(where)]:
        kind, _, place = host.partition("://")
        if kind == "unix":
            yield _unix(place, settings.group, stack), False
        elif kind == "tcp":
            yield _tcp(host, place, settings, stack), True
        elif kind == "fd":
            yield from _handed_over(settings)
        else:
            raise InvalidInput(f"-H {host}: not understood", remedy="unix:///path, tcp://address:port, or fd://")


def _unix(path: str, group: str, stack: contextlib.ExitStack) -> socket.socket:
    if not path.startswith("/") or len(path) > 107:
        raise InvalidInput(f"-H unix://{path}: no absolute path of up to 107 bytes", remedy="unix:///run/labrt.sock")
    sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    _remove_dead(path)
    before = os.umask(0o177)  # between bind and chmod it is nobody's but ours
    try:
        sock.bind(path)
    finally:
        os.umask(before)
    own = os.stat(path)
    stack.callback(_unlink, path, (own.st_dev, own.st_ino))
    if os.geteuid() == 0:
        os.chown(path, 0, _gid(group))
    os.chmod(path, 0o660)
    sock.listen(WAITING)
    return sock


def _remove_dead(path: str) -> None:
    """Remove the socket of a daemon that was killed. Raises Conflict when there is one that answers."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise Conflict(f"{path} is there, and no socket", remedy="name another place with -H")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except OSError:
                os.unlink(path)
                return
        raise Conflict(f"a daemon listens on {path} already", remedy="end that one, or name another place with -H")


def _unlink(path: str, identity: tuple[int, int]) -> None:
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(path)
        if (found.st_dev, found.st_ino) == identity:
            os.unlink(path)


def _gid(group: str) -> int:
    try:
        return int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        if group != "docker":
            remedy = "groupadd it, or name another"
            raise InvalidInput(f"--group {group}: there is no such group", remedy=remedy) from None
        return 0


def _tcp(host: str, place: str, settings: Settings, stack: contextlib.ExitStack) -> socket.socket:
    if not (settings.tls and settings.cacert and settings.cert and settings.key):
        remedy = "--tlsverify --tlscacert CA --tlscert CERT --tlskey KEY: else everybody who reaches it is root here"
        raise InvalidInput(f"-H {host}: TCP only with TLS on both sides", remedy=remedy)
    address, _, port = place.rpartition(":")
    address = address.strip("[]")
    if not address or not port.isdecimal():
        raise InvalidInput(f"-H {host}: not understood", remedy="tcp://127.0.0.1:2376")
    try:
        family = socket.getaddrinfo(address, int(port), type=socket.SOCK_STREAM)[0][0]
        sock = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, int(port)))
    except OSError as error:
        raise InvalidInput(f"-H {host}: {error.strerror or error}", remedy="another address or port") from None
    sock.listen(WAITING)
    return sock


def _handed_over(settings: Settings) -> Iterator[tuple[socket.socket, bool]]:
    """Yield the sockets that systemd has opened for us."""
    count = int(os.environ.get("LISTEN_FDS", "0")) if os.environ.get("LISTEN_PID") == str(os.getpid()) else 0
    if not count:
        raise InvalidInput("-H fd://: systemd has handed over no socket", remedy="start labrt.socket")
    for fd in range(FIRST_FD, FIRST_FD + count):
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        is_tcp = sock.family != socket.AF_UNIX
        if is_tcp and not (settings.tls and settings.cacert and settings.cert and settings.key):
            raise InvalidInput("-H fd://: a TCP socket without --tlsverify", remedy="TCP only with TLS on both sides")
        yield sock, is_tcp
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)


def shown(sock: socket.socket) -> str:
    """Name a socket as -H does."""
    name = sock.getsockname()
    return f"unix://{name}" if sock.family == socket.AF_UNIX else f"tcp://{name[0]}:{name[1]}"
