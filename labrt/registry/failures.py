"""What went wrong, in words: network errors become Unreachable, statuses become the class that says what they mean.

Nobody else makes these errors, so that each names the host, what was asked and what to do. What a registry says of
itself is quoted, but cut short and made printable: it is a stranger's text.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

from labrt.errors import ImageNotFound, LabrtError, RateLimited, RegistryError, Unauthorized, Unreachable

if TYPE_CHECKING:
    from labrt.registry.response import Response

_CHECK = "check the name, the network and the proxy settings"
_NO_TLS = "the server speaks no TLS that we know; plain HTTP is only for this machine and hosts named insecure"
_OWN_AUTHORITY = (
    "if the certificate is your own, name its authority in REQUESTS_CA_BUNDLE, or put it in"
    " /etc/docker/certs.d/HOST/ca.crt"
)

def cause(error: BaseException) -> BaseException:
    """The innermost error: requests wraps urllib3's, which wraps the socket's."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = [getattr(error, "reason", None), error.__cause__, *error.args]
        # Only of these two: what was being handled when a socket failed may be another story.
        if type(error).__module__.partition(".")[0] in ("requests", "urllib3"):
            inner.append(error.__context__)
        error = next((e for e in inner if isinstance(e, BaseException) and id(e) not in seen), error)
    return error


def words(error: BaseException) -> str:
    """What a network error means, without the layers around it."""
    import ssl

    innermost = cause(error)
    if isinstance(innermost, ssl.SSLCertVerificationError):
        return f"TLS: {innermost.verify_message or 'certificate verify failed'}"
    if isinstance(innermost, OSError) and innermost.strerror:
        return str(innermost.strerror)
    if type(innermost).__name__ == "RemoteDisconnected":
        return "the server hung up without an answer"
    return printable(str(innermost)) or type(innermost).__name__


def is_final(error: BaseException) -> bool:
    """Whether trying again is pointless: the kernel, the resolver or TLS has given a definite answer."""
    import ssl

    innermost = cause(error)
    if isinstance(innermost, socket.gaierror):
        return innermost.errno != socket.EAI_AGAIN
    if isinstance(innermost, ssl.SSLEOFError):  # the connection broke, inside TLS
        return False
    return isinstance(innermost, (ConnectionRefusedError, ssl.SSLError, ValueError))


def unreachable(asked: str, error: BaseException) -> Unreachable:
    """The error for a request that got no answer."""
    return Unreachable(f"{asked}: {words(error)}", remedy=_remedy(cause(error)))


def _remedy(innermost: BaseException) -> str:
    import ssl

    match innermost:
        case ConnectionRefusedError():
            return "nobody listens there: is the registry running, and is the port right?"
        case socket.gaierror():
            return "the name does not resolve: check its spelling and this machine's DNS"
        case ssl.SSLCertVerificationError():
            return _OWN_AUTHORITY
        case ssl.SSLError():
            return _NO_TLS
        case TimeoutError():
            return f"it took too long: {_CHECK}"
    return _CHECK


def rate_limited(response: Response, seconds: float | None) -> RateLimited:
    """The error for a 429 that waiting will not mend. `seconds` is what Retry-After said, None if nothing."""
    when = "" if seconds is None else f"; it asks to wait {seconds:.0f} s"
    return RateLimited(
        f"{response.host} has had enough requests from us: {response.asked}: status 429{when}",
        status=429,
        remedy="sign in with labrt login, use a mirror, or come back later",
    )


def refusal(response: Response, what: str) -> LabrtError:
    """The error for an answer of 4xx or 5xx to a request for `what` ("busybox:1.38", "the tags of busybox")."""
    said = _said(response)
    status = response.status
    if status in (401, 403):
        remedy = "check that it exists; if it is private, sign in with labrt login"
        return Unauthorized(f"{response.host} denies {what}{said}", status=status, remedy=remedy)
    if status == 404:
        return ImageNotFound(f"{response.host} has no {what}{said}", remedy="check the name and the tag")
    if status >= 500:
        remedy = "the registry has trouble of its own: try again later"
        return RegistryError(f"{response.asked}: status {status}{said}", status=status, remedy=remedy)
    remedy = "is this an OCI registry?"
    return RegistryError(f"{response.asked}: status {status} for {what}{said}", status=status, remedy=remedy)


def _said(response: Response) -> str:
    """The first error of the body, as the distribution-spec lays it out; "" when there is none."""
    try:
        first = json.loads(response.body)["errors"][0]
        code, message = printable(str(first["code"])), printable(str(first.get("message", "")))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return ""
    return f": {code}" + (f", {message}" if message else "")


def printable(text: str) -> str:
    """A stranger's text in one short line, with nothing that moves a terminal's cursor."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= 200 else line[:199] + "…"
