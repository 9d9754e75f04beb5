"""HTTP: retries, redirects, and who is spoken to without TLS."""

from __future__ import annotations

import datetime
import socket
import threading
import traceback
from collections.abc import Iterator
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hub import Seen, _Loopback, send

from labrt import __version__
from labrt.errors import RateLimited, RegistryError, Unreachable
from labrt.registry import transport as module
from labrt.registry import urls
from labrt.registry.credentials import Secret
from labrt.registry.events import Emitter, Event, Exchange, Redirected, Waiting
from labrt.registry.transport import Transport, backoff, retry_after

SECRET = Secret("Bearer the-secret-token")


class Place(_Loopback):
    """A server with a list of what to do next: a (status, headers, body), or a function of the request."""

    def __init__(self) -> None:
        super().__init__()
        self.next: list = []

    def handle(self, http: BaseHTTPRequestHandler, seen: Seen) -> None:
        answer = self.next.pop(0) if self.next else (200, {}, b"hello")
        if callable(answer):
            answer(http)
        else:
            send(http, *answer)

    def redirect(self, target: str, status: int = 307) -> None:
        self.next.append((status, {"Location": target}, b""))


@pytest.fixture
def here() -> Iterator[Place]:
    with Place() as place:
        yield place


@pytest.fixture
def there() -> Iterator[Place]:
    with Place() as place:
        yield place


@pytest.fixture
def seen() -> list[Event]:
    return []


@pytest.fixture
def transport(seen: list[Event]) -> Iterator[Transport]:
    one = Transport(emit=Emitter(seen.append), wait=lambda seconds: None)
    yield one
    one.close()


def waits(seen: list[Event]) -> list[float]:
    return [event.seconds for event in seen if isinstance(event, Waiting)]


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# What is sent ---------------------------------------------------------------------------------------------------------


def test_what_a_request_looks_like(here: Place, transport: Transport, seen: list[Event]) -> None:
    answer = transport.request("GET", f"{here.url}/x?n=3&sig=abc", authorization=SECRET, headers={"Accept": "a/b"})
    assert (answer.status, answer.body) == (200, b"hello")
    headers = here.seen[0].headers
    assert headers["user-agent"] == f"labrt/{__version__}"
    assert headers["accept-encoding"] == "identity", "a digest is of the bytes as they lie there"
    assert (headers["accept"], headers["authorization"]) == ("a/b", SECRET.reveal())
    assert seen == [Exchange("GET", f"{here.url}/x?n=3&sig=…", 200, "Bearer")]


def test_one_connection_serves_many_requests(here: Place, transport: Transport) -> None:
    ports: set[int] = set()
    for _ in range(3):
        here.next.append(lambda http: (ports.add(http.client_address[1]), send(http, 200, {}, b"x")))
        transport.request("GET", here.url)
    assert len(ports) == 1


def test_no_netrc_no_cookies_no_proxy(
    here: Place, transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    here.next.append((200, {"Set-Cookie": "a=b"}, b""))
    transport.request("GET", here.url)
    transport.request("GET", here.url)
    assert not any({"authorization", "cookie"} & set(seen.headers) for seen in here.seen)


def test_other_hosts_are_asked_through_the_proxy(there: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", there.url)
    transport = Transport(insecure={"registry.example"})
    assert transport.base_url("registry.example") == "http://registry.example"
    assert transport.request("GET", "http://registry.example/v2/x").body == b"hello"
    assert [seen.headers["host"] for seen in there.seen] == ["registry.example"] * 2
    transport.close()


# With and without TLS -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.0.0.1:5000", True), ("127.9.9.9", True), ("localhost", True), ("LOCALHOST:1", True),
        ("[::1]:5000", True), ("docker.io", False), ("10.0.0.1", False), ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False), ("0.0.0.0", False), ("", False), ("[", False), ("user@127.0.0.1", True),
    ],
)  # fmt: skip
def test_what_is_this_machine(host: str, loopback: bool) -> None:
    assert urls.is_loopback(host) is loopback


