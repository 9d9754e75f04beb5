"""Notebook 19's check: listing(containers, every). What each mistake is told, with docker and without."""

from __future__ import annotations

import pytest

from labrt import lab
from labrt.engine import summary
from labrt.lab import daemon
from labrt.lab.checks import listings
from labrt.linux import ledger

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def taken_down(pulled):
    from labrt.lab.ledger import reset

    yield
    assert [entry for entry in ledger.entries() if entry.kind in ("process", "directory", "container")] == []
    assert reset(quiet=True).ok


def row(c):
    return {
        "Id": c.id, "Names": [f"/{c.name}"], "Image": c.record()["image"], "State": c.status, "Ports": [],
        "Command": " ".join(c.record()["command"]), "Created": int(c.record()["created"]), "Status": summary.status(c),
    }  # fmt: skip


def listing(containers, every):
    return [row(c) for c in containers if every or c.status == "running"]


def but(**fields):
    return lambda containers, every: [
        row(c) | {name: make(c) for name, make in fields.items()}
        for c in containers if every or c.status == "running"
    ]  # fmt: skip


def unwritten(containers, every):
    raise NotImplementedError


MISTAKES = {
    "unwritten": (unwritten, "one dict for each container"),
    "nothing": (lambda containers, every: [], "1 missing of 1"),
    "never all": (lambda containers, every: listing(containers, False), "1 missing of 2"),
    "always all": (lambda containers, every: listing(containers, True), "nobody asked for that"),
    "an object": (lambda containers, every: {"Containers": listing(containers, every)}, "does not understand"),
    "a date": (but(Created=lambda c: str(c.record()["created"])), "does not understand"),
    "a list": (but(Command=lambda c: list(c.record()["command"])), "does not understand"),
    "no slash": (but(Names=lambda c: [c.name]), "first letter"),
    "short id": (but(Id=lambda c: c.id[:12]), "the id is another one"),
    "no time": (but(Created=lambda c: 0), "another time"),
    "no status": (but(Status=lambda c: c.status), "not what people want to read"),
    "an object of ours": (but(State=lambda c: c), "cannot go over the wire"),
}


def test_who_answers_as_the_api_wants_passes():
    check = listings.prints(listing)
    assert check.passed, (check.saw, check.hints)


@pytest.mark.parametrize("with_docker", [True, False], ids=["docker", "no docker"])
def test_each_mistake_is_told_what_it_is(with_docker, monkeypatch):
    if not with_docker:
        monkeypatch.setattr(daemon, "find_docker", lambda: "")
    elif not daemon.find_docker():
        pytest.skip("docker is absent")
    from labrt.engine import run

    made = [run("busybox", "sleep", "600", detach=True), run("busybox", "false", detach=True)]
    try:
        made[1].wait(30)
        assert listings._judge(listing, made).passed
        for name, (mistake, hint) in MISTAKES.items():
            check = listings._judge(mistake, made)
            assert not check.passed and hint in check.hint(), (name, check.hint(), check.saw)
            assert len(set(check.hints)) == 3, name
    finally:
        for container in made:
            container.remove(force=True)


def test_a_daemon_to_play_with():
    one = lab.daemon()
    try:
        status, made = one.ask("POST", "/containers/create?name=inn", {"Image": "busybox", "Cmd": ["sleep", "60"]})
        assert status == 201 and one.ask("POST", "/containers/inn/start")[0] == 204
        picture = lab.traces.sequence(one.trace(), requests=["/start"])
        assert "client   daemon   POST /containers/inn/start" in picture.text
        assert "monitor  kernel   clone3(" in picture.text and "init     kernel   pivot_root(" in picture.text
        assert made["Id"] not in picture.text and "<script" not in picture.html
        one.kill()
        one.start()
        assert one.ask("GET", "/containers/json")[1][0]["Id"] == made["Id"]
    finally:
        one.ask("DELETE", "/containers/inn?force=1")
        one.close()
    again = lab.daemon()  # what a killed notebook leaves, a reset takes down
    assert str(again.process.pid) in [entry.what for entry in lab.reset(quiet=True).taken_down]
    assert again.process.wait(10) == -9
    again.close()
