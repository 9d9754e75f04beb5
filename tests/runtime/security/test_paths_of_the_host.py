"""Ways out by a path: working directories, links of /proc, mounts that land elsewhere, a /proc that is none.

CVE-2024-21626, CVE-2019-16884, CVE-2021-30465, CVE-2023-27561, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
import time
from pathlib import Path

import pytest

from labrt.errors import InvalidConfig, LabrtError, NotSupported
from labrt.linux import heldproc, labels, mounts, process, rootfs, syscalls
from labrt.linux.mounts import Mount

pytestmark = pytest.mark.root


# CVE-2024-21626: a working directory that is an open directory of the host -------------------------------------------


def test_it_would_be_a_way_out(hostile, bait):
    """With a directory of the host's still open, /proc/self/fd leads there, whatever the root is by now."""

    def out() -> list[str]:
        left_open = os.open(bait.parent, os.O_RDONLY)
        rootfs.execute(rootfs.plan(str(hostile), mounts=rootfs.DEFAULT_MOUNTS[:1], masked=(), readonly=()))
        os.chdir(f"/proc/self/fd/{left_open}/bait")
        return os.listdir(".")

    assert process.run_in_child(out, namespaces="mnt,pid") == ["file"]


@pytest.mark.parametrize("terminal", [False, True])
def test_no_working_directory_leads_out(make, outcome, hostile, terminal):
    """Tried with every number that a descriptor may have had, directly and by a link of the image's."""
    for fd in range(3, 24):
        (hostile / f"out{fd}").symlink_to(f"/proc/self/fd/{fd}")
    for fd in range(3, 24):
        for cwd in (f"/proc/self/fd/{fd}", f"/proc/self/fd/{fd}/../../..", f"/out{fd}", f"/proc/thread-self/fd/{fd}"):
            def change(config, cwd=cwd):
                config["process"].update(cwd=cwd, terminal=terminal)

            with pytest.raises(LabrtError):
                outcome(make("ls", root=hostile, change=change))


def test_exec_does_not_lead_out_either(make, outcome):
    container, attached = make("sleep", "60", run=True)
    with attached, open(os.devnull) as nothing:
        attached.wait_started()
        for fd in range(3, 24):
            with pytest.raises(LabrtError):
                container.exec(["true"], cwd=f"/proc/self/fd/{fd}", stdio=(nothing.fileno(),) * 3)
        out, out_end = os.pipe()
        execution = container.exec(["ls", "/proc/self/fd"], stdio=(nothing.fileno(), out_end, out_end))
        os.close(out_end)
        with open(out) as reading:
            assert reading.read().split() == ["0", "1", "2", "3"]  # its own three, and the directory that it reads
        assert execution.wait(20) == 0