@pytest.mark.parametrize("host", ["registry.example", "10.0.0.1:5000", "localhost.evil.example"])
def test_no_plain_http_to_others(host: str, transport: Transport, seen: list[Event]) -> None:
    assert transport.base_url(host) == f"https://{host}"
    with pytest.raises(RegistryError, match=r"refused to speak plain HTTP .*name the host as insecure"):
        transport.request("GET", f"http://{host}/v2/")
    assert seen == [], "nothing was sent"


def test_docker_hub_has_another_name(transport: Transport) -> None:
    assert transport.base_url("docker.io") == "https://registry-1.docker.io"


def test_this_machine_is_asked_once_what_it_speaks(here: Place, transport: Transport) -> None:
    assert transport.base_url(f"127.0.0.1:{here.port}") == here.url
    assert transport.base_url(f"127.0.0.1:{here.port}") == here.url
    assert len(here.seen) == 1


@pytest.mark.oracle
def test_a_tls_port_is_found_and_its_authority_by_dockers_folder(signed_registry, authority, tmp_path: Path) -> None:
    host = signed_registry[0]
    transport = Transport(certs=str(tmp_path))
    assert transport.base_url(host) == f"https://{host}"
    with pytest.raises(Unreachable, match="TLS: "):
        transport.request("GET", f"https://{host}/v2/")
    (tmp_path / host).mkdir()
    (tmp_path / host / "ca.crt").write_bytes(authority[0].read_bytes())
    assert transport.request("GET", f"https://{host}/v2/").status == 401
    transport.close()


def test_https_to_a_port_without_tls(here: Place, transport: Transport, seen: list[Event]) -> None:
    with pytest.raises(Unreachable, match="speaks no TLS that we know"):
        transport.request("GET", f"https://127.0.0.1:{here.port}/v2/")
    assert waits(seen) == []


# Redirects ------------------------------------------------------------------------------------------------------------


def test_authorization_follows_to_the_same_server_only(
    here: Place, there: Place, transport: Transport, seen: list[Event]
) -> None:
    here.redirect("/second")
    here.redirect(f"{there.url}/third")
    there.redirect(f"{here.url}/fourth")
    transport.request("GET", f"{here.url}/first", authorization=SECRET)
    asked = [(one.path, "authorization" in one.headers) for one in (*here.seen, *there.seen)]
    assert asked == [("/first", True), ("/second", True), ("/fourth", False), ("/third", False)]
    assert [one.keeps_authorization for one in seen if isinstance(one, Redirected)] == [True, False, False]


def test_localhost_is_another_host_than_its_address(here: Place, transport: Transport) -> None:
    here.redirect(f"http://localhost:{here.port}/")
    transport.request("GET", here.url, authorization=SECRET)
    assert ["authorization" in one.headers for one in here.seen] == [True, False]


def test_a_password_in_a_location_is_dropped(here: Place, transport: Transport, seen: list[Event]) -> None:
    here.redirect(f"http://user:word@127.0.0.1:{here.port}/")
    transport.request("GET", here.url)
    assert "authorization" not in here.seen[1].headers
    assert "word" not in repr(seen)


def test_a_circle_ends(here: Place, transport: Transport) -> None:
    for _ in range(9):
        here.redirect("/again")
    with pytest.raises(RegistryError, match="more than 5 redirects"):
        transport.request("GET", here.url)
    assert len(here.seen) == 6


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://[", "http://a:123456/", "data:x"])
def test_redirects_that_are_not_followed(here: Place, transport: Transport, target: str) -> None:
    here.redirect(target)
    with pytest.raises(RegistryError, match="refused to follow a redirect"):
        transport.request("GET", here.url)


def test_the_body_of_a_redirect_is_not_read(here: Place, there: Place, transport: Transport) -> None:
    here.next.append((307, {"Location": there.url, "Content-Length": "1000000"}, b"never all of it"))
    assert transport.request("GET", here.url).body == b"hello"


