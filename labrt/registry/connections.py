"""The pool of connections below the transport, which can be hung up from another thread.

A thread that waits in recv(2) hears no Python signal: only the main thread does. So that Ctrl-C ends a pull at once,
every socket is remembered here (weakly), and `hang_up` shuts them down, which makes the waiting recv return.
Kept apart from transport.py so that requests and urllib3 are imported with the first request and not before.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection


class Connections:
    """The open connections of one session. While `stopped` is set, no new one lives."""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped
        self._open: weakref.WeakSet[HTTPConnection] = weakref.WeakSet()
        self._lock = threading.Lock()

    def add(self, connection: HTTPConnection) -> None:
        """Remember one. One that was being opened while the others were hung up is hung up here."""
        with self._lock:
            self._open.add(connection)
        if self._stopped.is_set():
            _shut_down(connection)

    def hang_up(self) -> None:
        """Shut every socket down, for reading and writing; whoever waits for one gets an end of file."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _shut_down(connection)


def _shut_down(connection: HTTPConnection) -> None:
    sock = connection.sock
    if sock is not None:
        with contextlib.suppress(OSError):
            # A plain shutdown(2) below TLS: SSLSocket's own also drops the TLS state that the reader is using.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _pools(connections: Connections) -> dict[str, Any]:
    """urllib3's two pools, with connections that report themselves when they are opened."""

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            connections.add(self)

    class Tls(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            connections.add(self)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}


class _Adapter(HTTPAdapter):
    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        super().__init__(pool_connections=8, pool_maxsize=8, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(self._connections)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _pools(self._connections)
        return manager


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """No redirect is seen here: requests would read its body, however long, also unfollowed."""
        return None


def open_session(connections: Connections, user_agent: str) -> requests.Session:
    """A session without the habits of requests that a registry's client must not have.

    No Authorization out of ~/.netrc (it would replace ours), no cookies, no redirects and no retries of its own.
    """
    session = _Session()
    session.headers["User-Agent"] = user_agent
    session.auth = lambda request: request  # any auth at all keeps requests from reading ~/.netrc
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(connections))
    return session
