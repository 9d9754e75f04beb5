"""The ledger read, and reset: what is named goes, whoever was killed; what is not named stays, whatever is written."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import labrt
from labrt import errors, paths
from labrt.lab import ledger as book
from labrt.linux import cgroups, ledger, mounts, process, procfs, syscalls
from labrt.linux.flags import MNT
from labrt.storage.driver import open_driver


@pytest.fixture
def where(labrt_root: Path, tmp_path: Path) -> Iterator[paths.Paths]:
    yield paths.default()
    for point in reversed(mount_points(tmp_path)):  # what a failed test left
        syscalls.umount2(point, MNT.DETACH)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as child:
        yield child
        child.kill()


def mount_points(below: Path) -> list[str]:
    return [mount.mount_point for mount in procfs.mountinfo() if mount.mount_point.startswith(f"{below}/")]


def write(where: paths.Paths, name: str, content: str | bytes) -> Path:
    file = Path(where.ledger, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def entry_text(**changed: object) -> str:
    return json.dumps({"kind": "directory", "what": "/nowhere", "made_by": 1, "since": 1.0, "detail": {}, **changed})


def start_time(pid: int) -> str:
    return str(procfs.stat(pid).starttime)


def ended(child: subprocess.Popen[bytes]) -> int:
    return child.wait(timeout=30)


def killed_in_the_middle(script: str) -> None:
    """Run a script that prints "ready" and waits, and kill it with SIGKILL there."""
    script = f"import time\nfrom labrt.linux import cgroups, ledger, mounts\n{script}"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout and maker.stdout.readline() == "ready\n"
        maker.kill()


WAIT = "print('ready', flush=True); time.sleep(1000)"


# Reading --------------------------------------------------------------------------------------------------------------


def test_an_empty_ledger_shows_itself(where: paths.Paths) -> None:
    found = book.ledger()
    assert (len(found), repr(found)) == (0, "<Ledger: empty>")
    assert "empty" in str(found) and "empty" in found._repr_html_()
    assert not os.path.exists(where.run)  # looking makes nothing


def test_entries_show_what_and_whose(where: paths.Paths) -> None:
    ledger.record("mount", "/mnt/<b>demo</b>")
    ledger.record("mount", "/mnt/b")
    ledger.record("directory", "/mnt/\x1b[2Jc")
    found = book.ledger()
    assert repr(found) == "<Ledger: 2 mount, 1 directory>"
    assert [entry.what for entry in found] == ["/mnt/<b>demo</b>", "/mnt/b", "/mnt/\x1b[2Jc"]
    assert f"(pid {os.getpid()})" in str(found) and "\x1b" not in str(found)
    assert "&lt;b&gt;demo" in found._repr_html_() and "<b>" not in found._repr_html_()


def test_rich_draws_it(where: paths.Paths) -> None:
    from rich.console import Console

    ledger.record("mount", "/mnt/[bold]x[/bold]")
    with open(os.devnull, "w") as nowhere:
        console = Console(width=120, record=True, file=nowhere)
        console.print(book.ledger(), labrt.reset(), labrt.reset())
    text = console.export_text()
    assert "/mnt/[bold]x[/bold]" in text and "nothing was left" in text


def test_an_owner_that_ended_is_gone(where: paths.Paths) -> None:
    killed_in_the_middle(f"ledger.record('mount', '/mnt/demo'); {WAIT}")
    (entry,) = book.ledger()
    assert not book.owner_alive(entry) and "gone" in book.owner(entry)


def test_a_number_given_to_another_process_is_no_owner(where: paths.Paths) -> None:
    entry = ledger.record("mount", "/mnt/demo")
    assert book.owner_alive(entry)
    assert not book.owner_alive(entry._replace(since=entry.since - 10 * 365 * 86400))


# Hostile ledgers ------------------------------------------------------------------------------------------------------

NO_ENTRIES = {
    "not json": "hello",
    "empty": "",
    "not text": b"\xff\xfe\x00",
    "a list": "[]",
    "a number": "1",
    "no kind": json.dumps({"what": "/x", "made_by": 1, "since": 1}),
    "what is a number": entry_text(what=1),
    "what is null": entry_text(what=None),
    "kind is a list": entry_text(kind=["mount"]),
    "maker is text": entry_text(made_by="1"),
    "maker is true": entry_text(made_by=True),
    "maker is negative": entry_text(made_by=-1),
    "maker is endless": entry_text(made_by=10**400),
    "since is infinite": entry_text(since=float("inf")),
    "since is nan": entry_text(since=float("nan")),
    "detail is a list": entry_text(detail=[]),
    "detail holds a list": entry_text(detail={"starttime": []}),
    "too deep": "[" * 50_000 + "]" * 50_000,
    "too large": entry_text(what="x" * 100_000),
}


@pytest.mark.parametrize("content", NO_ENTRIES.values(), ids=NO_ENTRIES.keys())
def test_what_is_no_entry_stays_and_is_shown(where: paths.Paths, content: str | bytes) -> None:
    file = write(where, "1-mount.json", content)
    good = Path(where.state, "mine")
    good.mkdir(parents=True)
    ledger.record("directory", str(good))
    done = labrt.reset()
    assert not good.exists()  # the one beside it is not held up
    assert (len(done.taken_down), len(done.stayed), done.ok) == (1, 1, False)
    assert done.stayed[0].what == str(file) and done.stayed[0].remedy == f"rm {file}" and file.exists()
    assert repr(book.ledger()) == "<Ledger: 1 unreadable>"


def test_links_pipes_and_directories_are_no_entries(where: paths.Paths, tmp_path: Path) -> None:
    victim = Path(where.state, "mine")
    victim.mkdir(parents=True)
    elsewhere = tmp_path / "entry.json"
    elsewhere.write_text(entry_text(what=str(victim)))
    place = Path(where.ledger)
    place.mkdir(parents=True)
    (place / "1-directory.json").symlink_to(elsewhere)
    os.mkfifo(place / "2-directory.json")  # would block whoever opens it in good faith
    (place / "3-directory.json").mkdir()
    done = labrt.reset()
    assert len(done.stayed) == 3 and not done.taken_down and victim.exists()


@pytest.mark.root
def test_an_entry_that_somebody_else_wrote_is_not_followed(where: paths.Paths) -> None:
    victim = Path(where.state, "mine")
    victim.mkdir(parents=True)
    os.chown(write(where, "1-directory.json", entry_text(what=str(victim))), 65534, 65534)
    done = labrt.reset()
    assert "user 65534" in done.stayed[0].why and victim.exists()


def test_an_unknown_kind_stays(where: paths.Paths) -> None:
    file = write(where, "1-x.json", entry_text(kind="planet", what="mars"))
    done = labrt.reset()
    assert done.stayed[0].what == "planet mars" and done.stayed[0].remedy == f"rm {file}"


def test_a_file_name_is_quoted_in_what_to_type(where: paths.Paths) -> None:
    write(where, "1 $(reboot).json", "x")
    assert labrt.reset().stayed[0].remedy.endswith("1 $(reboot).json'")


def test_half_written_entries_of_dead_writers_are_swept(where: paths.Paths) -> None:
    with subprocess.Popen(["true"]) as child:
        dead = child.pid
    theirs = write(where, f".00000000000000000001-{dead}-0-mount.json", '{"kind": "mo')
    ours = write(where, f".00000000000000000001-{os.getpid()}-0-mount.json", '{"kind": "mo')
    other = write(where, ".keep", "")
    assert labrt.reset().ok
    assert (theirs.exists(), ours.exists(), other.exists()) == (False, True, True)


# Processes ------------------------------------------------------------------------------------------------------------


def test_a_process_is_killed(where: paths.Paths, sleeper: subprocess.Popen[bytes]) -> None:
    ledger.record("process", str(sleeper.pid), starttime=start_time(sleeper.pid))
    done = labrt.reset()
    assert ended(sleeper) == -signal.SIGKILL
    assert [entry.what for entry in done.taken_down] == [str(sleeper.pid)] and done.ok
    assert repr(labrt.reset()) == "<Reset: nothing taken down>"


def test_a_process_that_defends_itself_is_killed(where: paths.Paths) -> None:
    block = "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))"
    script = f"import signal, time; {block}; print(flush=True); time.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout and child.stdout.readline()
        ledger.record("process", str(child.pid), starttime=start_time(child.pid))
        assert labrt.reset().ok
        assert ended(child) == -signal.SIGKILL


def test_somebody_elses_process_with_the_same_number_lives(
    where: paths.Paths, sleeper: subprocess.Popen[bytes]
) -> None:
    ledger.record("process", str(sleeper.pid), starttime=str(int(start_time(sleeper.pid)) - 1))
    done = labrt.reset()
    assert sleeper.poll() is None and done.ok and not done.taken_down
    assert len(book.ledger()) == 0  # what was noted is gone: struck out


def test_a_process_without_a_start_time_lives(where: paths.Paths, sleeper: subprocess.Popen[bytes]) -> None:
    ledger.record("process", str(sleeper.pid))
    done = labrt.reset()
    assert sleeper.poll() is None
    assert "no start time" in done.stayed[0].why and f"ps -fp {sleeper.pid}" in done.stayed[0].remedy


@pytest.mark.parametrize("who", ["self", "parent", "init"])
def test_reset_does_not_kill_what_it_stands_on(where: paths.Paths, who: str) -> None:
    # In a child that may be lost: were the check wrong, it is the child's line that dies.
    def attempt() -> tuple[int, str]:
        pid = {"self": os.getpid(), "parent": os.getppid(), "init": 1}[who]
        ledger.record("process", str(pid), starttime=start_time(pid))
        done = labrt.reset()
        return len(done.taken_down), done.stayed[0].why

    def parent() -> tuple[int, str]:
        return process.run_in_child(attempt)

    taken, why = process.run_in_child(parent)
    assert taken == 0 and "this very process" in why


@pytest.mark.parametrize("what", ["", "-1", "1.5", "abc", "٣", "/proc/1", "1" * 30])
def test_what_is_no_pid_is_refused(where: paths.Paths, what: str) -> None:
    ledger.record("process", what, starttime="1")
    assert "is no pid" in labrt.reset().stayed[0].why


def test_a_process_that_is_long_gone_is_struck_out(where: paths.Paths) -> None:
    with subprocess.Popen(["true"]) as child:
        began = start_time(child.pid)
    ledger.record("process", str(child.pid), starttime=began)
    done = labrt.reset()
    assert done.ok and not done.taken_down and len(book.ledger()) == 0


def test_the_children_of_a_killed_maker_are_killed(where: paths.Paths) -> None:
    killed_in_the_middle(f"""
