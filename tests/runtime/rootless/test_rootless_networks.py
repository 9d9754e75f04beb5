"""An ordinary user's network, pasta or slirp4netns: out, and in by published ports; machine and world are made."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from labrt.linux import network, process

pytestmark = pytest.mark.root
WORLD, MACHINE = "203.0.113.1", "203.0.113.2"
SERVE = """
import socket, sys
server = socket.create_server((sys.argv[1], 8080))
print("ready", flush=True)
while True:
    with server.accept()[0] as client:
        client.recv(4096)
        client.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nthe world\\n")
"""
GET = """
import sys, urllib.request
try: print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=3).read().decode())
except OSError: print("nobody")
"""
ECHO = """
import socket
with socket.socket(type=socket.SOCK_DGRAM) as sock:
    sock.bind(("0.0.0.0", 53))
    while True:
        said, who = sock.recvfrom(100)
        sock.sendto(b"you said " + said, who)
"""
ASK = """
import socket, sys
with socket.socket(type=socket.SOCK_DGRAM) as sock:
    sock.settimeout(3)
    sock.sendto(b"who?", (sys.argv[1], int(sys.argv[2])))
    print(sock.recv(100).decode())
"""


class Place:
    """A network namespace, kept by a process that sleeps."""

    def __init__(self) -> None:
        self.keeper = process.spawn(lambda: (network.loopback_up(), time.sleep(3600)), namespaces="net")
        self.enter = ["nsenter", f"--net=/proc/{self.keeper.pid}/ns/net"]

    def run(self, *words: str) -> str:
        return subprocess.run([*self.enter, *words], check=True, capture_output=True, text=True, timeout=60).stdout

    def python(self, code: str, *arguments: str) -> str:
        return self.run(sys.executable, "-c", code, *arguments).strip()

    def close(self) -> None:
        self.keeper.kill()
        self.keeper.wait()
        self.keeper.close()


@pytest.fixture
def world(tap_user) -> Iterator[Place]:
    """The world outside, with a web server; the user is on a machine with a cable to there."""
    missing = [program for program in ("ip", "nsenter") if not shutil.which(program)]
    if missing or not os.path.exists("/dev/net/tun"):
        pytest.skip(f"{', '.join(missing)} is not installed" if missing else "this kernel has no tun")
    world, machine = Place(), Place()
    try:
        machine.run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", str(world.keeper.pid))
        for place, card, address in ((world, "down0", WORLD), (machine, "up0", MACHINE)):
            place.run("ip", "address", "add", f"{address}/24", "dev", card)
            place.run("ip", "link", "set", card, "up")
        machine.run("ip", "route", "add", "default", "via", WORLD)
        tap_user.within = machine.enter
        tap_user.machine = machine
        with subprocess.Popen([*world.enter, sys.executable, "-c", SERVE, WORLD], stdout=-1, text=True) as server:
            assert server.stdout is not None and server.stdout.readline() == "ready\n"
            yield world
            server.kill()
    finally:
        tap_user.within = []
        world.close()
        machine.close()


def eventually(condition, what):
    end = time.monotonic() + 30
    while not (value := condition()):
        assert time.monotonic() < end, f"it never came: {what}"
        time.sleep(0.05)
    return value


def taps(user):
    return [pid for pid, line in user.processes().items() if line.startswith(f"{user.tap} ")]


def test_a_day_of_a_users_networks(tap_user, world):
    user = tap_user
    asked_for_nothing = {"LABRT_NETWORK": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    labrt = [sys.executable, "-m", "labrt"]

    # The way out, by default; and the card is there no longer than its container.
    out, err = user.do(*labrt, "run", "--rm", "box", "wget", "-qO-", f"http://{WORLD}:8080/", env=asked_for_nothing)
    assert (out, err) == ("the world\n", "")
    assert "eth0" in user.labrt("run", "--rm", "--network", user.tap, "box", "ls", "/sys/class/net")
    eventually(lambda: not taps(user), "its end")

    # Not to who listens on the machine's loopback, by whichever address.
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            subprocess.Popen([*user.within, sys.executable, "-c", SERVE, "127.0.0.1"], stdout=-1, text=True)
        )
        stack.callback(server.kill)
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        ask = "for it in 127.0.0.1 10.0.2.2 $0; do timeout 5 wget -qO- http://$it:8080/; done 2>&1"
        said = user.labrt("run", "--rm", "--network", user.tap, "box", "sh", "-c", f"{ask}; true", MACHINE)
        assert "refused" in said and "the world" not in said

    # In, by published ports: from outside, and over the machine's own loopback; TCP and UDP.
    script = 'mkdir /tmp/w; echo hello > /tmp/w/index.html; httpd -h /tmp/w; exec /usr/bin/python3 -c "$0"'
    lent = [word for place in ("lib", "lib64") if os.path.exists(f"/usr/{place}")
            for word in ("-v", f"/usr/{place}:/{place}:ro")]  # fmt: skip
    words = ["-p", "8080:80", "-p", "127.0.0.1:8081:80", "-p", "5353:53/udp"]
    user.labrt("run", "-d", "--name", "web", "--network", user.tap, *words, "-v", "/usr:/usr:ro", *lent, "box", "sh",
               "-c", script, ECHO)  # fmt: skip
    eventually(lambda: world.python(GET, f"http://{MACHINE}:8080/") == "hello", "an answer")
    assert user.machine.python(GET, "http://127.0.0.1:8081/") == "hello"
    assert world.python(GET, f"http://{MACHINE}:8081/") == "nobody"
    assert world.python(ASK, MACHINE, "5353") == "you said who?"
    assert "8080" in user.labrt("port", "web", "80/tcp")
    about = json.loads(user.labrt("inspect", "web"))[0]
    assert about["HostConfig"]["NetworkMode"] == user.tap

    # A port that is taken, and by whom.
    said = user.do(*labrt, "run", "--rm", "--network", user.tap, "-p", "8080:80", "box", "true", code=125,
                   env=asked_for_nothing)[1]  # fmt: skip
    assert f"8080/tcp is taken by {user.tap[:3]}" in said  # pasta may be passt.avx2

    # A bridge is refused, and what there is instead is said.
    said = user.do(*labrt, "run", "--rm", "--network", "bridge", "box", "true", code=125, env=asked_for_nothing)[1]
    assert "ordinary user" in said and "pasta" in said

    # Its end is theirs: also when its monitor was killed.
    user.labrt("rm", "-f", "web")
    eventually(lambda: not taps(user), "its end")
    assert world.python(GET, f"http://{MACHINE}:8080/") == "nobody"
    user.labrt("run", "-d", "--name", "web", "--network", user.tap, "-p", "8080:80", "box", "sleep", "300")
    for pid, line in user.processes().items():
        if "labrt" in line and not line.startswith(f"{user.tap} "):
            os.kill(pid, 9)
    eventually(lambda: not taps(user), "its end, after its monitor's")
    user.labrt("rm", "-f", "web")


def test_without_a_tap_a_run_has_no_network_and_says_so(tap_user, world):
    env = {"LABRT_NETWORK": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    user = tap_user
    (user.etc / "tun").chmod(0o600)
    command = [sys.executable, "-m", "labrt", "run", "--rm"]
    out, err = user.do(*command, "box", "ls", "/sys/class/net", env=env)
    assert out == "lo\n"
    assert f"it has no network: {user.tap}" in err and err.count("\n") == 1
    assert user.tap in user.do(*command, "-p", "8080:80", "box", "true", code=125, env=env)[1]
