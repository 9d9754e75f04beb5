"""HTTP to a registry: one pooled session, patient retries, guarded redirects.

    transport = Transport()
    base = transport.base_url("docker.io")                                "https://registry-1.docker.io"
    transport.request("GET", f"{base}/v2/").status                        401
    with transport.request("GET", url, limit=None) as response: ...       response.chunks() streams a blob

What requests does not do by itself, or does otherwise than a registry's client must:

- Plain HTTP only to this machine (127.0.0.0/8, ::1, localhost) and to hosts that `insecure` names. TLS certificates are
  always verified, against REQUESTS_CA_BUNDLE or, for one host, /etc/docker/certs.d/HOST/ca.crt.
- Redirects are followed here: Authorization goes to no other scheme, host or port, and https never leads to http.
- Connections that break, 5xx and 429 are tried again, after what Retry-After says or ever longer pauses.
- `stop()` wakes every thread that waits for a socket: Ctrl-C must not hang for a read timeout.

RFC 9110 (HTTP), distribution-spec "Endpoints". Notebook 13.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from labrt import __version__
from labrt.errors import RegistryError, Unreachable
from labrt.registry import failures, urls
from labrt.registry.credentials import Secret
from labrt.registry.events import Emitter, Exchange, Redirected, Waiting
from labrt.registry.response import Response

if TYPE_CHECKING:
    import requests

    from labrt.registry.connections import Connections

BODY_LIMIT = 4 << 20  # bytes: what the distribution-spec asks a registry to take as a manifest; no answer is longer
MAX_REDIRECTS = 5
LONGEST_PAUSE = 120.0  # seconds: who asks for more (Docker Hub: hours) is not waited for

_RETRIED = {429, 500, 502, 503, 504}
_REDIRECTS = {301, 302, 303, 307, 308}
_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}

Form = Mapping[str, str | Secret]
Body = Callable[[], object]  # makes what is sent, anew for each attempt: bytes, or a file-like with a length


class Transport:
    """HTTP for one client. Threads may share it; its connections are kept and used again.

    `insecure` names hosts, with their port if they have one, that may be spoken to in plain HTTP. `wait` is what pauses
    between attempts (seconds); None is a pause that `stop()` cuts short. `timeouts`: to connect, and between two reads.
    """

    def __init__(
        self,
        *,
        insecure: Collection[str] = frozenset(),
        emit: Emitter | None = None,
        wait: Callable[[float], object] | None = None,
        attempts: int = 5,
        certs: str = "/etc/docker/certs.d",
        timeouts: tuple[float, float] = (10.0, 60.0),
    ) -> None:
        self.attempts = attempts
        self._insecure = frozenset(insecure)
        self._emit = emit or Emitter()
        self._certs = certs
        self._timeouts = timeouts
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._bases: dict[str, str] = {}
        self._opening = threading.Lock()
        self._connections: Connections | None = None
        self._session: requests.Session | None = None

    def __repr__(self) -> str:
        return f"<Transport {self.attempts} attempts, plain HTTP to {sorted({'loopback', *self._insecure})}>"

    def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            self._session.close()

    def stop(self) -> None:
        """Make every request under way in any thread fail now, and every later one until `resume()`."""
        self._stopped.set()
        if self._connections is not None:
            self._connections.hang_up()

    @property
    def stopped(self) -> bool:
        """Whether `stop()` was called."""
        return self._stopped.is_set()

    def resume(self) -> None:
        """Take requests again."""
        self._stopped.clear()

    def base_url(self, host: str) -> str:
        """`https://HOST`, or `http://HOST` where that is allowed and is what the host speaks. Asks once per host."""
        host = _HUB.get(host, host)
        if not self._may_be_plain(host):
            return f"https://{host}"
        if host not in self._bases:
            self._bases[host] = f"{'https' if self._speaks_tls(host) else 'http'}://{host}"
        return self._bases[host]

    def _speaks_tls(self, host: str) -> bool:
        # Plain first: a TLS port answers plain HTTP with 400 or hangs up, at once, and no secret has been sent.
        url = f"http://{host}/v2/"
        try:
            with self._once("GET", url, {}, None) as response:
                return response.status == 400 or response.headers.get("Location", "").startswith("https:")
        except _NoAnswer as error:
            if failures.is_final(error.why):
                raise failures.unreachable(f"GET {url}", error.why) from None
            return True

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        authorization: Secret | None = None,
        form: Form | None = None,
        body: Body | None = None,
        limit: int | None = BODY_LIMIT,
        attempts: int | None = None,
    ) -> Response:
        """Ask until it is answered. Any status but 429 is returned, for the caller to judge.

        `limit` is how many bytes the body may have, which is then read; with None it is not: use `chunks()` and `with`.
        Of a status of 400 and more it is read anyway, as far as it goes. `attempts` None means the transport's own.
        `body` is called for each attempt and makes what is sent: bytes, or a file-like with a length.
        Raises Unreachable, RateLimited, and RegistryError for an answer that cannot be.
        """
        attempts = attempts or self.attempts
        asked = f"{method} {urls.public(url)}"
        for attempt in range(1, attempts + 1):
            last = attempt == attempts
            try:
                response = self._follow(method, url, dict(headers or {}), authorization, form, body)
                if response.status not in _RETRIED or (last and response.status != 429):
                    if response.status >= 400:
                        response.read_error()
                    elif limit is not None:
                        response.read(limit)
                    return response
                with response:
                    pause, reason = self._judge(response, attempt, last)
            except Unreachable as error:  # broke off in the body
                if last or self._stopped.is_set():
                    raise
                pause, reason = backoff(attempt), error.message
            except _NoAnswer as error:
                if last or self._stopped.is_set() or failures.is_final(error.why):
                    raise failures.unreachable(asked, error.why) from None  # requests' text would show the whole URL
                pause, reason = backoff(attempt), f"{asked}: {failures.words(error.why)}"
            self.pause(pause, reason, attempt)
        raise AssertionError("the last attempt returns or raises")

    def pause(self, seconds: float, reason: str, attempt: int) -> None:
        """Say that we wait, and wait."""
        self._emit(Waiting(seconds, reason, attempt))
        self._wait(seconds)

    def _judge(self, response: Response, attempt: int, last: bool) -> tuple[float, str]:
        """How long to wait, and why, before a refused request is made again."""
        wanted = retry_after(response.headers.get("Retry-After", ""))
        pause = backoff(attempt) if wanted is None else wanted
        if response.status == 429 and (last or pause > LONGEST_PAUSE):
            raise failures.rate_limited(response, wanted)
        return min(pause, LONGEST_PAUSE), f"{response.asked}: status {response.status}"

    def _follow(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        authorization: Secret | None,
        form: Form | None,
        body: Body | None,
    ) -> Response:
        """Ask, and go where we are sent."""
        for _ in range(MAX_REDIRECTS + 1):
            response = self._once(method, url, headers, authorization, form, body)
            location = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not location:
                return response
            with response:
                target = _checked_redirect(method, url, location)
            if urls.origin(target) != urls.origin(url):
                authorization = None  # and it does not come back, should the next redirect lead home
            self._emit(Redirected(urls.public(url), urls.public(target), authorization is not None))
            url = target
        remedy = "the registry sends us in a circle; tell those who run it"
        raise RegistryError(f"{method} {urls.public(url)}: more than {MAX_REDIRECTS} redirects", remedy=remedy)

    def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        authorization: Secret | None,
        form: Form | None = None,
        body: Body | None = None,
    ) -> Response:
        """One request, one answer, or _NoAnswer."""
        parts = urlsplit(url)
        if parts.scheme != "https" and not self._may_be_plain(parts.netloc):
            remedy = "use https, or name the host as insecure if its network is yours alone"
            raise RegistryError(f"{method} {urls.public(url)}: refused to speak plain HTTP", remedy=remedy)
        if self._stopped.is_set():
            raise Unreachable(f"{method} {urls.public(url)}: stopped")
        sent = {**headers, "Accept-Encoding": "identity"}
        if authorization is not None:
            sent["Authorization"] = authorization.reveal()
        session = self._open_session()
        data = _sent(form, body)
        try:
            answer = session.request(
                method,
                url,
                headers=sent,
                data=data,
                allow_redirects=False,
                stream=True,
                timeout=self._timeouts,
                verify=self._authority(parts.netloc),
                proxies=_NO_PROXY if urls.is_loopback(parts.netloc) else None,  # type: ignore[arg-type]
            )
        except OSError as error:  # as which requests disguises all of its own
            raise _NoAnswer(error) from None
        finally:
            if hasattr(data, "close"):
                data.close()
        signed = authorization.reveal().partition(" ")[0] if authorization else ""
        self._emit(Exchange(method, urls.public(url), answer.status_code, signed))
        return Response(method, url, answer)

    def _may_be_plain(self, host: str) -> bool:
        return urls.is_loopback(host) or host in self._insecure

    def _authority(self, host: str) -> str | None:
        """The file with the certificate authority of one host, as Docker names it; None: whom this machine trusts."""
        file = os.path.join(self._certs, host, "ca.crt")
        return file if os.path.exists(file) else None

    def _open_session(self) -> requests.Session:
        with self._opening:
            if self._session is None:
                from labrt.registry.connections import Connections, open_session

                self._connections = Connections(self._stopped)
                self._session = open_session(self._connections, f"labrt/{__version__}")
            return self._session


def _sent(form: Form | None, body: Body | None) -> Any:
    """What requests is to send: a form with its secrets revealed, a body, or nothing."""
    if form:
        return {key: value.reveal() if isinstance(value, Secret) else value for key, value in form.items()}
    return body() if body else None


class _NoAnswer(Exception):
    """A request got no answer; `why` is what requests said. Kept apart from what a listener of events may raise."""

    def __init__(self, why: OSError) -> None:
        super().__init__()
        self.why = why


# What is on this machine is not asked of a proxy, which would look on its own. None overrides the environment.
_NO_PROXY = {"http": None, "https": None, "all": None}


def _checked_redirect(method: str, source: str, location: str) -> str:
    """Where a Location leads, if we may go there."""
    try:
        target = urls.join(source, location)
    except ValueError:
        target = ""
    downgrade = source.startswith("https:") and not target.startswith("https:")
    if method in ("GET", "HEAD") and target.startswith(("https:", "http:")) and not downgrade:
        return target
    where = urls.public(target) if target else failures.printable(repr(location))
    remedy = "labrt follows GET and HEAD to http and https, and never from https to http"
    raise RegistryError(f"{method} {urls.public(source)}: refused to follow a redirect to {where}", remedy=remedy)


def backoff(attempt: int) -> float:
    """Seconds to wait after the `attempt`th failure (from 1): doubling, and random, so that a class does not march."""
    return float(min(30.0, 0.5 * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0))


def retry_after(value: str) -> float | None:
    """Seconds that a Retry-After asks for, given as a number or as a date; None when it says nothing readable."""
    from email.utils import parsedate_to_datetime

    if (text := value.strip()).isdecimal():
        return float(text)  # the stripped one: what Python strips, float() need not pass over
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
