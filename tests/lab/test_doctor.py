"""The doctor: on machines that were recorded, and on this one."""

from __future__ import annotations

import contextlib
import email.utils
import http.server
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

import labrt
from labrt import errors, paths
from labrt.engine import embedded
from labrt.lab import doctor as package
from labrt.lab.doctor import Check, Host, Report, control_groups, kernel, surroundings
from labrt.linux import ledger, procfs

ALL = "000001ffffffffff"
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts")
UNIFIED = "30 25 0:26 / {cgroups} rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


class Machine:
    """A machine to be recorded, file by file."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def host(self) -> Host:
        return Host(str(self.root))

    def write(self, name: str, text: str) -> Machine:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return self

    def sysctl(self, name: str, value: object) -> Machine:
        return self.write(f"/proc/sys/{name.replace('.', '/')}", f"{value}\n")

    def status(self, uid: int = 0, bounding: str = ALL) -> Machine:
        ids = f"{uid}\t" * 4
        return self.write("/proc/self/status", f"Name:\tpython3\nUid:\t{ids}\nCapBnd:\t{bounding}\n")

    def namespaces(self, *names: str) -> Machine:
        for name in names:
            self.write(f"/proc/self/ns/{name}", "")
        return self

    def cgroups(self, mountinfo: str, cgroup: str, controllers: str = "") -> Machine:
        place = self.root / "sys/fs/cgroup"
        self.write("/sys/fs/cgroup/cgroup.controllers", controllers)
        self.write("/proc/self/mountinfo", mountinfo.format(cgroups=place))
        return self.write("/proc/self/cgroup", cgroup)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


@pytest.fixture
def ubuntu(machine: Machine) -> Host:
    """Ubuntu 24.04 as it is installed: v2, and AppArmor restricts unprivileged user namespaces."""
    machine.sysctl("kernel.osrelease", "6.8.0-48-generic").sysctl("kernel.arch", "x86_64").status()
    machine.sysctl("kernel.apparmor_restrict_unprivileged_userns", 1).sysctl("kernel.unprivileged_userns_clone", 1)
    machine.sysctl("user.max_user_namespaces", 31418).namespaces(*NAMESPACES)
    machine.sysctl("kernel.seccomp.actions_avail", "kill_process kill_thread trap errno user_notif trace log allow")
    machine.write("/proc/meminfo", "MemTotal:        4015152 kB\nMemFree:  100 kB\nMemAvailable:    3221324 kB\n")
    return machine.cgroups(UNIFIED, "0::/user.slice\n", "cpuset cpu io memory hugetlb pids rdma misc").host


@pytest.fixture
def centos7(machine: Machine) -> Host:
    """A v1 machine with the kernel of 2014, before cgroup and time namespaces."""
    machine.sysctl("kernel.osrelease", "3.10.0-1160.el7.x86_64").status().sysctl("user.max_user_namespaces", 0)
    machine.namespaces("ipc", "mnt", "net", "pid", "user", "uts")
    mounts = (("memory", 26), ("cpu,cpuacct", 27), ("pids", 28))
    line = "{0} 24 0:{0} / {{cgroups}} rw,relatime shared:10 - cgroup cgroup rw,seclabel,{1}\n"
    mountinfo = "".join(line.format(number, names) for names, number in mounts)
    return machine.cgroups(mountinfo, "4:memory:/\n3:cpu,cpuacct:/\n2:pids:/\n1:name=systemd:/\n").host


# The kernel's part ----------------------------------------------------------------------------------------------------


def test_ubuntu_is_well_but_for_rootless(ubuntu: Host) -> None:
    questions = (kernel.kernel, kernel.user, kernel.namespaces, kernel.seccomp, control_groups.cgroups)
    for question in (*questions, control_groups.swap, surroundings.memory):
        assert question(ubuntu).status == "ok", question(ubuntu)
    assert kernel.kernel(ubuntu).saw == "Linux 6.8.0-48-generic on x86_64"
    assert control_groups.cgroups(ubuntu).saw == "unified: memory, cpu, pids"
    rootless = kernel.user_namespaces(ubuntu)
    assert rootless.status == "warn"
    assert rootless.remedy == "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"


def test_ubuntu_with_the_switch_thrown(ubuntu: Host, machine: Machine) -> None:
    machine.sysctl("kernel.apparmor_restrict_unprivileged_userns", 0)
    assert kernel.user_namespaces(ubuntu) == Check(
        "rootless", "ok", "ordinary users may make user namespaces, at most 31418"
    )


def test_debians_own_switch(ubuntu: Host, machine: Machine) -> None:
    machine.sysctl("kernel.unprivileged_userns_clone", 0)
    assert kernel.user_namespaces(ubuntu).remedy == "sudo sysctl -w kernel.unprivileged_userns_clone=1"


def test_a_machine_without_any_switch_allows_them(machine: Machine) -> None:
    assert kernel.user_namespaces(machine.namespaces("user").host).status == "ok"


def test_an_old_kernel_fails(centos7: Host) -> None:
    old = kernel.kernel(centos7, "x86_64")
    assert old.status == "fail" and "3.10.0-1160.el7.x86_64" in old.saw and "5.12" in old.saw
    assert kernel.namespaces(centos7) == Check(
        "namespaces", "warn", "this kernel has no namespaces for cgroup, time", kernel.NEWER
    )
    assert "max_user_namespaces" in kernel.user_namespaces(centos7).remedy
    assert kernel.seccomp(centos7).status == "fail"
    assert control_groups.cgroups(centos7).saw == "legacy: memory, cpu, pids"


@pytest.mark.parametrize(
    ("release", "status"),
    [("5.11.22", "fail"), ("5.12.0", "ok"), ("6.1.0-arm64", "ok"), ("10.0", "ok"), ("", "fail")],
)
def test_kernel_versions_are_compared_as_numbers(machine: Machine, release: str, status: str) -> None:
    assert kernel.kernel(machine.sysctl("kernel.osrelease", release).host, "aarch64").status == status


def test_other_architectures_fail(machine: Machine) -> None:
    seen = kernel.kernel(machine.sysctl("kernel.osrelease", "6.1.0").sysctl("kernel.arch", "riscv64").host)
    assert seen.status == "fail" and "riscv64" in seen.saw


@pytest.mark.parametrize(
    ("uid", "bounding", "status", "says"),
    [
        (0, ALL, "ok", "every capability"),
        (0, "000001fffeffffff", "ok", "without SYS_RESOURCE"),
        (0, "00000000a80425fb", "fail", "SYS_ADMIN (mounts and namespaces)"),  # inside `docker run`
        (0, "000001ffffffefff", "warn", "root without NET_ADMIN"),
        (1000, ALL, "warn", "user 1000, not root"),
    ],
)
def test_root_and_what_is_left_of_it(machine: Machine, uid: int, bounding: str, status: str, says: str) -> None:
    seen = kernel.user(machine.status(uid, bounding).host)
    assert seen.status == status and says in seen.saw


def test_a_kernel_without_network_namespaces_fails(machine: Machine) -> None:
    seen = kernel.namespaces(machine.namespaces(*(name for name in NAMESPACES if name != "net")).host)
    assert seen.status == "fail" and seen.saw.endswith("for net")


def test_cgroups_without_memory_are_a_warning(machine: Machine) -> None:
    seen = control_groups.cgroups(machine.cgroups(UNIFIED, "0::/\n", "cpuset cpu io pids").host)
    assert seen.status == "warn" and seen.saw == "unified: cpu, pids; without memory"


def test_controllers_that_are_not_delegated_are_named_with_what_hands_them_on(machine: Machine) -> None:
    machine.cgroups(UNIFIED, "0::/user.slice\n", "cpuset cpu io memory pids").status(uid=1000)
    machine.write("/sys/fs/cgroup/user.slice/cgroup.controllers", "memory pids\n")
    machine.write("/sys/fs/cgroup/user.slice/cgroup.procs", "")
    seen = control_groups.cgroups(machine.host)
    assert seen.status == "warn" and seen.saw.endswith("not delegated to you: cpu")
    assert "Delegate=" in seen.remedy
    machine.write("/sys/fs/cgroup/user.slice/cgroup.controllers", "cpu memory pids\n")
    assert control_groups.cgroups(machine.host).status == "ok"


def test_no_cgroups_at_all_fail(machine: Machine) -> None:
    assert control_groups.cgroups(machine.host).status == "fail"
    assert control_groups.cgroups(machine.cgroups("", "0::/\n").host).saw == "no control groups are mounted"


def test_an_empty_machine_is_examined_too(tmp_path: Path) -> None:
    host = Host(str(tmp_path / "absent"))
    questions = (kernel.kernel, kernel.user, kernel.namespaces, kernel.user_namespaces, kernel.seccomp)
    for question in (*questions, control_groups.cgroups, control_groups.swap, surroundings.memory):
        assert question(host).status != "ok" and question(host).remedy


# What is around it ----------------------------------------------------------------------------------------------------


def test_little_memory_is_a_warning(machine: Machine) -> None:
    seen = surroundings.memory(machine.write("/proc/meminfo", "MemAvailable:    100000 kB\n").host)
    assert seen.status == "warn" and seen.saw.startswith("102MB")


def test_python_versions() -> None:
    assert surroundings.python().status == "ok"
    assert surroundings.python((3, 9, 2)).status == "fail"


def test_a_missing_program_names_its_package(tmp_path: Path) -> None:
    assert surroundings.program("nft", "nftables", "x", str(tmp_path)).remedy == "sudo apt-get install -y nftables"
    (tmp_path / "nft").write_text("#!/bin/sh\n")
    (tmp_path / "nft").chmod(0o755)
    assert surroundings.program("nft", "nftables", "x", str(tmp_path)).status == "ok"
    assert "passt" in surroundings.users_network(str(tmp_path)).remedy
    (tmp_path / "nft").rename(tmp_path / "slirp4netns")
    assert "slirp4netns, for there is no pasta" in surroundings.users_network(str(tmp_path)).saw


def test_the_disk_is_looked_at_before_labrt_has_made_anything(labrt_root: Path) -> None:
    where = paths.default()
    assert surroundings.disk(where, least=0).status == "ok"
    assert surroundings.disk(where, least=1 << 62).status == "warn"
    assert not labrt_root.exists()


@pytest.mark.parametrize(("year", "status"), [(1970, "warn"), (2025, "warn"), (2027, "ok"), (2099, "warn")])
def test_the_clock(year: int, status: str) -> None:
    assert surroundings.clock((year - 1970) * 365.25 * 86400 + 86400).status == status


def test_libseccomp_is_here() -> None:
    assert surroundings.libseccomp().status == "ok"


def test_the_default_image_is_missed_until_it_is_made(labrt_root: Path) -> None:
    where = paths.default()
    missed = surroundings.default_image(where)
    assert missed.status == "warn"
    subprocess.run(shlex.split(missed.remedy), check=True, stdout=subprocess.DEVNULL)  # it can be typed
    assert surroundings.default_image(where).status == "ok" and embedded.present(where)


def test_what_a_dead_process_left_is_a_warning(labrt_root: Path) -> None:
    where = paths.default()
    assert surroundings.ledger(where).saw == "empty"
    entry = ledger.record("directory", str(labrt_root / "lib" / "never"))
    assert surroundings.ledger(where) == Check("ledger", "ok", "1 in use")
    Path(entry.file).write_text(Path(entry.file).read_text().replace(f'"made_by": {os.getpid()}', '"made_by": 0'))
    seen = surroundings.ledger(where)
    assert seen.status == "warn"
    subprocess.run(shlex.split(seen.remedy), check=True, stdout=subprocess.DEVNULL)
    assert surroundings.ledger(where).saw == "empty"


def test_overlay_is_tried_where_labrt_keeps_its_layers(labrt_root: Path) -> None:
    seen = surroundings.overlay(paths.default())
    assert seen.status == "ok" or (seen.status == "warn" and "vfs is used" in seen.saw)


# Docker Hub, played on loopback ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def hub(code: int, date: float | None = None) -> Iterator[str]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(code)
            if date is not None:
                self.send_header("Date", email.utils.formatdate(date, usegmt=True))
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v2/"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """A host that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v2/"


