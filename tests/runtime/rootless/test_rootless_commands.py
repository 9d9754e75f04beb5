"""Without root: what an ordinary user types, with subordinate ids and without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.root


def layer_file(user, name: str) -> Path:
    """A file of the image's layer, as it lies on the disk."""
    return next((user.state / "layers").glob(f"*/layers/*/diff/{name}"))


def test_a_day_of_commands(any_user):
    labrt = any_user.labrt
    assert "box" in labrt("images")
    id = labrt("run", "-d", "--name", "nap", "box", "sh", "-c", "echo slept; sleep 300").strip()
    assert id[:12] in labrt("ps") and "Up" in labrt("ps")
    assert labrt("exec", "nap", "id").startswith("uid=0(root) gid=0(root)")
    assert labrt("exec", "nap", "ls", "/proc/1/fd")
    assert labrt("logs", "nap") == "slept\n"
    assert labrt("run", "--rm", "-v", "kept:/data", "box", "sh", "-c", "echo x > /data/y") == ""
    assert labrt("run", "--rm", "-v", "kept:/data", "box", "cat", "/data/y") == "x\n"
    assert labrt("exec", "nap", "touch", "/new") == "" and labrt("diff", "nap") == "A /new\n"
    assert labrt("commit", "nap", "changed").startswith("sha256:")
    assert labrt("run", "--rm", "changed", "ls", "/new") == "/new\n"
    assert "not running" not in labrt("rm", "-f", "nap")
    assert id[:12] not in labrt("ps", "-a")
    assert labrt("rmi", "changed").startswith("Untagged")
    assert "Rootless: true" in labrt("info")


def test_exit_codes_are_those_of_docker(user):
    user.labrt("run", "--rm", "box", "sh", "-c", "exit 7", code=7)
    user.labrt("run", "--rm", "box", "nothing-like-it", code=127)
    user.labrt("run", "--rm", "box", "/etc/passwd", code=126)


def test_root_inside_is_the_user_outside(any_user):
    home = any_user.home
    any_user.labrt("run", "--rm", "-v", f"{home}:/home", "box", "touch", "/home/made")
    assert (home / "made").stat().st_uid == home.stat().st_uid != 0
    lines = any_user.labrt("run", "--rm", "box", "cat", "/proc/self/uid_map").splitlines()
    maps = [[int(word) for word in line.split()] for line in lines]
    assert maps[0] == [0, any_user.uid, 1]
    assert maps[1:] == ([[1, any_user.first, 65536]] if any_user.subordinates else [])


def test_owners_are_subordinate_ids(user):
    assert user.said == ""  # nothing to warn of
    assert user.labrt("run", "--rm", "box", "stat", "-c", "%u:%g %a", "/owned") == "12:34 6755\n"
    found = layer_file(user, "owned").stat()
    assert (found.st_uid, found.st_gid) == (user.first + 11, user.first + 33)
    out = user.labrt("run", "--rm", "-u", "alice", "box", "sh", "-c", "id; touch /tmp/a; stat -c %u:%g /tmp/a")
    assert out == "uid=1000(alice) gid=1000(alice) groups=50(staff),1000(alice)\n1000:1000\n"


def test_without_subordinate_ids_all_is_roots(lone_user):
    assert "1 files of a layer belong to users that do not exist here" in lone_user.said
    # A set-user-ID program of somebody's must not become one of root's.
    assert lone_user.labrt("run", "--rm", "box", "stat", "-c", "%u:%g %a", "/owned") == "0:0 755\n"
    assert layer_file(lone_user, "owned").stat().st_uid == lone_user.uid
    said = lone_user.labrt("run", "--rm", "-u", "alice", "box", "true", code=125)
    assert "user 1000:1000 does not exist in this user namespace" in said and "--user 0" in said


