"""An image's author is the attacker: whatever lies in the root, the host stays untouched."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

import pytest

import labrt
from labrt.errors import LabrtError
from labrt.runtime import launcher

pytestmark = pytest.mark.root


def replace(path: Path, target: str) -> None:
    """Put a link in a directory's or file's place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize("name", ["proc", "sys", "dev", "tmp", "etc"])
@pytest.mark.parametrize("up", ["", "../../../../../../../.."])
def test_mount_points_that_are_links(make, outcome, hostile, bait, name, up):
    replace(hostile / name, f"{up}{bait}")
    with contextlib.suppress(LabrtError):
        container = make("true", root=hostile)
        outcome(container)


def test_a_volume_through_a_link(make, outcome, hostile, bait, tmp_path):
    replace(hostile / "tmp", str(bait))
    (tmp_path / "volume").mkdir()

    def with_volume(config):
        mount = {"destination": "/tmp/volume", "type": "bind", "source": str(tmp_path / "volume"), "options": ["rbind"]}
        config["mounts"].append(mount)

    with contextlib.suppress(LabrtError):
        outcome(make("true", root=hostile, change=with_volume))


def test_a_working_directory_through_a_link(make, outcome, hostile, bait):
    replace(hostile / "tmp", f"../../../../..{bait}")
    with contextlib.suppress(LabrtError):
        outcome(make("true", root=hostile, change=lambda config: config["process"].update(cwd="/tmp/made")))


def test_devices_that_are_there_already(make, outcome, hostile, bait):
    shutil.rmtree(hostile / "dev")
    (hostile / "dev").mkdir()
    (hostile / "dev/null").symlink_to(bait / "file")
    (hostile / "dev/console").symlink_to(bait / "file")
    assert outcome(make("sh", "-c", "echo x > /dev/null; [ -c /dev/null ]", root=hostile))[0] == 0


def test_a_passwd_that_never_ends(make, outcome, hostile):
    (hostile / "etc/passwd").unlink()
    os.mkfifo(hostile / "etc/passwd")
    assert outcome(make("echo", "started", root=hostile))[:2] == (0, "started\n")


def test_a_passwd_full_of_rubbish(make, outcome, hostile):
    (hostile / "etc/passwd").write_bytes(b"root:x:99999999999999999999:0\n\0:::\nroot:x:-1:-1:::\n" + bytes(range(256)))
    assert outcome(make("echo", "started", root=hostile))[:2] == (0, "started\n")


def test_python_modules_in_the_image_are_not_imported(make, outcome, hostile, tmp_path):
    places = map(Path, filter(None, (os.path.dirname(os.path.dirname(labrt.__file__)), *sys.path)))
    witness = "import os; os.write(2, b'imported'); open('/imported', 'w')\n"
    for place in places:
        if place.is_absolute() and place.suffix != ".zip":
            directory = hostile / str(place).lstrip("/")
            directory.mkdir(parents=True, exist_ok=True)
            for module in ("traceback", "pwd", "encodings", "prctl", "json", "errno", "sitecustomize"):
                (directory / f"{module}.py").write_text(witness)
    code, out, err = outcome(make("sh", "-c", "[ ! -e /imported ] && echo clean", root=hostile))
    assert (code, out, err) == (0, "clean\n", "")
    # The way of an error is another one, and must not import either.
    failing = make("nosuch", root=hostile)
    with pytest.raises(LabrtError, match="nosuch"):
        failing.start()
    assert not (Path(failing.directory) / "upper/imported").exists()


def test_the_interpreter_cannot_be_written_to_from_inside(make):
    """CVE-2019-5736: /proc/self/exe of what runs inside must not lead to a writable file of the host's."""
    container = make("true")
    for pid in (launcher.default().child.pid, container.state.monitor, container.state.pid):
        exe = os.open(f"/proc/{pid}/exe", os.O_PATH)
        try:
            assert os.fstatvfs(exe).f_flag & os.ST_RDONLY, pid
        finally:
            os.close(exe)


def test_executing_proc_self_exe_gives_the_read_only_copy(make, outcome, hostile):
    script = hostile / "bin/script"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    container = make("/bin/script", root=hostile)
    with contextlib.suppress(LabrtError):
        code, _, _ = outcome(container)
        assert code != 0  # a Python without its library


def test_no_descriptor_of_the_hosts_is_left_open(make, outcome):
    secret = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        out = outcome(make("sh", "-c", "ls -l /proc/$$/fd | grep -v pipe; ls /proc/$$/fd; true"))[1]
    finally:
        os.close(secret)
    assert "hostname" not in out
    assert set(out.split()[-3:]) == {"0", "1", "2"}


def test_a_device_node_does_not_open_the_hosts_disk(make, outcome):
    code, out, err = outcome(make("sh", "-c", "mknod /disk b 254 0 && head -c 1 /disk"))
    assert (code, out) == (1, "")
    assert "Operation not permitted" in err


def test_the_container_cannot_undo_its_confinement(make, outcome):
    attempts = ("mount -o remount,rw /proc/sys", "umount /proc/sys", "mount -t tmpfs x /tmp", "unshare -m true",
                "chroot / mount -t proc p /tmp", "echo 1 > /sys/fs/cgroup/memory/memory.limit_in_bytes",
                "echo x > /proc/sys/kernel/core_pattern", "hostname other",
                "nsenter -t 1 -m true", "reboot -f")  # fmt: skip
    script = "; ".join(f"({attempt}) >/dev/null 2>&1 && echo '{attempt}'" for attempt in attempts)
    code, out, _ = outcome(make("sh", "-c", f"{script}; true"))
    assert (code, out) == (0, "")
