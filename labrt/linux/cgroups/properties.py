"""The limits of a container as properties of a systemd unit.

    >>> list(of_resources({"memory": {"limit": 67108864}, "cpu": {"quota": 50000}}))
    [('MemoryMax', 't', '67108864'), ('CPUQuotaPerSecUSec', 't', '500000')]

A scope's files are its runtime's to write (Delegate=yes), but for those of the scope itself: systemd, too, writes them,
when it is reloaded, and then puts in what it knows, or no limit. So it is told; and `systemctl show` tells others. What
systemd has no property for, and the exact value where it rounds, stands in the files alone. Each is a name, a D-Bus
signature and the words that busctl wants after it. See systemd.resource-control(5), org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from labrt.errors import InvalidConfig
from labrt.linux.cgroups import resources, units

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

Property = tuple[str, ...]  # its name, its signature, its value's words
INFINITY = (1 << 64) - 1  # how systemd says "no limit"
PREFIX = "org.systemd.property."  # annotations that begin so name a property; podman sets some
_NAME = re.compile(r"[A-Za-z]{3,}")
_INTEGER = re.compile(r"(?:(int16|uint16|int32|uint32|int64|uint64) )?([+-]?[0-9]+)")
_SIGNATURES = {"int16": "n", "uint16": "q", "int32": "i", "uint32": "u", "int64": "x", "uint64": "t", None: "i"}


def of_resources(spec: Mapping[str, Any]) -> Iterator[Property]:
    """Translate linux.resources, for v2. `spec` must have been checked. Raises InvalidConfig as `to_v2` does."""
    files = [*resources.to_v2(spec, lambda name: name != "io.bfq.weight"), *(spec.get("unified") or {}).items()]
    for file, value in files:
        translate = _TRANSLATE.get(file)
        if translate is not None:
            yield from translate(str(value))


def of_annotations(annotations: Mapping[str, str]) -> Iterator[Property]:
    """Read org.systemd.property.NAME: its value in GVariant's text, one of true, 'text', uint64 5, 5."""
    for key, text in annotations.items():
        if not key.startswith(PREFIX):
            continue
        name = key.removeprefix(PREFIX)
        integer = _INTEGER.fullmatch(text)
        if not _NAME.fullmatch(name):
            raise InvalidConfig(f"annotations: {key}: {name!r} is no property's name")
        if integer:
            yield name, _SIGNATURES[integer[1]], integer[2]
        elif text in ("true", "false"):
            yield name, "b", text
        elif len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" and text[0] not in text[1:-1]:
            yield name, "s", text[1:-1]
        else:
            raise InvalidConfig(f"annotations: {key}: {text!r} is not understood", remedy="true, 'text', uint64 5, 5")


def _number(name: str) -> Callable[[str], Iterator[Property]]:
    """A file with one number, or max."""

    def translate(value: str) -> Iterator[Property]:
        if value == "max" or value.isdecimal():
            yield name, "t", str(INFINITY if value == "max" else int(value))

    return translate


def _cpu_max(value: str) -> Iterator[Property]:
    """How much time in each second: rounded up to hundredths, for systemd counts per cent and would round down."""
    quota, _, period = value.partition(" ")
    length = int(period or units.PERIOD)
    per_second = INFINITY if quota == "max" else -(-int(quota) * 100 // length) * 10_000
    yield "CPUQuotaPerSecUSec", "t", str(per_second)
    if length != units.PERIOD:
        yield "CPUQuotaPeriodUSec", "t", str(length)


def _io_weight(value: str) -> Iterator[Property]:
    words = value.split()
    if len(words) == 1 or words[0] == "default":  # else it is about one disk
        yield "IOWeight", "t", words[-1]


def _cpu_idle(value: str) -> Iterator[Property]:
    if value == "1":
        yield "CPUWeight", "t", "0"  # SCHED_IDLE, since systemd 252


def _bits(name: str) -> Callable[[str], Iterator[Property]]:
    """A list of CPUs or memory nodes: a bit for each, the lowest first, in bytes."""

    def translate(value: str) -> Iterator[Property]:
        mask = 0
        for part in filter(None, value.split(",")):
            first, _, last = part.partition("-")
            for bit in range(int(first), int(last or first) + 1):
                mask |= 1 << bit
        raw = mask.to_bytes((mask.bit_length() + 7) // 8, "little")
        yield name, "ay", str(len(raw)), *map(str, raw)

    return translate


_TRANSLATE: dict[str, Callable[[str], Iterator[Property]]] = {
    "memory.max": _number("MemoryMax"), "memory.high": _number("MemoryHigh"), "memory.low": _number("MemoryLow"),
    "memory.min": _number("MemoryMin"), "memory.swap.max": _number("MemorySwapMax"), "pids.max": _number("TasksMax"),
    "cpu.weight": _number("CPUWeight"), "cpu.idle": _cpu_idle, "cpu.max": _cpu_max, "io.weight": _io_weight,
    "cpuset.cpus": _bits("AllowedCPUs"), "cpuset.mems": _bits("AllowedMemoryNodes"),
}  # fmt: skip
