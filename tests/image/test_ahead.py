"""An iterator in a thread: the same things in the same order, errors in their place, and no thread that stays."""

import itertools
import threading

import pytest

from labrt.image.ahead import DEPTH, ahead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "labrt-ahead"]


def test_the_same_things():
    with ahead(iter(range(1000))) as numbers:
        assert list(numbers) == list(range(1000))
    assert threads() == []


def test_no_more_ahead_than_allowed():
    made = []

    def make():
        for number in itertools.count():
            made.append(number)
            yield number

    with ahead(make(), depth=3) as numbers:
        for number in itertools.islice(numbers, 100):
            assert made[-1] <= number + 4  # three in between, and one in hand
    assert threads() == []


def test_an_error_comes_after_what_was_before_it():
    def make():
        yield from (1, 2)
        raise ValueError("broken")

    with ahead(make()) as numbers:
        assert [next(numbers), next(numbers)] == [1, 2]
        with pytest.raises(ValueError, match="broken"):
            next(numbers)
    assert threads() == []


@pytest.mark.parametrize("taken", [0, 1, DEPTH * 2])
def test_a_reader_who_leaves(taken):
    closed = []

    def make():
        try:
            yield from itertools.count()
        finally:
            closed.append(True)

    things = make()
    with pytest.raises(KeyError), ahead(things) as numbers:
        assert list(itertools.islice(numbers, taken)) == list(range(taken))
        raise KeyError
    assert threads() == []
    things.close()
    assert closed == [True]
