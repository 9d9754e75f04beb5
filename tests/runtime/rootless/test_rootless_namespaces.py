"""The namespaces that an ordinary user's commands share: who makes them, keeps them, may enter them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.root

WHERE = "stat -L -c %i /proc/self/ns/user /proc/self/ns/mnt"


def test_all_commands_share_one_user_and_one_mount_namespace(fresh_user):
    first = fresh_user.labrt("unshare", "sh", "-c", WHERE)
    assert first == fresh_user.labrt("unshare", "sh", "-c", WHERE) and len(first.split()) == 2
    assert str(os.stat("/proc/self/ns/user").st_ino) not in first.split()
    (keeper,) = fresh_user.keepers()
    about = json.loads((fresh_user.state / "namespaces.json").read_text())
    assert about["monitor"] == keeper


def test_the_first_two_commands_at_once_make_one_keeper(fresh_user):
    fresh_user.labrt("reset", "--force")
    assert not fresh_user.wait_for_silence()
    both = [fresh_user.begin_labrt("unshare", "sh", "-c", WHERE) for _ in range(2)]
    seen = {process.communicate(timeout=60)[0] for process in both}
    assert len(seen) == 1 and len(fresh_user.keepers()) == 1


def test_the_namespaces_are_found_again_when_the_keeper_was_killed(fresh_user):
    fresh_user.labrt("run", "-d", "--name", "nap", "box", "sleep", "300")
    before = fresh_user.labrt("unshare", "sh", "-c", WHERE)
    (keeper,) = fresh_user.keepers()
    os.kill(keeper, signal.SIGKILL)
    assert fresh_user.labrt("exec", "nap", "id", "-u") == "0\n"
    assert fresh_user.labrt("unshare", "sh", "-c", WHERE) == before
    (another,) = fresh_user.keepers()
    assert another != keeper
    assert len(list(fresh_user.ledger.glob("*-process.json"))) == 2  # the keeper and the monitor, and not the dead one


def test_when_all_were_killed_there_are_new_ones(fresh_user):
    fresh_user.labrt("run", "-d", "--name", "nap", "box", "sleep", "300")
    for pid in fresh_user.processes():
        os.kill(pid, signal.SIGKILL)
    assert not fresh_user.wait_for_silence()
    assert "Exited (137)" in fresh_user.labrt("ps", "-a")
    fresh_user.labrt("start", "nap")
    assert fresh_user.labrt("exec", "nap", "id", "-u") == "0\n"


def test_a_logout_takes_the_runtime_directory_and_not_the_namespaces(fresh_user):
    before = fresh_user.labrt("unshare", "sh", "-c", WHERE)
    for path in sorted(fresh_user.run.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert fresh_user.labrt("unshare", "sh", "-c", WHERE) == before
    assert len(fresh_user.keepers()) == 1
    os.kill(fresh_user.keepers()[0], signal.SIGKILL)  # its entry in the ledger is gone: nobody else would


def test_a_record_that_lies_is_not_believed(fresh_user):
    """A pid that somebody else has by now, or one from before a reboot: then there are new namespaces."""
    (keeper,) = fresh_user.keepers()
    record = fresh_user.state / "namespaces.json"
    about = json.loads(record.read_text())
    for lie in ({"monitor": 1}, {"boot": "another"}, {"monitor_starttime": 1}):
        record.write_text(json.dumps(about | lie))
        assert fresh_user.labrt("unshare", "id", "-u") == "0\n"
    record.write_text("{")
    assert fresh_user.labrt("unshare", "id", "-u") == "0\n"
    for pid in fresh_user.keepers():
        os.kill(pid, signal.SIGKILL)
    assert keeper not in fresh_user.wait_for_silence()


def test_the_working_directory_stays(user):
    (user.home / "here").mkdir()
    os.chown(user.home / "here", user.uid, user.uid)
    assert user.labrt("unshare", "pwd") == f"{user.home}\n"
    out, _ = user.python("import os, labrt.runtime.rootless as r; os.chdir('here'); r.enter(); print(os.getcwd())")
    assert out == f"{user.home}/here\n"


@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "XDG_DATA_HOME"])
def test_a_strangers_directory_is_not_taken(user, variable, tmp_path_factory):
    theirs = user.home.parent / variable
    theirs.mkdir()
    (theirs / "labrt").mkdir(mode=0o777)
    (theirs / "labrt").chmod(0o777)
    os.chown(theirs, 1234, 1234)
    os.chown(theirs / "labrt", 1234, 1234)
    said = user.labrt("images", code=1, env={variable: str(theirs)})
    assert f"{theirs} belongs to user 1234" in said and variable in said
    assert not list((theirs / "labrt").iterdir())


def test_a_link_that_a_stranger_laid_is_not_followed(user):
    """As in /tmp, where the name that we take when there is no XDG_RUNTIME_DIR is known beforehand."""
    shared = user.home.parent / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    os.symlink(user.home, shared / "run")
    os.lchown(shared / "run", 1234, 1234)
    said = user.labrt("images", code=1, env={"XDG_RUNTIME_DIR": str(shared / "run")})
    assert "belongs to user 1234" in said
    shared.chmod(0o777)
    os.unlink(shared / "run")
    said = user.labrt("images", code=1, env={"XDG_RUNTIME_DIR": str(shared / "run")})
    assert f"everybody may write to {shared}" in said


def test_others_cannot_look_into_labrts_directories(user):
    for place in (user.state, user.run / "labrt"):
        assert place.stat().st_mode & 0o777 == 0o700


def test_threads_are_kept_out_with_a_word(user):
    text = """