def test_a_redirect_to_another_host_needs_tls(here: Place, transport: Transport) -> None:
    here.redirect("http://registry.example/")
    with pytest.raises(RegistryError, match="refused to speak plain HTTP"):
        transport.request("GET", here.url)


def test_from_https_never_to_http() -> None:
    assert module._checked_redirect("GET", "https://a/x", "/y") == "https://a/y"
    assert module._checked_redirect("GET", "http://127.0.0.1/", "https://b/") == "https://b/"
    for target in ("http://a/x", "http://127.0.0.1/x"):
        with pytest.raises(RegistryError, match="never from https to http"):
            module._checked_redirect("GET", "https://a/x", target)


def test_a_form_is_not_sent_on(here: Place, there: Place, transport: Transport) -> None:
    here.redirect(there.url)
    with pytest.raises(RegistryError, match="refused to follow"):
        transport.request("POST", here.url, form={"refresh_token": Secret("word")})
    assert here.seen[0].form == {"refresh_token": "word"}
    assert there.seen == []


# Trying again ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_is_tried_again(here: Place, transport: Transport, seen: list[Event], status: int) -> None:
    here.next += [(status, {}, b"no")] * 2
    assert transport.request("GET", here.url).status == 200
    assert len(waits(seen)) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 416, 501])
def test_what_is_not(here: Place, transport: Transport, seen: list[Event], status: int) -> None:
    here.next.append((status, {}, b"why"))
    answer = transport.request("GET", here.url, limit=None)
    assert (answer.status, answer.body) == (status, b"why"), "an error's body is read, also of a blob"
    assert waits(seen) == []


def test_a_server_that_hangs_up(here: Place, transport: Transport, seen: list[Event]) -> None:
    def hang_up(http: BaseHTTPRequestHandler) -> None:
        http.close_connection = True

    here.next += [hang_up] * 2
    assert transport.request("GET", here.url).body == b"hello"
    here.next += [hang_up] * 9
    with pytest.raises(Unreachable, match="hung up without an answer"):
        transport.request("GET", here.url)
    assert len(waits(seen)) == 2 + 4


def test_a_body_that_breaks_off(here: Place, transport: Transport) -> None:
    def half(http: BaseHTTPRequestHandler) -> None:
        send(http, 200, {"Content-Length": "100"}, b"half")
        http.close_connection = True

    here.next += [half]
    assert transport.request("GET", here.url).body == b"hello"
    here.next += [half]
    with transport.request("GET", here.url, limit=None) as answer, pytest.raises(Unreachable, match="broke off"):
        list(answer.chunks())


def test_an_error_whose_body_breaks_off_is_that_error(here: Place, transport: Transport, seen: list[Event]) -> None:
    def half(http: BaseHTTPRequestHandler) -> None:
        send(http, 416, {"Content-Length": "100"}, b"invalid range")
        http.close_connection = True

    here.next += [half]
    assert transport.request("GET", here.url).status == 416
    assert waits(seen) == []


def test_nobody_listens(transport: Transport, seen: list[Event]) -> None:
    port = closed_port()
    with pytest.raises(Unreachable, match=f"GET http://127.0.0.1:{port}/v2/: Connection refused .*is the port right"):
        transport.request("GET", f"http://127.0.0.1:{port}/v2/")
    with pytest.raises(Unreachable, match="nobody listens there"):
        transport.base_url(f"127.0.0.1:{port}")
    assert waits(seen) == [], "a refusal is an answer"


def test_a_name_that_does_not_resolve(
    transport: Transport, seen: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Unreachable, match="Name or service not known .*check its spelling"):
        transport.request("GET", "https://registry.example/v2/")
    assert waits(seen) == []


def test_an_error_shows_no_signature(transport: Transport) -> None:
    url = f"http://127.0.0.1:{closed_port()}/blob?X-Amz-Signature=of-the-cdn"
    with pytest.raises(Unreachable) as caught:
        transport.request("GET", url, authorization=SECRET)
    text = "".join(traceback.format_exception(caught.value))
    assert "of-the-cdn" not in text
    assert "the-secret-token" not in text


