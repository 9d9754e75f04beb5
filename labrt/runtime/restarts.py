"""Restart policies: whether a container that has ended is started again, and after what pause.

    policy = Policy.from_json({"Name": "on-failure", "MaximumRetryCount": 5})
    policy.wants(exit_code=1, restarts=4, by_hand=False)    True
    pause = Backoff(); pause.next(ran=0.2)                  0.1, then 0.2, 0.4, … 60 seconds

Docker's rules: a program that falls over at once is given ever more time, one that ran for ten seconds begins anew.
See "Start containers automatically" of Docker's manual, and HostConfig.RestartPolicy of its Engine API.
"""

from __future__ import annotations

from collections.abc import Mapping

from labrt.errors import InvalidInput
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

NAMES = ("no", "always", "unless-stopped", "on-failure")
FIRST, LONGEST = 0.1, 60.0  # seconds of pause
GOOD_RUN = 10.0  # seconds; whoever ran as long is taken for well


class Policy(Record):
    """When to start again. `retries` limits on-failure; 0 is no limit."""

    name: str = "no"
    retries: int = 0

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Policy:
        """Read Docker's {"Name": …, "MaximumRetryCount": …}; None and an empty name are "no"."""
        value = value or {}
        return cls(value.get("Name") or "no", value.get("MaximumRetryCount") or 0)

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Read `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:5`. Raises InvalidInput."""
        name, colon, count = text.partition(":")
        if name not in NAMES or (colon and not count.isdecimal()):
            raise InvalidInput(f"--restart {text!r}: no such policy", remedy=f"{', '.join(NAMES)}[:N]")
        if colon and name != "on-failure":
            raise InvalidInput(f"--restart {text!r}: only on-failure has a number of retries", remedy=f"take {name}")
        return cls(name, int(count or 0))

    def to_json(self) -> dict[str, Any]:
        """Write it as Docker does."""
        return {"Name": self.name, "MaximumRetryCount": self.retries}

    def wants(self, exit_code: int, *, restarts: int = 0, by_hand: bool = False) -> bool:
        """Whether one that ended so is started again. `by_hand`: somebody asked for its end."""
        if by_hand or self.name == "no":
            return False
        if self.name == "on-failure":
            return exit_code != 0 and (not self.retries or restarts < self.retries)
        return True

    def __str__(self) -> str:
        return f"{self.name}:{self.retries}" if self.retries else self.name


class Backoff:
    """The pauses between the starts of one container."""

    def __init__(self) -> None:
        self._last = 0.0

    def next(self, ran: float) -> float:
        """Return how many seconds to wait before the next start, after a run of `ran` seconds."""
        if ran >= GOOD_RUN:
            self._last = 0.0
        self._last = min(self._last * 2, LONGEST) if self._last else FIRST
        return self._last
