"""The quantities of control groups: sizes, CPUs, CPU lists, devices, and what v1 and v2 call the same thing.

    >>> parse_size("64M"), parse_size("max"), parse_bandwidth(0.5)
    (67108864, None, (50000, 100000))

Each parser takes what a person types and returns what the kernel's files hold; None stands for `max`, no limit. What
cannot be right raises InvalidInput. See cgroups(7) and the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterable

from labrt.errors import InvalidInput

PERIOD = 100_000  # the kernel's default for a scheduling period, in microseconds
_SHIFT = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_SIZE = r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?"  # re compiles it when it is needed: seldom at a start
_LIST = r"(\d+(-\d+)?(,\d+(-\d+)?)*)?"


def parse_size(value: int | str | None) -> int | None:
    """Bytes: 67108864, "64M", "64MiB", "1.5g" (powers of 1024, as Docker reads them); None, -1 or "max" is no limit."""
    if value is None or value in (-1, "-1", "max"):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = re.fullmatch(_SIZE, value.strip(), re.IGNORECASE) if isinstance(value, str) else None
    if match is None:
        raise InvalidInput(f"{value!r} is no size", remedy='give bytes, or a number with k, M, G, T or P, or "max"')
    unit = 1 << _SHIFT[match[2].lower()]
    return int(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit


def parse_count(value: int | str | None) -> int | None:
    """A number of things, such as processes: an int or its digits; None, -1 or "max" is no limit."""
    if value is None or value in (-1, "-1", "max"):
        return None
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise InvalidInput(f"{value!r} is no number of things", remedy='give 0, 1, 2, … or "max"')


def parse_bandwidth(value: float | str | None) -> tuple[int | None, int]:
    """How much CPU time: CPUs (0.5, "1.5"), or the kernel's own "50000 100000" (quota and period, microseconds).

    Returns (quota, period); a quota of None is no limit.
    """
    if value is None or value == "max":
        return None, PERIOD
    quota, _, period = value.partition(" ") if isinstance(value, str) else ("", "", "")
    try:
        if period:
            return None if quota == "max" else int(quota), int(period)
        micros = round(float(value) * PERIOD)
    except (ValueError, TypeError, OverflowError):
        micros = 0
    if micros < 1000:  # the kernel's smallest slice is a millisecond
        raise InvalidInput(
            f"{value!r} is no CPU bandwidth",
            remedy='give a number of CPUs from 0.01 on, or "QUOTA PERIOD" in microseconds, or "max"',
        )
    return micros, PERIOD


def parse_list(value: str | int | Iterable[int]) -> str:
    """A list of CPUs or memory nodes: "0-3,7", one number, or an iterable of numbers. See cpuset(7), List format."""
    if isinstance(value, int):
        value = [value]
    text = value.strip() if isinstance(value, str) else ",".join(str(number) for number in value)
    if not re.fullmatch(_LIST, text):
        raise InvalidInput(f"{value!r} is no list of CPUs or memory nodes", remedy='write it like "0-3,7"')
    return text


def parse_device(value: str) -> str:
    """A block device as MAJOR:MINOR: given so, or as a path. A partition becomes its disk: only disks have queues."""
    if re.fullmatch(r"\d+:\d+", value):
        return value
    try:
        status = os.stat(value)
    except OSError as error:
        raise InvalidInput(f"no device {value!r}: {error.strerror}", remedy="see lsblk for the devices here") from None
    # Any other path stands for the device that its file system lies on.
    number = status.st_rdev if stat.S_ISBLK(status.st_mode) else status.st_dev
    node = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"
    if os.path.exists(f"{node}/partition"):
        with open(f"{node}/../dev") as stream:
            return stream.read().strip()
    return f"{os.major(number)}:{os.minor(number)}"


def weight_from_shares(shares: int) -> int:
    """v1's cpu.shares (2 … 262144, default 1024) as v2's cpu.weight (1 … 10000, default 100).

    The two ranges are logarithmic with different spans. This curve goes through both ends and both defaults
    (2 → 1, 1024 → 100, 262144 → 10000), and is the one that OCI runtimes agreed on in 2025; the straight line that
    they used before made a weight of 39 out of the default.
    """
    if shares == 0:
        return 0  # unset
    log = math.log2(min(max(shares, 2), 262_144))
    # Less a hair before rounding up, lest a floating-point 100.00000000000001 become 101.
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34) - 1e-9)


def shares_from_weight(weight: int) -> int:
    """v2's cpu.weight as v1's cpu.shares: 1024 shares for each 100.

    Straight, as the kernel itself turns a weight into a load (kernel/sched/core.c): groups with 100 and 300 share a CPU
    1:3 on v1 too, which no curve would keep.
    """
    return min(max(round(weight * 1024 / 100), 2), 262_144)


def weight_to_show(shares: int) -> int:
    """The inverse of shares_from_weight, for reading back."""
    return min(max(round(shares * 100 / 1024), 1), 10_000)


def io_weight_from_blkio(weight: int) -> int:
    """v1's blkio.weight (10 … 1000) as v2's io.weight (1 … 10000): the straight line through both ends."""
    return 0 if weight == 0 else 1 + (weight - 10) * 9999 // 990


def blkio_from_io_weight(weight: int) -> int:
    """v2's io.weight (1 … 10000) as BFQ's (1 … 1000, default 100 both): what fits stays, as only ratios count."""
    return min(weight, 1000)
