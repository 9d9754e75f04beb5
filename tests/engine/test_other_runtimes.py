"""`--runtime runc`: another runtime starts it, and all else is as ever: output, exit code, exec, stop, terminal."""

from __future__ import annotations

import contextlib
import os
import shutil
import sysconfig
import time

import pytest

import labrt
from labrt.engine.containers import Containers
from labrt.engine.options import Options
from labrt.errors import CommandNotFound, ContainerNotFound, InvalidInput, LabrtError
from labrt.linux import cgroups

pytestmark = [pytest.mark.root, pytest.mark.oracle]


OURS = os.path.join(sysconfig.get_path("scripts"), "labrt-oci")


@pytest.fixture(params=["runc", "crun", OURS])
def runtime(request):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    if request.param == "crun" and cgroups.detect().mode == "hybrid":
        pytest.skip("crun refuses machines with both kinds of cgroups")
    return request.param


@pytest.fixture
def make(house, runtime):
    made = []

    def build(*command: str, **options):
        container = Containers().create(Options("busybox", command, runtime=runtime, **options))
        made.append(container)
        return container

    yield build
    for container in made:
        with contextlib.suppress(ContainerNotFound):
            container.remove(force=True)


def test_output_and_exit_code(house, runtime):
    done = labrt.run("busybox", "sh", "-c", "echo out; echo err >&2; exit 7", runtime=runtime)
    assert (done.stdout, done.stderr, done.exit_code) == ("out\n", "err\n", 7)
    assert Containers().list(all=True) == []


def test_what_it_is_given(make):
    container = make("sh", "-c", "id -u; echo $HOME; hostname; cat /sys/fs/cgroup/*/pids.max /sys/fs/cgroup/pids.max",
                     user="nobody", hostname="guest", pids_limit=33)  # fmt: skip
    out = container.run_to_end().stdout.split()
    assert out[0] != "0" and out[2] == "guest" and out[3] == "33"


def test_what_it_says_is_what_it_gets(house, runtime):
    assert labrt.run("busybox", "echo", "/proc/self/fd/1", runtime=runtime).stdout == "/proc/self/fd/1\n"


def test_its_life(make):
    container = make("sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done", stop_timeout=20)
    container.start()
    for _ in range(1000):
        if [entry.text for entry in container.logs()]:
            break
        time.sleep(0.01)
    assert container.exec("sh", "-c", "echo inside; cat /proc/1/comm").stdout == "inside\nsh\n"
    container.pause()
    container.unpause()
    container.stop()
    assert container.runtime.state.exit_code == 3
    assert [entry.text for entry in container.logs()] == ["ready\n"]
    container.start()
    assert container.runtime.state.status == "running"
    container.remove(force=True)


def test_its_terminal(make):
    container = make("sh", "-c", "tty; stty size; read line; echo got $line", tty=True, interactive=True,
                     console_size=(33, 77))  # fmt: skip
    shown = container.run_to_end(b"hello\n").stdout
    assert "/dev/pts/0" in shown and "got hello" in shown


def test_a_command_that_is_not_there(make):
    container = make("/nowhere")
    with pytest.raises(CommandNotFound, match="nowhere"):
        container.start()
    assert not os.path.ismount(os.path.join(container.runtime.directory, "rootfs"))


def test_a_runtime_that_there_is_not(house):
    with pytest.raises(InvalidInput, match="nosuch"):
        Options("busybox", runtime="nosuch")


def test_a_runtime_that_is_none(house):
    with pytest.raises(LabrtError, match="false create"):
        labrt.run("busybox", "true", runtime="false")
