"""Records: what typing.NamedTuple promises, without typing."""

from __future__ import annotations

import copy
import pickle
from typing import NamedTuple

import pytest

from labrt.linux.mounts import Mount
from labrt.linux.process import Exit
from labrt.shapes import Record


class Ours(Record):
    a: int
    b: str = "b"
    c: tuple[int, ...] = ()

    @property
    def double(self) -> int:
        """A method, as any class has."""
        return 2 * self.a


class Theirs(NamedTuple):
    a: int
    b: str = "b"
    c: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("given", "named"),
    [((1,), {}), ((1, "x"), {}), ((1, "x", (2,)), {}), ((), {"a": 1}), ((1,), {"c": (3,)}), ((), {"c": (), "a": 0})],
)
def test_it_is_a_named_tuple(given, named) -> None:
    ours, theirs = Ours(*given, **named), Theirs(*given, **named)
    assert ours == theirs == tuple(ours) and hash(ours) == hash(theirs) and ours._asdict() == theirs._asdict()
    assert repr(ours).replace("Ours", "Theirs") == repr(theirs) and (ours.a, ours.b, ours.c) == theirs
    assert ours._replace(a=7) == theirs._replace(a=7) and Ours._make(theirs) == theirs
    assert type(ours._replace(a=7)) is Ours and ours.double == 2 * theirs.a
    assert copy.copy(ours) == ours == pickle.loads(pickle.dumps(ours))
    assert sorted([Ours(2), ours])[0] == min(theirs, (2,))
    match ours:
        case Ours(a, b):
            assert (a, b) == theirs[:2]


@pytest.mark.parametrize(
    ("given", "named", "said"),
    [
        ((), {}, "lacks a"), ((1,), {"a": 1}, "each once"), ((1,), {"d": 1}, "a, b, c"),
        ((1, "b", (), 4), {}, "each once"),
    ],
)  # fmt: skip
def test_what_it_is_not_made_of(given, named, said) -> None:
    with pytest.raises(TypeError, match=said):
        Ours(*given, **named)
    with pytest.raises(TypeError):
        Theirs(*given, **named)


def test_it_does_not_change() -> None:
    one = Ours(1)
    with pytest.raises(AttributeError):
        one.a = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        one.d = 2  # type: ignore[attr-defined]


def test_those_of_the_house() -> None:
    assert Exit.from_status(9) == (137, 9) and str(Exit(3)) == "exit code 3"
    assert Mount("/proc", "proc", "proc")._replace(destination="/sys").destination == "/sys"
    assert Ours._fields == Theirs._fields == ("a", "b", "c") and Ours._field_defaults == Theirs._field_defaults
