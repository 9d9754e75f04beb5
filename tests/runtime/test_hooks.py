"""Hooks: the six kinds, where each finds itself, what it is told, and what comes of one that fails."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from labrt.errors import ContainerNotFound, HookFailed, LabrtWarning
from labrt.linux import cgroups
from labrt.runtime import hooks

pytestmark = pytest.mark.root

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


@pytest.fixture
def story(tmp_path: Path) -> Path:
    """A directory on the host into which hooks write."""
    directory = tmp_path / "story"
    directory.mkdir()
    return directory


def tells(story: Path, name: str, more: str = "") -> dict:
    """A hook that writes down its state, arguments, environment, mount namespace and directory."""
    file = shlex.quote(str(story / name))
    script = (
        f'cat >{file}.state; echo "$0 $*" >{file}.args; env >{file}.env; readlink /proc/self/ns/mnt >{file}.mnt; '
        f"pwd >{file}.cwd; echo {name} >>{shlex.quote(str(story))}/order; {more}"
    )
    return {"path": "/bin/sh", "args": ["sh", "-c", script, name, "one", "two"], "env": ["A=b c", "PATH=/usr/bin:/bin"]}


def test_each_has_its_moment_its_namespaces_and_its_state(make, outcome, story):
    def change(config):
        config["annotations"]["colour"] = "green"
        config["hooks"] = {kind: [tells(story, kind)] for kind in KINDS}
        inside = (
            "cat >/tmp/state; echo >>/tmp/state; readlink /proc/self/ns/mnt >/tmp/mnt; pwd >/tmp/cwd; touch /tmp/before"
        )
        config["hooks"]["startContainer"] = [{"path": "/bin/sh", "args": ["sh", "-c", inside]}]

    container = make("sh", "-c", "cat /tmp/state /tmp/cwd /tmp/mnt; readlink /proc/self/ns/mnt", change=change)
    written = {path.name for path in story.iterdir()}
    assert {name for name in written if name.endswith(".state")} == {f"{kind}.state" for kind in KINDS[:3]}
    pid = container.state.pid
    code, out, err = outcome(container)
    assert code == 0, err
    container.delete()
    assert (story / "order").read_text().split() == [kind for kind in KINDS if kind != "startContainer"]

    def told(kind: str) -> dict:
        return json.loads((story / f"{kind}.state").read_text())

    own = os.readlink("/proc/self/ns/mnt")
    for kind in ("prestart", "createRuntime", "poststart", "poststop"):
        assert (story / f"{kind}.mnt").read_text().strip() == own
        assert told(kind)["bundle"] == container.bundle
        assert told(kind)["annotations"]["colour"] == "green"
        assert told(kind)["id"] == container.id
        assert (story / f"{kind}.cwd").read_text().strip() == container.bundle
    assert [told(kind)["status"] for kind in KINDS if kind != "startContainer"] == [
        "creating", "creating", "creating", "running", "stopped",
    ]  # fmt: skip
    assert [told(kind).get("pid") for kind in ("prestart", "createRuntime", "poststart")] == [pid] * 3
    assert "pid" not in told("poststop")
    assert told("createContainer")["pid"] == 1
    state, cwd, mnt, programs = out.splitlines()
    assert (json.loads(state)["status"], json.loads(state)["pid"], cwd) == ("created", 1, "/")
    assert mnt == programs == (story / "createContainer.mnt").read_text().strip() != own
    assert (story / "prestart.args").read_text().split() == ["prestart", "one", "two"]
    variables = (story / "prestart.env").read_text().splitlines()
    assert "A=b c" in variables and not [line for line in variables if line.startswith(("LABRT", "HOME"))]


def test_the_state_is_valid_by_the_schema(make, story, shared):
    import jsonschema

    schema = json.loads((shared / "specs/runtime-spec/schema/state-schema.json").read_text())
    schema["properties"]["annotations"] = {"type": "object"}  # the only references to another file
    schema["properties"]["ociVersion"] = {"type": "string"}
    make("true", change=lambda config: config.update(hooks={"createRuntime": [tells(story, "hook")]}))
    jsonschema.validate(json.loads((story / "hook.state").read_text()), schema)


def test_the_mounts_stand_and_the_hosts_root_is_still_there(make, story):
    """createContainer is for adding mounts: what it mounts below the root is in the container."""
    (story / "secret").write_text("shown\n")

    def change(config):
        script = f"mount --bind {story} rootfs/tmp && grep -c /rootfs/dev/shm /proc/self/mountinfo >{story}/mounts"
        hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin:/usr/sbin:/sbin"]}
        config["hooks"] = {"createContainer": [hook]}

    container, attached = make("cat", "/tmp/secret", change=change, run=True)
    with attached:
        assert b"".join(data for _, data in attached.output()) == b"shown\n"
    assert (story / "mounts").read_text().strip() == "1"


def test_they_run_in_order_and_one_after_the_other(make, story):
    slow = tells(story, "first", "sleep 0.3; echo done >>" + str(story / "order"))
    make("true", change=lambda config: config.update(hooks={"createRuntime": [slow, tells(story, "second")]}))
    assert (story / "order").read_text().split() == ["first", "done", "second"]


FAILS = {"path": "/bin/sh", "args": ["sh", "-c", "echo it broke >&2; exit 3"]}


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_one_that_fails_at_create_leaves_no_container(make, story, kind):
    def change(config):
        config["hooks"] = {kind: [FAILS, tells(story, "later")], "poststop": [tells(story, "poststop")]}

    with pytest.raises(HookFailed, match=rf"hooks\.{kind}\[0\]: /bin/sh: exit code 3 \(it broke\)"):
        make("true", change=change)
    assert (story / "order").read_text().split() == ["poststop"]
    assert json.loads((story / "poststop.state").read_text())["status"] == "stopped"
    assert not [path for path in all_cgroups() if str(os.getpid()) in path]


def all_cgroups() -> list[str]:
    return [
        os.path.join(directory, name)
        for tree in cgroups.detect().trees for directory, names, _ in os.walk(f"{tree.mountpoint}/labrt")
        for name in names if name.startswith("test")
    ]  # fmt: skip


def test_one_that_fails_right_before_the_program_keeps_it_from_running(make, story):
    def change(config):
        config["hooks"] = {"startContainer": [FAILS], "poststop": [tells(story, "poststop")]}

    container = make("sh", "-c", "echo ran", change=change)
    with container.attach() as attached, pytest.raises(HookFailed, match=r"startContainer\[0\].*it broke"):
        attached.start()
        list(attached.output())
    container.wait(20)
    assert "startContainer" in container.state.error
    container.delete()
    assert (story / "order").read_text().split() == ["poststop"]


def test_one_that_fails_after_the_start_ends_the_container(make, story):
    def change(config):
        config["hooks"] = {"poststart": [FAILS], "poststop": [tells(story, "poststop")]}

    container = make("sleep", "300", change=change)
    with pytest.raises(HookFailed, match=r"poststart\[0\].*exit code 3"):
        container.start()
    container.wait(20)
    assert container.state.status == "stopped"
    container.delete()
    assert (story / "order").read_text().split() == ["poststop"]


def test_of_poststop_all_are_run_and_failures_are_warnings(make, outcome, story):
    container = make("true", change=lambda config: config.update(hooks={"poststop": [FAILS, tells(story, "second")]}))
    outcome(container)
    with pytest.warns(LabrtWarning, match=r"poststop\[0\].*exit code 3"):
        container.delete()
    assert (story / "order").read_text().split() == ["second"]
    with pytest.raises(ContainerNotFound):
        _ = container.state


def test_one_that_takes_too_long_is_ended_with_its_children(make, story):
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"sleep 301 & echo $! >{story}/child; wait"], "timeout": 1}
    with pytest.raises(HookFailed, match="not ready after 1 seconds"):
        make("true", change=lambda config: config.update(hooks={"createRuntime": [hook]}))
    child = int((story / "child").read_text())
    stat = Path(f"/proc/{child}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_one_that_cannot_be_run_says_why(make, tmp_path):
    file = tmp_path / "plain"
    file.write_text("no program")
    for path, words in (("/no/such", "No such file"), (str(file), "Permission denied")):
        with pytest.raises(HookFailed, match=rf"createRuntime\[0\]: {path}: {words}"):
            make("true", change=lambda config, path=path: config.update(hooks={"createRuntime": [{"path": path}]}))


def test_one_of_the_container_is_the_containers_program(make, outcome, busybox_root):
    """startContainer's path is the image's: what only the host has is not found."""
    hook = {"path": "/usr/bin/python3"}
    assert not (busybox_root / "usr").exists()
    container = make("true", change=lambda config: config.update(hooks={"startContainer": [hook]}))
    with pytest.raises(HookFailed, match="No such file"):
        outcome(container)


def test_one_of_the_container_has_no_more_rights_than_the_containers_program(make, outcome):
    """An image brings the program of this hook along: it must not get a host's power for it."""
    look = "id -u; grep -e ^Cap -e ^NoNew -e ^Seccomp: -e ^Groups /proc/self/status; umask; ls /proc/self/fd | wc -l"

    def change(config):
        config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", f"({look}) >/tmp/hook"]}]}
        config["process"] |= {"user": {"uid": 1000, "gid": 1000, "umask": 0o77}, "noNewPrivileges": True}
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "x", "options": ["mode=1777"]})
        del config["annotations"]["org.labrt.user"]

    code, out, err = outcome(make("sh", "-c", f"({look}) >/tmp/program; cat /tmp/hook /tmp/program", change=change))
    assert code == 0, err
    lines = out.splitlines()
    assert lines[: len(lines) // 2] == lines[len(lines) // 2 :]
    assert lines[0] == "1000" and "NoNewPrivs:\t1" in lines and "Seccomp:\t2" in lines


def test_more_input_and_output_than_a_pipe_holds(tmp_path):
    """A hook that reads nothing and says much does not hang."""
    config = {"ociVersion": "1.0.0", "annotations": {"long": "x" * 300_000}}
    config["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", "yes | head -c 300000; exit 1"]}]}
    state = hooks.state(config, "id", str(tmp_path), "stopped")
    (error,) = hooks.run_all(config, "poststop", state, cwd="/")
    assert len(error) < 3000 and "exit code 1" in error
