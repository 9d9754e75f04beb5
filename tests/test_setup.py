"""setup.sh: what it refuses and how it says so, and that a second run does nothing.

A first run on a fresh machine takes minutes and needs a network; CI does one before it comes here.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
SETUP = PROJECT / "labrt" / "setup.sh"
STAMP = PROJECT / ".venv" / "labrt-setup"
LOCK = Path("/var/lib/labrt/setup.lock")
COMMANDS = ("demo", "lab", "test", "install", "service")


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A throw-away checkout that anybody may read, with a space in its path."""
    with tempfile.TemporaryDirectory(prefix="labrt setup ") as folder:
        os.chmod(folder, 0o755)
        root = Path(folder)
        (root / "labrt").mkdir()
        shutil.copy(SETUP, root / "labrt" / "setup.sh")
        shutil.copy(PROJECT / "pyproject.toml", root)
        yield root


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A directory to be the PATH: what setup.sh needs to look around, and no apt-get."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("cat", "dirname", "dpkg-query", "grep", "id", "mount", "sh", "uname", "unshare"):
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(found)
    return folder


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def run(script: Path, *args: str, before: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*before, "/bin/sh", os.fspath(script), *args]
    return subprocess.run(
        command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """It ended with one line on stderr that holds these words, and did nothing before it."""
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("labrt: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_every_shell_can_read_it(shell: str) -> None:
    found = shutil.which(shell)
    if not found:
        pytest.skip(f"no {shell} here")
    command = [found, "sh", "-n"] if shell == "busybox" else [found, "-n"]
    assert subprocess.run([*command, os.fspath(SETUP)], capture_output=True).stderr == b""


@pytest.mark.parametrize("script", [SETUP, PROJECT / ".ci" / "run"], ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("no shellcheck here")
    assert subprocess.run(["shellcheck", os.fspath(script)], capture_output=True, text=True).stdout == ""


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_names_every_command(flag: str) -> None:
    done = run(SETUP, flag)
    assert done.returncode == 0
    assert done.stderr == ""
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)


def test_no_command_shows_the_usage() -> None:
    done = run(SETUP)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == run(SETUP, "--help").stdout


def test_an_unknown_command_is_named_before_the_usage() -> None:
    done = run(SETUP, "instal")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("labrt: unknown command: instal\nusage: ")


@pytest.mark.parametrize("command", COMMANDS)
def test_who_is_not_root_is_told_what_to_type(checkout: Path, command: str) -> None:
    before = ("setpriv", "--reuid=65534", "--clear-groups") if os.geteuid() == 0 else ()
    refused(run(checkout / "labrt" / "setup.sh", command, before=before), f"sudo sh labrt/setup.sh {command}")


@pytest.mark.root
def test_without_apt_it_names_the_distributions(checkout: Path, bare: Path) -> None:
    done = run(checkout / "labrt" / "setup.sh", "install", PATH=os.fspath(bare))
    refused(done, "apt-get is missing", "Debian 12", "Ubuntu 24.04")


@pytest.mark.root
@pytest.mark.parametrize(
    ("release", "refusal"),
    [("4.19.0-27-amd64", True), ("5.10.0-32-arm64", True), ("5.12.0", False), ("6.1-rc1", False)],
)
def test_an_old_kernel_is_refused(checkout: Path, bare: Path, release: str, refusal: bool) -> None:
    program(bare, "apt-get", "exit 1")
    program(bare, "uname", f"echo {release}")
    # The Python is looked at after the kernel: this one stops the setup of those whose kernel is new enough.
    python = program(bare, "python3", '[ "$1" = -V ] && echo Python 3.9.2; exit 1')
    done = run(checkout / "labrt" / "setup.sh", "install", PATH=os.fspath(bare), LABRT_PYTHON=os.fspath(python))
    refused(done, f"Linux {release} is too old" if refusal else "Python 3.9.2")


@pytest.mark.root
def test_an_old_python_is_refused_before_anything_is_installed(checkout: Path, bare: Path) -> None:
    touched = bare / "touched"
    program(bare, "apt-get", f'echo "$@" >"{touched}"')
    python = program(bare, "python3", '[ "$1" = -V ] && echo Python 3.9.2; exit 1')
    done = run(checkout / "labrt" / "setup.sh", "install", PATH=os.fspath(bare), LABRT_PYTHON=os.fspath(python))
    refused(done, "Python 3.9.2", os.fspath(python), "3.11")
    assert not touched.exists()
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("python", ["python3", "bin/python3"])
def test_the_chosen_python_must_be_absolute(checkout: Path, python: str) -> None:
    refused(run(checkout / "labrt" / "setup.sh", "install", LABRT_PYTHON=python), python, "absolute path")


@pytest.mark.root
def test_root_without_rights_is_told_where_to_go(checkout: Path) -> None:
    if not shutil.which("apt-get"):
        pytest.skip("no apt-get here, and that is asked first")
    before = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    refused(run(checkout / "labrt" / "setup.sh", "install", before=before), "virtual machine", "privileged container")


def test_it_works_only_in_a_checkout(checkout: Path) -> None:
    (checkout / "pyproject.toml").unlink()
    refused(run(checkout / "labrt" / "setup.sh", "install"), "checkout of labrt", os.fspath(checkout))


@pytest.fixture
def installed(labrt_root: Path) -> None:
    """Only where setup.sh itself has made this .venv, from just these files."""
    written = (PROJECT / "pyproject.toml").read_bytes() + SETUP.read_bytes()
    if not STAMP.is_file() or hashlib.sha256(written).hexdigest() not in STAMP.read_text():
        pytest.skip("this .venv is not setup.sh's, or is older than it")


@pytest.mark.root
@pytest.mark.usefixtures("installed")
def test_a_second_run_has_nothing_to_do(bare: Path) -> None:
    touched = bare / "touched"
    program(bare, "apt-get", f'echo "$@" >"{touched}"')
    before = STAMP.stat()
    done = run(SETUP, "install", PATH=f"{bare}:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "labrt: everything is installed, nothing to do\n" in done.stdout
    assert not touched.exists()
    assert STAMP.stat() == before


@pytest.mark.root
@pytest.mark.usefixtures("installed")
def test_it_waits_for_another_setup() -> None:
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = ["/bin/sh", os.fspath(SETUP), "install"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as second:
            assert second.stdout is not None
            assert second.stdout.readline() == "labrt: another setup is at work: waiting for it\n"
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert "nothing to do" in second.stdout.read()
    assert second.returncode == 0


@pytest.mark.parametrize("caller", ["README.md", "Vagrantfile", ".ci/run"])
def test_machines_are_set_up_by_it_alone(caller: str) -> None:
    text = (PROJECT / caller).read_text()
    assert "sh labrt/setup.sh" in text or "sh /vagrant/labrt/setup.sh" in text
    # The classroom's mirror is another machine, on which there is no labrt.
    assert not re.findall(r"apt(?:-get)? install\b(?! docker-registry\n)|pip3? install\b|-m venv", text)


def test_the_readme_gives_the_commands_that_there_are() -> None:
    given = re.findall(r"^sudo sh labrt/setup\.sh (\w+)", (PROJECT / "README.md").read_text(), re.MULTILINE)
    assert set(given) == {"demo", "lab", "test"} < set(COMMANDS)


def test_the_readme_draws_the_rooms_that_there_are() -> None:
    picture = (PROJECT / "README.md").read_text().split("## The house")[1].split("Lines of Python")[0]
    drawn = set(re.findall(r"^  (\w+)/ ", picture, re.MULTILINE))
    assert drawn == {path.parent.name for path in (PROJECT / "labrt").glob("*/__init__.py")}


def test_the_virtual_machine_listens_to_its_host_only() -> None:
    forwards = [line for line in (PROJECT / "Vagrantfile").read_text().splitlines() if '"forwarded_port"' in line]
    assert forwards
    assert all('host_ip: "127.0.0.1"' in line for line in forwards)
