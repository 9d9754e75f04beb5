"""The docker CLI, command by command, on dockerd and on `labrt daemon`: table.txt has both."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.oracle]
TABLE = Path(__file__).with_name("table.txt")
PARTS = ("code", "stdout", "stderr")
# What is another each time. Longest first: an id is no short id.
EACH_TIME = (
    (r"\b[0-9a-f]{64}\b", "ID"),
    (r"\b[0-9a-f]{12}\b", "SHORT"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[ +-]\d\d:?\d\d( [A-Z]+)?)?", "TIME"),
    (r"(Up|Exited \(\d+\)|Created)? ?(Less than a|About an?|\d+) (second|minute|hour|day|week|month)s?( ago)?", "AGO"),
    (r"\b\d+(\.\d+)? ?[kMG]?B\b", "SIZE"),
    (r'"Pid":\d+', '"Pid":N'),
    (r"127\.0\.0\.1:\d{5}->", "PORT->"),
    (r"(?m)[ \t]+$", ""),
    (r"[ \t]+", " "),
)


@dataclass
class Row:
    number: int
    command: str
    differs: dict[str, str] = field(default_factory=dict)


def rows() -> list[Row]:
    found: list[Row] = []
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        if line.startswith("! "):
            parts, colon, reason = line[2:].partition(":")
            assert colon and reason.strip() and set(parts.split()) <= set(PARTS), f"line {number}"
            found[-1].differs.update(dict.fromkeys(parts.split(), reason.strip()))
        elif line.strip() and not line.startswith("#"):
            found.append(Row(number, line))
    return found


def normal(text: str) -> str:
    for pattern, word in EACH_TIME:
        text = re.sub(pattern, word, text)
    return text


Side = Callable[[str], tuple[str, str, str]]


@contextlib.contextmanager
def server(name: str, command: list[str], home: Path, **more: str) -> Iterator[Side]:
    """Run a daemon with a client of its own; yield what runs a line of shell there: exit code, stdout, stderr."""
    work, socket = home / "work", home / "docker.sock"
    work.mkdir(parents=True)
    environment = os.environ | {
        "DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": str(home / "config"), "DOCKER_API_VERSION": "1.41",
        "DOCKER_CLI_HINTS": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC",
    } | more  # fmt: skip
    log, registry = home / "log", more.get("R", "REGISTRY")

    def run(line: str) -> tuple[str, str, str]:
        done = subprocess.run(["sh", "-c", line], cwd=work, env=environment, capture_output=True, text=True,
                              errors="replace", timeout=60, stdin=subprocess.DEVNULL)  # fmt: skip
        out, err = (normal(text.replace(registry, "REGISTRY")) for text in (done.stdout, done.stderr))
        return str(done.returncode), out, err

    with open(log, "wb") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        try:
            for _ in range(300):
                if process.poll() is not None or (socket.exists() and run("docker version")[0] == "0"):
                    break
                time.sleep(0.1)
            if process.poll() is not None:
                last = log.read_text().strip().splitlines()[-1:]
                pytest.skip(f"{name} does not run here: {last}")
            yield run
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run("docker ps -aq | xargs -r docker rm -fv")
            process.terminate()
            process.wait(30)


def dockerd(home: Path) -> list[str]:
    program = shutil.which("dockerd") or "/usr/sbin/dockerd"
    if not os.path.exists(program) or not shutil.which("docker"):
        pytest.skip("docker or dockerd is absent: apt install docker.io")
    return [
        program, "--data-root", f"{home}/data", "--exec-root", f"{home}/exec", "-H", f"unix://{home}/docker.sock",
        "--pidfile", f"{home}/pid", "--iptables=false", "--bridge=none", "--config-file", f"{home}/none.json",
    ]  # fmt: skip


@contextlib.contextmanager
def registries(base: Path) -> Iterator[list[str]]:
    """Run Debian's docker-registry once for each side, both with a password. Gives host:port of each."""
    sys.path.append(str(Path(__file__).parent.parent / "registry"))  # its helpers lie there
    import oracles

    base.mkdir()
    (base / "htpasswd").write_text(f"ada:{oracles.bcrypt('right')}\n")
    auth = {"htpasswd": {"realm": "test", "path": str(base / "htpasswd")}}
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(oracles.docker_registry(base / name, auth=auth)) for name in ("d", "l")]


def seed(side: Side, base: Path, places: list[str]) -> None:
    """Put one image into both registries, bit for bit the same, which neither side has."""
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is absent")
    made = f"tar -cC / etc/hostname | docker import - seed:1 && docker save -o {base}/seed.tar seed:1"
    assert side(f"{made} && docker rmi seed:1")[0] == "0"
    for place in places:
        subprocess.run(["skopeo", "copy", "-q", "--dest-creds", "ada:right", "--dest-tls-verify=false",
                        f"docker-archive:{base}/seed.tar:seed:1", f"docker://{place}/seed:1"],
                       check=True, timeout=60)  # fmt: skip


@pytest.fixture
def sides(house: Path, tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    # overlay on overlay is refused: dockerd's data are on the disk of /var/tmp. containerd's socket wants a short path.
    base = Path(tempfile.mkdtemp(prefix="dd", dir="/var/tmp"))
    theirs, ours = base / "d", tmp_path / "l"
    labrt = [sys.executable, "-m", "labrt", "daemon", "-H", f"unix://{ours}/docker.sock"]
    try:
        theirs.mkdir()
        (theirs / "none.json").write_text("{}")
        with (
            registries(base / "r") as places,
            server("dockerd", dockerd(theirs), theirs, R=places[0]) as first,
            server("labrt daemon", labrt, ours, R=places[1]) as second,
        ):
            assert second(f"docker save -o {base}/busybox.tar busybox")[0] == "0"
            assert first(f"docker load -i {base}/busybox.tar")[0] == "0"
            seed(second, base, places)
            yield first, second
    finally:
        shutil.rmtree(base, ignore_errors=True)


def test_every_command(sides: tuple[Side, Side]) -> None:
    table = rows()
    answers: tuple[list[tuple[str, str, str]], ...] = ([], [])

    def all_rows(side: Side, into: list[tuple[str, str, str]]) -> None:
        for row in table:
            into.append(side(row.command))

    threads = [threading.Thread(target=all_rows, args=pair) for pair in zip(sides, answers, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(side) for side in answers] == [len(table)] * 2
    wrong = []
    for row, theirs, ours in zip(table, *answers, strict=True):
        place = f"table.txt:{row.number}: {row.command}"
        for part, their, our in zip(PARTS, theirs, ours, strict=True):
            if their != our and part not in row.differs:
                wrong.append(f"{place}\n  {part} on dockerd {their!r}\n  on labrt {our!r}")
            elif their == our and part in row.differs:
                wrong.append(f"{place}\n  {part} differs no more: {their!r}")
    assert not wrong, f"{len(wrong)} of {len(table)} commands:\n" + "\n".join(wrong)