def test_how_long_a_pause_is() -> None:
    assert all(low / 2 <= backoff(n) <= low for n, low in ((1, 0.5), (2, 1), (3, 2), (20, 30)) for _ in range(50))
    assert len({backoff(3) for _ in range(50)}) > 40, "all of a class at once would march"


def test_retry_after_as_a_number_and_as_a_date() -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=90)
    seconds = retry_after(format_datetime(soon, usegmt=True))
    assert seconds is not None
    assert 60 < seconds <= 90
    assert retry_after("7") == retry_after(" 7\x1f") == 7
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert [retry_after(text) for text in ("", "soon", "-3", "1e9", "99:99")] == [None] * 5


def test_a_date_in_the_past_is_tried_at_once(here: Place, transport: Transport, seen: list[Event]) -> None:
    here.next.append((503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b""))
    transport.request("GET", here.url)
    assert waits(seen) == [0.0]


def test_a_5xx_that_asks_for_hours_waits_for_minutes(here: Place, transport: Transport, seen: list[Event]) -> None:
    here.next.append((503, {"Retry-After": "86400"}, b""))
    transport.request("GET", here.url)
    assert waits(seen) == [module.LONGEST_PAUSE]


def test_one_attempt_is_one(here: Place, transport: Transport, seen: list[Event]) -> None:
    here.next += [(500, {}, b"")]
    assert transport.request("GET", here.url, attempts=1).status == 500
    here.next += [(429, {}, b"")]
    with pytest.raises(RateLimited):
        transport.request("GET", here.url, attempts=1)
    assert len(here.seen) == 2


def test_an_answer_that_is_too_long(here: Place, transport: Transport) -> None:
    here.next += [(200, {}, b"x" * 100)] * 2
    assert len(transport.request("GET", here.url, limit=100).body) == 100
    with pytest.raises(RegistryError, match="longer than 99 bytes"):
        transport.request("GET", here.url, limit=99)


def test_what_a_listener_raises_is_no_network_error(here: Place) -> None:
    def pipe_closed(event: Event) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    transport = Transport(emit=Emitter(pipe_closed))
    with pytest.raises(BrokenPipeError):
        transport.request("GET", here.url)
    assert len(here.seen) == 1
    transport.close()


# Stopping -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["before the headers", "in the body", "between attempts"])
def test_stop_wakes_who_waits(here: Place, where: str) -> None:
    waiting, over = threading.Event(), threading.Event()

    def stall(http: BaseHTTPRequestHandler) -> None:
        if where == "in the body":
            send(http, 200, {"Content-Length": "1000"}, b"half")
        waiting.set()
        over.wait()

    def tell(event: Event) -> None:
        if isinstance(event, Waiting):
            waiting.set()

    transport = Transport(emit=Emitter(tell))
    here.next.append((429, {"Retry-After": "100"}, b"") if where == "between attempts" else stall)
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            transport.request("GET", here.url)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert waiting.wait(30)
    transport.stop()
    thread.join(30)  # where nothing wakes it, it waits for 60 seconds and more
    assert not thread.is_alive()
    assert [type(error) for error in errors] == [Unreachable]
    with pytest.raises(Unreachable, match="stopped"):
        transport.request("GET", here.url)
    over.set()
    transport.resume()
    assert transport.request("GET", here.url).body == b"hello"
    transport.close()


def test_a_connection_that_opens_while_all_are_hung_up(here: Place) -> None:
    from labrt.registry.connections import Connections, open_session

    stopped = threading.Event()
    stopped.set()
    with open_session(Connections(stopped), "test") as session, pytest.raises(OSError, match=r"[Cc]onnection|pipe"):
        session.get(here.url, timeout=30)
    assert here.seen == []


def test_a_url_as_it_may_be_shown() -> None:
    shown = urls.public("https://u:p@host:1/a/b?scope=x&X-Amz-Signature=y&n=3")
    assert shown == "https://host:1/a/b?scope=x&X-Amz-Signature=…&n=3"
    assert urls.public("http://[") == "(no URL)"
