"""Restart policies and back-off: what they say, without a container. With one: tests/engine/test_lifecycle.py."""

from __future__ import annotations

import pytest

from labrt.errors import InvalidInput
from labrt.runtime.alarms import Alarms
from labrt.runtime.restarts import Backoff, Policy


@pytest.mark.parametrize(
    ("text", "code", "restarts", "by_hand", "wanted"),
    [
        ("no", 1, 0, False, False),
        ("always", 0, 99, False, True),
        ("always", 0, 0, True, False),
        ("unless-stopped", 0, 3, False, True),
        ("unless-stopped", 1, 3, True, False),
        ("on-failure", 0, 0, False, False),
        ("on-failure", 1, 1000, False, True),
        ("on-failure:3", 1, 2, False, True),
        ("on-failure:3", 1, 3, False, False),
        ("on-failure:3", 137, 0, True, False),
    ],
)
def test_who_is_started_again(text, code, restarts, by_hand, wanted):
    policy = Policy.parse(text)
    assert str(policy) == text and Policy.from_json(policy.to_json()) == policy
    assert policy.wants(code, restarts=restarts, by_hand=by_hand) is wanted


@pytest.mark.parametrize("text", ["", "never", "on-failure:", "on-failure:-1", "always:3", "on-failure:x"])
def test_what_is_no_policy(text):
    with pytest.raises(InvalidInput, match="--restart"):
        Policy.parse(text)


def test_nothing_recorded_is_no():
    assert Policy.from_json(None) == Policy.from_json({"Name": ""}) == Policy("no", 0)


def test_pauses_double_up_to_a_minute_and_begin_anew_after_a_good_run():
    backoff = Backoff()
    pauses = [backoff.next(ran=0.1) for _ in range(12)]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-2:] == [60, 60]
    assert backoff.next(ran=10.0) == 0.1


def test_an_alarm_that_is_called_off_by_the_one_before_it_does_not_ring():
    rung: list[str] = []
    alarms = Alarms()
    assert alarms.remaining() is None

    def first() -> None:
        rung.append("first")
        alarms.cancel("second")

    alarms.set("first", 0, first)
    alarms.set("second", 0, lambda: rung.append("second"))
    alarms.set("later", 3600, lambda: rung.append("later"))
    assert alarms.remaining() == 0
    alarms.ring()
    assert rung == ["first"]
    assert 3500 < (alarms.remaining() or 0) <= 3600
