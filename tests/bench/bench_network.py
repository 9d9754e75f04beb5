"""Throughput of networks beside dockerd's, and what it takes to attach one at a start, beside podman's.

    sudo .venv/bin/python -m tests.bench.bench_network [SECONDS [RUNS]]

1. iperf3 (Debian's) from container to container over one bridge, and from outside, another network namespace, to a
   published port. In turn, round by round: labrt's and dockerd's, each on a machine of its own, which is a namespace.
2. `run --rm busybox true` on the bridge and without a network: the difference of the two is what the network takes. In
   turn: labrt's and podman's.

Who is not installed is left out. Wanted: 0.95 of dockerd's throughput, 0.5 of podman's time. Nothing is asserted.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from tests.bench.bench_start import without_v2
from tests.bench.side_by_side import compare, table
from tests.engine.networks.conftest import MACHINE, Place, Site
from tests.engine.networks.test_networks_oracle import Docker

Program = Callable[..., str]
LENT = [word for place in ("lib", "lib64") if os.path.isdir(f"/usr/{place}")
        for word in ("-v", f"/usr/{place}:/{place}:ro")]  # fmt: skip
LENT += ["-v", "/usr:/usr:ro"]  # busybox with this machine's programs: so all measure the same iperf3
PORT, ROUNDS = 15201, 5
NETWORKS = ("bridge", "none")  # the first less the second is what a network takes


# Throughput


def rate(program: Program, *words: str) -> float:
    """Send for a while, and return Gbit/s that were received."""
    for _ in range(50):
        report = json.loads(program(*words, check=False).strip() or '{"error": "nothing"}')
        if "error" not in report:
            return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9
        time.sleep(0.1)  # it does not listen yet
    raise SystemExit(f"iperf3: {report['error']}")


def ways(name: str, program: Program, world: Place, seconds: int) -> dict[str, Callable[[], float]]:
    """Start two containers with iperf3, and return how to measure: over the bridge, and through the published port."""
    program("run", "-d", "--name", "server", "--network", "bridge", "-p", f"{PORT}:5201", *LENT, "busybox",
            "/usr/bin/iperf3", "-s")  # fmt: skip
    program("run", "-d", "--name", "client", "--network", "bridge", *LENT, "busybox", "sleep", "100000")
    there = json.loads(program("inspect", "server"))[0]["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    send = ("iperf3", "-J", "-t", str(seconds), "-c")
    return {
        f"{name}, container to container": lambda: rate(program, "exec", "client", *send, there),
        f"{name}, to a published port": lambda: rate(world.run, *send, MACHINE, "-p", str(PORT)),
    }


@contextlib.contextmanager
def dockerd(site: Site, scratch: str) -> Iterator[Docker | None]:
    """Start dockerd, with labrt's busybox in it; None where it cannot be had."""
    if missing := [one for one in ("dockerd", "docker", "iptables") if not shutil.which(one)]:
        print(f"without docker, for there is no {missing[0]}")
        yield None
        return
    docker = Docker()
    try:
        if docker.wait():
            docker.docker("import", exported(site, scratch), "busybox")
            yield docker
        else:
            print("without docker: dockerd does not start here")
            yield None
    finally:
        docker.docker("rm", "-f", "server", "client", check=False)
        docker.close()


def exported(site: Site, scratch: str) -> str:
    """Write busybox as a tar archive, and return where."""
    archive = f"{scratch}/busybox.tar"
    if not os.path.exists(archive):
        site.labrt("create", "--name", "box", "busybox")
        site.labrt("export", "-o", archive, "box")
        site.labrt("rm", "box")
    return archive


def throughput(site: Site, scratch: str, seconds: int) -> None:
    with dockerd(site, scratch) as docker:
        every = ways("labrt", site.labrt, site.world, seconds)
        try:
            if docker:
                every |= ways("docker", docker.docker, docker.world, seconds)
            rates: dict[str, list[float]] = {name: [] for name in every}
            for _ in range(ROUNDS):
                for name, way in every.items():
                    rates[name].append(way())
        finally:
            site.labrt("rm", "-f", "server", "client", check=False)
    print("iperf3, median of", ROUNDS, "rounds")
    for name, values in rates.items():
        theirs = rates.get(name.replace("labrt", "docker"), values)
        ratio = statistics.median(ours / other for ours, other in zip(values, theirs, strict=True))
        beside = "" if theirs is values else f"   {ratio:.2f} of docker's"
        print(f"  {name:44} {statistics.median(values):6.2f} Gbit/s{beside}")


# Attaching


@contextlib.contextmanager
def podman(site: Site, scratch: str) -> Iterator[Program | None]:
    """Return podman with a place of its own, and labrt's busybox in it; None where it is not installed."""
    if not shutil.which("podman"):
        print("without podman, which is not installed")
        yield None
        return
    with open(f"{scratch}/containers.conf", "w") as file:
        file.write("[containers]\ndefault_ulimits = []\n")  # its own are more than some machines can grant
    place = f"{scratch}/podman"
    words = ("env", f"CONTAINERS_CONF={file.name}", "podman", "--root", place, "--runroot", f"{place}-run",
             "--storage-driver", "overlay", "--network-config-dir", f"{place}-networks", "--cgroup-manager", "cgroupfs",
             "--events-backend", "file")  # fmt: skip

    def program(*more: str, check: bool = True) -> str:
        return site.run(*without_v2([*words, *more]), check=check)

    program("import", exported(site, scratch), "busybox")
    try:
        yield program
    finally:
        program("rmi", "-af", check=False)
        site.run("umount", "-l", f"{place}/overlay", check=False)


def attaching(site: Site, scratch: str, runs: int) -> None:
    with podman(site, scratch) as other:
        programs = {"labrt": site.labrt, **({"podman": other} if other else {})}
        every = {
            f"{name} run --network {network}": _started(program, network)
            for name, program in programs.items() for network in NETWORKS
        }  # fmt: skip
        times = compare(every, runs=runs)
    print(table("a container from start to end", times))
    pairs = {name: [times[f"{name} run --network {network}"] for network in NETWORKS] for name in programs}
    takes = {name: statistics.median(map(float.__sub__, *pair)) for name, pair in pairs.items()}
    for name, seconds in takes.items():
        print(f"  {name + ', the bridge':44} {seconds * 1e3:6.1f} ms                {takes['labrt'] / seconds:6.2f}")


def _started(program: Program, network: str) -> Callable[[], str]:
    return lambda: program("run", "--rm", "--network", network, "busybox", "true")


def main() -> None:
    if os.geteuid() != 0 or not shutil.which("iperf3"):
        raise SystemExit("needs root and iperf3: sudo apt-get install -y iperf3")
    seconds, runs = (int(word) for word in [*sys.argv[1:3], *("3", "15")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory(prefix="labrt-bench-") as scratch:
        os.environ["LABRT_ROOT"] = f"{scratch}/labrt"
        from labrt.engine import embedded
        from labrt.engine.images import Images

        embedded.ensure()
        with embedded.serve() as server:
            Images()._pull(embedded.REFERENCE, None, None, {"docker.io": server.url})
        site = Site()
        try:
            throughput(site, scratch, seconds)
            attaching(site, scratch, runs)
        finally:
            site.labrt("reset")
            site.close()


if __name__ == "__main__":
    main()
