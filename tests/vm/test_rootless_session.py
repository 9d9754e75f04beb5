"""A real user with a systemd of their own, which delegates cgroups: limits without root. See runtime/rootless.py."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

GUEST = "labrt.job" in Path("/proc/cmdline").read_text().split()
PROJECT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.vm,
    pytest.mark.root,
    pytest.mark.skipif(not GUEST, reason="not the guest of tests/vm/run.sh"),
]
NAME = "labrt-tester"


@pytest.fixture(scope="module")
def labrt() -> Iterator[Callable[..., str]]:
    """The command line as this user has it after a login; the user is gone afterwards."""
    if not shutil.which("newuidmap") or not Path("/usr/bin/dbus-daemon").exists():
        pytest.skip("uidmap or dbus-user-session is not installed")
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", NAME], check=True)
    user = pwd.getpwnam(NAME)
    run = f"/run/user/{user.pw_uid}"
    environment = {
        "LABRT_NETWORK": "none", "PATH": os.environ["PATH"], "HOME": user.pw_dir, "USER": NAME, "XDG_RUNTIME_DIR": run,
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }  # fmt: skip

    def typed(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "labrt", *words], env=environment, cwd=user.pw_dir, user=user.pw_uid,
            group=user.pw_gid, extra_groups=[user.pw_gid], capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    try:
        subprocess.run(["loginctl", "enable-linger", NAME], check=True)  # which starts their systemd
        for _ in range(600):
            if os.path.exists(f"{run}/bus"):
                break
            time.sleep(0.1)
        yield typed
        typed("reset", "--force")
    finally:
        subprocess.run(["loginctl", "terminate-user", NAME])
        subprocess.run(["loginctl", "disable-linger", NAME])
        subprocess.run(["userdel", "--force", "--remove", NAME])


def test_limits_are_kept_without_root(labrt):
    labrt("run", "-d", "--name", "nap", "-m", "64m", "--pids-limit", "30", "busybox", "sleep", "600")
    (group,) = Path("/sys/fs/cgroup/user.slice").glob("user-*.slice/user@*.service/labrt.slice/labrt-*.scope/container")
    assert (group / "memory.max").read_text() == f"{64 << 20}\n" and (group / "pids.max").read_text() == "30\n"
    assert labrt("exec", "nap", "cat", "/proc/self/cgroup") == "0::/\n"
    assert labrt("exec", "nap", "cat", "/sys/fs/cgroup/memory.max") == f"{64 << 20}\n"
    assert len((group / "cgroup.procs").read_text().split()) == 1
    labrt("stop", "-t", "0", "nap")
    labrt("start", "nap")
    labrt("rm", "-f", "nap")
    assert not group.exists()


def test_the_doctor_says_so(labrt):
    report = labrt("doctor").splitlines()
    for check, what in (("subordinate ids", "65536 uids"), ("logout", "containers outlive it")):
        assert next(what in line for line in report if line.split(" ", 2)[2].startswith(check)), report