def test_a_limit_is_kept_or_refused_by_name(any_user):
    """This user has no login session, so nobody has delegated a cgroup to them."""
    said = any_user.labrt("run", "--rm", "-m", "64m", "--pids-limit", "20", "box", "true", code=125)
    assert "limits of memory, pids cannot be kept" in said and f"no cgroup is delegated to user {any_user.uid}" in said
    assert any_user.labrt("ps", "-aq") == ""


def test_the_machines_network(any_user):
    script = "ls /sys/class/net; echo > /sys/kernel/uevent_helper || echo refused; mount -o remount,rw /sys || echo no"
    out = any_user.labrt("run", "--rm", "--network", "host", "box", "sh", "-c", script)
    assert set(os.listdir("/sys/class/net")) - {"bonding_masters"} <= set(out.split())
    assert "refused\n" in out and out.endswith("no\n")
    assert any_user.labrt("run", "--rm", "box", "ls", "/sys/class/net") == "lo\n"


def test_devices_are_the_machines_own_and_no_others(any_user):
    script = "echo x > /dev/null; mknod /disk b 8 0 || echo refused; ls /dev; stat -c %t:%T /dev/zero"
    out = any_user.labrt("run", "--rm", "box", "sh", "-c", script)
    assert out.startswith("refused\n") and out.endswith("1:5\n")
    assert {"null", "zero", "full", "random", "urandom", "tty"} <= set(out.split())


def test_what_only_root_may_read_stays_closed(any_user):
    """Root in the container is nobody on the machine: not even a bind mount opens what the user may not open."""
    secret = any_user.home / "secret"
    secret.write_text("root's alone")
    secret.chmod(0o600)
    script = "cat /s; chown 0:0 /s; rm /s; echo over > /s; cat /proc/sys/kernel/core_pattern > /dev/null"
    any_user.labrt("run", "--rm", "-v", f"{secret}:/s", "box", "sh", "-c", script)
    assert secret.read_text() == "root's alone" and secret.stat().st_uid == 0


def test_images_are_removed_with_their_owners(fresh_user):
    fresh_user.labrt("run", "--name", "one", "box", "sh", "-c", "touch /tmp/mine; chown 0:0 /tmp/mine")
    fresh_user.labrt("reset", "--all", "--force")
    left = [path for path in (fresh_user.state / "layers").rglob("*") if path.name == "owned"]
    assert not left and fresh_user.labrt("images", "-q") == ""


def test_help_and_the_doctor_make_no_namespaces(fresh_user):
    fresh_user.labrt("reset", "--force")
    assert not fresh_user.wait_for_silence()
    fresh_user.labrt("--help")
    fresh_user.labrt("run", "--help")
    report = fresh_user.labrt("doctor")
    assert not fresh_user.processes()
    line = next(line for line in report.splitlines() if "subordinate ids" in line)
    assert "65536 uids, 65536 gids" in line


def test_the_doctor_says_what_to_type(lone_user):
    assert "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 tester" in lone_user.labrt("doctor")


def test_devices_and_namespaces_of_the_machine(user):
    run = ("run", "--rm")
    assert user.labrt(*run, "--device", "/dev/zero:/dev/nil", "box", "stat", "-c", "%t:%T", "/dev/nil") == "1:5\n"
    assert user.labrt(*run, "--pid", "host", "box", "cat", f"/proc/{os.getpid()}/comm") == Path(
        "/proc/self/comm"
    ).read_text()
    user.labrt(*run, "--ipc", "host", "box", "true")
    said = user.labrt(*run, "--cgroup-parent", "/elsewhere", "box", "true", code=125)
    assert "/elsewhere" in said and "slice" in said


def test_a_hard_limit_stays_below_the_users_own(user):
    """To raise one takes the machine's root, not one of a user namespace."""
    command = user.typed("run", "--rm", "--ulimit", "nofile=1000:1100000", "box", "sh", "-c", "ulimit -Hn")
    out, err = user.do("sh", "-c", f"ulimit -n 2000; exec {command}")
    assert out == "2000\n" and "RLIMIT_NOFILE is 2000, not 1100000" in err
