"""Every command but `run`, each as one types it, against real containers and images."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest

from labrt.cli import show
from labrt.engine import embedded
from labrt.image.digest import Digest

pytestmark = pytest.mark.root


def nap(cli, name: str = "nap", *options: str) -> str:
    """A container that runs; return its id."""
    return cli.ok("run", "-d", "--name", name, *options, "busybox", "sleep", "1000").strip()


def columns(text: str) -> list[list[str]]:
    """Cut a table where its headers begin, as docker's tables are made."""
    headers, *rows = text.splitlines()
    starts = [match.start() for match in re.finditer(r"(?<=   )\S|^\S", headers)]
    return [[row[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)] for row in (headers, *rows)]


# ps -------------------------------------------------------------------------------------------------------------------


def test_ps(cli):
    assert cli.ok("ps") == "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"
    id = nap(cli)
    cli("run", "--name", "gone", "busybox:latest", "sh", "-c", "exit 3; this is quite a long one")
    cli.ok("create", "--name", "made", "busybox")
    header, made, gone, napping = columns(cli.ok("ps", "-a"))
    assert header == ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert napping[:3] == [id[:12], "busybox", '"sleep 1000"'] and napping[-1] == "nap"
    assert re.fullmatch(r"(Less than a second|\d+ seconds?|About a minute) ago", napping[3])
    assert re.fullmatch(r"Up (Less than a second|\d+ seconds?|About a minute)", napping[4])
    assert gone[1:3] == ["busybox:latest", "\"sh -c 'exit 3; this…\""] and gone[4].startswith("Exited (3) ")
    assert made[4] == "Created" and made[5] == ""
    assert [row[-1] for row in columns(cli.ok("ps"))] == ["NAMES", "nap"]
    assert cli.ok("ps", "-q").split() == [id[:12]] and len(cli.ok("ps", "-aq").split()) == 3
    full = cli.ok("ps", "-a", "--no-trunc")
    assert id in full and "\"sh -c 'exit 3; this is quite a long one'\"" in full


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.5, "Less than a second"), (1, "1 second"), (59.9, "59 seconds"), (61, "About a minute"),
        (179, "2 minutes"),
        (59 * 60, "59 minutes"), (3700, "About an hour"), (5500, "2 hours"), (47 * 3600, "47 hours"),
        (3 * 86400, "3 days"), (15 * 86400, "2 weeks"), (70 * 86400, "2 months"), (800 * 86400, "2 years"),
    ],
)  # fmt: skip
def test_times_for_people(seconds, said):
    assert show.duration(seconds) == said


def test_tables_are_dockers():
    assert show.table(("A", "LAST"), [("x" * 9, "y"), ("", "")]) == f"A           LAST\n{'x' * 9}   y\n{' ' * 12}"


# Choosing and writing ------------------------------------------------------------------------------------------------


def test_ps_shows_what_fits_and_as_it_is_told(cli):
    id = nap(cli, "nap", "--label", "team=a", "--label", "tier")
    cli("run", "--name", "gone", "busybox", "sh", "-c", "exit 3")

    def names(*words: str) -> list[str]:
        return cli.ok("ps", "--format", "{{.Names}}", *words).split()

    assert names() == ["nap"] and names("-a") == ["gone", "nap"]
    assert names("-l") == ["gone"] == names("-n", "1") and names("-n", "5") == ["gone", "nap"]
    for fits in ("label=team=a", "label=tier", f"id={id[:5]}", "name=^na", "status=running", "health=none"):
        assert names("-f", fits) == ["nap"], fits
    assert names("-f", "status=exited") == ["gone"] == names("-a", "-f", "exited=3")
    assert names("-f", "status=exited", "-f", "status=running") == ["gone", "nap"]
    assert names("-a", "-f", "ancestor=busybox") == ["gone", "nap"]
    for does_not in ("label=team=b", "id=x", "name=^x", "exited=4", "ancestor=nosuch"):
        assert names("-a", "-f", does_not) == [], does_not
    assert names("-f", "label=team=a", "-f", "name=gone") == []
    assert json.loads(cli.ok("ps", "--format", "json"))["ID"] == id[:12]
    table = columns(cli.ok("ps", "--format", r"table {{.Names}}\t{{.State}}"))
    assert table == [["NAMES", "STATE"], ["nap", "running"]]


