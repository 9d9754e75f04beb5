"""`labrt build` as it is typed."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrt.engine.images import Images

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def no_image_more(cli) -> Iterator[None]:
    """The house is shared with other files' tests: what is built here goes, with or without a name."""
    layout = Images(cli.where).layout
    before = set(layout.references())
    yield
    if left := sorted(set(layout.references()) - before):
        cli.ok("rmi", "-f", *left)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A directory with a Dockerfile."""
    place = tmp_path / "context"
    place.mkdir()
    (place / "a").write_text("a")
    text = "FROM busybox\nARG A=none\nCOPY a /a\nRUN echo said $A; echo wrong >&2\nCMD cat /a\n"
    (place / "Dockerfile").write_text(text)
    return place


def test_what_it_prints(cli, context):
    said = cli.ok("build", "--progress", "plain", "-t", "mine:1", "-t", "mine:2", str(context))
    lines = [line for line in said.splitlines() if not line.startswith(" ---> ")]
    assert lines == [
        "Step 1/5 : FROM busybox", "Step 2/5 : ARG A=none", "Step 3/5 : COPY a /a",
        "Step 4/5 : RUN echo said $A; echo wrong >&2", "said none", "wrong", "Step 5/5 : CMD cat /a", lines[-3],
        "Successfully tagged mine:1", "Successfully tagged mine:2",
    ] and lines[-3].startswith("Successfully built ")  # fmt: skip
    again = cli.ok("build", "-t", "mine:1", str(context))
    assert again.count(" ---> Using cache") == 4 and "said none" not in again
    assert cli.ok("run", "--rm", "mine:2") == "a"
    history = cli.ok("history", "--no-trunc", "mine:1")
    assert "RUN |1 A=none /bin/sh -c echo said $A; echo wrong >&2" in history and "COPY a /a" in history
    assert cli.ok("rmi", "mine:1", "mine:2")


def test_options(cli, context, tmp_path):
    own = tmp_path / "Own"
    own.write_text("FROM busybox AS first\nARG A\nARG B\nLABEL got=$A$B\nFROM first\nLABEL never=1\n")
    idfile = tmp_path / "id"
    said = cli("build", "-q", "-f", str(own), "--build-arg", "A=1", "--build-arg", "B", "--target", "first", "--label",
               "l=2", "--iidfile", str(idfile), "-t", "opts", str(context), B="ours")  # fmt: skip
    assert said.code == 0 and said.err == ""
    assert said.out.strip() == idfile.read_text() and said.out.startswith("sha256:")
    labels = json.loads(cli.ok("inspect", "opts"))[0]["Config"]["Labels"]
    assert {"got": "1ours", "l": "2"}.items() <= labels.items() and "never" not in labels
    cli.ok("rmi", "opts")


def test_from_standard_input(cli, context):
    assert "Successfully built" in cli.ok("build", "-", input=b"FROM busybox\nRUN true\n")
    assert "Step 3/3" in cli.ok("build", "-f", "-", str(context), input=b"FROM busybox\nCOPY a /\nRUN cat /a\n")
    for mode in ("w", "w:gz", "w:xz"):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode=mode) as archive:
            archive.add(context, "")
        assert "Step 5/5" in cli.ok("build", "-", input=stream.getvalue())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("FROM busybox\nRUN exit 9", "Dockerfile:2: the command '/bin/sh -c exit 9' returned a non-zero code: 9"),
        ("FROM busybox\nCOPY nothing /", "Dockerfile:2: nothing: no such file or directory: `COPY nothing /`"),
        ("FROM busybox\nRNU x", "Dockerfile:2: no instruction is called RNU: `RNU x` (did you mean RUN?)"),
        ("FROM busybox\nRUN --mount=type=secret,id=a,required true", "Dockerfile:2: no secret is called a: "),
    ],
)
def test_failures(cli, context, text, says):
    (context / "Dockerfile").write_text(text)
    done = cli("build", "-t", "failed", str(context))
    assert done.code == 1 and says in done.err and len(done.err.splitlines()) == 1
    assert "failed" not in cli.ok("images")


@pytest.mark.parametrize(
    "path", ["https://example.org/x.git", "git@example.org:x", "https://example.org/x.tar", "/none"]
)
def test_what_is_no_context(cli, path):
    done = cli("build", path)
    assert done.code == 1 and len(done.err.splitlines()) == 1


def test_secrets(cli, context, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    text = b"FROM busybox\nRUN --mount=type=secret,id=a --mount=type=secret,id=B cat /run/secrets/* > /out\n"
    given = ("--secret", f"id=a,src={secret}", "--secret", "id=B,env=B")
    done = cli("build", "-t", "secrets", *given, "-", input=text, B="!")
    assert done.code == 0 and cli.ok("run", "--rm", "secrets", "cat", "/out") == "!hidden"
    assert "No such file" in cli("run", "--rm", "secrets", "ls", "/run").err  # the mounts' places, too, are gone
    assert "hidden" not in (cli.ok("history", "--no-trunc", "secrets") + cli.ok("inspect", "secrets"))
    cli.ok("rmi", "secrets")


SLEEPING = """FROM busybox AS a
RUN sleep 1000
FROM busybox AS b
RUN sleep 1001
FROM busybox
COPY --from=a / /
COPY --from=b / /
"""


@pytest.mark.parametrize("text", [SLEEPING, "FROM busybox\nRUN sleep 1000\n"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(cli, text, number):
    process = cli.start("build", "-t", "interrupted", "-")
    process.stdin.write(text.encode())
    process.stdin.close()
    process.stdin = None
    wanted = text.count("RUN")
    cli.eventually(lambda: [cli.status(name) for name in cli.containers()] == ["running"] * wanted, "sleeping steps")
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert cli.containers() == [] and not os.path.exists(os.path.join(cli.where.run, "builds"))
    assert "interrupted" not in cli.ok("images")


def test_killed_and_done_again(cli):
    """What was killed is a stopped container at most; the next build does the rest, and tidies up the files."""
    text = b"FROM busybox\nRUN --mount=type=secret,id=s echo before the kill\nRUN sleep 2\n"
    process = cli.start("build", "-t", "again", "--secret", "id=s,env=HOME", "-")
    process.stdin.write(text)
    process.stdin.close()
    process.stdin = None
    cli.eventually(lambda: [name for name in cli.containers() if cli.status(name) == "running"], "a running step")
    process.kill()
    process.wait()
    said = cli.ok("build", "-t", "again", "-", input=text)
    assert "Successfully tagged again:latest" in said
    assert not os.path.exists(os.path.join(cli.where.run, "builds"))
    cli.ok("rmi", "again")


def test_in_a_terminal(cli, context):
    terminal = cli.terminal("build", "-t", "seen", str(context), columns=120)
    terminal.expect("[stage-0 1/5]")
    terminal.expect("built ")
    assert terminal.wait() == 0
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo the last words; false\n")
    terminal = cli.terminal("build", str(context), columns=120)
    terminal.expect("not done")
    terminal.expect("the last words")
    terminal.expect("non-zero code: 1")
    assert terminal.wait() == 1
    cli.ok("rmi", "seen")
