"""Whose function is it? What a learner wrote and what passed its check, else labrt's own, of the same kind.

    own = lab.own()
    pull = own("13")        the learner's `pull`, if notebook 13 was passed, else labrt's
    own                     a table: which are whose

So notebook 21 runs on what its reader has written. A function that passed is taken as it was then (progress.learned),
whatever stands in its notebook by now. When one of them raises, the error says whose it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labrt.errors import NotFound
from labrt.lab import ours, progress, show
from labrt.lab.show import Picture, Shown
from labrt.registry.client import Client

YOURS, LABRTS = "yours", "labrt's"


@dataclass(repr=False)
class Own(Shown):
    """The functions that were asked for, and whose each is."""

    whose: dict[str, str] = field(default_factory=dict)

    def __call__(self, number: str, *, ours_only: bool = False) -> Callable[..., Any]:
        """Return the function of an exercise. `ours_only`: labrt's, whatever the learner has."""
        if number not in ours.OURS:
            raise NotFound(f"there is no function of {number!r} to be used", remedy=", ".join(sorted(ours.OURS)))
        learned = None if ours_only else progress.learned(number)
        self.whose[number] = LABRTS if learned is None else YOURS
        return ours.OURS[number] if learned is None else _named(number, learned)

    @property
    def yours(self) -> list[str]:
        """The numbers of the exercises whose functions are the learner's."""
        return [number for number, whose in self.whose.items() if whose == YOURS]

    def __repr__(self) -> str:
        return f"<Own: {len(self.yours)} of {len(self.whose)} functions are yours>"

    def picture(self) -> Picture:
        """Draw it."""
        from labrt.lab.exercise import EXERCISES

        rows = []
        for number, whose in sorted(self.whose.items()):
            how = "ok" if whose == YOURS else f"notebook {number} makes it yours"
            rows.append((number, EXERCISES[number].name, EXERCISES[number].about, whose, how))
        caption = f"{len(self.yours)} of {len(rows)} functions are yours"
        return show.table(["", "function", "what it does", "whose", ""], rows, caption=caption)


def _named(number: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Have an error say whose function it came from."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            error.add_note(f'this is your function of notebook {number}; own("{number}", ours_only=True) is labrt\'s')
            raise

    return call


def own() -> Own:
    """Begin to ask whose."""
    return Own()


def asker(client: Client, reference: str) -> Callable[[str], tuple[int, Mapping[str, str], bytes]]:
    """Return an `ask(path)` as exercise 13 has it, at the registry of an image: with its token, if it wants one."""
    from labrt.image import descriptor as types
    from labrt.image.reference import Reference

    host = Reference.parse(reference).registry
    token, base = client.token(reference), client.transport.base_url(host)
    accept: Iterable[str] = (*types.INDEXES, *types.MANIFESTS)

    def ask(path: str) -> tuple[int, Mapping[str, str], bytes]:
        answer = client.transport.request(
            "GET", base + path, headers={"Accept": ", ".join(accept)} if "/manifests/" in path else {}, limit=1 << 30,
            authorization=token.header if token else None, attempts=1,
        )  # fmt: skip
        return answer.status, answer.headers, answer.body

    return ask

