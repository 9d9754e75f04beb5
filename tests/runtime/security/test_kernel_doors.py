"""The classic ways out: each is tried from inside, stopped, and shown to be a real one where a part is taken away."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from labrt.linux import cgroups, loop, mounts, process

pytestmark = pytest.mark.root

CHROOT = """
os.makedirs("/jail", exist_ok=True)
above = os.open("/", os.O_RDONLY)
os.chroot("/jail")
os.fchdir(above)
for _ in range(64):
    os.chdir("..")
os.chroot(".")
print(sorted(os.listdir("/")))
"""


def test_chroot_twice(attempt, tmp_path, busybox_root):
    """It leads out of chroot(2), but not out of pivot_root(2)."""
    (tmp_path / "jail").mkdir()

    def out_of_chroot() -> bool:
        os.chroot(busybox_root)
        above = os.open("/", os.O_RDONLY)
        os.mkdir("/tmp/jail")
        os.chroot("/tmp/jail")
        os.fchdir(above)
        for _ in range(64):
            os.chdir("..")
        os.chroot(".")
        found = os.path.exists(busybox_root)
        os.rmdir(f"{busybox_root}/tmp/jail")
        return found

    assert process.run_in_child(out_of_chroot)
    there = attempt(CHROOT)[0]
    assert "jail" in there and "usr" in there and not any(name in there for name in ("'boot'", "'var'", "'home'"))


SPY = """
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
say(call, "ptrace", PTRACE_ATTACH, {pid}, 0, 0)
try:
    os.waitpid({pid}, 0)
    call("ptrace", PTRACE_DETACH, {pid}, 0, 0)
except OSError:
    pass
say(lambda: open("/proc/{pid}/environ").read().count("SECRET"))
say(lambda: os.listdir("/proc/{pid}/root/etc") and "looked in")
"""


def test_ptrace_of_the_hosts_processes(attempt, weaker):
    """Without a PID namespace of its own it sees them; and still may neither trace one nor look into it."""
    with subprocess.Popen(["sleep", "60"], env={"SECRET": "1", "PATH": os.environ["PATH"]}) as sleeper:
        try:
            spy = SPY.format(pid=sleeper.pid)
            assert attempt(spy)[0] == "ESRCH"
            assert attempt(spy, weaker.pids) == ["EPERM", "EACCES", "EACCES"]
            assert attempt(spy, weaker.pids, weaker.capability("SYS_PTRACE"), weaker.filter)[1:] == ["1", "looked in"]
        finally:
            sleeper.kill()


HANDLE = """
class Handle(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint), ("kind", ctypes.c_int), ("data", ctypes.c_char * 128)]

def shock():
    "Open the file system of a volume by the number of its root: the rest of it is there, too."
    handle, data = Handle(), bytes.fromhex("{handle}")
    handle.size, handle.kind = len(data), {kind}
    ctypes.memmove(ctypes.addressof(handle) + Handle.data.offset, data, len(data))
    volume = os.open("/tmp", os.O_RDONLY)
    fd = call("open_by_handle_at", volume, ctypes.byref(handle), os.O_RDONLY)
    return sorted(os.listdir(fd))

say(shock)
"""


def test_a_volumes_file_system_by_handle(attempt, weaker, tmp_path):
    """"Shocker": who has one directory of a file system opens its root by a handle, without a path."""
    import ctypes

    class Handle(ctypes.Structure):
        _fields_ = [("size", ctypes.c_uint), ("kind", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]

    (tmp_path / "volume").mkdir()
    with mounts.tmpfs(str(tmp_path / "volume"), size="1m") as place:
        (Path(place) / "shown").mkdir()
        (Path(place) / "secret").mkdir()
        handle, mount_id = Handle(size=128), ctypes.c_int()
        assert ctypes.CDLL(None).name_to_handle_at(-100, place.encode(), ctypes.byref(handle), ctypes.byref(mount_id),
                                                   0) == 0  # fmt: skip
        shock = HANDLE.replace("{handle}", bytes(handle.data[: handle.size]).hex()).replace("{kind}", str(handle.kind))

        def volume(config):
            source = f"{place}/shown"
            config["mounts"].append({"destination": "/tmp", "type": "bind", "source": source, "options": ["bind"]})

        assert attempt(shock, volume) == ["EPERM"]
        assert attempt(shock, volume, weaker.filter) == ["EPERM"]
        reads = weaker.capability("DAC_READ_SEARCH")
        assert attempt(shock, volume, weaker.filter, reads) == ["['secret', 'shown']"]


def test_a_disk_by_its_number(make, outcome, tmp_path):
    """mknod(2) is allowed, and opening what it made is not: the cgroup says so. The disk here is a loop device."""
    image = tmp_path / "disk"
    image.write_bytes(b"on the disk".ljust(1 << 20, b"\0"))
    with loop.attached(str(image)) as device:
        number = os.stat(device).st_rdev
        words = f"mknod /disk b {os.major(number)} {os.minor(number)} && head -c 11 /disk"
        code, out, err = outcome(make("sh", "-c", words))
        assert (code, out) == (1, "") and "Operation not permitted" in err

        def allowed(config):
            config["linux"]["resources"]["devices"].append({"allow": True, "type": "b", "access": "rwm"})

        assert outcome(make("sh", "-c", words, change=allowed))[:2] == (0, "on the disk")


RELEASE = """
os.makedirs("/tmp/cg", exist_ok=True)
say(call, "mount", b"cgroup", b"/tmp/cg", b"cgroup", 0, b"{controller}")
def open_only(name):
    os.close(os.open(f"/tmp/cg/{name}", os.O_WRONLY))  # writes nothing
    return "could"
