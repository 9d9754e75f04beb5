"""User namespaces: maps of real processes, the rules of user_namespaces(7), the files and switches of a machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import prctl
import pytest

from labrt.errors import InvalidInput, NotSupported
from labrt.linux import capabilities, process, procfs, syscalls, userns
from labrt.linux.flags import CLONE
from labrt.linux.userns import IdMap, IdRange

NOBODY = 65534


@contextlib.contextmanager
def process_in_new_userns() -> Iterator[tuple[int, Callable[[], dict[str, str]]]]:
    """A child that has unshared its user namespace. The second value lets it go on, and gives its status file."""
    ready, told = os.pipe()
    wait, go = os.pipe()
    answer, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(go)
            syscalls.unshare(CLONE.NEWUSER)
            os.write(told, b"x")
            os.read(wait, 1)
            os.write(report, Path("/proc/self/status").read_bytes())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(told)
    os.close(report)
    os.close(wait)

    def finish() -> dict[str, str]:
        os.write(go, b"x")
        with open(answer, "rb", closefd=False) as pipe:
            lines = pipe.read().decode().splitlines()
        return dict(line.split(":\t", 1) for line in lines)

    try:
        assert os.read(ready, 1) == b"x"
        yield pid, finish
    finally:
        os.close(go)
        os.close(ready)
        os.waitpid(pid, 0)
        os.close(answer)


def as_nobody(function: Callable[[], Any]) -> Any:
    """Run `function` in a child that is an ordinary user; skip where such a one may have no user namespaces."""
    if userns.obstacles():
        pytest.skip("; ".join(userns.obstacles()))

    def body() -> Any:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            prctl.set_dumpable(1)  # setuid clears this, and /proc/self belongs to root then
        return function()

    return process.run_in_child(body)


def message_of(error: type[BaseException], function: Callable[[], Any]) -> str:
    try:
        function()
    except error as caught:
        return str(caught)
    return "nothing raised"


# Writing maps ---------------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_root_maps_what_it_likes() -> None:
    uids, gids = [IdMap(0, 100000, 65536)], [IdMap(0, 200000, 1000), IdMap(5000, 0, 1)]
    with process_in_new_userns() as (pid, finish):
        assert userns.read_maps(pid) == ([], [])
        userns.write_maps(pid, uids, gids)
        assert userns.read_maps(pid) == (uids, gids)
        status = finish()
    # Root outside is nobody inside, but as gid 5000.
    assert status["Uid"].split()[0] == str(NOBODY) and status["Gid"].split()[0] == "5000"


def test_an_ordinary_user_becomes_root_of_his_own() -> None:
    def look() -> tuple[dict[str, str], str, tuple[list[IdMap], list[IdMap]]]:
        with process_in_new_userns() as (pid, finish):
            userns.write_maps(pid, [IdMap(0, os.geteuid())], [IdMap(0, os.getegid())])
            setgroups = procfs.read(pid, "setgroups").strip()
            maps = userns.read_maps(pid)
            return finish(), setgroups, maps

    status, setgroups, maps = as_nobody(look)
    assert status["Uid"].split() == status["Gid"].split() == ["0"] * 4
    assert int(status["CapEff"], 16) == capabilities.supported()
    assert setgroups == "deny"
    assert maps[0][0].container_id == 0 and maps[0][0].size == 1


@pytest.mark.root
def test_a_map_is_written_only_once() -> None:
    with process_in_new_userns() as (pid, finish):
        one = [IdMap(0, 0, 1)]
        userns.write_maps(pid, one, one)
        with pytest.raises(PermissionError, match="only once"):
            userns.write_maps(pid, one, one)
        finish()


def test_our_own_namespace_takes_no_maps() -> None:
    child = os.fork()
    if child == 0:
        os.read(os.pipe()[0], 1)
        os._exit(0)
    try:
        own = [IdMap(0, os.geteuid())], [IdMap(0, os.getegid())]
        with pytest.raises(PermissionError, match="is in our own user namespace|only once"):
            userns.write_maps(child, *own)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


@pytest.mark.root
def test_ids_that_do_not_exist_outside_are_named() -> None:
    """In a user namespace of a hundred ids, number 500 cannot be mapped further."""

    def look() -> str:
        with process_in_new_userns() as (pid, _finish):
            return message_of(PermissionError, lambda: userns.write_maps(pid, [IdMap(0, 50, 100)], [IdMap(0, 0, 1)]))

    def in_a_namespace_of_hundred() -> str:
        ready, told = os.pipe()
        go, mapped = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                syscalls.unshare(CLONE.NEWUSER)
                os.write(told, b"x")
                os.read(go, 1)
                os.setgid(0)
                os.setuid(0)
                prctl.set_dumpable(1)
                os.write(told, look().encode())
                os._exit(0)
            finally:
                os._exit(1)
        os.read(ready, 1)
        userns.write_maps(pid, [IdMap(0, 100000, 100)], [IdMap(0, 100000, 100)])
        os.write(mapped, b"x")
        os.waitpid(pid, 0)
        return os.read(ready, 4096).decode()

    message = process.run_in_child(in_a_namespace_of_hundred)
    assert "uids of <IdMap 0-99 are 50-149 outside> do not exist in our own user namespace" in message


@pytest.mark.root
def test_mapping_root_takes_a_capability() -> None:
    def look() -> str:
        with process_in_new_userns() as (pid, _finish):
            caps = capabilities.CAP.SETUID | capabilities.CAP.SETGID
            capabilities.set_current(caps, caps)
            return message_of(PermissionError, lambda: userns.write_maps(pid, [IdMap(0, 0, 10)], [IdMap(0, 0, 10)]))

    assert "mapping uid 0 needs CAP_SETFCAP" in process.run_in_child(look)


@pytest.mark.root
def test_an_ordinary_user_cannot_map_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's refusal, explained: past write_maps, which would not even try."""

    def look() -> tuple[str, str]:
        with process_in_new_userns() as (pid, _finish):
            other = message_of(PermissionError, lambda: userns._write(pid, "uid_map", [IdMap(0, 1000)]))
            early = message_of(PermissionError, lambda: userns._write(pid, "gid_map", [IdMap(0, NOBODY)]))
            return other, early

    other, early = as_nobody(look)
    assert "without CAP_SETUID only our own uid 65534 can be mapped" in other
    assert 'write "deny" to setgroups first' in early


