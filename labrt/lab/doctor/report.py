"""What the doctor found: a Check per question, and the Report that shows them all.

`report.ok` says whether no check failed (a warning is no failure); `report["cgroups"]` is the check of that name; and
iterating gives the checks in the order of asking.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from labrt.errors import NotFound
from labrt.lab import show

Status = Literal["ok", "warn", "fail"]
# The word says it; the sign is for the eye that runs down the column.
SIGNS: dict[Status, str] = {"ok": "✓", "warn": "!", "fail": "✗"}


class Check(NamedTuple):
    """One question put to the machine. `remedy` can be typed as it stands; it is empty when the status is ok."""

    name: str
    status: Status
    saw: str
    remedy: str = ""


TITLE = "This machine"
HEADERS = ("", "check", "status", "saw", "what to type")


def _row(check: Check) -> tuple[str, ...]:
    return SIGNS[check.status], check.name, check.status, check.saw, check.remedy


@dataclass(frozen=True, repr=False)
class Report:
    """All checks, in the order of asking. Shows itself as a table in a notebook and with rich."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether containers can run here: nothing failed."""
        return all(check.status != "fail" for check in self.checks)

    def __iter__(self) -> Iterator[Check]:
        return iter(self.checks)

    def __len__(self) -> int:
        return len(self.checks)

    def __getitem__(self, name: str) -> Check:
        for check in self.checks:
            if check.name == name:
                return check
        raise NotFound(f"no check is named {name!r}", remedy=f"there are {', '.join(c.name for c in self.checks)}")

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(found)} {status}" for status in SIGNS if (found := self._names(status)))
        minded = ", ".join(self._names("fail") + self._names("warn"))
        return f"<Report: {counts or 'no checks'}{f' ({minded})' if minded else ''}>"

    def __str__(self) -> str:
        lines = show.columns([_row(check)[:4] for check in self.checks]).splitlines()
        for at, check in reversed(list(enumerate(self.checks, 1))):
            if check.remedy:
                lines.insert(at, f"     → {show.plain(check.remedy)}")
        return "\n".join(lines)

    def __rich__(self) -> object:
        return show.rich_table(TITLE, HEADERS, map(_row, self.checks))

    def _repr_html_(self) -> str:
        return show.table(HEADERS, map(_row, self.checks), caption=TITLE).html

    def _names(self, status: Status) -> list[str]:
        return [check.name for check in self.checks if check.status == status]
