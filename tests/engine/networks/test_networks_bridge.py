"""The default network: out into the world, and in by published ports. Real packets between real namespaces."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from labrt.linux import procfs

from .conftest import MACHINE, MACHINE6, WORLD, WORLD6, Site, eventually, get

pytestmark = pytest.mark.root

WHO = """
import socket, sys
server = socket.create_server((sys.argv[1], 7000), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print("ready")
while True:
    client, address = server.accept()
    client.sendall(address[0].encode())
    client.close()
"""
ECHO = """
import socket
sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
sock.bind(("::", 53))
print("ready", flush=True)
while True:
    sock.sendto(*sock.recvfrom(100))
"""
ASK = """
import socket, sys
sock = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(2)
sock.connect((sys.argv[1], int(sys.argv[2])))
for _ in range(5):
    sock.send(b"echo")
    try:
        print(sock.recv(100).decode())
        break
    except OSError:
        pass
"""


def test_out_into_the_world(site: Site) -> None:
    site.world.serve(WHO, WORLD)
    site.world.serve(WHO, WORLD6)
    ask = ("run", "--rm", "--network", "bridge", "busybox", "nc", "-w", "5")
    assert site.labrt(*ask, WORLD, "7000") == MACHINE  # the world sees the machine
    assert site.labrt(*ask, WORLD6, "7000") == MACHINE6
    assert site.run("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"


def test_none_has_nothing_and_makes_nothing(site: Site) -> None:
    before = site.state()
    out = site.labrt("run", "--rm", "--network", "none", "busybox", "ip", "-o", "link")
    assert out.count("\n") == 0 and " lo:" in out
    assert site.state() == before


def test_a_published_port_from_everywhere(site: Site) -> None:
    site.web("web", "--network", "bridge", "-p", "8080:80", "-p", "127.0.0.1:8081:80", "-p", f"[{MACHINE6}]:8082:80")
    assert get(site.world, f"http://{MACHINE}:8080/") == "hello"
    for url in ("http://127.0.0.1:8080/", "http://[::1]:8080/", f"http://{MACHINE}:8080/", "http://127.0.0.1:8081/"):
        assert get(site, url) == "hello", url
    assert get(site.world, f"http://[{MACHINE6}]:8082/") == "hello"
    assert get(site.world, f"http://{MACHINE}:8081/") == ""  # the loopback's only
    # Hairpin: a neighbour, and itself, by the machine's address.
    fetch = ("wget", "-qO-", f"http://{MACHINE}:8080/")
    assert site.labrt("run", "--rm", "--network", "bridge", "busybox", *fetch) == "hello"
    assert site.inside("web", "wget", "-qO-", f"http://{MACHINE}:8080/") == "hello"
    gateway = site.inspect("web")["NetworkSettings"]["Networks"]["bridge"]["Gateway"]
    assert site.inside("web", "wget", "-qO-", f"http://{gateway}:8080/") == "hello"
    assert site.labrt("port", "web", "80").splitlines() == [
        "0.0.0.0:8080", "[::]:8080", "127.0.0.1:8081", f"[{MACHINE6}]:8082"]  # fmt: skip
    assert "0.0.0.0:8080->80/tcp" in site.labrt("ps")
    site.labrt("rm", "-f", "web")
    assert get(site.world, f"http://{MACHINE}:8080/") == ""
    assert "dnat" in site.run("nft", "list", "ruleset") and "elements = { tcp" not in site.run("nft", "list", "ruleset")


def test_udp(site: Site) -> None:
    # busybox has no such server: this machine's Python is one, in the container's namespace.
    site.labrt("run", "-d", "--name", "echo", "--network", "bridge", "-p", "5353:53/udp", "-v", "/:/host:ro", "busybox",
               "chroot", "/host", "/usr/bin/python3", "-c", ECHO)  # fmt: skip
    eventually(lambda: site.labrt("logs", "echo") == "ready", "the echo")
    for place, address in ((site.world, MACHINE), (site, "127.0.0.1"), (site, MACHINE), (site.world, MACHINE6),
                           (site, "::1")):  # fmt: skip
        assert place.python(ASK, address, "5353").strip() == "echo", address


def test_what_is_not_published_is_not_reached(site: Site) -> None:
    site.web("web", "--network", "bridge", "-p", "8080:80")
    address = site.address("web")
    site.world.ip(f"route add {address}/32 via {MACHINE}")  # a neighbour on the cable that wants to get in
    assert get(site, f"http://{address}/") == "hello"  # from the machine itself it can be
    assert get(site.world, f"http://{address}/") == ""
    assert get(site.world, f"http://{MACHINE}:8080/") == "hello"
    drops = [line for line in site.labrt("network", "trace").splitlines() if "not published" in line]
    assert drops and int(drops[0].split()[0]) > 0


def test_a_port_that_is_taken_says_by_whom(site: Site) -> None:
    site.labrt("run", "-d", "--name", "first", "--network", "bridge", "-p", "8080:80", "busybox", "sleep", "1000")
    said = site.refuses("run", "--rm", "--network", "bridge", "-p", "8080:80", "busybox", "true")
    assert "8080/tcp is taken by" in said and "labrt" in said
    said = site.refuses("run", "-d", "--network", "bridge", "-p", f"{WORLD}:8080:80", "busybox", "true")
    assert f"{WORLD} is no address of this machine" in said
    # A range takes the next one; two ranges of one length go port by port.
    site.labrt("run", "-d", "--name", "second", "--network", "bridge", "-p", "8080-8090:80", "busybox", "sleep", "1000")
    assert site.labrt("port", "second").splitlines()[0] == "80/tcp -> 0.0.0.0:8081"
    site.labrt("run", "-d", "--name", "third", "--network", "bridge", "-p", "9000-9002:90-92", "-P", "--expose", "70",
               "busybox", "sleep", "1000")  # fmt: skip
    lines = site.labrt("port", "third").splitlines()
    assert {"90/tcp -> 0.0.0.0:9000", "91/tcp -> 0.0.0.0:9001", "92/tcp -> 0.0.0.0:9002"} <= {*lines}
    assert lines[0].startswith("70/tcp -> 0.0.0.0:") and lines[0].split(":")[-1] == lines[1].split(":")[-1]
    # Nothing of the failed one has stayed, and what it holds is free at its end.
    site.labrt("rm", "-f", "first")
    site.labrt("run", "--rm", "--network", "bridge", "-p", "8080:80", "busybox", "true")


@pytest.mark.parametrize("victim", ["monitor", "helper"])
def test_kill_9(site: Site, house: Path, victim: str) -> None:
    site.web("web", "--network", "bridge", "-p", "8080:80")
    id = site.inspect("web")["Id"]
    monitor = json.loads((house / "lib" / "containers" / id / "state.json").read_text())["monitor"]
    helpers = [pid for pid in procfs.children(monitor) if procfs.stat(pid).comm == "labrt-network"]
    assert len(helpers) == 1 and procfs.status(helpers[0])["Uid"].split() == ["65534"] * 4
    began = procfs.stat(helpers[0]).starttime
    os.kill(monitor if victim == "monitor" else helpers[0], signal.SIGKILL)
    if victim == "helper":  # the loopback is deaf then, the world is not
        assert get(site.world, f"http://{MACHINE}:8080/") == "hello"
        site.labrt("rm", "-f", "web")
    else:
        eventually(lambda: not procfs.alive(helpers[0], began), "the helper's end")
        eventually(lambda: "Exited" in site.labrt("ps", "-a"), "the next command")
    assert "elements = { tcp" not in site.run("nft", "list", "ruleset")
    assert site.labrt("run", "--rm", "--network", "bridge", "-p", "8080:80", "busybox", "echo", "again") == "again"


def test_published_again_at_each_start(site: Site) -> None:
    site.web("web", "--network", "bridge", "-p", "8080:80", "--restart", "always")
    before = site.address("web")
    site.inside("web", "kill", "1", check=False)
    site.labrt("restart", "-t", "0", "web")
    eventually(lambda: get(site.world, f"http://{MACHINE}:8080/") == "hello", "its web")
    assert site.address("web") != before  # addresses are not given to the next at once
    # By its restart policy, too.
    runs = site.inspect("web")["RestartCount"]
    pid = site.inspect("web")["State"]["Pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: site.inspect("web")["RestartCount"] > runs, "its policy")
    eventually(lambda: get(site.world, f"http://{MACHINE}:8080/") == "hello", "its web")
    site.labrt("rm", "-f", "web")


def test_the_files_of_etc(site: Site) -> None:
    script = "cat /etc/hosts; echo --; cat /etc/hostname"
    out = site.labrt("run", "--rm", "--network", "bridge", "-h", "box", "--add-host", "gate:host-gateway",
                     "--add-host", "host-gateway:10.1.1.1", "busybox", "sh", "-c", script)  # fmt: skip
    hosts, hostname = out.split("--\n")
    lines = [line.split() for line in hosts.splitlines()]
    assert hostname == "box" and ["127.0.0.1", "localhost"] in lines and ["10.1.1.1", "host-gateway"] in lines
    address = next(words[0] for words in lines if words[-1] == "box")
    gate = next(words[0] for words in lines if words[-1] == "gate")
    assert gate.rsplit(".", 1)[0] == address.rsplit(".", 1)[0] and gate.endswith(".1")
    resolv = site.labrt("run", "--rm", "--network", "bridge", "--dns", "192.0.2.7", "--dns-search", "lab.example",
                        "busybox", "cat", "/etc/resolv.conf")  # fmt: skip
    assert resolv.splitlines()[:2] == ["nameserver 192.0.2.7", "search lab.example"]