import threading, labrt
threading.Thread(target=threading.Event().wait, daemon=True).start()
try:
    labrt.run("box", "true")
except labrt.errors.NotSupported as error:
    print(error)
"""
    out, _ = user.python(text)
    assert "several threads" in out and "labrt unshare" in out


def test_a_program_with_threads_runs_in_there(user):
    text = """
import threading, labrt
threading.Thread(target=threading.Event().wait, daemon=True).start()
print(labrt.run("box", "id", "-u").stdout, end="")
"""
    out = user.labrt("unshare", sys.executable, "-c", text, env={})
    assert out == "0\n"


def test_a_plain_python_enters_by_itself(any_user):
    text = """
import os, labrt
before = os.getuid(), labrt.paths.default()
print(labrt.run("box", "sh", "-c", "echo hello").stdout, end="")
print(before[0], os.getuid(), before[1] == labrt.paths.default(), labrt.paths.owner())
"""
    out, _ = any_user.python("import labrt.paths\n" + text)
    assert out == f"hello\n{any_user.uid} 0 True {any_user.uid}\n"


def test_the_primitives_without_root(any_user):
    """What the notebooks build with, as an ordinary user, outside of labrt's own namespaces."""
    text = """
import os
from pathlib import Path
from labrt.linux import mounts, process, userns

assert process.run_in_child(os.getpid, namespaces="user,mnt,pid") == 1
assert process.run_in_child(os.getuid, namespaces="user") == 0

os.makedirs("low/d/old"); os.makedirs("up")
def union():
    with mounts.overlay(["low"], upper="up") as root:
        os.rmdir(f"{root}/d/old"); os.rmdir(f"{root}/d"); os.mkdir(f"{root}/d")
        Path(root, "new").write_text("new")
        return sorted(os.listdir(root)), os.listdir(f"{root}/d")
print(process.run_in_child(union, namespaces="user,mnt"), sorted(os.listdir("up")))

def many():
    os.setresuid(7, 7, 7)
    return os.getuid()
try:
    print(process.run_in_child(many, namespaces="user", maps=userns.rootless_maps()))
except OSError as error:
    print(error.strerror)
"""
    out, _ = any_user.python(text)
    assert out.splitlines() == [
        "(['d', 'new'], []) ['d', 'new']", "7" if any_user.subordinates else "Invalid argument",
    ]  # fmt: skip


def test_newuidmap_that_refuses_costs_only_the_subordinates(fresh_user):
    """Or is not installed: then there is a warning, and one id."""
    fresh_user.labrt("reset", "--force")
    assert not fresh_user.wait_for_silence()
    text = """
import warnings
from labrt.linux import userns
userns.HELPERS = "/nowhere"
from labrt.runtime import rootless
with warnings.catch_warnings(record=True) as said:
    rootless.enter()
print(open("/proc/self/uid_map").read().split(), said[0].message)
"""
    out, _ = fresh_user.python(text)
    assert out.startswith("['0', '54323', '1'] without subordinate ids, for ") and "newuidmap" in out


def test_where_no_user_namespace_is_to_be_had(fresh_user):
    """The kernel gives none to those in a chroot(2), which could get out with its help: user_namespaces(7)."""
    fresh_user.labrt("reset", "--force")
    assert not fresh_user.wait_for_silence()
    place = fresh_user.home.parent / "root"
    place.mkdir()
    script = 'mount --rbind / "$0" && exec chroot --userspec=54323:54323 --groups=54323 "$0" "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(place)]
    done = subprocess.run(
        [*command, sys.executable, "-m", "labrt", "images"], capture_output=True, text=True, cwd="/",
        env=fresh_user.environment | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert done.returncode == 1 and "no user namespace can be made: Operation not permitted" in done.stderr
    assert not fresh_user.processes()