def test_inspect_writes_what_it_is_told(cli):
    nap(cli, "nap", "--label", "a=b")
    said = cli.ok("inspect", "-f", "{{.State.Pid}} {{.State.Running}} {{json .Config.Labels}}", "nap")
    pid, running, labels = said.split(" ", 2)
    assert os.path.isdir(f"/proc/{pid}") and running == "true" and json.loads(labels)["a"] == "b"
    assert json.loads(cli.ok("inspect", "-f", "json", "nap"))["Name"] == "/nap"
    cli.ok("volume", "create", "data")
    assert cli.ok("volume", "inspect", "-f", "{{.Name}}: {{.Driver}}", "data") == "data: local\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ps", "-f", "status"), "no value"), (("ps", "-f", "colour=red"), "one of ancestor, exited"),
        (("ps", "-f", "name=("), "regular expression"), (("images", "-f", "size=1"), "one of dangling"),
        (("inspect", "-f", "{{.Colour}}", "busybox"), "there is no Colour (fields are .Id"),
        (("inspect", "-f", "{{.Id.Part}}", "busybox"), "there is no Part (fields are none)"),
        (("inspect", "-f", "{{range .Mounts}}", "busybox"), "is not understood"),
    ],
)  # fmt: skip
def test_what_cannot_be_chosen_or_written(cli, words, said):
    done = cli(*words)
    assert done.code == 1 and said in done.err and done.out == ""


# Images ---------------------------------------------------------------------------------------------------------------


def test_images(cli):
    header, row = columns(cli.ok("images"))
    assert header == ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]
    assert row[:2] == ["busybox", "latest"] and re.fullmatch("[0-9a-f]{12}", row[2])
    assert row[3].endswith(" ago") and re.fullmatch(r"[\d.]+[kM]B", row[4])
    id = cli.ok("images", "-q", "--no-trunc").strip()
    assert Digest.parse(id).short == row[2] == cli.ok("images", "-q").strip()
    assert len(columns(cli.ok("images", "busybox:latest"))) == 2 == len(columns(cli.ok("images", "busybox")))
    assert len(columns(cli.ok("images", "busybox:1"))) == 1 == len(columns(cli.ok("images", "other")))
    assert json.loads(cli.ok("inspect", "busybox"))[0]["RepoDigests"][0].split("@")[1] in cli.ok("images", "--digests")


def test_images_shows_what_fits_and_as_it_is_told(cli):
    cli.ok("tag", "busybox", "mine/tool:2")

    def names(*words: str) -> list[str]:
        return sorted(cli.ok("images", "--format", "{{.Repository}}:{{.Tag}}", *words).split())

    assert names() == ["busybox:latest", "mine/tool:2"] == names("-a") == names("-f", "dangling=false")
    assert names("-f", "reference=busy*") == ["busybox:latest"] and names("-f", "reference=*/tool") == ["mine/tool:2"]
    assert names("-f", "reference=*:2", "busybox") == [] == names("-f", "dangling=true")
    label = "org.opencontainers.image.title=busybox"
    assert len(names("-f", f"label={label}")) == 2 and names("-f", f"label={label}x") == []
    cli.ok("rmi", "mine/tool:2")


@pytest.fixture
def registry(cli):
    """A registry on loopback that has busybox; yields the image's name there."""
    with embedded.serve(cli.where) as server:
        yield f"{server.url.removeprefix('http://')}/library/busybox"