import subprocess
from labrt.linux import procfs
child = subprocess.Popen(["sleep", "1000"])
ledger.record("process", str(child.pid), starttime=str(procfs.stat(child.pid).starttime)); {WAIT}""")
    (entry,) = book.ledger()
    assert procfs.alive(int(entry.what), int(entry.detail["starttime"]))
    assert labrt.reset().ok
    assert not procfs.alive(int(entry.what), int(entry.detail["starttime"]))
    os.waitpid(int(entry.what), 0)  # we are the subreaper: see conftest.py


# Control groups -------------------------------------------------------------------------------------------------------


@pytest.fixture
def group_name() -> Iterator[str]:
    if os.geteuid() or cgroups.detect().mode == "none":
        pytest.skip("needs root and control groups")
    name = f"test-reset-{os.getpid()}"
    yield name
    with contextlib.suppress(errors.NotFound):
        cgroups.load(name).remove()
    cgroups.prune()


def test_the_cgroup_of_a_killed_maker_goes_with_what_is_in_it(where: paths.Paths, group_name: str) -> None:
    killed_in_the_middle(f"""
import subprocess
from labrt.linux import cgroups
group = cgroups.create({group_name!r})
child = subprocess.Popen(["sh", "-c", "sleep 1000 & sleep 1001"])
group.add(child.pid); {WAIT}""")
    group = cgroups.load(group_name)
    pids = group.procs
    done = labrt.reset()
    assert [entry.kind for entry in done.taken_down] == ["cgroup"] and done.ok, str(done)
    assert not group.exists and pids and not [pid for pid in pids if procfs_alive(pid)]
    assert repr(labrt.reset()) == "<Reset: nothing taken down>"
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)  # we are the subreaper: see conftest.py


def procfs_alive(pid: int) -> bool:
    try:
        return procfs.stat(pid).state not in "ZX"
    except errors.NotFound:
        return False


def test_a_cgroup_that_was_never_made_is_struck_out(where: paths.Paths, group_name: str) -> None:
    ledger.record("cgroup", f"/labrt/{group_name}")
    done = labrt.reset()
    assert done.ok and not done.taken_down and len(book.ledger()) == 0


def test_a_cgroup_is_removed_beside_a_broken_entry(where: paths.Paths, group_name: str) -> None:
    group = cgroups.create(group_name)
    write(where, "0.json", "no json")
    done = labrt.reset()
    assert len(done.taken_down) == len(done.stayed) == 1 and not group.exists


def test_reset_stays_out_of_the_cgroup_that_it_is_in(where: paths.Paths, group_name: str) -> None:
    group = cgroups.create(group_name)
    seen = process.run_in_child(lambda: str(labrt.reset().stayed), cgroup=group)
    assert "holds this very process" in seen and group.exists
    assert labrt.reset().ok and not group.exists


@pytest.mark.parametrize(
    "what",
    ["/", "", "labrt/x", "/labrt", "/labrt/../x", "//x", "/labrt.slice", "/a.slice/b", "/init.scope", "/lxc/x"],
)
def test_cgroups_of_others_are_refused(where: paths.Paths, what: str) -> None:
    ledger.record("cgroup", what)
    done = labrt.reset()
    assert "is no cgroup of labrt's" in done.stayed[0].why and not done.taken_down


# Mounts ---------------------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_the_mounts_of_a_killed_maker_go(where: paths.Paths, tmp_path: Path) -> None:
    (tmp_path / "a b\n").mkdir()
    killed_in_the_middle(f"""
