"""URLs: whose they are, and how they may be shown."""

from __future__ import annotations

import ipaddress
from urllib.parse import parse_qsl, urljoin, urlsplit

# The query keys of the token and distribution specifications. Any other may be a signature: a CDN's URL is a key.
_PUBLIC_KEYS = {"service", "scope", "account", "client_id", "n", "last"}


def is_loopback(host: str) -> bool:
    """Whether `host`, with or without a port, is this machine by its spelling alone; no name is looked up."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: two URLs with the same origin are the same server. ValueError for a port that is none."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or ""), parts.port or (443 if parts.scheme == "https" else 80)


def public(url: str) -> str:
    """A URL as it may be shown: without user and password, and its query values, but for known keys, as `…`."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(no URL)"
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = "&".join(f"{key}={value if key in _PUBLIC_KEYS else '…'}" for key, value in pairs)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?' + query if query else ''}"


def join(base: str, location: str) -> str:
    """Where a header Location leads, without user and password, of which requests would make an Authorization.

    Raises ValueError when it is no URL.
    """
    url = urljoin(base, location)
    origin(url)
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
