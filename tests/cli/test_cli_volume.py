"""`labrt volume`, and volumes in `run` and `rm`, as typed."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def no_volumes(cli):
    yield
    for name in cli.containers():
        cli.ok("rm", "-f", name)
    cli.ok("volume", "prune", "--all", "--force")
    assert cli.ok("volume", "ls", "-q") == ""


def test_from_create_to_rm(cli):
    assert cli.ok("volume", "create", "data") == "data\n"
    anonymous = cli.ok("volume", "create").strip()
    assert len(anonymous) == 64
    lines = cli.ok("volume", "ls").splitlines()
    assert lines[0].split() == ["DRIVER", "VOLUME", "NAME"]
    assert sorted(line.split()[1] for line in lines[1:]) == sorted([anonymous, "data"])
    (about,) = json.loads(cli.ok("volume", "inspect", "data"))
    assert (about["Name"], about["Mountpoint"]) == ("data", f"{cli.where.volumes}/data/_data")
    assert cli.ok("volume", "rm", "data", anonymous) == f"data\n{anonymous}\n"
    gone = cli("volume", "rm", "data")
    assert gone.code == 1 and "no volume is called data" in gone.err
    assert cli("volume", "rm", "--force", "data").code == 0
    missing = cli("volume", "inspect", "data")
    assert (missing.code, missing.out) == (1, "[]\n")


def test_run_and_rm(cli):
    cli.ok("run", "--name", "first", "-v", "data:/d", "-v", "/anonymous", "busybox", "sh", "-c", "echo hi >/d/f")
    assert cli.ok("run", "--rm", "-v", "data:/e:ro", "-v", "/too", "busybox", "cat", "/e/f") == "hi\n"
    used = cli("volume", "rm", "data")
    assert used.code == 1 and "in use by container first" in used.err
    assert len(cli.ok("volume", "ls", "-q").splitlines()) == 2
    cli.ok("rm", "-v", "first")
    assert cli.ok("volume", "ls", "-q") == "data\n"


def test_a_detached_one_with_rm_takes_its_anonymous_volume_along(cli):
    cli.ok("run", "-d", "--rm", "-v", "/anonymous", "busybox", "true")
    cli.eventually(lambda: not cli.containers() and cli.ok("volume", "ls", "-q") == "", "the volume's end")


def test_prune_asks_and_takes_the_anonymous(cli):
    cli.ok("volume", "create", "named")
    anonymous = cli.ok("volume", "create").strip()
    asked = cli("volume", "prune", input=b"n\n")
    assert asked.code == 1 and "anonymous" in asked.out
    said = cli.ok("volume", "prune", "-f")
    assert said.startswith(f"Deleted Volumes:\n{anonymous}\n") and "Total reclaimed space:" in said
    assert cli.ok("volume", "ls", "-q") == "named\n"