def test_pull_and_rmi(cli, registry):
    id = cli.ok("images", "-q").strip()
    lines = cli.ok("pull", registry).splitlines()
    assert lines[:2] == ["Using default tag: latest", "latest: Pulling from library/busybox"]
    assert re.fullmatch("[0-9a-f]{12}: Already exists", lines[2])
    assert lines[3].startswith("Digest: sha256:") and lines[-1] == f"{registry}:latest"
    assert lines[4] == f"Status: Image is up to date for {registry}:latest"
    assert cli.ok("pull", "-q", f"{registry}:latest") == f"{registry}:latest\n"
    assert cli.ok("rmi", registry) == f"Untagged: {registry}:latest\n"
    assert cli.ok("images", "-q").strip() == id  # its other name keeps it


def test_what_a_pull_of_something_new_prints(cli, registry, tmp_path):
    env = {"LABRT_ROOT": str(tmp_path)}
    done = cli("run", "--rm", registry, "echo", "hello", **env)
    assert (done.code, done.out) == (0, "hello\n")
    lines = done.err.splitlines()
    assert lines[:2] == [f"Unable to find image '{registry}:latest' locally", "latest: Pulling from library/busybox"]
    assert re.fullmatch("[0-9a-f]{12}: Pull complete", lines[2]) and lines[3].startswith("Digest: sha256:")
    assert lines[4:] == [f"Status: Downloaded newer image for {registry}:latest"]
    assert cli("run", "--rm", registry, "true", **env) == (0, "", "")
    again = cli("run", "--rm", "--pull", "always", registry, "true", **env)
    assert again.code == 0 and "Image is up to date" in again.err and "Unable" not in again.err
    assert cli("reset", "--all", "-f", **env).code == 0


def test_in_a_terminal_a_pull_draws_bars(cli, registry, tmp_path):
    cli.env["LABRT_ROOT"] = str(tmp_path)
    try:
        terminal = cli.terminal("pull", registry)
        terminal.expect("latest: Pulling from library/busybox")
        assert "━" in terminal.expect("Status: Downloaded newer image")
        assert terminal.wait() == 0
        assert cli.ok("reset", "--all", "--force").count("Deleted:") == 2
    finally:
        cli.env["LABRT_ROOT"] = str(cli.root)


def test_pull_of_what_is_not_there(cli, registry):
    done = cli("pull", f"{registry}:nosuch")
    assert done.code == 1 and done.err.startswith("labrt: ") and "nosuch" in done.err and done.err.count("\n") == 1


def test_an_image_in_use_stays(cli):
    cli.ok("create", "--name", "made", "busybox")
    done = cli("rmi", "busybox")
    assert done.code == 1 and "is used by container made" in done.err and cli.ok("images", "-q")


# The life of a container ----------------------------------------------------------------------------------------------


def test_create_start_wait(cli):
    id = cli.ok("create", "--name", "made", "busybox", "sh", "-c", "echo once; exit 3").strip()
    assert cli.status("made") == "created" and cli.ok("wait", "made") == "0\n"
    assert cli.ok("start", "made", id[:12]) == f"made\n{id[:12]}\n"
    assert cli.ok("wait", "made") == "3\n"
    done = cli("start", "-a", "made")
    assert (done.code, done.out) == (3, "once\n")
    assert set(cli.ok("logs", "made").split()) == {"once"}


def test_wait_for_one_that_runs_and_removes_itself(cli):
    cli.ok("run", "-d", "--rm", "-i", "--name", "brief", "busybox", "sh", "-c", "read line; exit 4")
    waiting = cli.start("wait", "brief")
    feeding = cli.start("attach", "brief", stdin=subprocess.PIPE)
    feeding.communicate(b"go\n", timeout=60)
    out, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, out, err) == (0, b"4\n", b"") and feeding.returncode == 4
    cli.eventually(lambda: cli.containers() == [], "its removal")


def test_start_with_input(cli):
    cli.ok("create", "-i", "--name", "made", "busybox", "cat")
    assert cli.ok("start", "-ai", "made", input=b"hello") == "hello"
    assert cli.ok("start", "-i", "made", input=b"again") == "again"


