"""Ways out of what `labrt-oci` starts, where they differ: the runtime has ended by then, and its file is nobody's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

# CVE-2019-5736: keep the runtime's program open, become something else, and write to it when the runtime has ended.
STEAL = """
import os
program = os.open("/proc/self/exe", os.O_PATH)
os.set_inheritable(program, True)
os.execv("/bin/sh", ["sh", "-c",
    f"i=0; while [ $i -lt 100 ]; do (echo stolen > /proc/self/fd/{program}) 2>/error && exit 3; sleep 0.1;"
    "i=$((i+1)); grep -q Read-only /error && exit 4; done; exit 5"])
"""


def with_libraries(config):
    places = {"/usr", "/lib", "/lib64", sys.base_prefix}
    config["root"]["readonly"] = False
    config["mounts"] += [
        {"destination": place, "type": "bind", "source": place, "options": ["rbind", "rro"]}
        for place in sorted(places) if os.path.isdir(place)
    ]  # fmt: skip


@pytest.mark.parametrize("sealed", [False, True])
def test_the_runtimes_own_program(oci, tmp_path, monkeypatch, sealed):
    """Init is told to execute /proc/self/exe, and so the container gets hold of the interpreter that we run."""
    program = tmp_path / "python"
    shutil.copy(os.path.realpath(sys.executable), program)
    before = program.read_bytes()
    oci.busybox = Path(shutil.copytree(oci.busybox, tmp_path / "root", symlinks=True))
    for place in ("usr", "lib", "lib64", sys.base_prefix.lstrip("/")):
        (oci.busybox / place).mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if os.path.isabs(path)))
    monkeypatch.setenv("PYTHONHOME", sys.base_prefix)
    begin = "oci.script()" if sealed else "oci.run(sys.argv[1:])"
    normal = oci.words
    oci.words = [str(program), "-c", f"import sys; from labrt.cli import oci; {begin}", "--root", str(oci.root)]
    id = oci.create("/proc/self/exe", "-I", "-S", "-c", STEAL, change=with_libraries)
    oci("start", id)
    oci.words = normal
    code = oci.wait(id)
    stolen = program.read_bytes() != before
    assert (stolen, code) == ((False, 4) if sealed else (True, 3))


def test_no_working_directory_leads_out(oci):
    """CVE-2024-21626, by the bundle and by exec."""
    for fd in range(3, 16):
        id = oci.bundle("true", change=lambda config, fd=fd: config["process"].update(cwd=f"/proc/self/fd/{fd}"))
        oci("create", "--bundle", str(oci.bundles / id), id, code=None, stdout=None, stderr=None)
        started = oci("start", id, code=None)
        assert started.returncode != 0
    running = oci.create("sleep", "60")
    oci("start", running)
    for fd in range(3, 16):
        assert oci("exec", "--cwd", f"/proc/self/fd/{fd}", running, "true", code=None).returncode != 0
    shown = subprocess.run([*oci.words, "exec", running, "ls", "/proc/self/fd"], capture_output=True, text=True)
    assert shown.stdout.split() == ["0", "1", "2", "3"]


DESCRIBE = """
import ctypes, os
number, room = 250 if os.uname().machine == "x86_64" else 219, ctypes.create_string_buffer(200)
KEYCTL_DESCRIBE, SESSION = 6, -3
ctypes.CDLL(None).syscall(number, KEYCTL_DESCRIBE, ctypes.c_long(SESSION), room, ctypes.c_long(200))
print(room.value.decode().rpartition(";")[2])
"""


@pytest.mark.parametrize(("options", "own"), [((), True), (("--no-new-keyring",), False)])
def test_the_keys_of_the_session(oci, tmp_path, options, own):
    """It has a session keyring of its own; with --no-new-keyring, which says so, it has ours."""
    if not os.path.exists("/proc/keys"):
        pytest.skip("a kernel without keyrings")
    oci.busybox = Path(shutil.copytree(oci.busybox, tmp_path / "root", symlinks=True))
    for place in ("usr", "lib", "lib64", sys.base_prefix.lstrip("/")):
        (oci.busybox / place).mkdir(parents=True, exist_ok=True)

    def change(config):
        with_libraries(config)
        config["linux"].pop("seccomp")

    output = tmp_path / "keyring"
    program = os.path.realpath(sys.executable)
    id = oci.create(program, "-I", "-S", "-c", DESCRIBE, change=change, output=output, options=options)
    oci("start", id)
    assert oci.wait(id) == 0
    assert (output.read_text() == "labrt\n") == own
