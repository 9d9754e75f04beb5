"""Time two or more ways of doing one thing, in turn: A B C A B C …, so that a machine's moods hit all alike.

What is reported is the median of each, and the median of the ratios run by run. Nothing here asserts a time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def compare(
    ways: dict[str, Callable[[], object]], runs: int = 30, warm_up: int = 3
) -> dict[str, list[float]]:
    """Run each way `runs` times, in turn; return seconds by name. With the first way the others are compared."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(warm_up + runs):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            if number >= warm_up:
                times[name].append(time.perf_counter() - begin)
    return times


def table(title: str, times: dict[str, list[float]]) -> str:
    """Draw the result: medians in milliseconds, and each way's ratio of the first one to it."""
    names = list(times)
    lines = [title, f"  {'':44} {'median':>9} {'least':>9}   {names[0]} / this"]
    for name, values in times.items():
        ratios = [ours / theirs for ours, theirs in zip(times[names[0]], values, strict=True)]
        ratio = f"{statistics.median(ratios):6.2f}" if name != names[0] else ""
        lines.append(f"  {name:44} {statistics.median(values) * 1e3:6.1f} ms {min(values) * 1e3:6.1f} ms   {ratio}")
    return "\n".join(lines)
