"""Values: records that never change, and are equal when what they hold is.

    class Descriptor(Value):
        media_type: str                     a field without a default must be given
        size: int = 0

    Descriptor("text/plain"), .replace(size=3)

What `dataclasses` would give, for what every command reads: to import dataclasses and let it write and compile the
methods of four classes takes 10 ms, a tenth of a whole `labrt run`. Type checkers take these for dataclasses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

TYPE_CHECKING = False  # as in linux/syscalls.py
if TYPE_CHECKING:
    from typing import Any, NoReturn, Self, dataclass_transform
else:

    def dataclass_transform(**_how: object) -> Callable[[type], type]:
        """Do nothing: the mark is for type checkers."""
        return lambda decorated: decorated


NOTHING: Mapping[str, str] = MappingProxyType({})  # the default of a field that is a mapping


@dataclass_transform(frozen_default=True)
class Value:
    """The base. Fields are the class's annotations, in their order; defaults are the class's attributes."""

    _fields: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)

    def __init__(self, *given: Any, **named: Any) -> None:
        fields = self._fields
        if len(given) > len(fields) or not named.keys() <= set(fields[len(given) :]):
            raise TypeError(f"{type(self).__name__} takes {', '.join(fields)}, each once; not {(*given, *named)}")
        named.update(zip(fields, given, strict=False))
        if missing := [field for field in fields if field not in named and not hasattr(type(self), field)]:
            raise TypeError(f"{type(self).__name__} lacks {', '.join(missing)}")
        self.__dict__.update(named)

    def replace(self, **changes: Any) -> Self:
        """Return the same value but for these fields."""
        return type(self)(**{**self.__dict__, **changes})

    def __setattr__(self, field: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} does not change: replace({field}=…) makes another")

    def __delattr__(self, field: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} does not change")

    def _held(self) -> tuple[object, ...]:
        return tuple(getattr(self, field) for field in self._fields)

    def __eq__(self, other: object) -> bool:
        return self._held() == other._held() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:  # a mapping has no hash, and need not: equal values have equal hashes without it, too
        return hash(tuple(held for held in self._held() if not isinstance(held, Mapping)))

    def __repr__(self) -> str:
        shown = (f"{field}={value!r}" for field, value in zip(self._fields, self._held(), strict=True))
        return f"{type(self).__name__}({', '.join(shown)})"