def test_several_names_go_on_after_an_error(cli):
    nap(cli, "one")
    nap(cli, "two")
    for command in (["kill", "-s", "WINCH"], ["stop", "-t", "0"], ["start"], ["rm", "-f"]):
        done = cli(*command, "one", "nosuch", "two")
        assert done.code == 1 and done.out == "one\ntwo\n"
        assert done.err.startswith("labrt: ") and "'nosuch'" in done.err and done.err.count("\n") == 1
    assert cli.containers() == []


def test_stop_asks_and_kill_does_not(cli):
    script = "trap 'exit 6' TERM; echo ready; while :; do sleep 0.05; done"
    cli.ok("run", "-d", "--name", "polite", "busybox", "sh", "-c", script)
    cli.eventually(lambda: cli.ok("logs", "polite"), "its first line")
    cli.ok("stop", "polite")
    assert cli.ok("wait", "polite") == "6\n"
    nap(cli)
    cli.ok("kill", "nap")
    assert cli.ok("wait", "nap") == "137\n"
    done = cli("kill", "nap")
    assert done.code == 1 and "is not running" in done.err
    assert cli.ok("stop", "nap") == "nap\n"  # it has stopped: that is what was asked for
    assert cli("kill", "-s", "NOSUCH", "nap").err.startswith("labrt: no signal is called 'NOSUCH'")


def test_rm_wants_force_while_it_runs(cli):
    nap(cli)
    done = cli("rm", "nap")
    assert done.code == 1 and "`labrt rm -f`" in done.err and cli.status("nap") == "running"
    assert cli.ok("rm", "-f", "nap") == "nap\n" and cli.containers() == []


def test_logs(cli):
    cli("run", "--name", "talk", "busybox", "sh", "-c", "for i in 1 2 3; do echo out$i; done; echo err >&2; printf end")
    done = cli("logs", "talk")
    assert (done.code, done.out, done.err) == (0, "out1\nout2\nout3\nend", "err\n")
    assert cli("logs", "--tail", "0", "talk") == (0, "", "")
    both = cli("logs", "-n", "2", "talk")
    # Two pipes: which line came last of those that were there at once, only the monitor knows.
    assert both.out.endswith("end") and (both.out + both.err).count("\n") == 1
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z out1\n", cli.ok("logs", "-t", "talk"))
    assert cli.ok("logs", "-f", "talk") == done.out


def test_logs_are_followed_to_the_end(cli):
    cli.ok("run", "-di", "--name", "echo", "busybox", "cat")
    following = cli.start("logs", "-f", "echo")
    feeding = cli.start("attach", "echo")
    feeding.stdin.write(b"first\n")
    feeding.stdin.flush()
    assert following.stdout.readline() == b"first\n"
    feeding.communicate(b"second\n", timeout=60)
    assert following.communicate(timeout=60) == (b"second\n", b"") and following.returncode == 0


def test_logs_are_followed_past_the_removal(cli):
    cli.ok("run", "-di", "--rm", "--name", "passing", "busybox", "sh", "-c", "cat; seq 20000")
    following = cli.start("logs", "-f", "passing")
    feeding = cli.start("attach", "passing", stdout=subprocess.DEVNULL)
    feeding.stdin.write(b"first\n")
    feeding.stdin.flush()
    assert following.stdout.readline() == b"first\n"
    feeding.communicate(timeout=60)
    out, err = following.communicate(timeout=60)
    assert err == b"" and out.splitlines() == [b"%d" % number for number in range(1, 20001)]


def test_logs_of_one_not_started(cli):
    cli.ok("create", "--name", "made", "busybox")
    assert cli("logs", "made") == cli("logs", "-f", "made") == (0, "", "")


