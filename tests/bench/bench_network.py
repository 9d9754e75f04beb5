"""Throughput of networks, and what it takes to attach one, beside dockerd where that runs.

    sudo .venv/bin/python -m tests.bench.bench_network [SECONDS]

1. iperf3 (Debian's) from this machine to a container, over its veth, and to a port that it publishes. Through docker's
   default network likewise, if a dockerd answers (with an image `busybox`); in turn, and with the same iperf3.

Prints medians and ratios; nothing here asserts a time.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from tests.bench.side_by_side import compare, table

LENT = [word for place in ("lib", "lib64") if os.path.isdir(f"/usr/{place}")
        for word in ("-v", f"/usr/{place}:/{place}:ro")]  # fmt: skip
LENT += ["-v", "/usr:/usr:ro"]  # busybox with this machine's programs: so all measure the same iperf3
SERVER = ["/usr/bin/iperf3", "-s"]
LABRT = [sys.executable, "-m", "labrt"]
PORT = 15201


def said(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def iperf(address: str, port: int, seconds: int) -> float:
    """Send to a server for so long; return Gbit/s."""
    for _ in range(50):
        done = subprocess.run(["iperf3", "-J", "-c", address, "-p", str(port), "-t", str(seconds)],
                              capture_output=True, text=True)  # fmt: skip
        report = json.loads(done.stdout)
        if "error" not in report:
            return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9
        time.sleep(0.1)  # it does not listen yet
    raise SystemExit(f"iperf3: {report['error']}")


def measured(program: list[str], image: str, port: int) -> dict[str, tuple[str, int]]:
    """Start a server in a container of one program, and return where it is to be reached: directly, and published."""
    name = f"bench-net-{os.getpid()}"
    said(*program, "run", "-d", "--name", name, "--network", "bridge", "-p", f"{port}:5201", *LENT, image, *SERVER)
    about = json.loads(said(*program, "inspect", name))[0]
    own = about["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    gateway = about["NetworkSettings"]["Networks"]["bridge"]["Gateway"]
    return {"over its veth": (own, 5201), "to a published port": (gateway, port)}


def throughput(seconds: int) -> None:
    programs = [("labrt", LABRT, "busybox")]
    if shutil.which("docker") and subprocess.run(["docker", "version"], capture_output=True).returncode == 0:
        programs.append(("docker", ["docker"], "busybox"))
    ways: dict[str, tuple[str, int]] = {}
    try:
        for number, (name, program, image) in enumerate(programs):
            where = measured(program, image, PORT + number)
            ways |= {f"{name}, {what}": place for what, place in where.items()}
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(5):
            for name, (address, port) in ways.items():
                rates[name].append(iperf(address, port, seconds))
        for name, values in rates.items():
            print(f"  {name:44} {statistics.median(values):6.2f} Gbit/s")
    finally:
        for _, program, _ in programs:
            subprocess.run([*program, "rm", "-f", f"bench-net-{os.getpid()}"], capture_output=True)


def attaching(runs: int) -> None:
    ways = {
        network: lambda network=network: said(*LABRT, "run", "--rm", "--network", network, "busybox", "true")
        for network in ("bridge", "none")
    }
    times = compare(ways, runs=runs)
    print(table("labrt run --rm, as typed", times))
    print(f"  the network: {(statistics.median(times['bridge']) - statistics.median(times['none'])) * 1e3:.1f} ms")


def main() -> None:
    if os.geteuid() != 0 or not shutil.which("iperf3"):
        raise SystemExit("needs root and iperf3: sudo apt-get install -y iperf3")
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory(prefix="labrt-bench-") as root:
        os.environ["LABRT_ROOT"] = root
        from labrt.engine import embedded
        from labrt.engine.images import Images

        embedded.ensure()
        with embedded.serve() as server:
            Images()._pull(embedded.REFERENCE, None, None, {"docker.io": server.url})
        try:
            throughput(seconds)
            attaching(runs=15 if seconds > 1 else 2)
        finally:
            said(*LABRT, "reset")


if __name__ == "__main__":
    main()
