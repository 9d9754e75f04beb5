"""labrt-oci beside runc and crun, as podman and containerd call them; and many containers at once.

    python -m tests.bench.bench_oci [RUNS] [CONTAINERS]

1. `run` of /bin/true, cold: the same root and config.json.
2. `exec` of /bin/true in a container that runs.
3. CONTAINERS (200) of labrt's own alive at once: how long the first and the last took to start, and the memory of each
   (PSS of monitor and init, as /proc/PID/smaps_rollup has it), beside one of podman's: conmon and the program.

What is not installed is left out, and said so. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from tests.bench.bench_start import house, import_into_podman, podman, without_v2, write_bundle
from tests.bench.side_by_side import compare, table

OURS = os.path.join(os.path.dirname(sys.executable), "labrt-oci")


def command(runtime: str, state: str, *words: str) -> list[str]:
    """Return what calls a runtime; its state is kept in a directory of its own."""
    line = [OURS if runtime == "labrt-oci" else runtime, "--root", os.path.join(state, runtime), *words]
    return without_v2(line) if runtime == "crun" else line


def call(line: list[str]) -> None:
    """Run a command; stop if it fails. What it starts may keep its standard error, so that is a file."""
    with tempfile.TemporaryFile() as errors:
        done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
        if done.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(line)}: {errors.read().decode().strip()}")


@contextlib.contextmanager
def bundle(*program: str) -> Iterator[str]:
    """Make a bundle with the embedded image's root, unpacked, that runs this program."""
    from labrt.engine.containers import Containers
    from labrt.engine.images import Images
    from labrt.engine.options import Options
    from labrt.linux import mounts

    made = Containers().create(Options("busybox", program, network="none"))
    data = dict(option.partition("=")[::2] for option in Images().driver.mounts(made.id)[0].options)
    with tempfile.TemporaryDirectory(prefix="labrt-bundle-", dir="/var/tmp") as place:
        root, upper = os.path.join(place, "rootfs"), os.path.join(place, "upper")
        os.mkdir(root)
        os.mkdir(upper)
        with mounts.overlay([os.path.realpath(path) for path in data["lowerdir"].split(":")], root, upper=upper):
            write_bundle(place, made.runtime.config())
            yield place
    made.remove(force=True)


def runs_and_execs(runs: int) -> None:
    """Measure 1 and 2, and print the tables."""
    names = ["labrt-oci", *(name for name in ("runc", "crun") if shutil.which(name))]
    with tempfile.TemporaryDirectory(prefix="labrt-state-", dir="/var/tmp") as state:
        with bundle("true") as place:
            ways = {f"{name} run": lambda name=name: call(command(name, state, "run", "-b", place, "bench-true"))
                    for name in names}  # fmt: skip
            print(table("`run` of /bin/true, cold", compare(ways, runs)), end="\n\n", flush=True)
        with bundle("sleep", "1000") as place, contextlib.ExitStack() as stack:
            for name in names:
                call(command(name, state, "run", "-d", "-b", place, f"bench-{name}"))
                stack.callback(call, command(name, state, "delete", "-f", f"bench-{name}"))
            ways = {f"{name} exec": lambda name=name: call(command(name, state, "exec", f"bench-{name}", "true"))
                    for name in names}  # fmt: skip
            print(table("`exec` of /bin/true", compare(ways, runs)), end="\n\n", flush=True)


def many(count: int) -> None:
    """Measure 3."""
    from labrt.engine.containers import Containers
    from labrt.engine.options import Options

    # Once before, so that the filter is compiled and kept, as it is on any machine but a new one.
    call([os.path.join(os.path.dirname(OURS), "labrt"), "run", "--rm", "busybox", "true"])
    containers, times, pids = Containers(), [], []
    for _ in range(count):
        begin = time.perf_counter()
        made = containers.create(Options("busybox", ("sleep", "1000"), network="none"))
        made.start()
        times.append(time.perf_counter() - begin)
        state = made.state
        pids += [pid for pid in (state.pid, state.monitor) if pid]
    first, last = statistics.median(times[3:13]), statistics.median(times[-10:])
    took = f"start {first * 1e3:.1f} ms at first, {last * 1e3:.1f} ms at last, {last / first:.2f}"
    print(f"{count} containers alive: {took}")
    print(f"  memory of each, monitor and program: {sum(map(pss, pids)) / count / 1024:.2f} MiB PSS")
    for made in containers.list(all=True):
        made.remove(force=True)
    if shutil.which("podman") and import_into_podman():
        id = subprocess.check_output(podman("run", "-d", "localhost/labrt-bench", "sleep", "1000"), text=True).strip()
        shown = subprocess.check_output(podman("inspect", "-f", "{{.State.ConmonPid}} {{.State.Pid}}", id), text=True)
        print(f"  podman's, conmon and program: {sum(map(pss, map(int, shown.split()))) / 1024:.2f} MiB PSS")
        call(podman("rm", "-f", "-t", "0", id))


def pss(pid: int) -> int:
    """Return a process's proportional set size in KiB, 0 when it has gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return 0


def main() -> None:
    """Measure all and print the tables."""
    runs, count = (*map(int, sys.argv[1:3]), *(30, 200)[len(sys.argv) - 1 :])
    with house():
        runs_and_execs(runs)
        many(count)


if __name__ == "__main__":
    main()