say(open_only, "release_agent")
"""


@pytest.mark.skipif("memory" not in cgroups.detect().v1, reason="v2 has no release_agent")
def test_release_agent(attempt, weaker):
    """What the host would run, as root, when a cgroup of v1 is left."""
    tree = next(tree for tree in cgroups.detect().trees if "memory" in tree.controllers and tree.version == 1)
    mount = RELEASE.replace("{controller}", ",".join(tree.controllers))
    assert attempt(mount) == ["EPERM", "ENOENT"]
    assert attempt(mount, weaker.filter) == ["EPERM", "ENOENT"]
    # Whoever may mount sees its own cgroup only, which has no such file: it is the root's.
    assert attempt(mount, weaker.filter, weaker.capability("SYS_ADMIN")) == ["0", "ENOENT"]

    def hosts_view(config):
        config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"] if one["type"] != "cgroup"]

    assert attempt(mount, weaker.filter, weaker.capability("SYS_ADMIN"), hosts_view) == ["0", "could"]


NEW_USERS = """
CLONE_NEWUSER, CLONE_NEWNS, SIGCHLD = 0x10000000, 0x20000, 17
def born(*args):
    pid = call(*args)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "born"
say(born, "clone", CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)
say(born, "clone3", ctypes.byref((ctypes.c_uint64 * 11)(CLONE_NEWUSER, 0, 0, 0, SIGCHLD)), 88)
say(call, "unshare", CLONE_NEWUSER)
say(call, "unshare", CLONE_NEWNS)
"""


def test_a_user_namespace_to_be_mighty_in(attempt, weaker):
    """In a new one it would have every capability, and CVE-2022-0492 and many others begin there."""
    assert attempt(NEW_USERS) == ["EPERM", "ENOSYS", "EPERM", "EPERM"]
    assert attempt(NEW_USERS, weaker.filter) == ["born", "born", "0", "0"]


OTHERS = """
say(call, "bpf", 0, 0, 0)
say(call, "init_module", 0, 0, b"")
say(call, "kexec_load", 0, 0, 0, 0)
say(call, "userfaultfd", 0)
say(call, "setns", os.open("/proc/self/ns/mnt", os.O_RDONLY), 0)
say(call, "pivot_root", b".", b".")
say(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1) and "raw")
say(lambda: socket.socket(40, socket.SOCK_STREAM) and "vsock")
"""


def test_the_rest_of_the_kernel(attempt):
    assert attempt(OTHERS) == ["EPERM"] * 6 + ["raw", "EPERM"]  # raw sockets are its own network's


def test_no_tree_is_shown_from_the_hosts_root(make, outcome):
    """A container of v1 is in some of the trees only: through its cgroup namespace others would be the host's."""
    shown = outcome(make("sh", "-c", "find /sys/fs/cgroup -maxdepth 2 -name release_agent -o -name labrt; true"))
    assert shown == (0, "", "")


KEYS = """
say(lambda: open("/proc/keys").read() or "nothing")
KEYCTL_SEARCH, KEYCTL_READ, SESSION = 10, 11, -3
def found():
    key = call("keyctl", KEYCTL_SEARCH, SESSION, b"user", b"labrt-secret", 0)
    room = ctypes.create_string_buffer(32)
    return room.raw[: call("keyctl", KEYCTL_READ, key, room, 32)]
say(found)
"""


def test_the_sessions_keys(attempt, weaker):
    """Keys of root's session are no longer those of the container."""
    if not os.path.exists("/proc/keys"):
        pytest.skip("a kernel without keyrings")
    assert attempt(KEYS)[1] == "EPERM"
    assert attempt(KEYS, weaker.filter) == ["nothing", "ENOKEY"]


def test_the_terminal_of_whoever_started_it(attempt):
    """TIOCSTI types into a terminal; here there is none to type into."""
    assert attempt("say(lambda: os.open('/dev/tty', os.O_RDWR))") == ["ENXIO"]


WRITES = """
def open_only(path):
    os.close(os.open(path, os.O_WRONLY))  # writes nothing
    return "could"
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger",
             "/proc/sys/vm/panic_on_oom", "/sys/kernel/uevent_helper", "/proc/irq/default_smp_affinity"):
    if os.path.exists(path):
        say(open_only, path)
"""


def test_files_by_which_the_host_runs_a_program(attempt, weaker):
    """core_pattern, modprobe, uevent_helper: none can even be opened to be written to."""
    stopped = attempt(WRITES)
    assert len(stopped) > 2 and set(stopped) == {"EROFS"}
    assert "could" in attempt(WRITES, weaker.paths)


def test_what_is_read_only_stays_so(attempt, weaker):
    """Neither unmounting nor remounting: that takes CAP_SYS_ADMIN, and the filter knows no mount(2)."""
    tries = """
MS_REMOUNT, MS_BIND, MNT_DETACH = 32, 4096, 2
say(call, "mount", b"", b"/proc/sys", b"", MS_REMOUNT | MS_BIND, b"")
say(call, "mount", b"proc", b"/tmp", b"proc", 0, b"")
"""
    assert attempt(tries) == ["EPERM", "EPERM"]
    assert attempt(tries, weaker.filter) == ["EPERM", "EPERM"]
    assert attempt(tries, weaker.filter, weaker.capability("SYS_ADMIN")) == ["0", "0"]
