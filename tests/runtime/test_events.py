"""The log of events: several writers, a change of files, half a line; and what the engine reads of it."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time

import pytest

from labrt.engine import events as reading
from labrt.engine import moments
from labrt.errors import InvalidInput
from labrt.paths import Paths
from labrt.runtime import events


@pytest.fixture
def where(tmp_path):
    (tmp_path / "lib").mkdir()
    return Paths(str(tmp_path / "lib"), str(tmp_path / "run"))


def note(where, action="start", id="a" * 64, kind="container", **attributes):
    events.append(where.events, kind, action, id, attributes)


def actions(where, **how):
    return [event["Action"] for event in reading.read(where, **how)]


def test_an_event_has_dockers_shape(where):
    note(where, name="nap", image="busybox")
    (event,) = reading.read(where)
    assert event["Type"] == "container" and event["Action"] == "start" and event["scope"] == "local"
    assert event["Actor"] == {"ID": "a" * 64, "Attributes": {"name": "nap", "image": "busybox"}}
    assert abs(event["time"] - time.time()) < 60 and event["timeNano"] // 10**9 == event["time"]


def test_half_a_line_costs_nothing_but_itself(where):
    note(where, "one")
    with open(where.events, "a") as file:
        file.write('{"Type": "container", "Act')
    note(where, "two")
    assert actions(where) == ["one", "two"]


def test_filters(where):
    note(where, "start", name="nap", image="busybox", tier="front")
    note(where, "die", name="nap", image="busybox", exitCode="0")
    note(where, "health_status: healthy", id="b" * 64, name="web", image="nginx")
    note(where, "pull", id="busybox:latest", kind="image")
    assert actions(where, filters={"container": ["nap"]}) == ["start", "die"]
    assert actions(where, filters={"container": ["bbb"]}) == ["health_status: healthy"]
    assert actions(where, filters={"event": ["health_status"]}) == ["health_status: healthy"]
    assert actions(where, filters={"event": ["start", "pull"]}) == ["start", "pull"]
    assert actions(where, filters={"event": ["start"], "type": ["image"]}) == []
    assert actions(where, filters={"image": ["busybox"]}) == ["start", "die", "pull"]
    assert actions(where, filters={"label": ["tier"]}) == actions(where, filters={"label": ["tier=front"]}) == ["start"]
    assert actions(where, filters={"label": ["tier=back"]}) == []
    with pytest.raises(InvalidInput, match="colour"):
        actions(where, filters={"colour": ["red"]})


def test_times(where):
    note(where, "one")
    time.sleep(0.01)
    between = time.time()
    time.sleep(0.01)
    note(where, "two")
    assert actions(where, since=between) == ["two"]
    assert actions(where, until=between) == ["one"]


def test_many_writers_lose_nothing_over_a_change_of_files(where, monkeypatch):
    monkeypatch.setattr(events, "LARGEST", 40_000)  # some 230 events: one change of files for all of these

    def write(writer: int) -> None:
        for number in range(60):
            note(where, f"{writer}-{number}")

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.path.exists(events.older(where.events))
    assert sorted(actions(where)) == sorted(f"{writer}-{number}" for writer in range(5) for number in range(60))


def test_following_goes_on_in_the_next_file(where, monkeypatch):
    note(where, "before")
    following = reading.read(where, since=0, follow=True)
    assert next(following)["Action"] == "before"
    monkeypatch.setattr(events, "LARGEST", 1)
    note(where, "after")  # in a new file
    assert next(following)["Action"] == "after"


def test_following_ends_at_its_time(where):
    note(where, "before")
    assert actions(where, since=0, until=time.time() + 0.3, follow=True) == ["before"]


def test_a_disk_that_takes_nothing_is_no_reason_to_fail(tmp_path):
    events.append(str(tmp_path / "absent" / "events.jsonl"), "container", "start", "x")
    assert not (tmp_path / "absent").exists()


def test_every_line_is_json(where):
    for name in ('quote"', "new\nline", "ünïcode", "\udcff"):  # the last: a label of a hostile image
        note(where, name=name)
    with open(where.events) as file:
        assert len([json.loads(line) for line in itertools.islice(file, 9)]) == 4


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 1e9 - 600), ("1h30m", 1e9 - 5400), ("1.5s", 1e9 - 1.5), ("0s", 1e9), ("1795000000.5", 1795000000.5),
     ("2026-11-24T05:22:13Z", 1795497733), ("2026-11-24T05:22:13.123456789Z", 1795497733.123456),
     ("2026-11-24T05:22:13+01:00", 1795494133), ("2026-11-24T05:22:13.5+01:00", 1795494133.5)],
)  # fmt: skip
def test_moments(text, seconds):
    assert moments.parse(text, now=1e9) == pytest.approx(seconds, abs=1e-5)


@pytest.mark.parametrize("text", ["", "yesterday", "10x", "2026-13-01", "10 m", "9" * 30])
def test_what_is_no_moment(text):
    with pytest.raises(InvalidInput, match="no point in time"):
        moments.parse(text)