@pytest.fixture
def closed() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}/v2/"


@pytest.mark.parametrize(("code", "status"), [(401, "ok"), (200, "ok"), (302, "warn"), (404, "warn"), (503, "warn")])
def test_a_registry_that_asks_who_we_are_is_there(code: int, status: str) -> None:
    with hub(code) as url:
        seen = surroundings.docker_hub(url)
    assert seen.status == status and (status == "ok") == (not seen.remedy)


def test_a_clock_that_is_wrong_is_told_by_the_hub() -> None:
    with hub(401, time.time() + 86400) as url:
        seen = surroundings.docker_hub(url)
    assert seen.status == "warn" and re.search(r"clock is -86[34]\d\d s", seen.saw) and "timedatectl" in seen.remedy
    with hub(401, time.time()) as url:
        assert surroundings.docker_hub(url).status == "ok"


def test_nobody_there_is_a_warning_that_says_what_is_used_instead(closed: str) -> None:
    seen = surroundings.docker_hub(closed)
    assert seen.status == "warn" and "embedded default" in seen.saw


def test_a_mirror_is_asked_instead_of_the_hub(labrt_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(200) as url:
        base = url.removesuffix("/v2/")
        monkeypatch.setenv("LABRT_MIRROR", base + "/")
        assert surroundings.docker_hub() == Check("docker hub", "ok", f"the mirror {base.split('//')[1]} answers")
        assert "the mirror" in labrt.doctor()["docker hub"].saw
    seen = surroundings.docker_hub()  # it is gone by now
    assert seen.status == "warn" and "Docker Hub itself is asked instead" in seen.saw and "LABRT_MIRROR" in seen.remedy
    assert seen.saw.startswith("the mirror") and surroundings.no_answer().saw.startswith("no answer from the mirror")


def test_a_mirror_that_is_no_url_is_said(labrt_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABRT_MIRROR", "mirror.example:5000")
    seen = labrt.doctor()["docker hub"]
    assert seen.status == "fail" and "LABRT_MIRROR is 'mirror.example:5000'" in seen.saw
    assert seen.remedy == "export LABRT_MIRROR=http://HOST:5000"


def test_silence_is_a_warning() -> None:
    with silent() as url:
        assert "ReadTimeout" in surroundings.docker_hub(url, timeout=0.05).saw


def test_the_doctor_does_not_wait_for_silence(labrt_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "PATIENCE", 0.05)
    with silent() as url:
        assert "no answer from 127.0.0.1" in labrt.doctor(hub=url)["docker hub"].saw
    # The listener is closed: the thread that still waited has its answer, and ends.


# The report -----------------------------------------------------------------------------------------------------------


def test_this_machine(labrt_root: Path, closed: str) -> None:
    report = labrt.doctor(hub=closed)
    names = [check.name for check in report]
    assert len(names) == len(set(names)) == len(report) >= 15
    for check in report:
        assert check.saw and (check.status == "ok") == (not check.remedy), check
        assert "\n" not in check.saw + check.remedy
        shlex.split(check.remedy)  # can be typed
    assert report.ok == (not [check for check in report if check.status == "fail"])
    if os.geteuid() == 0 and report["user"].status == "ok":
        assert report.ok, str(report)
    assert not [mount for mount in procfs.mountinfo() if mount.mount_point.startswith(str(labrt_root))]


def test_a_question_that_goes_wrong_is_a_failed_check(
    labrt_root: Path, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_proc(host: Host) -> Check:
        raise errors.NotSupported("no /proc here", remedy="sudo mount -t proc proc /proc")

    def surprise() -> Check:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(kernel, "kernel", no_proc)
    monkeypatch.setattr(surroundings, "clock", surprise)
    report = labrt.doctor(hub=closed)
    assert report["kernel"] == Check("kernel", "fail", "no /proc here", "sudo mount -t proc proc /proc")
    assert report["clock"].saw == "ZeroDivisionError: oops" and report["clock"].remedy
    assert not report.ok


REPORT = Report(
    (
        Check("python", "ok", "Python 3.13"),
        Check("nft", "warn", "no [nft] <here>", "sudo apt-get install -y nftables"),
        Check("kernel", "fail", "Linux 3.10\x1b[31m", "sudo reboot"),
    )
)


def test_a_report_shows_itself_in_text() -> None:
    assert repr(REPORT) == "<Report: 1 ok, 1 warn, 1 fail (kernel, nft)>"
    assert str(REPORT).splitlines() == [
        "✓  python  ok    Python 3.13",
        "!  nft     warn  no [nft] <here>",
        "     → sudo apt-get install -y nftables",
        "✗  kernel  fail  Linux 3.10\ufffd[31m",
        "     → sudo reboot",
    ]
    assert (str(Report(())), repr(Report(()))) == ("", "<Report: no checks>")


def test_a_report_shows_itself_in_a_notebook_and_with_rich() -> None:
    from rich.console import Console

    table = ElementTree.fromstring(REPORT._repr_html_())
    assert [cell.text for cell in table.findall("./tbody/tr[2]/td")] == ["!", *REPORT["nft"]]
    with open(os.devnull, "w") as nowhere:
        console = Console(width=120, record=True, file=nowhere)
        console.print(REPORT)
    assert "no [nft] <here>" in console.export_text()


def test_a_check_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(errors.NotFound, match="python, nft, kernel"):
        REPORT["cgroup"]


def test_the_module_prints_the_report(labrt_root: Path, closed: str) -> None:
    # Through a proxy that is not there, so that nothing leaves this machine.
    environment = {**os.environ, "https_proxy": closed, "HTTPS_PROXY": closed, "no_proxy": "", "NO_PROXY": ""}
    done = subprocess.run([sys.executable, "-m", "labrt.lab.doctor"], capture_output=True, text=True, env=environment)
    assert done.stderr == "" and done.returncode == int("✗" in done.stdout)
    assert "registry-1.docker.io not reached (ProxyError)" in done.stdout
