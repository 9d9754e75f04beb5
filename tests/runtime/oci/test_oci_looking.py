"""state, list, ps, events, update, spec, features, the log: what is printed, and by the specification's schemas."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from labrt.linux import cgroups
from labrt.runtime.oci import features, statistics

pytestmark = pytest.mark.root


def check(shared: Path, name: str, value: object) -> None:
    """Validate a value by one of the runtime-spec's schemas, whose references are names of files beside it."""
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")
    folder = shared / "specs/runtime-spec/schema"
    resources = [
        (path.name, referencing.Resource.from_contents(
            json.loads(path.read_text()), default_specification=referencing.jsonschema.DRAFT4))
        for path in folder.glob("*.json")
    ]  # fmt: skip
    schema = json.loads((folder / name).read_text())
    registry = referencing.Registry().with_resources(resources)
    jsonschema.Draft4Validator(schema, registry=registry).validate(value)


def test_state_by_the_schema(oci, shared):
    id = oci.create("sleep", "1000", change=lambda config: config["annotations"].update({"org.example": "yes"}))
    state = oci.state(id)
    check(shared, "state-schema.json", state)
    assert state["annotations"] == {"org.example": "yes"}


def test_features_by_the_schema(oci, shared):
    found = json.loads(oci("features").stdout)
    assert found == features.features()
    check(shared, "features-schema.json", found)
    assert {"rro", "rnosuid", "ratime", "rslave", "bind", "tmpcopyup"} <= set(found["mountOptions"])
    assert "size" not in found["mountOptions"]


@pytest.mark.parametrize("options", [(), ("--rootless",)])
def test_spec_by_the_schema_and_it_runs(oci, shared, options, tmp_path):
    oci("spec", "-b", str(tmp_path), *options)
    config = json.loads((tmp_path / "config.json").read_text())
    check(shared, "config-schema.json", config)
    assert "exists already" in oci("spec", "-b", str(tmp_path), code=1).stderr

    def change(made):
        made.clear()
        made |= config
        made["process"] |= {"terminal": False, "args": ["id", "-u"]}
        made["root"]["path"] = str(oci.busybox)

    id = oci.bundle("true", change=change)
    assert oci("run", "-b", str(oci.bundles / id), id).stdout == "0\n"


def test_list(oci):
    first, second = oci.create("sleep", "1000"), oci.create("sleep", "1000")
    oci("start", second)
    assert oci("list", "--quiet").stdout.split() == [first, second]
    assert [(one["id"], one["status"]) for one in json.loads(oci("list", "-f", "json").stdout)] == [
        (first, "created"), (second, "running"),
    ]  # fmt: skip
    head, *rows = oci("list").stdout.splitlines()
    assert head.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert rows[1].split()[:3] == [second, str(oci.state(second)["pid"]), "running"]


def test_ps(oci):
    id = oci.create("sleep", "1000")
    oci("start", id)
    pid = oci.state(id)["pid"]
    assert json.loads(oci("ps", "--format", "json", id).stdout) == [pid]
    head, row = oci("ps", id).stdout.splitlines()
    assert "PID" in head and row.endswith("sleep 1000")
    head, row = oci("ps", id, "-o", "pid,comm").stdout.splitlines()
    assert row.split() == [str(pid), "sleep"]


def test_events(oci, eventually):
    id = oci.create("sleep", "1000", change=lambda config: config["linux"]["resources"].update(
        memory={"limit": 32 << 20}, pids={"limit": 9}))  # fmt: skip
    oci("start", id)
    event = json.loads(oci("events", "--stats", id).stdout)
    assert (event["type"], event["id"]) == ("stats", id)
    data = event["data"]
    assert data["pids"] == {"current": 1, "limit": 9}
    assert data["memory"]["usage"]["limit"] == 32 << 20
    assert data["cpu"]["usage"]["total"] > 0
    with subprocess.Popen([*oci.words, "events", "--interval", "50ms", id], stdout=subprocess.PIPE) as watcher:
        assert json.loads(watcher.stdout.readline())["type"] == "stats"
        assert json.loads(watcher.stdout.readline())["type"] == "stats"
        oci("kill", id, "KILL")
        watcher.stdout.read()
        assert watcher.wait(60) == 0, "it ends with the container"
    assert "stopped" in oci("events", "--stats", id, code=1).stderr


@pytest.mark.parametrize(("text", "value"), [("5s", 5.0), ("500ms", 0.5), ("1m30s", 90.0), ("1.5h", 5400.0)])
def test_durations(text, value):
    assert statistics.seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "0s", "5x"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="no duration"):
        statistics.seconds(text)


def test_update(oci, tmp_path):
    id = oci.create("sleep", "1000", change=lambda config: config["linux"]["resources"].update(pids={"limit": 9}))
    group = cgroups.load(f"/labrt/{id}", parent="/", every_tree=True)
    oci("update", "--memory", str(64 << 20), "--pids-limit", "20", id)
    assert (group.memory.max, group.pids.max) == (64 << 20, 20)
    oci("update", "--resources", "-", id, input=json.dumps({"memory": {"limit": 48 << 20}, "pids": {"limit": 0}}))
    assert (group.memory.max, group.pids.max) == (48 << 20, 20), "0 leaves it as it is"
    (tmp_path / "resources").write_text('{"pids": {"limit": 30}}')
    oci("update", "-r", str(tmp_path / "resources"), id)
    assert group.pids.max == 30
    assert oci("update", "-r", "/no/such/file", id, code=1).stderr
    assert oci("update", "--memory", "many", id, code=1).stderr


def test_the_log(oci, tmp_path):
    log = tmp_path / "log"
    done = oci("--log", str(log), "--log-format", "json", "state", "nobody", code=1)
    line = json.loads(log.read_text())
    assert (line["level"], line["msg"]) == ("error", done.stderr.strip())
    assert "nobody" in line["msg"] and line["time"].endswith("Z")
    oci("--log", str(log), "--log-format=text", "state", "nobody", code=1)
    assert log.read_text().splitlines()[1].startswith('time="2')
    assert ' level=error msg="container ' in log.read_text().splitlines()[1]
    assert "log-format" in oci("--log-format", "xml", "list", code=1).stderr


def test_version_and_help(oci):
    assert oci("--version").stdout.splitlines()[0].startswith("labrt-oci version ")
    everything = oci("--help").stdout
    for command in ("create", "start", "state", "kill", "delete", "run", "exec", "ps", "pause", "resume", "update",
                    "list", "spec", "features", "events"):  # fmt: skip
        assert f"\n  {command} " in everything
        assert f"labrt-oci {command}" in oci(command, "--help").stdout
