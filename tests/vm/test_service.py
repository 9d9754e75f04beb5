"""JupyterLab as the service that `setup.sh service` makes, on the machine it is made for. See vm/run.sh."""

from __future__ import annotations

import json
import re
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
GUEST = "labrt.job" in Path("/proc/cmdline").read_text().split()
TOKEN = Path("/var/lib/labrt/lab/token")
pytestmark = [
    pytest.mark.vm,
    pytest.mark.root,
    pytest.mark.skipif(not GUEST, reason="not the guest of tests/vm/run.sh"),
]


def run(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout.strip()


def provision() -> str:
    """What Vagrant runs; its last line."""
    return run("sh", str(PROJECT / "labrt" / "setup.sh"), "service").splitlines()[-1]


def main_pid() -> str:
    return run("systemctl", "show", "--property=MainPID", "--value", "labrt-lab.service")


def listening() -> str:
    """Wait until port 8888 is open; the addresses that it listens on."""
    deadline = time.monotonic() + 400
    while not (found := run("ss", "-Hltn", "sport = :8888")):
        assert time.monotonic() < deadline, run("journalctl", "-u", "labrt-lab", "-n", "30", "--no-pager")
        time.sleep(1)
    return found


@pytest.fixture(scope="module")
def url() -> str:
    return provision()


def card() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # a datagram socket sends nothing by this
        return str(probe.getsockname()[0])


def status(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=120) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_last_line_is_the_url_with_the_token(url: str) -> None:
    assert re.fullmatch(r"labrt: http://127\.0\.0\.1:8888/lab\?token=[0-9a-f]{48}", url)
    assert TOKEN.read_text() in url
    assert stat.S_IMODE(TOKEN.stat().st_mode) == 0o600


def test_it_listens_on_the_card_alone_and_asks_for_the_token(url: str) -> None:
    addresses = {line.split()[3] for line in listening().splitlines()}
    assert addresses == {f"{card()}:8888"}
    assert status(f"http://{card()}:8888/api/contents") == 403
    assert status(f"http://{card()}:8888/api/contents?token={TOKEN.read_text()}") == 200


def test_a_second_provisioning_changes_nothing(url: str) -> None:
    before = main_pid()
    assert provision() == url
    assert main_pid() == before


def test_a_container_survives_the_restart_of_the_service(url: str) -> None:
    # Started in the service's own cgroup, as a notebook's kernel is.
    listening()
    group = run("systemctl", "show", "--property=ControlGroup", "--value", "labrt-lab.service")
    labrt = f"{sys.executable} -m labrt"
    enter = f"echo $$ >/sys/fs/cgroup{group}/cgroup.procs; exec {labrt} run -d --name survivor busybox sleep 100000"
    run("sh", "-c", enter)
    try:
        before = main_pid()
        run("systemctl", "restart", "labrt-lab.service")
        assert main_pid() != before
        assert json.loads(run(*labrt.split(), "inspect", "survivor"))[0]["State"]["Status"] == "running"
    finally:
        run(*labrt.split(), "rm", "-f", "survivor")
