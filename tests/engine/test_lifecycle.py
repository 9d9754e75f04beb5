"""The life of a container, in the hands of people: pause, restart policies, health, limits that change, copies."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import time
from pathlib import Path

import pytest

from labrt.engine import copy, events
from labrt.engine.containers import Containers
from labrt.engine.options import Options
from labrt.engine.restore import restore
from labrt.errors import Conflict, ContainerNotFound, InvalidInput, NotFound
from labrt.linux import cgroups, ledger, process

pytestmark = pytest.mark.root
FOREVER = ("sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done")


def eventually(condition, seconds: float = 60.0):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)
    return value


@pytest.fixture
def make(house):
    """Make containers, and remove them."""
    made = []

    def build(*command: str, start: bool = True, **options):
        container = Containers().create(Options("busybox", command or FOREVER, **options))
        made.append(container)
        if start:
            container.start()
        if start and not command:  # PID 1 is deaf to what it has no handler for, and it is not there at once
            eventually(lambda: texts(container) == ["ready"])
        return container

    yield build
    for container in made:
        with contextlib.suppress(ContainerNotFound):
            container.remove(force=True)
    assert not ledger.entries()


def texts(container, **how):
    return [entry.text.rstrip("\n") for entry in container.logs(**how)]


def actions(container):
    return [event["Action"] for event in events.read(filters={"container": [container.id]})]


class TestPause:
    def test_nothing_goes_on_while_it_is_paused(self, make):
        container = make("sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done")
        eventually(lambda: len(texts(container)) > 3)
        container.pause()
        assert container.status == "paused" and container.up
        said = len(texts(container))
        time.sleep(0.3)
        assert len(texts(container)) in (said, said + 1)  # what was in the pipe
        with pytest.raises(Conflict, match="paused"):
            container.pause()
        with pytest.raises(Conflict, match="unpause"):
            container.exec("true")
        with pytest.raises(Conflict, match="unpause"):
            container.start()
        container.unpause()
        assert container.status == "running"
        eventually(lambda: len(texts(container)) > said + 3)
        with pytest.raises(Conflict, match="not paused"):
            container.unpause()
        assert actions(container) == ["create", "start", "pause", "unpause"]

    @pytest.mark.parametrize("how", ["stop", "kill", "remove"])
    def test_who_is_paused_can_be_ended(self, make, how):
        container = make()
        container.pause()
        if how == "stop":
            assert container.stop(20) == 3
        elif how == "kill":
            container.kill()
            assert container.wait(20) == 137
        else:
            container.remove(force=True)
            assert not Containers().list(all=True)

    def test_who_does_not_run_cannot_be_paused(self, make):
        with pytest.raises(Conflict, match="not running"):
            make(start=False).pause()


class TestRestarts:
    def test_on_failure_ends_after_its_retries(self, make):
        container = make("sh", "-c", "echo run; exit 4", restart="on-failure:2")
        eventually(lambda: container.status == "exited")
        state = container.state
        assert (state.exit_code, state.restarts) == (4, 2)
        assert texts(container) == ["run"] * 3
        assert container.inspect()["RestartCount"] == 2
        assert actions(container) == ["create", *["start", "die"] * 3]
        assert not [entry for entry in ledger.entries() if entry.kind in ("process", "cgroup")]

    def test_on_failure_does_not_mind_success(self, make):
        container = make("true", restart="on-failure")
        assert container.wait(60) == 0
        assert container.status == "exited" and container.state.restarts == 0

    def test_a_stop_by_hand_ends_always(self, make):
        container = make(restart="always")
        assert container.stop(20) == 3
        time.sleep(0.3)
        assert container.status == "exited" and container.state.restarts == 0 and container.state.by_hand

    @pytest.mark.parametrize("how", ["stop", "kill", "remove"])
    def test_between_two_runs_it_can_be_ended(self, make, how):
        container = make("false", restart="always")
        eventually(lambda: container.status == "restarting" and container.state.restarts >= 3)
        with pytest.raises(Conflict):
            container.remove()
        if how == "remove":
            container.remove(force=True)
            assert not Containers().list(all=True)
        else:
            getattr(container, how)()
            eventually(lambda: container.status == "exited")
            assert container.state.exit_code in (1, 137)

    def test_each_run_is_whole(self, make):
        """Another PID 1 each time, a fresh /dev/shm, the same files; limits, exec and stdin as at first."""
        script = "ls /dev/shm; echo $$; touch /dev/shm/mine; echo x >> /runs; wc -l < /runs; "
        script += "while [ ! -e /end ]; do sleep 0.02; done; rm /end"
        container = make("sh", "-c", script, restart="always", memory="32m", pids_limit=40)
        eventually(lambda: len(texts(container)) == 2)
        first = container.state.pid
        container.exec("touch", "/end")
        eventually(lambda: len(texts(container)) == 4 and container.status == "running")
        assert texts(container) == ["1", "1", "1", "2"]
        assert container.state.pid != first
        assert cgroups.load(container.state.cgroup, parent="/").pids.max == 40
        assert container.exec("cat", "/runs").stdout == "x\nx\n"

    def test_who_is_attached_hears_of_the_end_of_this_run(self, make):
        container = make("sh", "-c", "read line; echo got $line; exit 5", restart="always", interactive=True)
        with container.attach(stdin=True) as attached:
            attached.send(b"one\n")
            assert b"".join(data for _, data in attached.output()) == b"got one\n"
            assert attached.exit_code == 5
        eventually(lambda: container.status == "running" and container.state.restarts == 1)
        with container.attach(stdin=True) as attached:
            attached.send(b"two\n")
            assert b"".join(data for _, data in attached.output()) == b"got two\n"
        assert texts(container) == ["got one", "got two"]

    def test_wait_returns_at_the_first_end(self, make):
        container = make("sh", "-c", "sleep 0.3; exit 6", restart="always")
        assert container.wait(60) == 6
        assert container.wait(60, "next-exit") == 6
        container.stop(0)

    def test_a_start_that_fails_is_not_tried_again(self, make):
        container = make("/absent", restart="always", start=False)
        with pytest.raises(Exception, match="absent"):
            container.start()
        eventually(lambda: container.status == "exited")
        assert container.state.exit_code == 127 and container.state.restarts == 0

    def test_the_policy_of_a_running_one_can_change(self, make):
        container = make("sh", "-c", "sleep 0.2; exit 1", restart="always")
        eventually(lambda: container.state.restarts >= 1)
        container.update(restart="no")
        eventually(lambda: container.status == "exited")
        assert container.inspect()["HostConfig"]["RestartPolicy"]["Name"] == "no"

    def test_follow_goes_on_over_runs_and_ends_with_the_last(self, make):
        container = make("sh", "-c", "echo run; exit 1", restart="on-failure:2")
        assert texts(container, follow=True) == ["run"] * 3


def test_restart(make):
    container = make()
    first = container.state
    container.restart(20)
    eventually(lambda: texts(container) == ["ready"] * 2)
    assert container.status == "running" and container.state.pid != first.pid and not container.state.by_hand
    container.stop(20)
    container.restart()  # one that does not run is started
    assert container.status == "running"
    assert actions(container).count("restart") == 2


class TestHealth:
    INTERVAL = {"health_interval": "50ms", "health_timeout": "20s"}

    def test_it_becomes_healthy_and_unhealthy(self, make):
        container = make(health_cmd="echo looked; test -e /ok", health_retries=2, **self.INTERVAL)
        assert container.health["Status"] in ("starting", "unhealthy")
        eventually(lambda: container.health["Status"] == "unhealthy")
        assert container.health["FailingStreak"] >= 2
        assert container.health["Log"][-1]["ExitCode"] == 1 and container.health["Log"][-1]["Output"] == "looked\n"
        container.exec("touch", "/ok")
        eventually(lambda: container.health["Status"] == "healthy")
        eventually(lambda: len(container.health["Log"]) == 5)
        assert container.inspect()["State"]["Health"]["FailingStreak"] == 0
        assert [word for word in actions(container) if word.startswith("health")] == [
            "health_status: unhealthy", "health_status: healthy",
        ]  # fmt: skip

    def test_one_that_hangs_is_killed(self, make):
        container = make(health_cmd="echo begun; sleep 1000", health_retries=1, health_interval="50ms",
                         health_timeout="300ms")  # fmt: skip
        eventually(lambda: container.health["Status"] == "unhealthy")
        entry = container.health["Log"][-1]
        assert entry["ExitCode"] == -1 and "exceeded timeout (0.3s)" in entry["Output"] and "begun" in entry["Output"]

    def test_in_the_start_period_no_failure_counts(self, make):
        container = make(health_cmd="false", health_retries=1, health_start_period="1h", health_start_interval="50ms",
                         health_interval="1h")  # fmt: skip
        eventually(lambda: len(container.health["Log"]) == 5)
        assert container.health["Status"] == "starting" and container.health["FailingStreak"] == 0

    def test_what_cannot_be_executed_fails(self, make):
        container = make(health_cmd="no-such-program", health_retries=1, **self.INTERVAL)
        eventually(lambda: container.health["Status"] == "unhealthy")
        assert container.health["Log"][-1]["ExitCode"] == 127

    def test_none_of_it_stays(self, make):
        container = make(health_cmd="sleep 1000", **self.INTERVAL)
        eventually(lambda: len(container.top()) > 2)
        assert container.stop(20) == 3
        assert not cgroups.detect().v2 or not os.path.exists(container.state.cgroup)

    def test_a_paused_one_is_not_asked(self, make):
        container = make(health_cmd="true", **self.INTERVAL)
        eventually(lambda: container.health["Status"] == "healthy")
        container.pause()
        time.sleep(0.2)
        last = container.health["Log"][-1]["End"]
        time.sleep(0.3)
        assert container.health["Log"][-1]["End"] == last
        container.unpause()
        eventually(lambda: container.health["Log"][-1]["End"] != last)

    def test_without_there_is_none(self, make):
        assert make().health is None


class TestUpdate:
    def test_limits_hold_at_once_and_after_the_next_start(self, make):
        container = make(memory="64m")
        group = cgroups.load(container.state.cgroup, parent="/")
        container.update(memory="32m", memory_swap="32m", cpus=0.5, pids_limit=30, cpu_shares=512)
        assert (group.memory.max, group.cpu.max, group.pids.max) == (32 << 20, 0.5, 30)
        container.update(memory="256m", memory_swap="256m")  # on v1 the one must be raised before the other
        assert group.memory.max == 256 << 20 and group.pids.max == 30
        container.update(pids_limit=-1)
        assert group.pids.max is None
        container.restart(20)
        group = cgroups.load(container.state.cgroup, parent="/")
        assert (group.memory.max, group.cpu.max) == (256 << 20, 0.5)
        host = container.inspect()["HostConfig"]
        assert host["Memory"] == 256 << 20 and host["NanoCpus"] == 500_000_000

    def test_what_does_not_fit_changes_nothing(self, make):
        container = make(memory="64m", memory_swap="128m")
        before = container.runtime.config()
        with pytest.raises(InvalidInput, match="--memory-swap"):
            container.update(memory="200m")
        with pytest.raises(InvalidInput):
            container.update(cpus=100_000)
        with pytest.raises(InvalidInput, match="hostname"):
            container.update(hostname="x")
        assert container.runtime.config() == before

    def test_one_that_does_not_run_is_changed_for_its_next_start(self, make):
        container = make(start=False)
        container.update(pids_limit=25)
        container.start()
        assert cgroups.load(container.state.cgroup, parent="/").pids.max == 25

    def test_rename(self, make):
        container, other = make(name="one"), make(name="two", start=False)
        container.rename("three")
        assert Containers().get("three").id == container.id
        with pytest.raises(ContainerNotFound):
            Containers().get("one")
        with pytest.raises(Conflict, match="taken"):
            other.rename("three")
        with pytest.raises(InvalidInput):
            other.rename("no/name")
        container.kill()
        container.wait(20)
        assert [event["Actor"]["Attributes"]["name"] for event in events.read(filters={"event": ["die"]})] == ["three"]


class TestLooking:
    def test_top(self, make):
        container = make("sh", "-c", "sleep 1000 & sleep 1000 & wait")
        def all_there():  # a child is a shell like its parent until it has become a sleep
            found = container.top()
            return found if [one.command for one in found].count("sleep 1000") == 2 else None

        found = eventually(all_there)
        assert len(found) == 3
        shell = next(one for one in found if one.pid == container.state.pid)
        assert {one.ppid for one in found} >= {shell.pid}
        assert abs(shell.started - time.time()) < 300
        container.kill()
        container.wait(20)
        with pytest.raises(Conflict, match="not running"):
            container.top()

    def test_stats(self, make):
        container = make("sh", "-c", "x=$(head -c 8000000 /dev/zero | tr '\\0' x); while :; do :; done", memory="64m")
        eventually(lambda: container.stats().memory > 7_000_000)
        before = container.stats()
        time.sleep(0.5)
        now = container.stats()
        assert now.cpu > before.cpu and now.cpu_percent(before) > 1
        assert now.limit == 64 << 20 and 10 < now.memory_percent < 100
        assert now.pids >= 1

    def test_wait_removed(self, make):
        container = make("sh", "-c", "sleep 0.2; exit 2", remove=True)
        assert container.wait(60, "removed") is not None
        with pytest.raises(ContainerNotFound):
            container.record()

    def test_logs_of_a_time_and_of_several_files(self, make):
        container = make("sh", "-c", "for i in $(seq 400); do echo line $i; done; sleep 0.3; echo last",
                         log_opt=["max-size=4k", "max-file=20"])  # fmt: skip
        assert texts(container, follow=True) == [*(f"line {number}" for number in range(1, 401)), "last"]
        assert len([name for name in os.listdir(container.runtime.directory) if "-json.log" in name]) > 5
        assert texts(container, tail=2) == ["line 400", "last"]
        finished = container.state.finished
        assert texts(container, since=finished - 0.2) == ["last"]
        assert texts(container, until=finished - 0.2) == [f"line {number}" for number in range(1, 401)]


class TestCopy:
    @pytest.fixture(params=["running", "stopped", "never started"])
    def container(self, request, make, tmp_path):
        (tmp_path / "shared").mkdir()
        container = make(volumes=[f"{tmp_path}/shared:/shared", "kept:/kept"], tmpfs=["/scratch"], start=False)
        if request.param != "never started":
            container.start()
            eventually(lambda: texts(container) == ["ready"])
        if request.param == "stopped":
            container.stop(20)
        return container

    def test_there_and_back(self, container, tmp_path):
        tree = tmp_path / "tree"
        (tree / "sub").mkdir(parents=True)
        (tree / "file").write_text("content")
        (tree / "file").chmod(0o640)
        os.chown(tree / "file", 1000, 1001)
        os.utime(tree / "file", (10**9, 10**9))
        (tree / "sub/link").symlink_to("/etc/passwd")
        os.link(tree / "file", tree / "sub/same")
        copy.copy_in(container, str(tree), "/tmp", owners=True)
        assert copy.look(container, "/tmp/tree").is_directory
        copy.copy_out(container, "/tmp/tree", str(tmp_path / "back"), owners=True)
        status = (tmp_path / "back/file").stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777, status.st_mtime) == (1000, 1001, 0o640, 10**9)
        assert os.readlink(tmp_path / "back/sub/link") == "/etc/passwd"
        assert os.path.samefile(tmp_path / "back/file", tmp_path / "back/sub/same")
        copy.copy_in(container, f"{tree}/.", "/root")  # the content, and all is root's
        assert copy.look(container, "/root/file").size == 7
        copy.copy_out(container, "/root/file", str(tmp_path / "mine"))
        assert (tmp_path / "mine").stat().st_uid == os.getuid()

    def test_volumes_are_seen_and_written(self, container, tmp_path):
        (tmp_path / "new").write_text("x")
        for place in ("/shared", "/kept"):
            copy.copy_in(container, str(tmp_path / "new"), place)
        assert (tmp_path / "shared/new").read_text() == "x"
        copy.copy_out(container, "/kept/new", str(tmp_path / "again"))
        assert (tmp_path / "again").read_text() == "x"

    def test_where_things_land(self, container, tmp_path):
        (tmp_path / "file").write_text("1")
        (tmp_path / "directory").mkdir()
        copy.copy_in(container, str(tmp_path / "file"), "/tmp/other")
        assert copy.look(container, "/tmp/other").size == 1
        with pytest.raises(Conflict, match="is a file"):
            copy.copy_in(container, str(tmp_path / "directory"), "/tmp/other")
        with pytest.raises(NotFound):
            copy.copy_in(container, str(tmp_path / "file"), "/tmp/absent/")
        with pytest.raises(NotFound):
            copy.copy_in(container, str(tmp_path / "file"), "/tmp/absent/file")
        with pytest.raises(NotFound, match="no such file"):
            copy.copy_out(container, "/nowhere", str(tmp_path))
        with pytest.raises(NotFound):
            copy.copy_out(container, "/tmp/other", str(tmp_path / "absent/there"))

    def test_archives(self, container):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            info = tarfile.TarInfo("deep/er/file")
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
        buffer.seek(0)
        copy.put(container, "/tmp", buffer)
        out = io.BytesIO()
        copy.get(container, "/tmp/deep", out)
        out.seek(0)
        with tarfile.open(fileobj=out) as archive:
            assert archive.getnames() == ["deep", "deep/er", "deep/er/file"]
            assert archive.extractfile("deep/er/file").read() == b"abc"
        with pytest.raises(InvalidInput, match="no tar archive"):
            copy.put(container, "/tmp", io.BytesIO(b"x" * 5000))

    def test_links_lead_nowhere_but_into_the_container(self, container, tmp_path):
        secret = tmp_path / "secret"
        secret.write_text("of the host")
        (tmp_path / "links").mkdir()
        (tmp_path / "links/absolute").symlink_to(secret)
        (tmp_path / "links/up").symlink_to("../" * 30 + str(secret)[1:])
        copy.copy_in(container, str(tmp_path / "links/."), "/tmp")
        for name in ("absolute", "up"):
            with pytest.raises(NotFound):
                copy.copy_out(container, f"/tmp/{name}", str(tmp_path / "stolen"), follow=True)
            with pytest.raises((NotFound, OSError)):
                copy.copy_in(container, str(secret), f"/tmp/{name}/x")
        assert not (tmp_path / "stolen").exists() and secret.read_text() == "of the host"


def test_an_archive_that_would_lead_out_of_the_destination(tmp_path):
    """The host's side: a link comes first, then a file through it."""
    from labrt.engine import tarstream

    (tmp_path / "outside").mkdir()
    (tmp_path / "inside").mkdir()
    for names in (["link", "link/file"], ["../file"], ["link/../../file"]):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in names:
                info = tarfile.TarInfo(name)
                if name == "link":
                    info.type, info.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
                archive.addfile(info, io.BytesIO(b""))
        buffer.seek(0)
        with contextlib.suppress(InvalidInput, OSError):
            tarstream.unpack(buffer, str(tmp_path / "inside"))
    assert os.listdir(tmp_path / "outside") == [] and sorted(os.listdir(tmp_path)) == ["inside", "outside"]


