"""The doctor's questions for an ordinary user, on recorded machines."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from labrt.lab.doctor import ids
from labrt.lab.doctor.host import Host
from labrt.linux import process, procfs
from labrt.paths import Paths

NOBODY_KNOWS = 4_000_000  # a uid without a name


@pytest.fixture
def machine(tmp_path: Path) -> Host:
    """A machine where this user has 65536 ids, and the programs that map them."""
    for name in ("subuid", "subgid"):
        (tmp_path / "etc").mkdir(exist_ok=True)
        (tmp_path / "etc" / name).write_text(f"other:100000:65536\n{NOBODY_KNOWS}:165536:65536\n")
    for name in ids.CAPABILITIES:
        (tmp_path / "usr/bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / "usr/bin" / name).touch()
        (tmp_path / "usr/bin" / name).chmod(0o4755)
    return Host(str(tmp_path))


def look(machine: Host, user: int = NOBODY_KNOWS):
    where = Paths(os.path.join(machine.root, "state"), os.path.join(machine.root, "run"))
    os.makedirs(where.state, exist_ok=True)
    return ids.subordinate_ids(machine, where, user)


def test_root_needs_none(machine):
    assert look(machine, 0).status == "ok"


@pytest.mark.root  # set-user-ID *root*
def test_all_is_there(machine):
    assert look(machine) == ("subordinate ids", "ok", "65536 uids, 65536 gids", "")


@pytest.mark.parametrize(("file", "said"), [("subuid", "/etc/subuid:"), ("subgid", "/etc/subgid:")])
def test_no_line_in_one_of_the_files(machine, file, said):
    Path(machine.path(f"/etc/{file}")).write_text("other:100000:65536\n")
    check = look(machine)
    assert check.status == "warn" and said in check.saw
    assert f"--add-{file}s 165536-231071" in check.remedy and check.remedy.endswith(f" {NOBODY_KNOWS}")


def test_no_files_at_all(machine):
    for file in ("subuid", "subgid"):
        os.unlink(machine.path(f"/etc/{file}"))
    check = look(machine)
    assert "/etc/subuid and subgid" in check.saw and "--add-subuids 100000-165535" in check.remedy


@pytest.mark.root
@pytest.mark.parametrize("program", list(ids.CAPABILITIES))
def test_a_program_is_missing_or_has_no_power(machine, program):
    path = Path(machine.path(f"/usr/bin/{program}"))
    path.chmod(0o755)
    check = look(machine)
    assert check.status == "warn" and str(path) in check.saw and "--reinstall uidmap" in check.remedy
    # A file capability, as Fedora has it: VFS_CAP_REVISION_2 with the effective bit, then what is permitted.
    bit = 1 << ids.CAPABILITIES[program]
    os.setxattr(path, "security.capability", b"\1\0\0\2" + bit.to_bytes(4, "little") + bytes(12))
    assert look(machine).status == "ok"
    path.unlink()
    assert look(machine).remedy == "sudo apt-get install -y uidmap"


@pytest.mark.root
def test_namespaces_that_are_older_than_the_ids(machine):
    """Made when the user had a single id: these are kept until a reset."""
    with process.spawn(lambda: os.execv(sys.executable, [sys.executable, "-c", "input()"]), namespaces="user") as child:
        about = {"boot": procfs.boot_id(), "monitor": child.pid, "monitor_starttime": process.start_time(child.pid)}
        os.makedirs(machine.path("/state"))
        Path(machine.path("/state/namespaces.json")).write_text(json.dumps(about))
        check = look(machine)
        assert check.status == "warn" and check.remedy.startswith("labrt reset")
    assert look(machine).status == "ok"  # they are gone with the last process


def test_logout(machine):
    assert ids.lingering(machine, 0).status == "ok"
    assert ids.lingering(machine, NOBODY_KNOWS).status == "ok"  # no systemd
    os.makedirs(machine.path("/run/systemd/system"))
    assert ids.lingering(machine, NOBODY_KNOWS).remedy == "loginctl enable-linger"
    os.makedirs(machine.path("/var/lib/systemd/linger"))
    Path(machine.path(f"/var/lib/systemd/linger/{NOBODY_KNOWS}")).touch()
    assert ids.lingering(machine, NOBODY_KNOWS).status == "ok"