def test_while_it_waits_nothing_of_the_hosts_is_open(make):
    """Created, and not yet started: its first process has no directory open."""
    pid = make("true").state.pid
    kinds = {fd: os.stat(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    directories = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd, found in kinds.items() if stat.S_ISDIR(found.st_mode)]
    assert directories in ([], ["/"])  # the held /proc, which shows as its own root, and goes before a path is followed


# CVE-2019-16884, CVE-2025-52881: what is written to /proc goes to another file ---------------------------------------


def hide_proc_below(directory: Path, name: str) -> None:
    """In a mount namespace of our own: put a file of anybody's over one of /proc."""
    decoy = directory / "decoy"
    decoy.write_text("")
    mounts.set_propagation("/", "rprivate")
    Mount(f"/proc/{name}", "bind", str(decoy), ("bind",)).attach("/")


def test_a_label_cannot_be_written_to_a_file_of_somebodys(tmp_path):
    def naive() -> str:
        hide_proc_below(tmp_path, "self/attr/exec")
        Path("/proc/self/attr/exec").write_text("exec confined")
        return (tmp_path / "decoy").read_text()

    def held() -> tuple[str, str]:
        proc = heldproc.hold()
        hide_proc_below(tmp_path, "self/attr/exec")
        try:
            labels.set_next(proc, selinux="confined")
        except OSError as error:
            return type(error).__name__, (tmp_path / "decoy").read_text()
        return "written", ""

    if not os.path.exists("/proc/self/attr/exec"):
        pytest.skip("this kernel labels nothing")
    assert process.run_in_child(naive, namespaces="mnt") == "exec confined"
    assert process.run_in_child(held, namespaces="mnt")[1] == ""


@pytest.mark.parametrize("kind", ["tmpfs", "part"])
def test_a_proc_that_is_none_is_not_held(tmp_path, kind):
    def hold() -> None:
        mounts.set_propagation("/", "rprivate")
        if kind == "tmpfs":
            Mount("/proc", "tmpfs", "tmpfs").attach("/")
        else:
            Mount("/proc", "bind", "/proc/sys", ("bind",)).attach("/")
        heldproc.hold()

    with pytest.raises(NotSupported, match="not the kernel's"):
        process.run_in_child(hold, namespaces="mnt")


SYSCTL = "net/ipv4/ip_default_ttl"


def test_a_sysctl_is_set_and_not_written_to_a_decoy(make, tmp_path, hostile):
    """Its mount namespace is another's, who has a file of their own at the place: the kernel's is meant, or none."""
    ready, ready_end = os.pipe()

    def other() -> None:
        hide_proc_below(tmp_path, f"sys/{SYSCTL}")
        os.write(ready_end, b"1")
        time.sleep(60)

    with process.spawn(other, namespaces="mnt") as child:
        os.read(ready, 1)

        def change(config):
            config["linux"]["namespaces"] = [
                {"type": "mount", "path": f"/proc/{child.pid}/ns/mnt"}, {"type": "network"}, {"type": "pid"}]
            config["linux"]["sysctl"] = {SYSCTL.replace("/", "."): "77"}
            config["root"]["path"] = str(hostile)
            config["mounts"] = []
            for name in ("maskedPaths", "readonlyPaths"):
                del config["linux"][name]

        with contextlib.suppress(LabrtError):
            container = make("true", change=change)
            namespace = os.open(f"/proc/{container.state.pid}/ns/net", os.O_RDONLY)

            def read() -> str:
                syscalls.setns(namespace, 0)
                return Path(f"/proc/sys/{SYSCTL}").read_text().strip()

            assert process.run_in_child(read) == "77"
            os.close(namespace)
        child.kill()
    os.close(ready)
    os.close(ready_end)
    assert (tmp_path / "decoy").read_text() == ""


# CVE-2025-31133, CVE-2025-52565: what masks is the image's -----------------------------------------------------------

MASKED = "for path in %s; do [ -e $path ] && stat -c '%%n %%F %%t:%%T' $path; done; true"


def test_what_masks_is_the_hosts_null(make, outcome, hostile, bait):
    """An image whose /dev/null is a link to a file of /proc: with it as a mask, that would be shown, and writable."""
    shutil.rmtree(hostile / "dev")
    (hostile / "dev").mkdir()
    (hostile / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")

    def with_a_dev_of_its_own(config):
        config["mounts"] = [one for one in config["mounts"] if not one["destination"].startswith("/dev")]

    files = MASKED % "/proc/keys /proc/timer_list /proc/kcore /proc/interrupts"
    code, out, _ = outcome(make("sh", "-c", files, root=hostile))
    assert code == 0 and out
    assert {line.split(" ", 1)[1] for line in out.splitlines()} == {"character special file 1:3"}
    with pytest.raises(InvalidConfig, match="is there already"):
        outcome(make("sh", "-c", files, root=hostile, change=with_a_dev_of_its_own))
    code, out, _ = outcome(make("sh", "-c", files, change=lambda config: config["linux"].update(maskedPaths=[])))
    assert "character special file 1:3" not in out


@pytest.mark.parametrize("target", ["/proc/sysrq-trigger", "{bait}/file", "/proc/self/fd/5"])
def test_the_console_is_the_terminal_and_nothing_else(make, outcome, hostile, bait, target):
    """Before it is bound, an image may have anything at /dev/console; what is bound is an open terminal."""
    shutil.rmtree(hostile / "dev")
    (hostile / "dev/pts").mkdir(parents=True)
    (hostile / "dev/console").symlink_to(target.format(bait=bait))

    def change(config):
        config["process"]["terminal"] = True
        kept = [one for one in config["mounts"] if one["destination"] in ("/proc", "/dev/pts", "/sys")]
        config["mounts"] = kept

    with contextlib.suppress(LabrtError):
        code, out, _ = outcome(make("sh", "-c", "stat -L -c %t /dev/console; stat -L -c %t /proc/self/fd/0",
                                    root=hostile, change=change))  # fmt: skip
        assert (code, set(out.split())) == (0, {"88"})  # 136, a pseudoterminal


def test_a_terminal_for_exec_is_the_containers(make):
    """Who may mount can put anything at /dev/pts: then there is no terminal, rather than one of something else."""

    def mighty(config):
        config["linux"].pop("seccomp")
        for kind in ("bounding", "permitted", "effective"):
            config["process"]["capabilities"][kind].append("CAP_SYS_ADMIN")

    script = "umount /dev/pts; rmdir /dev/pts; ln -s /proc/1/root/fake /dev/pts; mkdir /fake; "
    for fake in ("mkfifo /fake/ptmx", "touch /fake/ptmx", "ln -s /dev/null /fake/ptmx"):
        container, attached = make("sh", "-c", f"{script} {fake}; echo done; sleep 60", run=True, change=mighty)
        with attached:
            attached.wait_started()
            for _ in range(500):
                if Path(f"/proc/{container.state.pid}/root/fake/ptmx").is_symlink() or (
                    Path(f"/proc/{container.state.pid}/root/fake/ptmx").exists()
                ):
                    break
                time.sleep(0.01)
            with pytest.raises(LabrtError):
                container.exec(["true"])


# CVE-2023-27561, CVE-2021-30465: links in place of what is mounted on ------------------------------------------------


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_is_mounted_on_no_links_target(make, outcome, hostile, tmp_path, name):
    """The target could lie in a volume, where another container swaps it for a decoy while it is masked."""
    (tmp_path / "volume" / name).mkdir(parents=True)
    (hostile / name).rmdir()
    (hostile / name).symlink_to(f"/tmp/{name}")

    def change(config):
        volume = {"destination": "/tmp", "type": "bind", "source": str(tmp_path / "volume"), "options": ["bind"]}
        config["mounts"].insert(0, volume)

    with pytest.raises(InvalidConfig, match="symbolic link"):
        outcome(make("true", root=hostile, change=change))


RENAME_EXCHANGE, AT_FDCWD = 2, -100
libc = ctypes.CDLL(None, use_errno=True)


def swap_without_end(one: str, other: str) -> None:
    while True:
        libc.renameat2(AT_FDCWD, one.encode(), AT_FDCWD, other.encode(), RENAME_EXCHANGE)


def by_name(root: str, destination: str, meanwhile) -> None:
    """Mount as runtimes once did: resolve the path, look where it leads, and then use the name."""
    path = os.path.realpath(root + destination)
    if path.startswith(f"{root}/"):
        meanwhile()
        syscalls.mount("tmpfs", path, "tmpfs")


@pytest.fixture
def swapped(tmp_path: Path):
    """A root with a volume, in it a directory, and a link to a directory of the host; both have `data` in them."""
    volume, host = tmp_path / "root/volume", tmp_path / "host"
    (volume / "a/data").mkdir(parents=True)
    (host / "data").mkdir(parents=True)
    (volume / "link").symlink_to(host)
    return volume, host / "data"


def test_a_name_leads_elsewhere_when_it_is_used(swapped, tmp_path):
    volume, host = swapped

    def swap() -> None:
        libc.renameat2(AT_FDCWD, os.fsencode(volume / "a"), AT_FDCWD, os.fsencode(volume / "link"), RENAME_EXCHANGE)

    def victim() -> bool:
        mounts.set_propagation("/", "rprivate")
        by_name(str(tmp_path / "root"), "/volume/a/data", swap)
        return os.path.ismount(host)

    assert process.run_in_child(victim, namespaces="mnt")


def test_a_mount_point_that_is_swapped_meanwhile(swapped, tmp_path):
    """Another container, which writes to the volume, exchanges the directory and the link as fast as it can."""
    volume, host = swapped

    def victim() -> tuple[int, int]:
        mounts.set_propagation("/", "rprivate")
        hits, done = 0, 0
        for _ in range(3000):
            with contextlib.suppress(LabrtError, OSError):
                Mount("/volume/a/data", "tmpfs", "tmpfs", ("size=1m",)).attach(str(tmp_path / "root"))
                done += 1
            hits += os.path.ismount(host)
            for place in ("a/data", "link/data"):
                with contextlib.suppress(OSError):
                    syscalls.umount2(str(volume / place), 2)
        return hits, done

    with process.spawn(lambda: swap_without_end(str(volume / "a"), str(volume / "link"))) as attacker:
        hits, done = process.run_in_child(victim, namespaces="mnt")
        attacker.kill()
    assert hits == 0 and done > 0
