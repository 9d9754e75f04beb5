"""Records and flags: what typing.NamedTuple and enum.IntFlag promise, without typing and enum."""

from __future__ import annotations

import copy
import enum
import itertools
import operator
import pickle
from typing import NamedTuple

import pytest

from labrt.linux.mounts import Mount
from labrt.linux.process import Exit
from labrt.shapes import Flags, Record


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


class MNT(Flags):
    """Flags of ours, one of them without a bit."""

    NONE = 0
    FORCE = 1
    DETACH = 2
    EXPIRE = 4


class INT(enum.IntFlag):
    """The same as enum has them."""

    NONE = 0
    FORCE = 1
    DETACH = 2
    EXPIRE = 4


@pytest.mark.parametrize("work", [operator.or_, operator.and_, operator.xor, lambda a, b: a & ~b, lambda a, b: b in a])
def test_they_are_flags(work) -> None:
    for a, b in itertools.product(range(8), repeat=2):
        ours, theirs = work(MNT(a), MNT(b)), work(INT(a), INT(b))
        assert ours == theirs and hash(ours) == hash(theirs) and bool(ours) == bool(theirs)
        assert work(MNT(a), MNT(b)) == (work(MNT(a), b) if work is not operator.contains else ours)
        if isinstance(theirs, INT):
            assert type(ours) is MNT and ours.value == theirs.value and f"{int(ours)}" == f"{int(theirs)}"


def test_flags_have_names() -> None:
    assert {name: int(one) for name, one in MNT.__members__.items()} == {n: int(i) for n, i in INT.__members__.items()}
    assert [one.name for one in MNT if one] == [one.name for one in INT] and MNT["FORCE"] is MNT.FORCE
    assert type(MNT.FORCE) is MNT and MNT.FORCE.name == "FORCE" and (MNT.FORCE | 64).name is None
    with pytest.raises(KeyError):
        MNT["NOFOLLOW"]
    assert f"{MNT.FORCE | MNT.EXPIRE | 64}" == "MNT_FORCE|MNT_EXPIRE|0x40" and str(MNT(0)) == "0"
    assert repr(MNT.DETACH) == "<MNT_DETACH>" and "DETACH" in dir(MNT)
    assert pickle.loads(pickle.dumps(MNT(3))) == copy.copy(MNT(3)) == MNT(3) and type(copy.copy(MNT(3))) is MNT
    assert len(MNT) == 4 and MNT(64 | 1) & ~MNT.FORCE == 64  # what has no name is not lost, as it is in enum
    assert (5 | MNT.DETACH) == 7 and type(5 & MNT.FORCE) is MNT
