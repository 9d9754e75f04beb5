"""The doctor where something was taken away: on machines built in a directory, and for real in private namespaces."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from labrt import paths
from labrt.lab.doctor import Check, Host, Status, control_groups, doctor, kernel, surroundings
from labrt.linux import cgroups

GROUPS = "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t90\t{memory}\ncpu\t0\t90\t1\npids\t0\t90\t1\n"
V2 = "30 25 0:26 / {top} rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "{number} 24 0:{number} / {top}/{name} rw,relatime shared:10 - cgroup cgroup rw,{name}\n"


class Machine:
    """A machine that lacks nothing, in a directory; what is taken away is taken from it file by file."""

    def __init__(self, root: Path) -> None:
        self.root, self.host = root, Host(str(root))
        self.top = root / "sys/fs/cgroup"
        self.write("proc/filesystems", "nodev\tproc\nnodev\toverlay\n\text4\n")
        self.write("proc/sys/kernel/osrelease", "6.8.0-48-generic\n")
        self.write("proc/sys/user/max_user_namespaces", "31418\n")
        self.write("proc/self/ns/user", "")
        self.write("proc/self/status", "Uid:\t0\t0\t0\t0\nCapBnd:\t000001ffffffffff\n")
        self.write("proc/cgroups", GROUPS.format(memory=1))
        self.write("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro quiet\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def unified(self, controllers: str = "cpuset cpu io memory pids") -> Host:
        self.write("proc/self/mountinfo", V2.format(top=self.top))
        self.write("proc/self/cgroup", "0::/system.slice\n")
        self.write("sys/fs/cgroup/cgroup.controllers", f"{controllers}\n")
        for name in ("memory.max", "memory.swap.max"):
            self.write(f"sys/fs/cgroup/system.slice/{name}", "max\n")
        return self.host

    def legacy(self, *names: str) -> Host:
        lines = [V1.format(number=number, top=self.top, name=name) for number, name in enumerate(names, 40)]
        self.write("proc/self/mountinfo", "".join(lines))
        self.write("proc/self/cgroup", "4:memory:/\n3:cpu:/\n2:pids:/\n")
        for name in names:
            self.write(f"sys/fs/cgroup/{name}/{name}.x", "")
        self.write("sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", "1\n")
        return self.host


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


# On a machine in a directory ------------------------------------------------------------------------------------------


def test_where_nothing_is_missing_nothing_is_named(machine: Machine) -> None:
    for host in (machine.unified(), machine.legacy("memory", "cpu", "pids")):
        for question in (kernel.user_namespaces, control_groups.cgroups, control_groups.swap):
            assert question(host).status == "ok", question(host)


def test_the_whole_report_is_of_the_machine_that_was_given(machine: Machine, labrt_root: Path) -> None:
    machine.unified("cpu pids")
    machine.write("proc/filesystems", "nodev\tproc\n")
    machine.write("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n")
    report = doctor(host=machine.host, hub="http://127.0.0.1:1/v2/")
    for name in ("overlay", "cgroups", "swap", "rootless", "docker hub"):
        assert report[name].status == "warn" and report[name].remedy, report[name]
        assert "\n" not in report[name].remedy and shlex.split(report[name].remedy)


def test_no_overlay(machine: Machine, labrt_root: Path) -> None:
    machine.write("proc/filesystems", "nodev\tproc\n\text4\n\toverlayish\n")
    seen = surroundings.overlay(paths.default(), machine.host)
    assert (seen.status, seen.remedy) == ("warn", kernel.NEWER) and "/proc/filesystems" in seen.saw
    machine.write("lib/modules/6.8.0-48-generic/modules.dep", "kernel/fs/overlayfs/overlay.ko.zst:\n")
    assert surroundings.overlay(paths.default(), machine.host).remedy == "sudo modprobe overlay"


@pytest.mark.parametrize(
    ("switch", "value", "remedy"),
    [
        ("kernel/unprivileged_userns_clone", 0, "kernel.unprivileged_userns_clone=1"),
        ("kernel/apparmor_restrict_unprivileged_userns", 1, "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("user/max_user_namespaces", 0, "user.max_user_namespaces=15000"),
    ],
)
def test_each_switch_that_forbids_user_namespaces(machine: Machine, switch: str, value: int, remedy: str) -> None:
    machine.write(f"proc/sys/{switch}", f"{value}\n")
    seen = kernel.user_namespaces(machine.host)
    assert seen.status == "warn" and switch.split("/")[1] in seen.saw and seen.remedy == f"sudo sysctl -w {remedy}"


def test_v2_without_a_controller_by_why_it_is_missing(machine: Machine) -> None:
    host = machine.unified("cpu pids")
    assert control_groups.cgroups(host).saw == "unified: cpu, pids; without memory"
    assert "systemd.unified_cgroup_hierarchy=1" in control_groups.cgroups(host).remedy  # v1 holds it
    machine.write("sys/fs/cgroup/cgroup.type", "domain\n")
    assert control_groups.cgroups(host).remedy.startswith("echo +memory | sudo tee ")  # whoever is above keeps it
    machine.write("proc/cgroups", GROUPS.format(memory=0))
    assert "cgroup_enable=memory " in control_groups.cgroups(host).remedy
    machine.write("proc/cmdline", "ro cgroup_disable=memory\n")
    assert "s/cgroup_disable=" in control_groups.cgroups(host).remedy
    assert control_groups.swap(host).status == "warn"


def test_v2_whose_root_has_processes_cannot_hand_controllers_on(machine: Machine) -> None:
    host = machine.unified()
    machine.write("sys/fs/cgroup/cgroup.type", "domain\n")
    machine.write("sys/fs/cgroup/cgroup.procs", "1\n")
    machine.write("sys/fs/cgroup/cgroup.subtree_control", "pids\n")
    seen = control_groups.cgroups(host)
    assert seen.status == "warn" and seen.saw.endswith("processes are in the way: memory, cpu")
    # The remedy is typed, sudo left out, in the directory: the orders reach the file.
    subprocess.run(["sh", "-c", seen.remedy.replace("sudo ", "")], check=True, stdout=subprocess.DEVNULL)
    assert (machine.top / "cgroup.subtree_control").read_text() == "+memory +cpu +pids\n"
    machine.write("sys/fs/cgroup/cgroup.subtree_control", "memory cpu pids\n")
    assert control_groups.cgroups(host).status == "ok"


def test_v1_without_a_controller_is_told_to_mount_it(machine: Machine) -> None:
    seen = control_groups.cgroups(machine.legacy("cpu", "pids"))
    assert seen.status == "warn" and seen.saw == "legacy: cpu, pids; without memory"
    assert "mount -t cgroup -o memory cgroup /sys/fs/cgroup/memory" in seen.remedy


def test_swap_that_is_not_counted(machine: Machine) -> None:
    host = machine.unified()
    (machine.top / "system.slice/memory.swap.max").unlink()
    seen = control_groups.swap(host)
    assert seen.status == "warn" and "memory.swap.max" in seen.saw and "swapaccount=1 " in seen.remedy
    (machine.top / "system.slice/memory.max").unlink()
    assert control_groups.swap(host).status == "ok"  # nothing there that could tell
    host = machine.legacy("memory", "cpu", "pids")
    (machine.top / "memory/memory.memsw.limit_in_bytes").unlink()
    machine.write("proc/cmdline", "ro swapaccount=0\n")
    seen = control_groups.swap(host)
    assert seen.status == "warn" and "memory.memsw" in seen.saw and "s/swapaccount=" in seen.remedy


def test_what_is_typed_into_the_boot_loader(tmp_path: Path) -> None:
    grub = tmp_path / "grub"
    grub.write_text('GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX="quiet swapaccount=0"\n')
    for remedy in (control_groups._boot_without("swapaccount"), control_groups.boot_with("swapaccount=1")):
        edit = remedy.split(" && ")[0].replace("sudo ", "").replace("/etc/default/grub", shlex.quote(str(grub)))
        subprocess.run(["sh", "-c", edit], check=True)
    assert grub.read_text() == 'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX="swapaccount=1 quiet "\n'


# For real: the program, in namespaces of its own from which something was taken --------------------------------------


def _doctor_after(taking: str, labrt_root: Path, *namespaces: str) -> dict[str, Check]:
    """Run `labrt doctor` after the shell script `taking`, in namespaces that end with it; return what it said."""
    # exec: /proc/$$ stays the doctor's own. The proxy is not there, so that nothing leaves this machine.
    program = f"exec {shlex.quote(sys.executable)} -m labrt doctor"
    script = f"set -e; mkdir -p {shlex.quote(str(labrt_root))}\n{taking}\n{program}"
    proxy = "http://127.0.0.1:1"
    environment = {**os.environ, "https_proxy": proxy, "HTTPS_PROXY": proxy, "no_proxy": "", "NO_PROXY": ""}
    command = ["unshare", "--mount", *namespaces, "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode in (0, 1) and not done.stderr and "docker hub" in done.stdout, done
    found: dict[str, Check] = {}
    name = ""
    for line in done.stdout.splitlines():
        if line.startswith("     → "):
            found[name] = found[name]._replace(remedy=line.removeprefix("     → "))
        else:
            _, name, status, saw = re.split(r" {2,}", line, maxsplit=3)
            found[name] = Check(name, cast(Status, status), saw)
    return found


def _without(file: str, pattern: str, at: Path) -> str:
    """Return the shell lines that take the lines matching `pattern` out of a file of /proc, for who sees this mount."""
    copy = shlex.quote(str(at))
    return f"grep -v {shlex.quote(pattern)} {file} > {copy} || true; mount --bind {copy} {file}"


@pytest.mark.root
def test_overlay_is_really_missing_in_proc(labrt_root: Path, tmp_path: Path) -> None:
    seen = _doctor_after(_without("/proc/filesystems", "overlay", tmp_path / "copy"), labrt_root)["overlay"]
    assert seen.status == "warn" and "/proc/filesystems" in seen.saw and seen.remedy


@pytest.mark.root
def test_the_memory_controller_is_really_missing(labrt_root: Path, tmp_path: Path) -> None:
    tree = cgroups.detect().where("memory")
    if not tree:
        pytest.skip("this machine has no memory controller to take away")
    if tree.version == 1:
        taking = _without("/proc/$$/mountinfo", r" - cgroup .*\bmemory\b", tmp_path / "copy")
    else:
        copy = shlex.quote(str(tmp_path / "copy"))
        file = shlex.quote(f"{tree.mountpoint}/cgroup.controllers")
        taking = f"sed 's/memory//' {file} > {copy}; mount --bind {copy} {file}"
    found = _doctor_after(taking, labrt_root)
    assert found["cgroups"].status == "warn" and found["cgroups"].saw.endswith("without memory")
    assert found["cgroups"].remedy and found["swap"].status == "warn"


@pytest.mark.root
def test_user_namespaces_are_really_forbidden(labrt_root: Path) -> None:
    # The limit belongs to a user namespace: set in a new one, it binds nobody else.
    taking = "echo 0 > /proc/sys/user/max_user_namespaces; if unshare --user true 2>&-; then exit 9; fi"
    seen = _doctor_after(taking, labrt_root, "--user", "--map-root-user")["rootless"]
    assert seen.status == "warn" and seen.remedy == "sudo sysctl -w user.max_user_namespaces=15000"


@pytest.mark.root
def test_nft_is_really_missing(labrt_root: Path, tmp_path: Path) -> None:
    stand_in = tmp_path / "bin" / "nft"  # so that there is one to hide on every machine
    stand_in.parent.mkdir()
    stand_in.write_text("#!/bin/sh\n")
    stand_in.chmod(0o755)
    there = f"export PATH={shlex.quote(str(stand_in.parent))}:$PATH"
    assert _doctor_after(there, labrt_root)["nft"] == Check("nft", "ok", str(stand_in))
    places = '$(echo "$PATH" | tr : " ") /usr/sbin /sbin'
    hide = f"for d in {places}; do [ ! -e $d/nft ] || mount --bind /dev/null $d/nft; done"
    seen = _doctor_after(f"{there}\n{hide}", labrt_root)["nft"]
    assert seen.status == "warn" and seen.remedy == "sudo apt-get install -y nftables"


@pytest.mark.root
def test_the_disk_is_really_small_and_the_hub_away(labrt_root: Path) -> None:
    found = _doctor_after(f"mount -t tmpfs -o size=64m tmpfs {shlex.quote(str(labrt_root))}", labrt_root)
    assert found["disk"].status == "warn" and found["disk"].remedy
    assert found["docker hub"].status == "warn" and "LABRT_MIRROR" in found["docker hub"].remedy
    assert not list(labrt_root.iterdir())  # the mount was the program's own
