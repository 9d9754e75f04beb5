"""The shapes of things, without typing and enum: Record, Flags and Protocol, for what every command reads.

    class Mount(Record):                typing.NamedTuple
        target: str                     a field without a default must be given
        options: tuple[str, ...] = ()

    Mount("/proc").options, target, options = mount, mount._replace(target="/sys"), Mount._fields

    class MNT(Flags):                   enum.IntFlag, shown as the kernel's manual names it
        FORCE = 1
        DETACH = 2

    MNT.FORCE | MNT.DETACH, MNT["FORCE"], MNT.FORCE in flags, [flag.name for flag in MNT], MNT(3), MNT.__members__

    class Operation(Protocol): …        typing.Protocol: what others have, said for readers and type checkers

Type checkers take them for the standard library's own. But to import typing, and let it write and compile three dozen
classes, takes 6 ms in each of the two processes that a `labrt run` waits for; enum, which prepares a value for each of
150 flags, takes 2 ms; and this next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter

__all__ = ["NOTHING", "Flags", "Protocol", "Record"]

NOTHING: Mapping[str, str] = {}  # the default of a field that is a mapping; nobody writes to it

TYPE_CHECKING = False  # as in linux/syscalls.py
if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import IntFlag as Flags
    from typing import Any, Protocol, Self
    from typing import NamedTuple as Record
else:
    Protocol = object

    class _Fields(type):
        """Makes a class's annotations its fields, in their order, and its attributes their defaults."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> _Fields:
            made = super().__new__(cls, name, bases, body | {"__slots__": ()})
            if fields := tuple(made.__annotations__):
                made._fields = made.__match_args__ = fields
                made._field_defaults = {field: body[field] for field in fields if field in body}
                for place, field in enumerate(fields):
                    setattr(made, field, property(itemgetter(place)))
            return made

    class Record(tuple, metaclass=_Fields):
        """The base."""

        _fields: Any
        _field_defaults: Any

        def __new__(cls, *given: Any, **named: Any) -> Self:  # noqa: D102 - as NamedTuple's
            fields = cls._fields
            if named or len(given) != len(fields):
                rest = fields[len(given) :]
                if len(given) > len(fields) or not named.keys() <= set(rest):
                    raise TypeError(f"{cls.__name__} takes {', '.join(fields)}, each once; not {(*given, *named)}")
                values = cls._field_defaults | named
                if missing := [field for field in rest if field not in values]:
                    raise TypeError(f"{cls.__name__} lacks {', '.join(missing)}")
                given += tuple([values[field] for field in rest])
            return tuple.__new__(cls, given)

        @classmethod
        def _make(cls, values: Any) -> Self:
            return cls(*values)

        def _replace(self, **changes: Any) -> Self:
            return type(self)(**(self._asdict() | changes))

        def _asdict(self) -> dict[str, Any]:
            return dict(zip(self._fields, self, strict=True))

        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self)

        def __repr__(self) -> str:
            shown = (f"{field}={value!r}" for field, value in self._asdict().items())
            return f"{type(self).__name__}({', '.join(shown)})"

    class _Members(type):
        """Makes a class's whole numbers its members, which are of this class themselves."""

        __members__: dict[str, Any]

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> _Members:
            made = super().__new__(cls, name, bases, body | {"__slots__": ()})
            numbers = {key: value for key, value in body.items() if type(value) is int and key[0] != "_"}
            made.__members__ = {key: made(value) for key, value in numbers.items()}
            for key, member in made.__members__.items():
                setattr(made, key, member)
            return made

        def __iter__(cls) -> Iterator[Any]:
            return iter(cls.__members__.values())

        def __len__(cls) -> int:
            return len(cls.__members__)

        def __getitem__(cls, name: str) -> Any:
            return cls.__members__[name]

    class Flags(int, metaclass=_Members):
        """The base. Bits without a name here stay, whatever is done, and show as a number."""

        @property
        def value(self) -> int:  # noqa: D102 - as IntFlag's
            return int(self)

        @property
        def name(self) -> str | None:  # noqa: D102 - as IntFlag's, but of one flag only
            return next((name for name, member in type(self).__members__.items() if member == self), None)

        def __contains__(self, flags: int) -> bool:
            return int(self) & flags == flags

        def __or__(self, other: int) -> Self:
            return type(self)(int(self) | other)

        def __and__(self, other: int) -> Self:
            return type(self)(int(self) & other)

        def __xor__(self, other: int) -> Self:
            return type(self)(int(self) ^ other)

        def __invert__(self) -> Self:
            return type(self)(~int(self))

        __ror__, __rand__, __rxor__ = __or__, __and__, __xor__

        def __str__(self) -> str:
            prefix, members = type(self).__name__, type(self).__members__
            names = [f"{prefix}_{name}" for name, member in members.items() if member and member in self]
            rest = int(self) & ~sum(members.values())
            return "|".join([*names, *([hex(rest)] if rest else [])]) or "0"

        def __repr__(self) -> str:
            return f"<{self}>"
