"""Containers from images: what `labrt.run` and the engine promise."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import labrt
from labrt.engine.containers import Containers
from labrt.engine.images import Images
from labrt.engine.options import Options
from labrt.engine.signal_names import parse_signal
from labrt.errors import CommandNotExecutable, CommandNotFound, Conflict, ContainerNotFound, ImageNotFound, InvalidInput
from labrt.linux import cgroups, ledger

pytestmark = pytest.mark.root


def run(*command: str, **options):
    return labrt.run("busybox", *command, **options)


def nothing_left() -> bool:
    return not ledger.entries() and not Containers().list(all=True) and not Images().driver.containers()


def test_hello(house):
    result = labrt.run("busybox", "echo", "hello")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "hello\n", "")
    assert "exit_code=0, stdout='hello" in repr(result)
    assert nothing_left()


def test_the_images_own_command_and_an_entrypoint(house):
    assert run(input="echo from the shell").stdout == "from the shell\n"
    assert run("from", "echo", entrypoint="echo").stdout == "from echo\n"


def test_options_take_effect(house, tmp_path):
    (tmp_path / "file").write_text("from the host")
    script = "hostname; id -g; pwd; echo $A $B; cat /data/file; echo; echo x > /data/new || echo read-only"
    lines = run(
        "sh", "-c", script, hostname="box", user="root:50", workdir="/tmp", env=["A=1", "B=2"],
        volumes=[f"{tmp_path}:/data:ro"],
    ).stdout.splitlines()  # fmt: skip
    assert lines == ["box", "50", "/tmp", "1 2", "from the host", "read-only"]


def test_a_user_by_name(house):
    assert run("id", user="nobody").stdout == "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)\n"


def test_a_writable_volume_is_written_to(house, tmp_path):
    run("sh", "-c", "echo inside > /data/new", volumes=[f"{tmp_path}:/data"])
    assert (tmp_path / "new").read_text() == "inside\n"


def test_limits_are_the_cgroups(house):
    script = """cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max \
    /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max 2>/dev/null; \
    cut -d' ' -f1 /sys/fs/cgroup/cpu.max 2>/dev/null; true"""
    seen = run("sh", "-c", script, memory="64m", pids_limit=30, cpus=0.5).stdout.split()
    assert sorted(seen) == sorted([str(64 << 20), "30", "50000"])


@pytest.mark.parametrize(("given", "swap"), [(None, 64 << 20), ("0", 64 << 20), ("64m", 0), ("80m", 16 << 20)])
def test_swap_is_limited_with_memory(house, given, swap):
    container = Containers().create(Options("busybox", ("sleep", "60"), memory="64m", memory_swap=given))
    try:
        container.start()
        own = cgroups.load(container.state.cgroup, parent="/")  # with systemd in a scope of its own
        if not own.paths.get("memory") or os.path.exists(f"{own.paths['memory']}/memory.memsw.limit_in_bytes"):
            assert own.memory.swap_max == swap
        assert own.memory.max == 64 << 20
    finally:
        container.remove(force=True)


def test_read_only_means_the_image_and_not_the_volumes(house, tmp_path):
    script = "touch /file || touch /dev/shm/x && touch /data/x && echo fine"
    result = run("sh", "-c", script, read_only=True, volumes=[f"{tmp_path}:/data"])
    assert result.stdout == "fine\n"
    assert "Read-only file system" in result.stderr


def test_networks(house):
    assert run("sh", "-c", "ip -o link | wc -l").stdout.strip() == "1"
    assert run("ping", "-c", "1", "-W", "2", "127.0.0.1").exit_code == 0
    ours = sorted(os.listdir("/sys/class/net"))
    assert sorted(run("ls", "/sys/class/net", network="host").stdout.split()) == ours


def test_what_one_container_writes_another_does_not_see(house):
    first = run("sh", "-c", "echo changed > /etc/passwd; rm /bin/vi; sleep 60", detach=True)
    assert run("sh", "-c", "[ -L /bin/vi ] && head -1 /etc/passwd").stdout.startswith("root:")
    first.remove(force=True)


def test_input_larger_than_any_pipe(house):
    data = os.urandom(3_000_000)
    assert run("cat", input=data).raw_stdout == data


def test_a_terminal(house):
    assert run("tty", tty=True).stdout == "/dev/pts/0\r\n"


class TestDetached:
    @pytest.fixture
    def nap(self, house):
        container = run("sh", "-c", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done",
                        detach=True, name="nap")  # fmt: skip
        for entry in container.logs(follow=True):
            assert entry.text == "ready\n"
            break
        return container

    def test_is_found_by_name_and_by_the_beginning_of_its_id(self, nap):
        containers = Containers()
        assert containers.get("nap").id == containers.get(nap.id[:6]).id == nap.id
        assert [each.id for each in containers.list()] == [nap.id]
        assert nap.status == "running"

    def test_a_name_is_given_once(self, nap):
        with pytest.raises(Conflict, match="the name nap is taken by container"):
            run("true", name="nap")
        assert len(Containers().list(all=True)) == 1

    def test_stop_asks_first(self, nap):
        assert nap.stop() == 3
        assert nap.status == "exited"
        assert [entry.text for entry in nap.logs()] == ["ready\n", "bye\n"]

    def test_stop_kills_who_does_not_listen(self, house):
        deaf = run("sleep", "300", detach=True)
        assert deaf.stop(timeout=0.2) == 137

    def test_starts_again_with_what_it_wrote(self, nap):
        nap.exec("sh", "-c", "echo kept > /kept")
        nap.stop()
        nap.start()
        assert nap.exec("cat", "/kept").stdout == "kept\n"
        with pytest.raises(Conflict, match="is running already"):
            nap.start()

    def test_exec_and_its_errors(self, nap):
        result = nap.exec("sh", "-c", "cat; pwd; exit 4", input=b"in\n", cwd="/tmp")
        assert (result.exit_code, result.stdout) == (4, "in\n/tmp\n")
        with pytest.raises(CommandNotFound):
            nap.exec("nosuch")
        nap.kill()
        nap.wait()
        with pytest.raises(Conflict, match="not running"):
            nap.exec("true")

    def test_kill_takes_names(self, nap):
        nap.kill("SIGTERM")
        assert nap.wait(20) == 3

    def test_removing_while_it_runs_wants_force(self, nap):
        with pytest.raises(Conflict, match="running"):
            nap.remove()
        nap.remove(force=True)
        with pytest.raises(ContainerNotFound):
            nap.record()
        assert "removed" in repr(nap)
        assert nothing_left()

    def test_logs_follow_until_the_end(self, nap):
        threading.Timer(0.1, nap.kill, ["TERM"]).start()
        assert [entry.text for entry in nap.logs(follow=True)] == ["ready\n", "bye\n"]
        assert [entry.text for entry in nap.logs(tail=1)] == ["bye\n"]

    def test_inspect_is_shaped_as_dockers(self, nap):
        seen = nap.inspect()
        assert seen["Name"] == "/nap"
        assert seen["State"]["Pid"] == nap.state.pid
        assert seen["HostConfig"]["NetworkMode"] == "none"

    def test_its_image_cannot_go_before_it(self, nap):
        with pytest.raises(Conflict, match="used by container nap"):
            Images().remove("busybox")


class TestFailures:
    def test_commands_that_are_not_there(self, house):
        with pytest.raises(CommandNotFound):
            run("nosuch")
        with pytest.raises(CommandNotExecutable):
            run("/etc/passwd")
        assert nothing_left()

    def test_detached_as_well(self, house):
        with pytest.raises(CommandNotFound):
            run("nosuch", detach=True)
        assert nothing_left()

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"name": "a b"}, "--name 'a b'"),
            ({"hostname": "-x"}, "--hostname '-x'"),
            ({"network": "no/such"}, "'no/such'.*none, host"),
            ({"workdir": "tmp"}, "--workdir 'tmp'"),
            ({"memory": "1k"}, "--memory 1k"),
            ({"memory": "many"}, "many"),
            ({"memory": "64m", "memory_swap": "63m"}, "--memory-swap 63m: --memory is 64m"),
            ({"memory_swap": "63m"}, "--memory-swap 63m: --memory is not set"),
            ({"cpus": 0}, "--cpus 0"),
            ({"cpus": 10_000}, "--cpus 10000"),
            ({"pids_limit": -5}, "--pids-limit -5"),
            ({"volumes": ["./relative:/x"]}, "'./relative' is not absolute"),
            ({"volumes": ["/etc:/"]}, "cannot be mounted on"),
            ({"volumes": ["/etc:/x:rx"]}, "'rx'"),
            ({"volumes": ["/etc:/x:ro:rw"]}, "not understood"),
            ({"volumes": ["relative"]}, "cannot be mounted on"),
            ({"env": ["=x"]}, "no name"),
            ({"pull": "sometimes"}, "'sometimes'"),
            ({"platform": "linux/amd64/v9/x"}, "amd64/v9/x"),
        ],
    )
    def test_options_that_cannot_be(self, house, options, words):
        with pytest.raises(InvalidInput, match=words):
            run("true", **options)
        assert nothing_left()

    def test_an_image_that_is_nowhere(self, house):
        with pytest.raises(ImageNotFound, match="nosuchimage"):
            labrt.run("nosuchimage", "true", pull="never")

    def test_the_interrupted_leaves_nothing(self, house):
        script = (
            "import labrt, os, threading, time, signal\n"
            "from labrt.engine.containers import Containers\n"
            "def interrupt():\n"
            "    while not Containers().list(): time.sleep(0.01)\n"
            "    os.kill(os.getpid(), signal.SIGINT)\n"
            "threading.Thread(target=interrupt, daemon=True).start()\n"
            "labrt.run('busybox', 'sleep', '300')\n"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
        assert "KeyboardInterrupt" in done.stderr
        assert nothing_left()

    def test_a_container_whose_maker_was_killed_goes_on(self, house):
        script = "import labrt; print(labrt.run('busybox', 'sleep', '300', detach=True).id, flush=True); input()"
        with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True) as maker:
            id = maker.stdout.readline().strip()
            maker.kill()
        container = Containers().get(id)
        assert container.exec("echo", "still here").stdout == "still here\n"
        container.remove(force=True)

    def test_removed_by_its_monitor_when_nobody_waits(self, house):
        container = run("sh", "-c", "read x", detach=True, remove=True, interactive=True)
        container.attach(stdin=True).close()
        end = time.monotonic() + 20
        while not nothing_left():
            assert time.monotonic() < end
            time.sleep(0.02)


def test_many_at_the_same_time(house):
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(run("echo", str(n)).stdout)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [f"{n}\n" for n in range(8)]
    assert nothing_left()


def test_signals_by_name_and_number():
    assert parse_signal("KILL") == parse_signal("sigkill") == parse_signal(9) == parse_signal("9") == signal.SIGKILL
    assert parse_signal("SIGRTMIN+3") == signal.SIGRTMIN + 3 and parse_signal("rtmax-1") == signal.SIGRTMAX - 1
    for wrong in ("NOSUCH", "1000", "", "TERM+1", "RTMAX+1", "²"):
        with pytest.raises(InvalidInput, match="no signal"):
            parse_signal(wrong)


def test_options_are_checked_before_anything_is_done():
    with contextlib.suppress(InvalidInput):
        Options("busybox", network="no/such")
        raise AssertionError("accepted")
