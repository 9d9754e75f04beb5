"""How long from start to exit of /bin/true, beside crun, runc and podman.

    python -m tests.bench.bench_start [RUNS]

1. From a warm process: all namespaces, a cgroup, an overlay root, the same config.json; beside `crun run`, `runc run`.
2. Cold, as typed: `labrt run --rm` beside `podman run --rm`, both without a network, image already there.
3. `import labrt` beside an interpreter that imports nothing.

What is not installed is left out, and said so. Needs root.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

from tests.bench.side_by_side import compare, table

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@contextlib.contextmanager
def house() -> Iterator[str]:
    """A labrt of its own, with the embedded image, torn down at the end."""
    with tempfile.TemporaryDirectory(prefix="labrt-bench-", dir="/var/tmp") as root:
        os.environ["LABRT_ROOT"] = root
        from labrt.engine import embedded
        from labrt.engine.images import Images
        from labrt.lab.ledger import reset

        embedded.ensure()
        Images().pull("busybox")
        try:
            yield root
        finally:
            reset(quiet=True)


def warm(runs: int) -> str:
    """Measure 1."""
    from labrt.engine.containers import Containers
    from labrt.engine.images import Images
    from labrt.engine.options import Options
    from labrt.linux import mounts
    from labrt.runtime.container import Container

    made = Containers().create(Options("busybox", ("true",), network="none"))
    root_mounts = Images().driver.mounts(made.id)
    config = made.runtime.config()

    def labrt() -> None:
        container = Container(made.id)
        with container.run(root_mounts=root_mounts, auto_remove=True) as attached:
            for _ in attached.output():
                continue
        assert attached.exit_code == 0
        container.delete()

    with contextlib.ExitStack() as stack:
        bundle = stack.enter_context(tempfile.TemporaryDirectory(prefix="labrt-bundle-", dir="/var/tmp"))
        root = os.path.join(bundle, "rootfs")
        os.mkdir(root)
        data = dict(option.partition("=")[::2] for option in root_mounts[0].options)
        upper = os.path.join(bundle, "upper")
        os.mkdir(upper)
        lower = [os.path.realpath(path) for path in data["lowerdir"].split(":")]
        stack.enter_context(mounts.overlay(lower, root, upper=upper))
        write_bundle(bundle, config)
        ways: dict[str, Callable[[], object]] = {"labrt, warm": labrt}
        for name in ("crun", "runc"):
            if shutil.which(name):
                ways[f"{name} run"] = lambda name=name: run_bundle(name, bundle)
        times = compare(ways, runs)
    made.remove(force=True)
    return table("Start to exit of /bin/true, the same root and config.json", times)


def write_bundle(bundle: str, config: dict) -> None:
    """Write the config as an older runtime takes it: no cgroup namespace on v1, no annotation for the user."""
    config = json.loads(json.dumps(config))
    config["ociVersion"] = "1.0.2"
    config["linux"]["cgroupsPath"] = "/labrt-bench"
    with open(os.path.join(bundle, "config.json"), "w") as file:
        json.dump(config, file)


def run_bundle(runtime: str, bundle: str) -> None:
    """Run a bundle with another runtime."""
    command = [runtime, "run", "-b", bundle, f"labrt-bench-{runtime}"]
    if runtime == "crun":
        command = without_v2(command)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{runtime}: {done.stderr.strip()}")


def without_v2(command: list[str]) -> list[str]:
    """crun takes no machine with v1 and v2: it gets a mount namespace without v2, which costs some 4 ms."""
    if not os.path.isdir("/sys/fs/cgroup/unified"):
        return command
    return ["unshare", "-m", "sh", "-c", 'umount /sys/fs/cgroup/unified && exec "$@"', "sh", *command]


def cold(runs: int) -> str:
    """Measure 2."""
    script = os.path.join(os.path.dirname(sys.executable), "labrt")
    labrt = [script] if os.path.exists(script) else [sys.executable, "-m", "labrt"]
    ways: dict[str, Callable[[], object]] = {
        "labrt run --rm": lambda: quiet([*labrt, "run", "--rm", "--network", "none", "busybox", "true"])
    }
    if shutil.which("podman") and import_into_podman():
        ways["podman run --rm"] = lambda: quiet(podman("run", "--rm", "localhost/labrt-bench", "true"))
    return table("Cold, as typed in a shell", compare(ways, runs))


def podman(*words: str) -> list[str]:
    """Return what calls podman; `run` gets no network."""
    line = ["podman", "--cgroup-manager", "cgroupfs", "--events-backend", "file", words[0]]
    if words[0] == "run":
        # Its own limits are higher than a machine without CAP_SYS_RESOURCE can grant.
        line += ["--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
    return without_v2([*line, *words[1:]])


def import_into_podman() -> bool:
    """Give podman the very image that labrt has."""
    from labrt.engine import embedded

    layout = embedded.ensure().path
    source, target = f"oci:{layout}:docker.io/library/busybox:latest", "containers-storage:localhost/labrt-bench"
    return subprocess.run(["skopeo", "copy", "-q", source, target], capture_output=True).returncode == 0


def imports(runs: int) -> str:
    """Measure 3."""
    python = [sys.executable, "-c"]
    ways = {"import labrt": lambda: quiet([*python, "import labrt"]), "nothing": lambda: quiet([*python, "0"])}
    return table("Start of the interpreter", compare(ways, runs))


def quiet(command: list[str]) -> None:
    """Run a command whose output nobody wants; stop if it fails."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=PROJECT)


def main() -> None:
    """Measure all three and print the tables."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with house():
        for measure in (warm, cold, imports):
            print(measure(runs), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