@pytest.mark.root
def test_somebody_elses_process() -> None:
    with process_in_new_userns() as (pid, finish):
        message = as_nobody(
            lambda: message_of(PermissionError, lambda: userns.write_maps(pid, [IdMap(0, NOBODY)], [IdMap(0, NOBODY)]))
        )
        finish()
    assert "EACCES" in message and "another user" in message


def test_a_process_that_is_gone() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(FileNotFoundError, match="has ended"):
        userns.write_maps(pid, [IdMap(0, os.geteuid())], [IdMap(0, os.getegid())])


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([], "0 lines"),
        ([IdMap(n, n) for n in range(341)], "341 lines"),
        ([IdMap(0, 0, 0)], "is empty"),
        ([IdMap(-1, 0, 1)], "leaves the ids"),
        ([IdMap(0, 0, 1 << 32)], "leaves the ids"),
        ([IdMap(0, (1 << 32) - 1, 1)], "leaves the ids"),
        ([IdMap(0, 1000, 10), IdMap(9, 5000, 1)], "overlap"),
        ([IdMap(0, 1000, 10), IdMap(100, 1009, 1)], "overlap"),
    ],
)
def test_maps_that_nobody_could_write(maps: list[IdMap], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        userns.write_maps(os.getpid(), maps, [IdMap(0, 0)])
    with pytest.raises(InvalidInput, match=f"gid_map.*{message}"):
        userns.write_maps(os.getpid(), [IdMap(0, 0)], maps)


@pytest.mark.root
def test_the_kernel_takes_as_many_lines_as_we_say() -> None:
    most = [IdMap(2 * n, 2 * n) for n in range(userns.MAX_LINES)]
    with process_in_new_userns() as (pid, finish):
        userns.write_maps(pid, most, most)
        assert userns.read_maps(pid) == (most, most)
        finish()


# The helpers ----------------------------------------------------------------------------------------------------------


def test_the_helpers_are_asked_for_more_than_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With programs of our own in their place, that write down what they were asked and write nothing."""
    for name in ("newuidmap", "newgidmap"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/asked\n')
        program.chmod(0o755)
    (tmp_path / "asked").touch()
    tmp_path.chmod(0o755)
    (tmp_path / "asked").chmod(0o666)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.geteuid() and parent != Path("/") and "pytest" in str(parent):
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    monkeypatch.setattr(userns, "HELPERS", str(tmp_path))

    def look() -> int:
        with process_in_new_userns() as (pid, _finish):
            userns.write_maps(pid, [IdMap(0, NOBODY), IdMap(1, 100000, 65536)], [IdMap(0, NOBODY), IdMap(1, 7, 2)])
            return pid

    pid = as_nobody(look)
    assert (tmp_path / "asked").read_text().splitlines() == [
        f"newuidmap {pid} 0 65534 1 1 100000 65536",
        f"newgidmap {pid} 0 65534 1 1 7 2",
    ]


def test_the_helpers_refusal_comes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("newuidmap"):
        pytest.skip("newuidmap is not installed (uidmap)")

    def look() -> str:
        with process_in_new_userns() as (pid, _finish):
            return message_of(NotSupported, lambda: userns.write_maps(pid, [IdMap(0, 5, 7)], [IdMap(0, 5, 7)]))

    message = as_nobody(look)
    assert message.startswith("newuidmap ") and " 0 5 7: " in message and "/etc/subuid" in message


def test_no_helper_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userns, "HELPERS", str(tmp_path))

    def look() -> str:
        with process_in_new_userns() as (pid, _finish):
            return message_of(NotSupported, lambda: userns.write_maps(pid, [IdMap(0, 5, 7)], [IdMap(0, 5, 7)]))

    message = as_nobody(look)
    assert "newuidmap, which is not installed" in message and "apt install uidmap" in message


@pytest.mark.root
def test_real_subordinate_ids_in_a_mount_namespace_with_its_own_etc(tmp_path: Path) -> None:
    """The real, setuid newuidmap and newgidmap, with a range for nobody in files bound over /etc/subuid and subgid."""
    if not (shutil.which("newuidmap") and shutil.which("newgidmap") and Path("/etc/subuid").exists()):
        pytest.skip("newuidmap, newgidmap or /etc/subuid is absent (uidmap)")
    (tmp_path / "ids").write_text("nobody:300000:5000\n65534:400000:10\n")

    def look() -> tuple[list[str], tuple[list[IdMap], list[IdMap]]]:
        for file in ("subuid", "subgid"):
            syscalls.mount(tmp_path / "ids", f"/etc/{file}", None, 4096)

        def rootless() -> tuple[list[str], tuple[list[IdMap], list[IdMap]]]:
            uids, gids = userns.rootless_maps()
            with process_in_new_userns() as (pid, finish):
                userns.write_maps(pid, uids, gids)
                maps = userns.read_maps(pid)
                return finish()["Uid"].split(), maps

        return as_nobody(rootless)  # type: ignore[no-any-return]

    expected = [IdMap(0, NOBODY), IdMap(1, 300000, 5000), IdMap(5001, 400000, 10)]
    assert process.run_in_child(look, namespaces="mnt") == (["0"] * 4, (expected, expected))


def test_a_path_of_ones_own_leads_to_no_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("newuidmap", "newgidmap"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/was-called\n")
        (tmp_path / name).chmod(0o755)
    tmp_path.chmod(0o777)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def look() -> str:
        with process_in_new_userns() as (pid, _finish):
            return message_of(NotSupported, lambda: userns.write_maps(pid, [IdMap(0, 5, 7)], [IdMap(0, 5, 7)]))

    assert "newuidmap" in as_nobody(look) and not (tmp_path / "was-called").exists()


def test_the_remedy_gives_a_range_that_nobody_has(tmp_path: Path) -> None:
    assert userns.add_ranges("ann", etc=str(tmp_path)).endswith(
        "--add-subuids 100000-165535 --add-subgids 100000-165535 ann"
    )
    (tmp_path / "subuid").write_text("bob:100000:65536\neve:300000:1000\nsome rubbish\n")
    (tmp_path / "subgid").write_text("bob:5000:10\n")
    assert userns.add_ranges("ann", etc=str(tmp_path)) == (
        "sudo usermod --add-subuids 301000-366535 --add-subgids 100000-165535 ann"
    )


def test_which_user_namespace_is_the_machines_own() -> None:
    single = as_nobody(userns.single_maps)
    assert single == ([IdMap(0, NOBODY)], [IdMap(0, NOBODY)])
    assert not as_nobody(lambda: process.run_in_child(userns.is_first, namespaces="user"))
    if os.geteuid() == 0:
        assert userns.is_first() == (procfs.read("self", "uid_map").split() == ["0", "0", str((1 << 32) - 1)])


# Looking up -----------------------------------------------------------------------------------------------------------

MAPS = [IdMap(0, 1000), IdMap(1, 100000, 65536)]


@pytest.mark.parametrize(("inside", "outside"), [(0, 1000), (1, 100000), (65536, 165535)])
def test_ids_there_and_back(inside: int, outside: int) -> None:
    assert userns.to_host(MAPS, inside) == outside and userns.to_container(MAPS, outside) == inside


def test_ids_that_have_no_counterpart() -> None:
    assert userns.to_host(MAPS, 65537) is None and userns.to_container(MAPS, 0) is None


def test_maps_show_themselves() -> None:
    assert repr(MAPS) == "[<IdMap 0 is 1000 outside>, <IdMap 1-65536 are 100000-165535 outside>]"


def test_our_own_maps() -> None:
    uids, _gids = userns.read_maps()
    assert userns.to_host(uids, os.geteuid()) is not None


def write_subids(etc: Path) -> None:
    (etc / "subuid").write_text("# ours\nroot:100000:65536\nnobody:1:2\n65534:10:20\nbroken:x:1\n\nroot:5:0\n")
    (etc / "subgid").write_text("nobody:7:8\n")


def test_subordinate_ids_by_name_and_by_number(tmp_path: Path) -> None:
    write_subids(tmp_path)
    expected = [IdRange(1, 2), IdRange(10, 20)], [IdRange(7, 8)]
    assert userns.subordinate_ids("nobody", etc=str(tmp_path)) == expected
    assert userns.subordinate_ids(NOBODY, etc=str(tmp_path)) == expected
    assert userns.subordinate_ids("root", etc=str(tmp_path)) == ([IdRange(100000, 65536)], [])
    assert userns.subordinate_ids("no such user", etc=str(tmp_path)) == ([], [])


def test_without_the_files_there_are_none(tmp_path: Path) -> None:
    assert userns.subordinate_ids(etc=str(tmp_path)) == ([], [])
    assert userns.rootless_maps(etc=str(tmp_path)) == ([IdMap(0, os.geteuid())], [IdMap(0, os.getegid())])


def test_rootless_maps_put_the_ranges_one_behind_the_other(tmp_path: Path) -> None:
    write_subids(tmp_path)
    uids, gids = userns.rootless_maps("nobody", etc=str(tmp_path))
    assert uids == [IdMap(0, os.geteuid()), IdMap(1, 1, 2), IdMap(3, 10, 20)]
    assert gids == [IdMap(0, os.getegid()), IdMap(1, 7, 8)]


# The machine ----------------------------------------------------------------------------------------------------------


def sysctls(root: Path, **values: int | str) -> str:
    for name, value in values.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    return str(root)


def test_this_machines_limit() -> None:
    most = userns.max_user_namespaces()
    file = Path("/proc/sys/user/max_user_namespaces")
    assert most == (int(file.read_text()) if file.exists() else None)


def test_a_machine_with_nothing_in_the_way(tmp_path: Path) -> None:
    root = sysctls(tmp_path, user__max_user_namespaces=100, kernel__unprivileged_userns_clone=1,
                   kernel__apparmor_restrict_unprivileged_userns=0)  # fmt: skip
    assert userns.obstacles(proc_sys=root) == [] and not userns.restricted_by_apparmor(proc_sys=root)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "CONFIG_USER_NS"),
        ({"user__max_user_namespaces": 0}, "user.max_user_namespaces="),
        ({"user__max_user_namespaces": 9, "kernel__unprivileged_userns_clone": 0}, "unprivileged_userns_clone=1"),
        ({"user__max_user_namespaces": 9, "kernel__apparmor_restrict_unprivileged_userns": 1}, "AppArmor"),
    ],
)
def test_what_is_in_the_way(tmp_path: Path, values: dict[str, int], message: str) -> None:
    [found] = userns.obstacles(proc_sys=sysctls(tmp_path, **values))
    assert message in found