def test_exec(cli):
    nap(cli)
    assert cli("exec", "nap", "sh", "-c", "echo out; echo err >&2; exit 5") == (5, "out\n", "err\n")
    assert cli.ok("exec", "-i", "nap", "cat", input=b"hello") == "hello"
    assert cli.ok("exec", "nap", "cat", input=b"unheard") == ""
    script = "echo $A-$B; pwd; id -u"
    done = cli("exec", "-eA=1", "-e", "B", "-w", "/tmp", "-u", "nobody", "nap", "sh", "-c", script, B="2")
    assert done == (0, "1-2\n/tmp\n65534\n", "")
    assert cli("exec", "nap", "nosuch").code == 127 and cli("exec", "nap", "/etc/passwd").code == 126
    assert cli("exec", "nap", "echo", "-it", "--help").out == "-it --help\n"
    data = os.urandom(1 << 20)
    process = cli.start("exec", "-i", "nap", "cat")
    assert process.communicate(data, timeout=60) == (data, b"")


def test_exec_in_the_background(cli):
    nap(cli)
    assert cli("exec", "-d", "nap", "sh", "-c", "echo done > /tmp/done; sleep 1000") == (0, "", "")
    cli.eventually(lambda: cli("exec", "nap", "cat", "/tmp/done").out == "done\n", "what it writes")


def test_exec_wants_it_to_run(cli):
    cli.ok("create", "--name", "made", "busybox")
    done = cli("exec", "made", "true")
    assert done.code == 1 and done.err == "labrt: container made is not running (`labrt start made` starts it)\n"


def test_attach_hears_and_is_heard(cli):
    cli.ok("run", "-di", "--name", "echo", "busybox", "cat")
    deaf = cli.start("attach", "--no-stdin", "echo")
    both = cli.start("attach", "echo")
    assert cli.ok("exec", "echo", "true") == ""
    cli.eventually(lambda: _clients(cli) >= 2, "both are attached")
    out, err = both.communicate(b"hello\n", timeout=60)
    assert (both.returncode, out, err) == (0, b"hello\n", b"")
    assert deaf.communicate(timeout=60)[0] == b"hello\n" and deaf.returncode == 0
    assert cli("attach", "echo").code == 1


def _clients(cli) -> int:
    """Count who is attached: established ends of the container's socket, which the kernel lists by its path."""
    with open("/proc/net/unix") as file:
        rows = [line.split() for line in file if "attach.sock" in line]
    return sum(row[5] == "03" for row in rows)


# What is known --------------------------------------------------------------------------------------------------------


def test_inspect(cli):
    id = nap(cli)
    container, image = json.loads(cli.ok("inspect", "nap", "busybox"))
    assert container["Id"] == id and container["State"]["Running"] and container["Name"] == "/nap"
    assert container["Config"]["Image"] == "busybox" and container["Image"] == image["Id"]
    assert image["RepoTags"] == ["busybox:latest"]
    done = cli("inspect", "nosuch", "nap")
    assert done.code == 1 and [one["Id"] for one in json.loads(done.out)] == [id]
    assert "no container and no image is called 'nosuch'" in done.err
    assert cli("inspect", "--type", "image", "nap").code == 1
    assert cli("inspect", "--type", "container", "busybox").code == 1
    cli.ok("create", "--name", "busybox", "busybox")
    assert json.loads(cli.ok("inspect", "busybox"))[0]["Name"] == "/busybox"


# The lab --------------------------------------------------------------------------------------------------------------


def test_doctor(cli):
    done = cli("doctor")
    assert done.err == "" and "kernel" in done.out and "cgroups" in done.out
    assert done.code == ("✗" in done.out)


def test_reset(cli):
    nap(cli)
    cli.ok("create", "--name", "made", "busybox")
    done = cli("reset")  # nobody is there to answer
    assert done.code == 0 and "taken down" in done.out and done.err == ""
    assert cli.containers() == [] and cli.ok("ps", "-aq") == ""
    assert cli.ok("images", "-q") and cli.ok("reset") == "nothing was left to take down\n"
