"""The audit: what labrt's containers say of themselves, and what podman's say; each difference has a reason."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

import pytest

from labrt.errors import ContainerError
from labrt.lab import audit
from labrt.linux import cgroups

pytestmark = pytest.mark.root
BUSYBOX = "/bin/busybox"

# Where podman's default is another, and why ours is as it is: podman's way, and our reason.
REASONS = {
    "/dev": "podman's is noexec; docker's is not, and images are made for docker's",
    "/sys/fs/cgroup": "of v1, podman's directory of trees is writable; ours is read-only",
    "cgroup": "on v1 podman leaves the container in the host's cgroup namespace, and it sees where it is",
    "masked": "podman hides /sys/dev/block as well; we hide /proc/interrupts, as docker since 28",
    "new user namespace": "podman's filter lets anybody make one; docker's, and ours, takes CAP_SYS_ADMIN",
}


def make_root(root: Path) -> Path:
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "run"):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    return root


@pytest.fixture
def short():
    """A directory of few letters: podman wants one, and a socket's path has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="audit-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def podman(tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch):
    """The words that start a container with podman's defaults, in a store of its own."""
    if not shutil.which("podman") or not shutil.which("runc"):
        pytest.skip("podman or runc is absent")
    (tmp_path / "containers.conf").write_text("[containers]\ndefault_ulimits = []\n")
    monkeypatch.setenv("CONTAINERS_CONF", str(tmp_path / "containers.conf"))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    words = ["podman", "--root", str(tmp_path / "p"), "--runroot", str(short), "--storage-driver", "vfs",
             "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc",
             "run", "--rm", "--network", "none", "--ulimit", "nproc=4000:4000",
             "--ulimit", "nofile=4000:4000", "--rootfs", str(make_root(tmp_path / "root"))]  # fmt: skip
    probe = subprocess.run([*words, "true"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"podman cannot run here: {probe.stderr.strip()[:200]}")
    return words


@pytest.fixture
def docker(tmp_path: Path, short: Path):
    """The words that start a container with dockerd's defaults, by one in namespaces of its own."""
    if not shutil.which("dockerd") or not shutil.which("docker"):
        pytest.skip("dockerd is absent")
    with tarfile.open(tmp_path / "busybox.tar", "w") as tar:
        tar.add(make_root(tmp_path / "root"), ".")
    script = (
        "mount --make-rprivate / && mount -t tmpfs tmpfs /run && exec dockerd "
        f"--data-root {short}/data --exec-root {short}/exec -H unix://{short}/s --pidfile {short}/pid "
        "--storage-driver vfs --iptables=false --ip6tables=false --bridge=none --exec-opt native.cgroupdriver=cgroupfs"
    )
    with open(short / "log", "wb") as log:
        daemon = subprocess.Popen(["unshare", "-m", "-n", "sh", "-c", script], stdout=log, stderr=log)
    client = ["docker", "-H", f"unix://{short}/s"]
    try:
        for _ in range(600):
            if subprocess.run([*client, "version"], capture_output=True).returncode == 0:
                break
            if daemon.poll() is not None:
                pytest.skip(f"dockerd does not run here: {(short / 'log').read_text()[-300:]}")
            time.sleep(0.1)
        subprocess.run([*client, "import", str(tmp_path / "busybox.tar"), "bb"], capture_output=True, check=True)
        yield [*client, "run", "--rm", "--network", "none", "bb"]
    finally:
        daemon.terminate()
        daemon.wait(60)
        for tree in cgroups.detect().trees:
            with contextlib.suppress(OSError):  # another's, or never made
                os.rmdir(f"{tree.mountpoint}/docker")


@pytest.mark.oracle
def test_beside_podman(house, podman):
    differences = audit.audit(others={"podman": podman}).differences()
    assert {what: both for what, both in differences.items() if what not in REASONS} == {}
    if "new user namespace" in differences:
        assert differences["new user namespace"] == ("refused", "possible")


# Debian's dockerd is 20.10. Where newer ones are like ours, it is said.
DOCKERS = {
    "/sys/fs/cgroup": "of v1, docker's directory of trees is writable; ours is read-only",
    "cgroup": "on v1 docker leaves the container in the host's cgroup namespace, and it sees where it is",
    "masked": "we hide /proc/interrupts, as docker since 28",
}


@pytest.mark.oracle
def test_beside_dockerd(house, docker):
    differences = audit.audit(others={"docker": docker}).differences()
    assert {what: both for what, both in differences.items() if what not in DOCKERS} == {}


def test_what_confines_by_default_and_what_does_not(house):
    table = audit.audit()
    answers = table.columns["labrt"]
    assert answers["capabilities"] == answers["bounding set"] and answers["capabilities"].startswith("14: chown")
    assert (answers["seccomp"], answers["no_new_privs"], answers["umask"]) == ("2", "0", "0022")
    assert (answers["open files"], answers["keys"], answers["cgroup"]) == ("0 1 2 3", "0", "/")
    assert (answers["disk"], answers["mount"]) == ("Operation not permitted", "refused")
    assert {"/proc/sys", "/proc/irq"} <= set(answers["read-only"].split())
    assert "/proc/keys" in answers["masked"] or not os.path.exists("/proc/keys")
    mighty = audit.audit(privileged=True).columns["labrt"]
    assert (mighty["seccomp"], mighty["mount"], mighty["masked"]) == ("0", "possible", "")
    assert audit.Audit({"labrt": answers, "mighty": mighty}).differences().keys() >= {"capabilities", "seccomp"}


def test_it_shows_itself(house):
    import io

    from rich.console import Console

    table = audit.audit(security_opt=["no-new-privileges"])
    assert repr(table) == f"<Audit of labrt: {len(audit.QUESTIONS)} questions>"
    out = io.StringIO()
    Console(file=out, width=200).print(table)
    assert "no_new_privs" in out.getvalue() and "/proc/sys" in out.getvalue()
    assert re.search("<td[^>]*>no_new_privs</td><td[^>]*>1</td>", table._repr_html_())


def test_an_engine_that_is_not_there(house):
    with pytest.raises(ContainerError, match="podman does not run"):
        audit.audit(others={"podman": ["false"]})
