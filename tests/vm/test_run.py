"""vm/run.sh where no guest can be made: what this machine lacks is no failure (77), what is broken is one (1)."""

from __future__ import annotations

import contextlib
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.sh").resolve()
TOOLS = (f"qemu-system-{os.uname().machine}", "mmdebstrap", "mkfs.ext4", "cpio", "depmod", "xz", "zstd")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not os.path.exists("/usr/lib/apt/apt-helper"), reason="no apt on this machine"),
]
needs_tools = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"not all of {', '.join(TOOLS)} are here")


def run(cache: Path, mirror: str, *more_path: Path) -> subprocess.CompletedProcess[str]:
    path = ":".join([*map(str, more_path), os.environ["PATH"]])
    environment = {**os.environ, "LABRT_VM_CACHE": str(cache), "LABRT_VM_MIRROR": mirror, "PATH": path}
    return subprocess.run(["sh", str(RUN)], env=environment, capture_output=True, text=True, timeout=90)


@contextlib.contextmanager
def mirror_of_nothing(folder: Path) -> Iterator[str]:
    """A mirror of Debian that has a release and no package."""
    release = folder / "dists" / "bookworm" / "InRelease"
    release.parent.mkdir(parents=True)
    release.write_text("Suite: bookworm\n")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@needs_tools
def test_a_mirror_that_does_not_answer_is_no_failure(tmp_path: Path) -> None:
    done = run(tmp_path / "cache", "http://127.0.0.1:1/debian")
    assert done.returncode == 77, done
    assert "Debian's mirror has no answer at http://127.0.0.1:1/debian/dists/bookworm" in done.stderr


@needs_tools
def test_a_guest_whose_making_fails_is_a_failure(tmp_path: Path) -> None:
    broken = tmp_path / "bin" / "mmdebstrap"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho nothing comes of this >&2\nexit 25\n")
    broken.chmod(0o755)
    with mirror_of_nothing(tmp_path / "mirror") as mirror:
        done = run(tmp_path / "cache", mirror, broken.parent)
    assert done.returncode == 1, done
    assert "build.log says why" in done.stderr and "nothing comes of this" in done.stderr


def test_a_tool_that_is_missing_is_named(tmp_path: Path) -> None:
    few = tmp_path / "bin"
    few.mkdir()
    for name in ("sh", "dirname", "id", "uname", "sed"):
        (few / name).symlink_to(str(shutil.which(name)))
    command = [str(shutil.which("sh")), str(RUN)]
    done = subprocess.run(command, env={"PATH": str(few)}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 77 and "qemu-system" in done.stderr and "package" in done.stderr, done


def test_a_processor_that_debian_has_no_kernel_for_is_named() -> None:
    done = subprocess.run(["sh", str(RUN), "--arch", "pdp11"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 77 and "no cloud kernel for pdp11: --arch is amd64 or arm64" in done.stderr, done


FOREIGN = {"x86_64": ("arm64", "aarch64"), "aarch64": ("amd64", "x86_64")}.get(os.uname().machine, ("", ""))


@pytest.mark.skipif(not shutil.which(f"qemu-{FOREIGN[1]}-static"), reason="qemu-user-static is not installed")
def test_programs_for_another_processor_run_in_there_and_nowhere_else(shared: Path, tmp_path: Path) -> None:
    registered = [*Path("/proc/sys/fs/binfmt_misc").glob("*")]
    hello = tmp_path / "hello"
    hello.write_bytes((shared / "images" / {"arm64": "hello-arm64v8", "amd64": "hello-amd64"}[FOREIGN[0]]).read_bytes())
    hello.chmod(0o755)
    work = "stat -c %u /etc/passwd; cat /proc/self/uid_map; " + str(hello)
    command = ["sh", str(RUN.with_name("foreign.sh")), FOREIGN[0], "sh", "-c", work]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert (done.returncode, done.stderr) == (0, "") and "Hello from Docker!" in done.stdout
    assert done.stdout.split()[:3] == ["0", "0", "0"]  # root's files are root's
    assert [*Path("/proc/sys/fs/binfmt_misc").glob("*")] == registered
