"""Children: how they end, what they return, in which namespaces and with which threads around."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from labrt.errors import InvalidInput, LabrtError
from labrt.linux import namespaces, process
from labrt.linux.flags import CLONE


@pytest.fixture(params=["one thread", "several threads"])
def threads(request: pytest.FixtureRequest):
    """Both ways of making a child: straight by clone3, and through a go-between."""
    if request.param == "one thread":
        if process.threads() > 1:
            pytest.skip("this test process has threads of its own")
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    assert process.threads() > 1
    yield
    stop.set()
    thread.join()


def test_returns_what_the_function_returns(threads):
    assert process.run_in_child(lambda: {"a": [1, os.getpid()]})["a"][1] != os.getpid()


def test_raises_what_the_function_raises(threads):
    def fail():
        raise KeyError("nothing there")

    with pytest.raises(KeyError, match="nothing there") as caught:
        process.run_in_child(fail)
    assert "in the child" in caught.value.__notes__[0]


def test_what_cannot_be_pickled_is_an_error_not_a_hang():
    with pytest.raises(LabrtError, match="cannot be sent back"):
        process.run_in_child(lambda: lambda: None)


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_child_says_so(threads, sig):
    with pytest.raises(process.ChildFailed) as caught:
        process.run_in_child(lambda: os.kill(os.getpid(), sig))
    assert caught.value.exit == process.Exit(128 + sig, sig)


def test_exit_codes_come_back(threads):
    for code in (0, 1, 7, 255):
        with process.spawn(lambda code=code: code) as child:
            assert child.wait() == process.Exit(code)


def test_an_exception_in_spawn_is_exit_code_1_and_a_traceback(threads, capfd):
    def fail():
        raise RuntimeError("deliberate")

    with process.spawn(fail) as child:
        assert child.wait().code == 1
    assert "RuntimeError: deliberate" in capfd.readouterr().err


def test_print_reaches_descriptor_1(threads, capfd):
    process.run_in_child(lambda: print("from the child"))
    assert capfd.readouterr().out == "from the child\n"


def test_the_block_ends_the_child(threads):
    with process.spawn(lambda: time.sleep(60)) as child:
        assert os.path.exists(f"/proc/{child.pid}")
        assert child.wait(0) is None
    assert child.exit.signal == signal.SIGKILL
    assert not os.path.exists(f"/proc/{child.pid}")


def test_what_the_caller_closes_is_closed(threads):
    read, write = os.pipe()
    def close_and_stay():
        os.close(write)
        time.sleep(60)

    with process.spawn(close_and_stay):
        os.close(write)
        assert os.read(read, 1) == b""
    os.close(read)


@pytest.mark.root
def test_the_first_in_a_pid_namespace_is_1(threads):
    assert process.run_in_child(os.getpid, namespaces="pid") == 1


@pytest.mark.root
def test_every_kind_is_new_and_the_others_are_shared(threads):
    here = namespaces.of("self")
    wanted = "mnt,pid,net,ipc,uts,cgroup"
    with process.spawn(lambda: time.sleep(60), namespaces=wanted) as child:
        there = namespaces.of(child.pid)
    assert set(there) - set(there.shared_with(here)) == set(wanted.split(","))


def test_root_in_a_user_namespace_is_the_caller():
    def look():
        with open("/proc/self/uid_map") as file:
            return os.getuid(), file.read().split()

    uid, mapped = process.run_in_child(look, namespaces=CLONE.NEWUSER)
    assert (uid, mapped) == (0, ["0", str(os.geteuid()), "1"])


@pytest.mark.root
def test_mounts_in_a_child_do_not_show_here(tmp_path):
    from labrt.linux import syscalls
    from labrt.linux.flags import MS

    def mount_one():
        syscalls.mount("tmpfs", tmp_path, "tmpfs", MS.NODEV)
        (tmp_path / "inside").touch()

    process.run_in_child(mount_one, namespaces="mnt")
    assert not list(tmp_path.iterdir())


@pytest.mark.root
def test_the_child_is_in_its_cgroup_before_its_function_begins(threads):
    from labrt.linux import cgroups

    with cgroups.create(f"test-process-{os.getpid()}") as group:
        def look():
            with open("/proc/self/cgroup") as file:
                return file.read()

        assert f"/labrt/test-process-{os.getpid()}" in process.run_in_child(look, cgroup=group)


def test_a_kind_that_does_not_exist_is_named():
    with pytest.raises(InvalidInput, match="'pidd'.*one of cgroup, ipc"):
        process.spawn(lambda: 0, namespaces="pidd")


def test_a_pidfd_is_not_given_for_a_recycled_pid():
    own = process.start_time()
    assert process.open_pidfd(os.getpid(), own + 1) is None
    pidfd = process.open_pidfd(os.getpid(), own)
    os.close(pidfd)
    with process.spawn(lambda: 0) as child:
        child.wait()
    assert process.open_pidfd(child.pid) is None


@pytest.mark.root
def test_entering_another_processes_namespaces():
    import socket

    from labrt.linux import syscalls

    def named():
        syscalls.sethostname("elsewhere")
        time.sleep(60)

    with process.spawn(named, namespaces="uts") as child:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            seen = process.run_in_child(lambda: (namespaces.enter(child.pid, "uts"), socket.gethostname())[1])
            if seen == "elsewhere":
                break
        assert seen == "elsewhere"
        with namespaces.entered("uts", child.pid):
            assert socket.gethostname() == "elsewhere"
        assert socket.gethostname() != "elsewhere"