class TestAfterACrash:
    def test_a_killed_monitor_takes_the_container_with_it_and_the_next_command_mends(self, make):
        container = make(restart="always")
        state = container.state
        watched = process.open_pidfd(state.pid, state.starttime)
        os.kill(state.monitor, 9)
        assert process.wait_for(watched, 20)
        os.close(watched)
        assert container.status == "exited" and "monitor was killed" in container.state.error
        Containers().mend()
        assert not [entry for entry in ledger.entries() if entry.kind != "container"]
        assert not container.mend()
        assert container.state.exit_code == 137
        assert restore() and container.status == "running"  # what its policy promised, when somebody asks

    def test_a_reboot_leaves_no_ghost(self, make):
        always, stopped, plain = make(restart="always"), make(restart="unless-stopped"), make()
        stopped.stop(20)
        for container in (always, plain):
            state = container.state
            os.kill(state.monitor, 9)
            path = Path(container.runtime.state_file)
            path.write_text(path.read_text().replace(state.boot, "00000000-0000-0000-0000-000000000000"))
        assert always.status == plain.status == "exited"
        assert always.state.exit_code == 255 and "rebooted" in always.state.error
        assert [container.id for container in restore()] == [always.id]
        assert (always.status, stopped.status, plain.status) == ("running", "exited", "exited")

    def test_one_that_was_to_be_removed_is_removed_by_who_mends(self, make):
        container = make(remove=True)
        os.kill(container.state.monitor, 9)
        eventually(lambda: container.status == "exited")
        Containers().mend()
        assert not Containers().list(all=True)
