"""The same config.json through labrt and through runc and crun: what a probe sees from inside must be the same.

Differences are listed below, each with its reason; one that is not listed fails, and so does one that is listed and no
longer there.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from labrt.linux import cgroups, mounts

pytestmark = [pytest.mark.root, pytest.mark.oracle]

PROBE = r"""
echo "=== environment"; env | grep -v -e ^SHLVL -e ^_= | sort
echo "=== ids"; id; grep -e ^Groups -e ^Uid -e ^Gid /proc/self/status
echo "=== directory"; pwd; umask
echo "=== hostname"; hostname
echo "=== capabilities"; grep ^Cap /proc/self/status
echo "=== no_new_privs"; grep ^NoNewPrivs /proc/self/status
echo "=== seccomp"; grep ^Seccomp: /proc/self/status
echo "=== limits"; cat /proc/self/limits
echo "=== oom"; cat /proc/self/oom_score_adj
echo "=== mounts"
awk '{ for (i = 7; i <= NF; i++) if ($i == "-") p = i; print $5, $6, $(p+1), $(p+3) }' /proc/self/mountinfo
echo "=== devices"; ls -l /dev | awk 'NF > 2 { print $1, $3, $4, ($1 ~ /^[cb]/ ? $5 $6 " " $10 : $9 $10 $11) }' | sort
echo "=== cgroups"; cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us 2>/dev/null
cat memory.max pids.max cpu.max 2>/dev/null
echo "=== cgroup membership"; cat /proc/self/cgroup
echo "=== masked"; cat /proc/keys /proc/timer_list | wc -c; ls /sys/firmware | wc -l
echo "=== read-only"; for f in sys/kernel/hostname sysrq-trigger; do (echo x > /proc/$f) 2>/dev/null && echo "$f"; done
echo "=== refused"; unshare -m true 2>&1; mount -t tmpfs x /tmp 2>&1; mknod /tmp/disk b 8 0 && cat /tmp/disk 2>&1
echo "=== interfaces"; ip -o link show lo | sed 's/mtu.*//'
echo "=== processes"; echo $$; head -c 2 /proc/1/cmdline
echo "=== descriptors"; ls /proc/$$/fd
"""


def settle(config: dict) -> None:
    """Ask for a bit of everything."""
    config["process"]["args"] = ["sh", "-c", PROBE]
    config["process"]["env"] = ["PATH=/bin", "GREETING=hello world", "EMPTY=", "HOME=/root"]
    config["process"]["cwd"] = "/tmp"
    config["process"]["user"] = {"uid": 0, "gid": 0, "additionalGids": [50]}
    config["annotations"] = {}
    config["hostname"] = "probe"
    config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024},
                                    {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]  # fmt: skip
    config["process"]["oomScoreAdj"] = 100
    config["linux"]["resources"] |= {"memory": {"limit": 64 << 20}, "pids": {"limit": 40},
                                     "cpu": {"quota": 50_000, "period": 100_000}}  # fmt: skip


def as_user(config: dict) -> None:
    """The same, as somebody who is not root, and may not become it."""
    settle(config)
    config["process"]["user"] = {"uid": 1000, "gid": 1000, "umask": 0o27}
    config["process"]["noNewPrivileges"] = True
    config["root"]["readonly"] = True


def sections(text: str) -> dict[str, list[str]]:
    """Cut the probe's output."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("=== "):
            found[line[4:]] = current = []
        else:
            current.append(line)
    return found


