"""The shapes of things, without typing: Record and Protocol, for what every command reads.

    class Mount(Record):                typing.NamedTuple
        target: str                     a field without a default must be given
        options: tuple[str, ...] = ()

    Mount("/proc").options, target, options = mount, mount._replace(target="/sys"), Mount._fields

    class Operation(Protocol): …        typing.Protocol: what others have, said for readers and type checkers

Type checkers take them for typing's own. But to import typing, and let it write and compile three dozen classes, takes
6 ms in each of the two processes that a `labrt run` waits for, and this next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter

__all__ = ["NOTHING", "Protocol", "Record"]

NOTHING: Mapping[str, str] = {}  # the default of a field that is a mapping; nobody writes to it

TYPE_CHECKING = False  # as in linux/syscalls.py
if TYPE_CHECKING:
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
