"""Check: the verdict on one exercise, as every check returns it: what it saw, what it expected, and hints."""

from __future__ import annotations

from dataclasses import dataclass

from labrt.lab import show
from labrt.lab.show import Picture, Shown


@dataclass(frozen=True, repr=False)
class Check(Shown):
    """The verdict on one exercise. `hints` become plainer from the first to the last; a passed check has none.

    `given` is the number of the hint that is shown: 1, and more for who was told the same before. `solution` is what to
    type for the solution, once that may be seen.
    """

    name: str
    passed: bool
    saw: str
    expected: str
    hints: tuple[str, ...] = ()
    given: int = 1
    solution: str = ""

    def hint(self, number: int = 1) -> str:
        """Return one hint: 1 is the gentlest; more than there are gives the plainest."""
        return self.hints[min(max(number, 1), len(self.hints)) - 1] if self.hints else "no hint needed: it passed"

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return f"<Check {self.name}: {'passed' if self.passed else 'not yet'}>"

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("ok" if self.passed else "fail", f"{self.name}: {'passed' if self.passed else 'not yet'}")]
        rows += [("saw", self.saw), ("expected", self.expected)]
        if self.hints:
            given = min(max(self.given, 1), len(self.hints))
            more = f"  (check.hint({given + 1}) says more; there are {len(self.hints)})"
            rows.append(("hint", self.hint(given) + (more if given < len(self.hints) else "")))
        if self.solution:
            rows.append(("or", f"{self.solution} shows one way to do it"))
        return rows

    def __str__(self) -> str:
        return show.columns(self._rows())

    def __rich__(self) -> object:
        return show.rich_table(self.name, ["", ""], self._rows())

    def picture(self) -> Picture:
        """Draw it."""
        return show.table(["", ""], self._rows())


def judged(name: str, saw: str, expected: str, hints: tuple[str, ...]) -> Check:
    """Give the verdict on what was seen: right, where there is nothing to hint at. The gentlest hint comes first."""
    return not_yet(name, saw, expected, hints) if hints else passed(name, saw, expected)


def passed(name: str, saw: str, expected: str) -> Check:
    """Say that it is right; `saw` is what was really looked at."""
    return Check(name, True, saw, expected)


def not_yet(name: str, saw: str, expected: str, hints: tuple[str, ...]) -> Check:
    """Say that it is not right yet. `hints` come from what was seen, the gentlest first."""
    return Check(name, False, saw, expected, hints)
