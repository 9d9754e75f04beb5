"""The same options to podman and to labrt: what does a program inside see? Podman's defaults are not docker's in all.

Left out is what differs on purpose, and where we are like docker: which capabilities there are by default (podman gives
three less), those of a user who is not root (none), and noexec for memory that --mount asks for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.oracle]
BUSYBOX = "/bin/busybox"
PROGRAMS = ("sh", "grep", "awk", "cat", "sort", "stat", "id", "df", "sed")

SCRIPT = """
grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|Groups):' /proc/self/status
awk '$2 == "/run" || $2 == "/t" || $2 == "/dev/shm" || $2 == "/sys" || $2 == "/data" {print $2, $4}' /proc/mounts | sort
ulimit -n; ulimit -c; cat /proc/self/oom_score_adj /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward
stat -c '%n %t,%T %a' /dev/it 2>/dev/null; (: < /dev/it) 2>/dev/null && echo readable; (: >> /dev/it) 2>/dev/null && echo writable
echo $A; id
"""  # noqa: E501

# Both get exactly these capabilities: their defaults differ.
FEW = ["--cap-drop", "ALL", "--cap-add", "CHOWN,KILL,SETUID,SETGID,MKNOD"]
OURS = ["--cap-drop", "ALL", *(word for cap in FEW[-1].split(",") for word in ("--cap-add", cap))]


@pytest.fixture
def short() -> Iterator[str]:
    """A directory of few letters: podman wants that."""
    with tempfile.TemporaryDirectory() as path:
        yield path


@pytest.fixture
def podman(tmp_path: Path, short: str) -> Callable[..., str]:
    """Run the script under podman, in a store of its own, with options as one types them."""
    if not shutil.which("podman") or not shutil.which("runc"):
        pytest.skip("podman or runc is absent")
    root = tmp_path / "root"
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "run", "t", "data"):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in PROGRAMS:
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\ntty:x:5:\nnogroup:x:65534:\n")
    (tmp_path / "containers.conf").write_text("[containers]\ndefault_ulimits = []\n")
    env = {name: value for name, value in os.environ.items() if name != "DOCKER_CONFIG"}  # it would be looked for
    env["CONTAINERS_CONF"] = str(tmp_path / "containers.conf")
    # vfs: with overlay podman would leave a mount behind.
    command = ["podman", "--root", tmp_path / "p", "--runroot", short, "--storage-driver", "vfs",
               "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc",
               "run", "--rm", "--network", "none"]  # fmt: skip

    def run(*options: str) -> str:
        words = [*command, *options, "--ulimit", "nproc=4000:4000", "--rootfs", root, "sh", "-c", SCRIPT]
        done = subprocess.run(words, capture_output=True, text=True, timeout=100, env=env, check=False)
        if done.returncode and "OCI" in done.stderr and not options:
            pytest.skip(f"podman cannot run here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_from_inside_both_are_alike(house, podman, tmp_path):
    (tmp_path / "source").mkdir()
    device = next((path for path in ("/dev/fuse", "/dev/loop-control") if os.path.exists(path)), "/dev/null")
    both = [
        "--security-opt", "no-new-privileges", "--tmpfs", "/run:size=64k,exec", "--shm-size", "1m",
        "--ulimit", "nofile=99:100", "--ulimit", "core=0", "--oom-score-adj", "300", "--sysctl", "kernel.msgmax=4711",
        "--sysctl", "net.ipv4.ip_forward=1", "--device", f"{device}:/dev/it:r",
        "--mount", "type=tmpfs,dst=/t,tmpfs-size=1m,ro", "-e", "A=1", "-v", f"{tmp_path}/source:/data:ro",
    ]  # fmt: skip
    theirs, ours = facts(podman(*FEW, *both)), facts(typed(*OURS, *both))
    assert ours.pop("/t") == theirs.pop("/t") | {"noexec"}
    for name in ("Groups:", "uid=0(root)"):  # podman leaves root its group only where a --user is given
        del ours[name], theirs[name]
    assert ours == theirs


def test_another_user_in_both(house, podman):
    options = ("--user", "nobody", "--group-add", "4711", "--ulimit", "nofile=99")
    theirs, ours = (facts(run(*options)) for run in (podman, typed))
    for name in ("uid=65534(nobody)", "Groups:", "NoNewPrivs:", "Seccomp:"):
        assert ours[name] == theirs[name]


def test_privileged_in_both(house, podman):
    theirs, ours = facts(podman("--privileged", "--ulimit", "nofile=99")), facts(typed("--privileged"))
    for name in ("CapEff:", "CapBnd:", "Seccomp:"):
        assert ours[name] == theirs[name]
    assert "rw" in ours["/sys"] and "rw" in theirs["/sys"]


def typed(*options: str) -> str:
    """Run the script as `labrt run` does."""
    words = [sys.executable, "-m", "labrt", "run", "--rm", *options, "busybox", "sh", "-c", SCRIPT]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def facts(text: str) -> dict[str, set[str]]:
    """Make {first word: the others} of the lines; mount options are a set, without what is each file system's own."""
    found = {}
    for number, line in enumerate(text.splitlines()):
        name, _, rest = line.partition("\t" if "\t" in line else " ")
        mount = name.startswith("/") and "," in rest and name != "/dev/it"
        words = {word for word in rest.split(",") if not word.startswith(_FILE_SYSTEM)} if mount else {rest.strip()}
        found[name if rest else f"{number} {name}"] = words
    return found


_FILE_SYSTEM = ("discard", "res", "inode64", "relatime", "errors", "data")