# What differs, and why. Each is one entry of a section: a mount by its path, a device by its name, else the section.
MASKS = {"/proc/acpi", "/proc/interrupts", "/proc/keys", "/proc/timer_list", "/sys/firmware"}
DIFFERENCES = {
    "runc": {
        **{("mounts", path): "its masks are the container's own /dev/null and a plain tmpfs; ours are the host's, and "
           "nosuid, nodev, noexec" for path in MASKS},
        ("mounts", "/sys/fs/cgroup"): "the directory of the v1 trees is writable in runc 1.1, read-only in ours",
        ("mounts", "/sys/fs/cgroup/unified"): "runc 1.1 leaves the v2 tree of a hybrid machine out",
    },
    "crun": {
        **{("mounts", path): "its masks are bound read-only" for path in MASKS},
        **{("mounts", path): "it drops nosuid, nodev and noexec when it binds a path read-only; we keep them"
           for path in ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys")},
        ("mounts", "/sys"): "the mount is read-only in both; ours is of a read-only superblock",
        ("mounts", "/sys/fs/cgroup"): "the directory of the v1 trees is writable in crun, read-only in ours",
        ("mounts", "/sys/fs/cgroup/unified"): "it gets no v2 tree: it refuses machines with both",
        ("devices", "null"): "it gives the device behind standard input, here the host's /dev/null, to the user",
        ("devices", "core"): "it links /dev/core also where there is no /proc/kcore",
    },
}  # fmt: skip
# The trees of v1 in which a container of labrt is not: there it sees nothing, and of theirs a cgroup without limits.
TREES = {
    ("mounts", tree.mountpoint) for tree in cgroups.detect().trees
    if tree.version == 1 and not {"memory", "cpu", "pids", "cpuset", "blkio", "devices"} & set(tree.controllers)
}  # fmt: skip
for _known in DIFFERENCES.values():
    _known |= dict.fromkeys(TREES, "we show no tree that the container is not in")
# Those of the above that show only on some machines, or only for some users.
SOMETIMES = TREES | {("mounts", path) for path in MASKS} | {
    ("mounts", "/sys/fs/cgroup"), ("mounts", "/sys/fs/cgroup/unified"), ("devices", "null"), ("devices", "core"),
}  # fmt: skip


@pytest.mark.parametrize("runtime", ["runc", "crun"])
@pytest.mark.parametrize("change", [settle, as_user])
def test_what_is_seen_from_inside(make, outcome, busybox_root, tmp_path, runtime, change):
    if not shutil.which(runtime):
        pytest.skip(f"{runtime} is not installed")
    container = make("true", change=change)
    code, out, err = outcome(container)
    assert code == 0, err
    ours = entries(sections(out))
    theirs = entries(sections(run_elsewhere(runtime, container.config(), busybox_root, tmp_path)))
    differences = {key: (ours.get(key), theirs.get(key)) for key in ours | theirs if ours.get(key) != theirs.get(key)}
    expected = DIFFERENCES[runtime]
    assert {key: both for key, both in differences.items() if key not in expected} == {}
    assert set(expected) - set(differences) - SOMETIMES == set(), "these no longer differ"


def entries(found: dict[str, list[str]]) -> dict[tuple[str, str], str]:
    """Spread sections out to entries that can be compared one by one."""
    spread: dict[tuple[str, str], str] = {}
    for name, lines in found.items():
        if name == "mounts":
            for line in lines:
                path, options, kind, more = line.split(" ", 3)
                # An overlay's directories are each runtime's own.
                spread[name, path] = f"{options} {kind} {'' if kind == 'overlay' else more}"
        elif name == "devices":
            for line in lines:
                mode, *owner, entry = line.split()
                spread[name, entry.partition("->")[0]] = f"{mode} {owner} {entry}"
        else:
            spread[name, ""] = "\n".join(lines)
    return spread


def run_elsewhere(runtime: str, config: dict, root: Path, tmp_path: Path) -> str:
    """Run the config with another runtime, on an overlay of the same root; return its output."""
    id = f"labrt-test-{runtime}-{os.getpid()}"
    bundle, upper = tmp_path / "bundle", tmp_path / "upper"
    for path in (bundle / "rootfs", upper):
        path.mkdir(parents=True)
    config = json.loads(json.dumps(config)) | {"ociVersion": "1.0.2"}
    config["linux"]["cgroupsPath"] = f"/labrt/{id}"
    (bundle / "config.json").write_text(json.dumps(config))
    command = [runtime, "--root", str(tmp_path / "state"), "run", "-b", str(bundle), id]
    if runtime == "crun" and os.path.isdir("/sys/fs/cgroup/unified"):
        # crun takes no machine with both versions for one of v1.
        command = ["unshare", "-m", "sh", "-c", 'umount /sys/fs/cgroup/unified && exec "$@"', "sh", *command]
    with mounts.overlay([str(root)], str(bundle / "rootfs"), upper=str(upper)):
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    for tree in cgroups.detect().trees:  # it has made /labrt in trees that labrt itself does not use
        with contextlib.suppress(OSError):
            os.rmdir(f"{tree.mountpoint}/labrt")
    assert done.returncode == 0, done.stderr
    return done.stdout
