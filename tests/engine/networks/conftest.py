"""A site: a machine with labrt on it and the world outside, each a network namespace, with one cable between them.

Nothing here touches the network of the machine that the tests run on. The world knows 203.0.113.0/24 and 2001:db8::/64
(for documentation, RFC 5737 and 3849), and no way to any container but what the machine does for it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from labrt.linux import network, process
from labrt.linux.network import nft

PATIENCE = 60.0
MACHINE, WORLD = "203.0.113.2", "203.0.113.1"
MACHINE6, WORLD6 = "2001:db8::2", "2001:db8::1"


def eventually(condition: Callable[[], Any], what: str = "what was waited for") -> Any:
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"it never came: {what}"
        time.sleep(0.05)
    return value


class Place:
    """A network namespace, kept by a process that sleeps."""

    def __init__(self) -> None:
        self.keeper = process.spawn(lambda: (network.loopback_up(), time.sleep(3600)), namespaces="net")
        self.servers: list[subprocess.Popen[str]] = []

    @property
    def enter(self) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.keeper.pid}/ns/net"]

    def run(self, *words: str, check: bool = True, input: str = "") -> str:
        done = subprocess.run([*self.enter, *words], capture_output=True, text=True, input=input, timeout=PATIENCE)
        assert not check or done.returncode == 0, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout if check else done.stdout + done.stderr

    def fails(self, *words: str) -> str:
        """Run what must fail, and return all that it said."""
        done = subprocess.run([*self.enter, *words], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode != 0, f"{words} did not fail: {done.stdout}"
        return done.stdout + done.stderr

    def ip(self, words: str) -> str:
        return self.run("ip", *words.split())

    def python(self, code: str, *arguments: str, check: bool = True, input: str = "") -> str:
        return self.run(sys.executable, "-c", code, *arguments, check=check, input=input)

    def serve(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a Python program here, and wait for its first line."""
        command = [*self.enter, sys.executable, "-u", "-c", code, *arguments]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.servers.append(server)
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        return server

    def close(self) -> None:
        for server in self.servers:
            server.kill()
            server.wait()
            assert server.stdout is not None
            server.stdout.close()
        self.keeper.kill()
        self.keeper.wait()
        self.keeper.close()


class Site(Place):
    """The machine, with labrt's commands; `world` is outside."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Place()
        pair = f"link add up0 type veth peer name down0 netns {self.world.keeper.pid}"
        for words in (pair, f"address add {MACHINE}/24 dev up0", f"address add {MACHINE6}/64 dev up0 nodad",
                      "link set up0 up"):  # fmt: skip
            self.ip(words)
        for words in (f"address add {WORLD}/24 dev down0", f"address add {WORLD6}/64 dev down0 nodad",
                      "link set down0 up"):  # fmt: skip
            self.world.ip(words)
        self.ip(f"route add default via {WORLD}")
        self.ip(f"-6 route add default via {WORLD6}")
        for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):  # a new namespace begins as the machine's
            self.run("sh", "-c", f"echo 0 > /proc/sys/{name}")

    def labrt(self, *words: str, **how: Any) -> str:
        return self.run(sys.executable, "-m", "labrt", *words, **how).strip()

    def refuses(self, *words: str) -> str:
        return self.fails(sys.executable, "-m", "labrt", *words)

    def inside(self, name: str, *words: str, check: bool = True) -> str:
        return self.labrt("exec", name, *words, check=check)

    def web(self, name: str, *options: str, text: str = "hello") -> str:
        """Run a web server that says `text`, and wait until it answers itself."""
        script = f"mkdir /w; echo {text} > /w/index.html; exec httpd -f -h /w"  # of IPv4 and IPv6
        id = self.labrt("run", "-d", "--name", name, *options, "busybox", "sh", "-c", script)
        eventually(lambda: text in self.inside(name, "wget", "-qO-", "http://127.0.0.1/", check=False), f"{name}'s web")
        return id

    def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.labrt("inspect", name))[0]
        return found

    def address(self, name: str, network: str = "bridge", kind: str = "IPAddress") -> str:
        address = self.inspect(name)["NetworkSettings"]["Networks"][network][kind]
        assert address
        return str(address)

    def state(self) -> dict[str, str]:
        """All that labrt may change here."""
        settings = "grep . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/*/{forwarding,accept_ra}"
        return {
            "links": re.sub(r" link-netnsid \d+", "", self.ip("-o link show")),  # which numbers are given as one looks
            "addresses": self.run("sh", "-c", "ip -o address | sed 's/ *valid_lft.*//; s/ tentative//'"),
            "routes": self.ip("route") + self.ip("-6 route"),
            "rules": self.run("nft", "list", "ruleset"),
            "settings": self.run("bash", "-c", settings),
        }

    def close(self) -> None:
        self.world.close()
        super().close()


def get(place: Place, url: str) -> str:
    """Fetch something over HTTP, in one try; "" if that fails."""
    code = (
        "import sys, urllib.request\n"
        "opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))\n"
        "try: print(opener.open(sys.argv[1], timeout=3).read().decode())\n"
        "except OSError: pass\n"
    )
    return place.python(code, url).strip()


def missing(tools: Sequence[str]) -> list[str]:
    return [tool for tool in tools if not shutil.which(tool)]


@pytest.fixture
def site(house: Path) -> Iterator[Site]:
    """A fresh site; afterwards `labrt reset` must leave the machine as it was."""
    if not any(os.access(path, os.X_OK) for path in nft.PLACES) or missing(["ip", "nsenter"]):
        pytest.skip("nft, ip or nsenter is not installed")
    site = Site()
    try:
        eventually(lambda: "tentative" not in site.ip("address"), "IPv6 addresses")
        before = site.state()
        yield site
        site.labrt("reset")
        after = site.state()
        for what, text in before.items():
            assert after[what] == text, what
    finally:
        site.close()
