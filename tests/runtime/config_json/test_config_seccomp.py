"""linux.seccomp: filters, and calls that an agent answers."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import platform
import socket
import struct
import threading
from pathlib import Path

import pytest

from labrt.errors import ContainerError
from labrt.runtime import config as oci

pytestmark = pytest.mark.root


def test_seccomp(see):
    def change(config):
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                                                         "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"] if platform.machine() == "x86_64" else [],
            "syscalls": [
                {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
                {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 11,
                 "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]},
            ],
        }  # fmt: skip

    script = "mkdir /tmp/x 2>&1; kill -USR1 $$ 2>&1; kill -CONT $$ && echo continued; grep ^Seccomp: /proc/self/status"
    full, again, continued, mode = see(script, change)
    assert "No space left" in full and "temporarily unavailable" in again
    assert (continued, mode.split()) == ("continued", ["Seccomp:", "2"])


NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_…, linux/seccomp.h


class Agent:
    """A seccomp agent: takes listeners, and answers each call with one errno."""

    def __init__(self, path: Path, errno: int) -> None:
        self.received: list[dict] = []
        self.errno = errno
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.server.bind(str(path))
        self.server.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self.server.accept()
            with connection:
                data, ancillary, *_ = connection.recvmsg(1 << 16, socket.CMSG_SPACE(16))
                while more := connection.recv(1 << 16):
                    data += more
            self.received.append(json.loads(data))
            (listener,) = array.array("i", ancillary[0][2])
            threading.Thread(target=self._answer, args=(listener,), daemon=True).start()

    def _answer(self, listener: int) -> None:
        with contextlib.suppress(OSError):  # ENOENT: whoever called is gone
            while True:
                request = bytearray(80)
                fcntl.ioctl(listener, NOTIF_RECV, request)
                (id,) = struct.unpack_from("=Q", request)
                fcntl.ioctl(listener, NOTIF_SEND, struct.pack("=QqiI", id, 0, -self.errno, 0))
        os.close(listener)


@pytest.fixture
def agent(tmp_path_factory):
    path = tmp_path_factory.mktemp("agent") / "agent.sock"
    return Agent(path, 123), path  # ENOMEDIUM


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_a_seccomp_agent_answers(make, outcome, run_in, agent, no_new_privileges):
    server, path = agent

    def change(config):
        config["process"]["noNewPrivileges"] = no_new_privileges
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(path), "listenerMetadata": "for the agent",
            "flags": ["SECCOMP_FILTER_FLAG_TSYNC"],
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
        }  # fmt: skip

    container = make("sh", "-c", "mkdir /tmp/x 2>&1; sleep 300", change=change)
    pid = container.state.pid
    with container.attach() as attached:
        attached.start()
        stream = attached.output()
        assert b"No medium found" in next(stream)[1]
        assert "No medium found" in run_in(container, "mkdir /tmp/y 2>&1; true")
    first, second = server.received
    assert first["fds"] == second["fds"] == ["seccompFd"]
    assert first["metadata"] == "for the agent"
    assert (first["pid"], first["state"]["pid"], first["state"]["id"]) == (pid, pid, container.id)
    assert first["state"]["bundle"] == container.bundle and first["ociVersion"] == oci.OCI_VERSION
    assert second["pid"] != pid and second["state"]["status"] == "running"


def test_without_an_agent_the_container_does_not_start(make, tmp_path):
    def change(config):
        rule = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(tmp_path / "nobody"), "syscalls": [rule],
        }  # fmt: skip

    container = make("sleep", "300", change=change)
    with pytest.raises(ContainerError, match=r"linux\.seccomp\.listenerPath: .*nobody: No such file"):
        container.start()
    container.wait(20)
    assert container.state.status == "stopped"
