"""What the processes that a `labrt run` waits for do not import: it would take longer than their work."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = {"typing", "inspect", "dataclasses", "click", "hashlib", "threading", "asyncio", "requests", "rich", "uuid"}
# Without ctypes there are no system calls, and what Python's own imports (from 3.14 on threading) cannot be helped.
WITH_CTYPES = subprocess.check_output(
    [sys.executable, "-I", "-S", "-c", "import ctypes, sys; print(*sys.modules)"], text=True
)
SLOW -= {*WITH_CTYPES.split()}


@pytest.mark.root
@pytest.mark.parametrize("words", [("run", "--rm", "busybox", "true"), ("exec", "napping", "true")])
def test_the_command_line(cli, words):
    cli.ok("run", "-d", "--name", "napping", "busybox", "sleep", "1000")
    done = cli(*words, PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip() for line in done.err.splitlines() if line.startswith("import time:")}
    assert done.code == 0 and "labrt.cli.programs" in imported and not imported & SLOW


def test_the_launcher():
    code = f"import sys; sys.path[:] = {sys.path!r}\n"
    code += "from labrt.runtime import forkserver, orders; forkserver._warm_up(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert "labrt.runtime.monitor" in done.stdout and not SLOW & set(done.stdout.split())


def test_a_monitor_with_a_network():
    code = f"import sys; sys.path[:] = {sys.path!r}\n"
    code += "from labrt.runtime import forkserver; from labrt.runtime.networks import attachment; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert "labrt.linux.network.firewall" in done.stdout and not SLOW & set(done.stdout.split())


def test_labrt_oci():
    code = f"import sys; sys.path[:] = {sys.path!r}\nfrom labrt.cli.oci import commands\n"
    code += "from labrt.runtime.oci import create, execution, lifecycle; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert "labrt.runtime.oci.record" in done.stdout and not SLOW & set(done.stdout.split())
