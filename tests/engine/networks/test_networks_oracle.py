"""Beside dockerd: the same containers in the same networks have the same cards, routes and files, and reach the same.

Each of the two has a machine of its own, with a cable to a world of its own.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .conftest import MACHINE, PATIENCE, WORLD, Site, eventually, get

pytestmark = [pytest.mark.root, pytest.mark.oracle, pytest.mark.slow]

# What is made: networks with their options; containers with the network and the address that they have in it.
NETWORKS = {"one": ("10.11.1.0/24",), "two": ("10.11.2.0/24",), "inner": ("10.11.3.0/24", "--internal")}
CONTAINERS = {
    "aa": ("one", "10.11.1.11", "--network-alias", "alias", "-p", "8080:80"),
    "bb": ("one", "10.11.1.12"),
    "cc": ("two", "10.11.2.11", "--hostname", "name", "--add-host", "else:192.0.2.1", "--dns-search", "example.org"),
    "dd": ("bridge", ""),
    "ee": ("inner", "10.11.3.11"),
    "ff": ("inner", "10.11.3.12"),
}
SERVE = "mkdir /w; echo hello >/w/index.html; httpd -f -h /w"
LOOK = """
cat /sys/class/net/eth0/mtu; ls /sys/class/net
ip -o -4 address show dev eth0 | sed 's/.*inet/inet/; s/ *valid_lft.*//; s/\\\\//'
ip route; cat /etc/hosts /etc/hostname; sort /etc/resolv.conf  # in which any order says the same
"""
REACH = 'for it in "$@"; do (timeout 5 ping -c1 -W3 $it >/dev/null 2>&1 && echo $it) & done; wait'


class Docker(Site):
    """A machine with dockerd on it."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.mkdtemp(prefix="labrt-dockerd-")  # a socket's path is to be short
        self.parent = f"labrt-oracle-{os.getpid()}"
        words = ["dockerd", "--data-root", f"{self.place}/data", "--exec-root", f"{self.place}/exec", "--host",
                 f"unix://{self.place}/sock", "--pidfile", f"{self.place}/pid", "--storage-driver", "vfs",
                 "--cgroup-parent", f"/{self.parent}", "--ip6tables=false", "--bip", "10.11.9.1/24"]  # fmt: skip
        self.log = open(f"{self.place}/log", "w+")  # noqa: SIM115 - it is closed with the machine
        self.daemon = subprocess.Popen([*self.enter, *words], stdout=self.log, stderr=self.log)

    def docker(self, *words: str, check: bool = True) -> str:
        return self.run("docker", "--host", f"unix://{self.place}/sock", *words, check=check).strip()

    def wait(self) -> bool:
        """Wait until it answers; False if it ended, as it does where the kernel lacks what its iptables need."""
        answers = lambda: self.daemon.poll() is not None or "Server" in self.docker("version", check=False)  # noqa: E731
        eventually(answers, "dockerd's answer")
        return self.daemon.poll() is None

    def close(self) -> None:
        if self.daemon.poll() is None:
            with contextlib.suppress(AssertionError):
                self.docker("rm", "-f", *CONTAINERS, check=False)
            self.daemon.terminate()
        self.daemon.wait(PATIENCE)
        self.log.close()
        super().close()
        for directory in glob.glob(f"/sys/fs/cgroup/{self.parent}") + glob.glob(f"/sys/fs/cgroup/*/{self.parent}"):
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        shutil.rmtree(self.place)


@pytest.fixture
def theirs() -> Iterator[Docker]:
    for program in ("dockerd", "docker", "iptables"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    docker = Docker()
    try:
        if not docker.wait():
            pytest.skip(f"dockerd does not start here: {Path(docker.place, 'log').read_text()[-300:]}")
        yield docker
    finally:
        docker.close()


def make(program, image):
    """Make all of it, with one of the two programs."""
    for name, (subnet, *more) in NETWORKS.items():
        program("network", "create", "--subnet", subnet, *more, name)
    for name, (network, address, *more) in CONTAINERS.items():
        where = ["--network", network, *(["--ip", address] if address else []), *more]
        program("run", "-d", "--name", name, *where, image, "sh", "-c", SERVE)


def look(program):
    """Look at each container from inside; its id stands for itself, and so does an address that nobody chose."""
    seen = {}
    for name, (network, address, *_) in CONTAINERS.items():
        text = program("exec", name, "sh", "-c", LOOK)
        id = json.loads(program("inspect", name))[0]["Id"][:12]
        text = text.replace(id, "ID").replace("::0\t", "::\t")
        if not address:
            own = re.search(r"inet (\S+)\.\d+/", text)
            assert own
            text = text.replace(own[1], "NET")
            text = re.sub(r"^f[cd]\S+\tID\n", "", text, flags=re.MULTILINE)  # ours has IPv6 by default
        lines = [" ".join(line.split()) for line in text.splitlines()]
        # Older dockers lead a route to nowhere out of an internal network; ours has none.
        internal = "--internal" in NETWORKS.get(network, ())
        seen[name] = [line for line in lines if not (internal and line.startswith("default via"))]
    return seen


def reach(program):
    """Ask each container whom it reaches: the others by name, alias and address, and the world."""
    targets = [*CONTAINERS, "alias", *(address for _, address, *_ in CONTAINERS.values() if address), WORLD]

    def reached(name):
        answers = program("exec", name, "sh", "-c", REACH, "sh", *targets).split()
        return [target for target in targets if target in answers]

    with ThreadPoolExecutor() as pool:  # to wait for who does not answer takes long: so for all at once
        return dict(zip(CONTAINERS, pool.map(reached, CONTAINERS), strict=True))


def test_the_same_as_dockerd(site: Site, theirs: Docker, tmp_path: Path) -> None:
    archive = str(tmp_path / "box.tar")
    site.labrt("create", "--name", "box", "busybox")
    site.labrt("export", "-o", archive, "box")
    theirs.docker("import", archive, "box")
    make(site.labrt, "busybox")
    make(theirs.docker, "box")
    ours, docker = look(site.labrt), look(theirs.docker)
    for name in CONTAINERS:
        assert ours[name] == docker[name], name
    matrix = reach(site.labrt)
    assert matrix == reach(theirs.docker)
    assert "bb" in matrix["aa"] and "10.11.2.11" not in matrix["aa"] and WORLD in matrix["aa"]  # it is a matrix at all
    assert WORLD not in matrix["ee"] and "ff" in matrix["ee"]
    for machine in (site, theirs):
        assert eventually(lambda machine=machine: get(machine.world, f"http://{MACHINE}:8080/"), "the page") == "hello"
