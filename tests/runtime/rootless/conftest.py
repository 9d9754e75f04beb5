"""An ordinary user of this machine, who exists only for the tests: where /etc/passwd is another file."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from labrt.linux import userns
from labrt.runtime.networks import tap

PROJECT = Path(__file__).resolve().parents[3]
IMPORTS = ":".join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
BUSYBOX = "/bin/busybox"
SIZE = 65536  # how many subordinate ids
# Become the user, with our files over those of /etc, and tun as udev makes it, for everybody; then what is to be run.
BECOME = """
for file in passwd group subuid subgid; do mount --bind "$0/$file" "/etc/$file" || exit 99; done
for path in $LABRT_HIDDEN; do mount --bind /dev/null "$path" || exit 99; done
[ ! -e "$0/tun" ] || mount --bind "$0/tun" /dev/net/tun || exit 99
exec setpriv --reuid="$LABRT_UID" --regid="$LABRT_UID" --clear-groups --inh-caps=-all -- "$@"
"""


class User:
    """The user. `home` is their home directory; `subordinates` says whether they have lines in /etc/subuid."""

    def __init__(self, place: Path, uid: int, *, subordinates: bool, hidden: str = "") -> None:
        self.uid, self.first = uid, uid * 10  # their own id, and the first of the subordinate ones
        self.etc, self.home, self.subordinates = place / "etc", place / "home", subordinates
        self.run = self.home / "run"
        self.within: list[str] = []  # words before their commands: another network namespace to be in
        self.hidden = hidden  # programs that are none for them
        self.tap = ""  # what their network is, where a test asks for one of those
        self.said = ""  # by the command that unpacked its first image
        self.state, self.ledger = self.home / ".local/share/labrt", self.run / "labrt/ledger"
        place.chmod(0o755)
        self.etc.mkdir()
        for name, more in (("passwd", f"tester:x:{uid}:{uid}::{self.home}:/bin/sh\n"), ("group", f"tester:x:{uid}:\n")):
            (self.etc / name).write_text(Path("/etc", name).read_text() + more)
        for name in ("subuid", "subgid"):
            (self.etc / name).write_text(f"tester:{self.first}:{SIZE}\n" if subordinates else "")
        if os.path.exists("/dev/net/tun"):
            os.mknod(self.etc / "tun", stat.S_IFCHR, os.makedev(10, 200))
            (self.etc / "tun").chmod(0o666)
        for directory in (self.home, self.run):
            directory.mkdir(mode=0o700)
            os.chown(directory, uid, uid)

    @property
    def environment(self) -> dict[str, str]:
        """What a login would give them."""
        names = ("PATH", "PYTHONDONTWRITEBYTECODE", "LABRT_DEBUG", "LABRT_NETWORK")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        return kept | {"HOME": str(self.home), "USER": "tester", "XDG_RUNTIME_DIR": str(self.run)}

    def begin(self, *command: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a program as this user."""
        become = ["unshare", "--mount", "--propagation", "private", "sh", "-c", BECOME, str(self.etc)]
        wrapped = [*self.within, *become, *command]
        told = {"LABRT_UID": str(self.uid), "LABRT_HIDDEN": self.hidden}
        return subprocess.Popen(
            wrapped, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=self.home, env=self.environment | told | dict(env or {}),
        )  # fmt: skip

    def do(self, *command: str, code: int = 0, env: Mapping[str, str] | None = None) -> tuple[str, str]:
        """Run a program as this user, and return its stdout and stderr; it must end with this exit code."""
        with self.begin(*command, env=env) as process:
            out, err = process.communicate(timeout=120)
        assert process.returncode == code, (command, process.returncode, out, err)
        return out, err

    def typed(self, *words: str) -> str:
        """Write a labrt command as a shell takes it."""
        return shlex.join(["env", f"PYTHONPATH={IMPORTS}", sys.executable, "-m", "labrt", *words])

    def begin_labrt(self, *words: str) -> subprocess.Popen[str]:
        """Start a labrt command."""
        return self.begin(sys.executable, "-m", "labrt", *words, env={"PYTHONPATH": IMPORTS})

    def labrt(self, *words: str, code: int = 0, env: Mapping[str, str] | None = None) -> str:
        """Type a labrt command, and return what it says: stdout when it is well, else stderr."""
        env = {"PYTHONPATH": IMPORTS, **(env or {})}
        out, err = self.do(sys.executable, "-m", "labrt", *words, code=code, env=env)
        return err if code else out

    def python(self, text: str, code: int = 0, *before: str) -> tuple[str, str]:
        """Run a Python program that may import labrt."""
        return self.do(*before, sys.executable, "-c", text, code=code, env={"PYTHONPATH": IMPORTS})

    def has_image(self, archive: Path) -> str:
        """Make this archive of a root file system the image `box`; return what was said on the way."""
        shutil.copy(archive, self.home / "box.tar")
        os.chown(self.home / "box.tar", self.uid, self.uid)
        command = (sys.executable, "-m", "labrt", "import", "box.tar", "box")
        return self.do(*command, env={"PYTHONPATH": IMPORTS})[1]

    def processes(self) -> dict[int, str]:
        """The processes that are this user's, or a subordinate id's: pid and command line; without zombies."""
        found = {}
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            try:
                status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
                uid = int(status["Uid"].split()[0])
                if (uid == self.uid or self.first <= uid < self.first + SIZE) and status["State"][0] not in "ZX":
                    found[int(pid)] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            except (OSError, ValueError):  # gone by now
                continue
        return found

    def keepers(self) -> list[int]:
        """Those that hold the user's namespaces."""
        return [pid for pid, line in self.processes().items() if line == "sleep infinity"]

    def wait_for_silence(self) -> dict[int, str]:
        """Wait until none of their processes is left, for some seconds; return what stays."""
        for _ in range(100):
            if not self.processes():
                break
            time.sleep(0.05)
        return self.processes()


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of a root with busybox, in which not everything is root's: /owned is 12:34's, and set-user-ID."""
    if not os.path.exists(BUSYBOX):
        pytest.skip(f"no {BUSYBOX} (busybox-static)")
    path = tmp_path_factory.mktemp("box") / "box.tar"
    files = {
        "etc/passwd": (b"root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n", 0o644, 0, 0),
        "etc/group": (b"root:x:0:\nalice:x:1000:\nstaff:x:50:alice\n", 0o644, 0, 0),
        "bin/busybox": (Path(BUSYBOX).read_bytes(), 0o755, 0, 0),
        "owned": (b"", 0o6755, 12, 34),
    }
    with tarfile.open(path, "w") as archive:
        for name in ("bin", "etc", "tmp"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(directory)
        for name, (content, mode, uid, gid) in files.items():
            file = tarfile.TarInfo(name)
            file.size, file.mode, file.uid, file.gid = len(content), mode, uid, gid
            archive.addfile(file, io.BytesIO(content))
        for name in ("sh", "id", "cat", "ls", "stat", "sleep", "touch", "chown", "mknod", "mount", "true", "rm",
                     "mkdir", "httpd", "wget"):  # fmt: skip
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    path.chmod(0o644)
    return path


def _user(box: Path, uid: int, subordinates: bool, hidden: str = "") -> Iterator[User]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    if userns.obstacles():
        pytest.skip("; ".join(userns.obstacles()))
    for program in ("unshare", "setpriv", *(("newuidmap", "newgidmap") if subordinates else ())):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    if not all(Path("/etc", name).exists() for name in ("subuid", "subgid")):
        pytest.skip("/etc/subuid or subgid is absent: nothing to put another over")
    place = Path(tempfile.mkdtemp(prefix="labrt-user-", dir="/tmp"))  # pytest's own directories are closed to others
    user = User(place, uid, subordinates=subordinates, hidden=hidden)
    try:
        with user.begin("test", "-r", __file__) as looks:
            if looks.wait() != 0:
                pytest.skip(f"an ordinary user cannot read {PROJECT}")
        user.said = user.has_image(box)
        yield user
        user.labrt("reset", "--force")
        assert not user.wait_for_silence() and not list(user.ledger.iterdir())
    finally:
        for pid in user.processes():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(place)


@pytest.fixture(scope="module")
def user(box: Path) -> Iterator[User]:
    """One with subordinate ids. Tests share them, and leave no container behind."""
    yield from _user(box, 54321, True)


@pytest.fixture(scope="module")
def lone_user(box: Path) -> Iterator[User]:
    """One without: nobody exists in their containers but root. Shared, too."""
    yield from _user(box, 54322, False)


@pytest.fixture(params=["user", "lone_user"])
def any_user(request: pytest.FixtureRequest) -> User:
    """Both, one after the other."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, User)
    return found


@pytest.fixture(params=["pasta", "slirp4netns"])
def tap_user(request: pytest.FixtureRequest, box: Path) -> Iterator[User]:
    """One whose network is this program, for a single test: who has slirp4netns has no pasta."""
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    others = ["pasta"] if request.param == "slirp4netns" else []
    places = (os.path.join(place, other) for place in tap.PLACES for other in others)
    for user in _user(box, 54324, True, " ".join(filter(os.path.exists, places))):
        user.tap = request.param
        yield user


@pytest.fixture
def fresh_user(box: Path) -> Iterator[User]:
    """One with subordinate ids, for a single test."""
    yield from _user(box, 54323, True)
