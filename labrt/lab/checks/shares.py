"""Notebook 09: two groups share one CPU, 1:3, and who is alone may have all of it.

    lab.checks.divides(share)       the check; in a notebook lab.check("09", share)

`share(light, heavy)` is given two cgroups and sets what it likes. Then a busy loop runs in each, and cpu.stat is read;
then the heavy one stops, and it is looked whether the light one takes what has become free.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from labrt.lab.checks import attempt
from labrt.lab.checks.verdict import Check, judged, not_yet
from labrt.linux import cgroups, process

EXPECTED = "the heavy group used about three times the light one's CPU; alone, the light one took all that was free"
SECONDS = 1.0
_UNWRITTEN = (
    "a weight decides who is next in the queue. So: weights of 1 to 3, and one queue for both",
    "group.cpu.weight = …; and group.cpuset.cpus = … names the CPUs that a group may use",
    'light.cpu.weight, heavy.cpu.weight = 100, 300, and for both: group.cpuset.cpus = "0"',
)


class Used(NamedTuple):
    """CPU seconds per second: of both groups together, and of the light one when the heavy one had stopped."""

    light: float
    heavy: float
    alone: float

    @property
    def ratio(self) -> float:
        """How many times the light one's the heavy one used."""
        return self.heavy / max(self.light, 1e-3)


def divides(share: Callable[[cgroups.Cgroup, cgroups.Cgroup], object]) -> Check:
    """Judge `share`, by what the kernel counted in two groups that it had set up."""
    with ExitStack() as stack:
        light, heavy = (stack.enter_context(cgroups.create(f"share-{name}")) for name in ("light", "heavy"))
        tried = attempt.run(lambda: (share(light, heavy), None)[1])
        if tried.problem:
            return not_yet("share", tried.problem, EXPECTED, tried.hints(_UNWRITTEN))
        used = _measure(light, heavy, stack)
        saw = f"light {used.light:.2f}, heavy {used.heavy:.2f} CPUs: 1 to {used.ratio:.1f}"
        saw += f"; alone, the light one used {used.alone:.2f}"
        return judged("share", saw, EXPECTED, _hints(light, heavy, used))


def _measure(light: cgroups.Cgroup, heavy: cgroups.Cgroup, stack: ExitStack) -> Used:
    stack.enter_context(process.spawn(_spin, cgroup=light))
    with process.spawn(_spin, cgroup=heavy):
        time.sleep(0.1)  # until both have begun
        used_light, used_heavy = _seconds(light, heavy)
    return Used(used_light, used_heavy, alone=_seconds(light)[0])


def _spin() -> None:
    while True:
        pass


def _seconds(*groups: cgroups.Cgroup) -> list[float]:
    before = [group.cpu.stat["usage_usec"] for group in groups]
    begin = time.monotonic()
    time.sleep(SECONDS)
    after = [group.cpu.stat["usage_usec"] for group in groups]
    took = time.monotonic() - begin
    return [(new - old) / 1e6 / took for old, new in zip(before, after, strict=True)]


def _hints(light: cgroups.Cgroup, heavy: cgroups.Cgroup, used: Used) -> tuple[str, ...]:
    if light.cpu.max is not None or heavy.cpu.max is not None:
        return (
            "cpu.max is a ceiling: it holds also when nobody else wants the CPU, and the rest is wasted",
            f"alone, the light group used {used.alone:.2f} CPUs, and the other had stopped",
            "a share that only counts when there is a queue is cpu.weight",
        )
    first, second = light.cpu.weight, heavy.cpu.weight
    if second < first:
        return (
            f"the light one weighs {first}, the heavy one {second}: it is the other way round",
            "who weighs more is served more often",
            _UNWRITTEN[2],
        )
    if not 2.5 <= second / first <= 3.5:
        return (
            f"the weights are {first} and {second}: what is that as a ratio?",
            "only the ratio counts: 100 and 300 are as good as 1 and 3",
            _UNWRITTEN[2],
        )
    if not _one_queue(light, heavy):
        may = light.cpuset.effective_cpus, heavy.cpuset.effective_cpus
        return (
            f"the weights are right, but each may have a CPU of its own, of {may[0]} and {may[1]}: nobody has to wait",
            "weights count in a queue: let both groups use the same single CPU",
            'light.cpuset.cpus = heavy.cpuset.cpus = "0"',
        )
    if 2 <= used.ratio <= 4.5 and used.alone > 1.6 * used.light:
        return ()
    return (
        "weights and CPU are right, but somebody else was busy on it: run the check again",
        f"measured: {used.light:.2f} to {used.heavy:.2f} CPUs, and {used.alone:.2f} alone; nothing of yours is wrong",
        "choose a CPU on which less is going on: light.cpuset.cpus = heavy.cpuset.cpus = …",
    )


def _one_queue(*groups: cgroups.Cgroup) -> bool:
    if len(os.sched_getaffinity(0)) == 1:
        return True
    chosen = {group.cpuset.effective_cpus for group in groups}
    return len(chosen) == 1 and chosen.pop().isdigit()
