"""What may be given to unpacked files, and what becomes of an owner who does not exist here."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import warnings
from pathlib import Path

import pytest

from labrt.errors import LabrtWarning
from labrt.image import layer
from labrt.image.powers import Powers
from labrt.linux import process
from labrt.linux.userns import IdMap

SOME = Powers(uids=((0, 1), (1000, 10)), gids=((0, 5),), devices=False)


@pytest.mark.parametrize(
    ("powers", "asked", "given"),
    [
        (Powers.of(True), (0, 4_000_000_000), (0, 4_000_000_000)),
        (Powers.of(False), (0, 0), (-1, -1)),
        (SOME, (1000, 4), (1000, 4)),
        (SOME, (1009, 5), (1009, -1)),
        (SOME, (1010, 0), (-1, 0)),
        (SOME, (999, 6), (-1, -1)),
    ],
)
def test_ids_that_can_be_given(powers, asked, given):
    assert powers.owner(*asked) == given


def test_a_program_runs_as_nobody_but_who_was_meant():
    assert SOME.mode(0o6755, (0, 0)) == 0o6755
    assert SOME.mode(0o6755, (-1, 0)) == 0o2755
    assert SOME.mode(0o7755, (0, -1)) == 0o5755
    assert Powers.of(False).mode(0o6755, (-1, -1)) == 0o6755  # all is the user's own then, and it always was


def test_ours_are_read_from_the_maps(tmp_path, monkeypatch):
    own = tmp_path / "self"
    own.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert Powers.ours(proc=str(tmp_path)) == Powers.of(True)  # no /proc, no user namespaces
    (own / "gid_map").write_text("         0          0 4294967295\n")
    (own / "uid_map").write_text("         0          0 4294967295\n")
    assert Powers.ours(proc=str(tmp_path)) == Powers.of(True)
    (own / "uid_map").write_text("         0     100000      65536\n")
    (own / "gid_map").write_text("         0       1000          1\n         1     100000      65536\n")
    assert Powers.ours(proc=str(tmp_path)) == Powers(((0, 65536),), ((0, 1), (1, 65536)), False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Powers.ours(proc=str(tmp_path)) == Powers.of(False)


def archive() -> io.BytesIO:
    """Files of several owners, a device, and a file capability."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as out:
        for name, mode, uid, gid in (("mine", 0o755, 0, 0), ("hers", 0o6755, 7, 8), ("strange", 0o6755, 5000, 5000)):
            info = tarfile.TarInfo(name)
            info.mode, info.uid, info.gid = mode, uid, gid
            out.addfile(info)
        node = tarfile.TarInfo("null")
        node.type, node.devmajor, node.devminor = tarfile.CHRTYPE, 1, 3
        out.addfile(node)
        able = tarfile.TarInfo("able")
        able.mode = 0o755
        capability = bytes.fromhex("01000002000400") + bytes(13)  # VFS_CAP_REVISION_2, CAP_NET_BIND_SERVICE
        able.pax_headers = {"SCHILY.xattr.security.capability": capability.decode("latin-1")}
        out.addfile(able)
    raw.seek(0)
    return raw


@pytest.mark.root
def test_root_of_a_user_namespace_unpacks_what_exists_in_it():
    """A real one: ids 0 to 999 inside are 700000 to 700999 outside."""
    maps = [IdMap(0, 700_000, 1000)], [IdMap(0, 700_000, 1000)]

    def unpack(root: str) -> tuple[list[str], str]:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            layer.apply(archive(), root)
        assert [warning.category for warning in said] == [LabrtWarning]
        inside = os.stat(f"{root}/hers")
        assert (inside.st_uid, inside.st_gid) == (7, 8)
        return sorted(os.listdir(root)), str(said[0].message)

    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chown(name, 700_000, 700_000)
        names, said = process.run_in_child(lambda: _as_root(lambda: unpack(name)), namespaces="user", maps=maps)
        assert names == ["able", "hers", "mine", "strange"]  # and no device
        assert said.startswith("1 files of a layer belong to users that do not exist here")
        owners = {each: (os.stat(f"{name}/{each}").st_uid, os.stat(f"{name}/{each}").st_gid) for each in names}
        assert owners["mine"] == owners["strange"] == (700_000, 700_000) and owners["hers"] == (700_007, 700_008)
        assert stat.S_IMODE(Path(name, "hers").stat().st_mode) == 0o6755
        assert stat.S_IMODE(Path(name, "strange").stat().st_mode) == 0o755
        # Revision 3: a capability that counts in that namespace only. See capabilities(7).
        raw = os.getxattr(f"{name}/able", "security.capability")
        assert raw[3] == 3 and int.from_bytes(raw[20:24], "little") == 700_000


def _as_root(function):
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    return function()
