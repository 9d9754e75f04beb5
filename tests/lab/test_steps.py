"""lab.steps: what was done, and how long it took."""

from __future__ import annotations

import pytest

from labrt import lab


def test_steps_are_kept_in_order_with_their_time():
    steps = lab.steps("Title")
    for name in ("first", "second"):
        with steps(name):
            sum(range(1000))
    assert [step.name for step in steps] == ["first", "second"]
    assert all(step.milliseconds > 0 for step in steps)
    assert steps.milliseconds == pytest.approx(sum(step.milliseconds for step in steps))
    assert str(steps).splitlines()[0].startswith("Title: ")
    assert "<svg" in steps._repr_html_() and "second" in steps._repr_html_()


def test_a_cell_that_is_run_again_replaces_its_step():
    steps = lab.steps()
    for _ in range(2):
        for name in ("a", "b"):
            with steps(name):
                sum(range(10))
    assert [step.name for step in steps] == ["a", "b"]


def test_a_step_that_failed_is_kept_too():
    steps = lab.steps()
    with pytest.raises(ZeroDivisionError), steps("wrong"):
        1 / 0  # noqa: B018
    assert "wrong" in steps and len(steps) == 1