with mounts.tmpfs({str(tmp_path / "a b" ) + chr(10)!r}) as outer:
    with mounts.tmpfs(outer + "/inner") as inner:
        with mounts.overlay([inner]): {WAIT}""")
    assert len(mount_points(tmp_path)) == 2 and len(book.ledger()) >= 4
    left = [entry.what for entry in book.ledger()]
    done = labrt.reset()
    assert done.ok and {entry.kind for entry in done.taken_down} == {"mount", "directory"}
    assert mount_points(tmp_path) == [] and len(book.ledger()) == 0
    assert not [path for path in left if os.path.ismount(path)]
    assert not [path for path in left if Path(path).parent.samefile("/tmp") and os.path.exists(path)]
    assert repr(labrt.reset()) == "<Reset: nothing taken down>"


@pytest.mark.root
def test_a_busy_mount_goes(where: paths.Paths, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    ledger.record("mount", str(tmp_path / "m"))
    mounts.Mount(str(tmp_path / "m"), "tmpfs", "tmpfs").attach()
    with subprocess.Popen(["sleep", "1000"], cwd=tmp_path / "m") as child:
        assert labrt.reset().ok and mount_points(tmp_path) == []
        child.kill()


@pytest.mark.root
def test_what_the_ledger_does_not_name_stays(where: paths.Paths, tmp_path: Path) -> None:
    for name in ("named", "other"):
        (tmp_path / name).mkdir()
        mounts.Mount(str(tmp_path / name), "tmpfs", "tmpfs").attach()
    mounts.Mount(str(tmp_path / "named"), "tmpfs", "tmpfs").attach()  # twice there, once in the ledger
    ledger.record("mount", str(tmp_path / "named"))
    assert len(labrt.reset().taken_down) == 1
    assert sorted(mount_points(tmp_path)) == [str(tmp_path / "named"), str(tmp_path / "other")]


def test_a_mount_that_was_never_made_is_struck_out(where: paths.Paths, tmp_path: Path) -> None:
    ledger.record("mount", str(tmp_path))
    ledger.record("mount", str(tmp_path / "absent"))
    done = labrt.reset()
    assert done.ok and not done.taken_down and len(book.ledger()) == 0 and tmp_path.exists()


@pytest.mark.root
@pytest.mark.parametrize(
    "what", ["/", "/proc", "/sys", "/sys/fs/cgroup", "/dev/shm", "/dev/pts", "relative", "", "/tmp/../proc", "//proc"]
)
def test_the_systems_own_mounts_stay(where: paths.Paths, what: str) -> None:
    ledger.record("mount", what)

    def attempt() -> tuple[bool, str]:
        before = procfs.mountinfo()
        done = labrt.reset()
        return procfs.mountinfo() == before, done.stayed[0].why

    # In a mount namespace of its own: were the check wrong, this machine would not lose its /proc.
    same, why = process.run_in_child(attempt, namespaces="mnt")
    assert same and "no place where labrt mounts" in why


@pytest.mark.root
def test_a_path_that_leads_elsewhere_now_is_refused(where: paths.Paths, tmp_path: Path) -> None:
    (tmp_path / "theirs" / "m").mkdir(parents=True)
    mounts.Mount(str(tmp_path / "theirs" / "m"), "tmpfs", "tmpfs").attach()
    (tmp_path / "mine").symlink_to(tmp_path / "theirs")
    ledger.record("mount", str(tmp_path / "mine" / "m"))
    done = labrt.reset()
    assert f"leads to {tmp_path}/theirs/m" in done.stayed[0].why
    assert mount_points(tmp_path) == [f"{tmp_path}/theirs/m"]


@pytest.mark.root
def test_a_mount_in_another_namespace_stays_in_the_ledger(where: paths.Paths, tmp_path: Path) -> None:
    target = str(tmp_path / "m")
    read, write_end = os.pipe()

    def live_apart() -> None:
        ledger.record("mount", target)
        mounts.Mount(target, "tmpfs", "tmpfs").attach()
        os.write(write_end, b"x")
        time.sleep(1000)

    with process.spawn(live_apart, namespaces="mnt") as child:
        assert os.read(read, 1) == b"x"
        done = labrt.reset()
        assert f"mount namespace of pid {child.pid}" in done.stayed[0].why and len(book.ledger()) == 1
    os.close(read)
    os.close(write_end)
    assert labrt.reset().ok and len(book.ledger()) == 0  # the namespace died, and the mount with it


# Directories ----------------------------------------------------------------------------------------------------------


def test_a_directory_goes_with_all_in_it_and_nothing_behind_links(where: paths.Paths, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    made = Path(where.containers, "abc", "deep")
    made.mkdir(parents=True)
    (made / "link").symlink_to(outside)
    ledger.record("directory", str(made.parent))
    assert labrt.reset().ok and not made.parent.exists() and Path(where.containers).exists()
    assert (outside / "kept").read_text() == "kept"


@pytest.mark.parametrize(
    "what", ["{tmp}/outside", "{state}/../../outside", "{state}/link/victim", "outside", "/", "{state}"]
)
def test_a_directory_outside_is_refused(where: paths.Paths, tmp_path: Path, what: str) -> None:
    victim = tmp_path / "outside" / "victim"
    victim.mkdir(parents=True)
    Path(where.state).mkdir(parents=True)
    Path(where.state, "link").symlink_to(tmp_path / "outside")
    ledger.record("directory", what.format(tmp=tmp_path, state=where.state))
    done = labrt.reset()
    assert not done.taken_down and len(done.stayed) == 1 and done.stayed[0].remedy.startswith("rm ")
    assert victim.exists() and Path(where.state).exists()


def test_labrts_own_rooms_stay(where: paths.Paths) -> None:
    rooms = [where.images, where.layers, where.containers, where.cache, where.sockets, where.ledger,
             where.volumes, where.networks, where.leases]  # fmt: skip
    for room in rooms:
        os.makedirs(room, exist_ok=True)
        ledger.record("directory", room)
    done = labrt.reset()
    assert len(done.stayed) == len(rooms) and all(map(os.path.isdir, rooms))


def test_a_link_in_our_place_is_removed_and_not_followed(where: paths.Paths, tmp_path: Path) -> None:
    (tmp_path / "outside" / "victim").mkdir(parents=True)
    link = Path(where.state, "link")
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "outside")
    ledger.record("directory", str(link))
    assert labrt.reset().ok and not link.is_symlink() and (tmp_path / "outside" / "victim").exists()


def test_a_temporary_mount_point_goes_only_when_empty(
    where: paths.Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("labrt-1-0", "labrt-1-1", "labrt-x", "other"):
        (tmp_path / name).mkdir()
        ledger.record("directory", str(tmp_path / name))
    (tmp_path / "labrt-1-1" / "file").write_text("somebody's")
    done = labrt.reset()
    assert [entry.what for entry in done.taken_down] == [str(tmp_path / "labrt-1-0")]
    assert len(done.stayed) == 3 and (tmp_path / "labrt-1-1" / "file").exists() and (tmp_path / "other").exists()


@pytest.mark.root
def test_a_directory_with_a_mount_in_it_stays(where: paths.Paths, tmp_path: Path) -> None:
    inner = Path(where.state, "mine", "m")
    inner.mkdir(parents=True)
    mounts.Mount(str(inner), "tmpfs", "tmpfs").attach()
    (inner / "file").write_text("somebody's")
    ledger.record("directory", str(inner.parent))
    done = labrt.reset()
    assert "still mounted" in done.stayed[0].why and (inner / "file").exists()
    syscalls.umount2(str(inner))
    assert labrt.reset().ok and not inner.parent.exists()


# Containers -----------------------------------------------------------------------------------------------------------

ID = "c0ffee" * 8


def test_a_containers_directories_and_its_layer_go(where: paths.Paths) -> None:
    driver = open_driver("vfs", where)
    for name in (ID, "0" * 64):
        driver.prepare(name, [])
        for place in (where.containers, where.sockets):
            Path(place, name).mkdir(parents=True)
            Path(place, name, "file").write_text("x")
    Path(where.layers, "driver").write_text("vfs")
    ledger.record("container", ID)
    assert len(labrt.reset().taken_down) == 1
    assert driver.containers() == ["0" * 64]
    assert os.listdir(where.containers) == os.listdir(where.sockets) == ["0" * 64]
    ledger.record("container", ID)
    assert not labrt.reset().taken_down and len(book.ledger()) == 0


@pytest.mark.parametrize("what", ["", ".", "..", "../layers", "c0ffee/../x", "C0FFEE" * 8, "/etc"])
def test_what_is_no_containers_id_is_refused(where: paths.Paths, what: str) -> None:
    Path(where.containers, "x").mkdir(parents=True)
    ledger.record("container", what)
    assert "is no container's id" in labrt.reset().stayed[0].why
    assert Path(where.containers, "x").exists()


# The whole ------------------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_one_failure_does_not_stop_the_rest(
    where: paths.Paths, tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "m").mkdir()
    ledger.record("directory", str(tmp_path))
    ledger.record("mount", "/")
    ledger.record("process", "nobody")
    ledger.record("mount", str(tmp_path / "m"))
    mounts.Mount(str(tmp_path / "m"), "tmpfs", "tmpfs").attach()
    ledger.record("process", str(sleeper.pid), starttime=start_time(sleeper.pid))

    def attempt() -> tuple[int, int, str, str]:
        done = labrt.reset()
        return len(done.taken_down), len(done.stayed), repr(done), done._repr_html_()

    taken, stayed, said, markup = process.run_in_child(attempt, namespaces="mnt")
    assert (taken, stayed, said) == (2, 3, "<Reset: 2 taken down, 3 stayed>")
    assert ended(sleeper) == -signal.SIGKILL and markup.count("<tr>") == 6


def test_two_resets_at_once_are_both_right(where: paths.Paths) -> None:
    for number in range(30):
        made = Path(where.state, f"d{number}", "x")
        made.mkdir(parents=True)
        ledger.record("directory", str(made.parent))
    command = [sys.executable, "-c", "import labrt, sys; done = labrt.reset(); print(done); sys.exit(not done.ok)"]
    resets = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    results = [(reset.communicate()[0], reset.returncode) for reset in resets]
    assert [code for _, code in results] == [0, 0, 0], results
    assert len(book.ledger()) == 0 and not os.listdir(where.state)


def test_quiet_shows_only_what_stayed(where: paths.Paths) -> None:
    made = Path(where.state, "d")
    made.mkdir(parents=True)
    ledger.record("directory", str(made))
    assert labrt.reset(quiet=True)._repr_html_().strip() == ""
    assert "nothing was left" in labrt.reset()._repr_html_()
    ledger.record("directory", "/nowhere")
    assert "/nowhere" in labrt.reset(quiet=True)._repr_html_()
