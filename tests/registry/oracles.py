"""Real programs to hold ours against: Debian's docker-registry, skopeo, openssl. Loopback only, ended by pid."""

from __future__ import annotations

import base64
import ctypes
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hub import SERVICE, Seen, _Loopback, send_json

_LISTENING = re.compile(rb"listening on (127\.0\.0\.1:[0-9]+)")


def need(*programs: str) -> None:
    """Skip where one of these is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def run(*command: str | Path, **how: object) -> bytes:
    """Run a program to its end and return what it printed; its failure is the test's, with its words."""
    done = subprocess.run(list(map(str, command)), capture_output=True, timeout=60, **how)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}: {done.stderr.decode()}"
    return bytes(done.stdout)


@contextmanager
def docker_registry(where: Path, http: Mapping[str, object] | None = None, auth: object = None) -> Iterator[str]:
    """Run Debian's docker-registry on a free port, its files below `where`. Gives host:port."""
    need("docker-registry", "setpriv")
    where.mkdir(parents=True, exist_ok=True)
    config: dict[str, object] = {
        "version": 0.1,
        "log": {"accesslog": {"disabled": True}, "level": "info"},
        "storage": {
            "filesystem": {"rootdirectory": str(where / "data")},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "http": {"addr": "127.0.0.1:0", "secret": "of-the-test", **(http or {})},
    }
    if auth:
        config["auth"] = auth
    (where / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    with open(where / "log", "wb") as log:
        # Also when the tests themselves are killed, it ends with them.
        command = ["setpriv", "--pdeathsig", "TERM", "docker-registry", "serve", str(where / "config.yml")]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield _wait_for_address(where / "log", process)
    finally:
        process.terminate()
        process.wait()


def _wait_for_address(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if match := _LISTENING.search(log.read_bytes()):
            return match[1].decode()
        time.sleep(0.02)
    raise AssertionError(f"docker-registry did not start: {log.read_text()}")


def certificate(where: Path) -> tuple[Path, Path, Path]:
    """An authority of our own and a certificate for 127.0.0.1 signed by it. Returns (authority, certificate, key)."""
    need("openssl")
    (where / "authority").mkdir(parents=True, exist_ok=True)  # apart: skopeo takes each .key beside it for ours
    authority, authority_key = where / "authority" / "ca.crt", where / "ca.key"
    cert, key, request, extensions = where / "tls.crt", where / "tls.key", where / "tls.csr", where / "tls.ext"
    fresh = ["-newkey", "rsa:2048", "-nodes"]
    run("openssl", "req", "-x509", *fresh, "-days", "2", "-subj", "/CN=labrt test authority", "-keyout", authority_key,
        "-out", authority, "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    run("openssl", "req", *fresh, "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", request)
    extensions.write_text(
        "subjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
        "extendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    run("openssl", "x509", "-req", "-in", request, "-CA", authority, "-CAkey", authority_key, "-CAcreateserial",
        "-days", "2", "-extfile", extensions, "-out", cert)  # fmt: skip
    return authority, cert, key


def bcrypt(password: str) -> str:
    """Hash a password as docker-registry's htpasswd wants it, with the C library's crypt(3)."""
    try:
        library = ctypes.CDLL("libcrypt.so.1")
    except OSError:
        pytest.skip("there is no libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    hashed = library.crypt(password.encode(), b"$2b$04$" + b"abcdefghijklmnopqrstuu")
    return hashed.decode()


class JwtServer(_Loopback):
    """A token server that a real docker-registry believes: it signs JWTs (RS256) with the key of a certificate.

    Anybody may pull; `users` (name: password) may push too.
    """

    ISSUER = "labrt test tokens"

    def __init__(self, cert: Path, key: Path, users: Mapping[str, str]) -> None:
        super().__init__()
        self._key = key
        self._users = users
        self._chain = "".join(cert.read_text().split("-----")[2].split())
        self.tokens: list[str] = []

    def handle(self, http: BaseHTTPRequestHandler, seen: Seen) -> None:
        user, actions = "", {"pull"}
        if header := seen.headers.get("authorization"):
            user, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
            if self._users.get(user) != password:
                send_json(http, 401, {"details": "incorrect username or password"})
                return
            actions |= {"push"}
        access = []
        for scope in seen.query.get("scope", []):
            kind, name, wanted = scope.split(":")
            access.append({"type": kind, "name": name, "actions": sorted(actions & set(wanted.split(",")))})
        token = self._sign(user, seen.query["service"][0], access)
        self.tokens.append(token)
        send_json(http, 200, {"token": token, "expires_in": 300})

    def _sign(self, user: str, service: str, access: list[dict[str, object]]) -> str:
        now = int(time.time())
        claims = {"iss": self.ISSUER, "sub": user, "aud": service, "exp": now + 300, "nbf": now - 10, "iat": now,
                  "jti": f"{now}-{len(self.tokens)}", "access": access}  # fmt: skip
        head = {"typ": "JWT", "alg": "RS256", "x5c": [self._chain]}
        signed = b".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
        signature = run("openssl", "dgst", "-sha256", "-sign", self._key, input=signed)
        return (signed + b"." + _base64(signature)).decode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token_auth(tokens: JwtServer, authority: Path) -> dict[str, object]:
    """The part of docker-registry's config that names a token server."""
    return {
        "token": {
            "realm": f"{tokens.url}/token",
            "service": SERVICE,
            "issuer": JwtServer.ISSUER,
            "rootcertbundle": str(authority),
        }
    }


@contextmanager
def dockerd(where: Path) -> Iterator[list[str]]:
    """Run Debian's dockerd for itself: its own mounts, files, socket; no bridge, no firewall rules, no forwarding.

    Gives the command line of its client. Skips where it does not come up, with its own last words.
    """
    need("dockerd", "docker", "containerd", "unshare")
    place = ("--data-root", where / "data", "--exec-root", where / "exec", "--pidfile", where / "pid")
    quiet = ("--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false", "--ip-masq=false")
    socket = f"unix://{where}/docker.sock"
    (where / "config.json").write_text("{}")  # nobody's /etc/docker/daemon.json
    command = ["unshare", "--mount", "--propagation", "private", "dockerd", "-H", socket, "--config-file",
               where / "config.json", *place, *quiet]  # fmt: skip
    with open(where / "log", "wb") as log:
        process = subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        client = ["docker", "--config", str(where), "-H", socket]
        deadline = time.monotonic() + 60
        while subprocess.run([*client, "version"], capture_output=True).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"dockerd does not run here: {(where / 'log').read_text()[-300:]}")
            time.sleep(0.1)
        yield client
    finally:
        process.terminate()  # it ends its containerd, too
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
