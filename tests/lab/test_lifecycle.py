"""lab.lifecycle: a container's way through its states, as it went."""

from __future__ import annotations

from labrt.lab import lifecycle


def test_a_journey_keeps_the_way_and_draws_where_it_is():
    journey = lifecycle.Journey()
    states = iter(("created", "running", "paused", "running", "exited", "removed"))
    for operation in ("create", "start", "pause", "unpause", "stop", "delete"):
        assert journey(operation, lambda: "done", lambda: next(states)) == "done"
    assert repr(journey) == "<Journey: gone → created → running → paused → running → stopped → gone>"
    picture = journey.picture()
    assert [line.split()[0] for line in picture.text.splitlines()[2:]] == [
        "create", "start", "pause", "unpause", "stop", "delete",
    ]  # fmt: skip
    assert picture.html.count("stroke-width:3") == 5  # all five states were passed
    assert picture.html.count("fill-opacity:0.25") == 1  # and it is in one of them


def test_a_journey_that_has_not_begun():
    assert lifecycle.Journey().state == "gone" and lifecycle.Journey().picture().html.count("stroke-width:3") == 1
