"""Which devices a cgroup may use: the OCI rule list, as v1's files and as v2's eBPF program.

    policy = evaluate(DEFAULT)          # the rule list, boiled down: a default and its exceptions
    print(assemble(policy))             # the program that v2 runs at every open and mknod of a device
    attach("/sys/fs/cgroup/demo", policy)

v1 has the controller `devices` with the files devices.allow and devices.deny. v2 has no files: there a program of type
BPF_PROG_TYPE_CGROUP_DEVICE is asked, and answers 1 or 0. Both get the same policy, so both machines decide alike.
See config-linux.md, Allowed Device list; cgroup-v1/devices.rst; bpf(2); notebook 18.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping

from labrt.errors import InvalidConfig
from labrt.linux.cgroups import bpf, files
from labrt.shapes import Record

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

# What every container may do (config-linux.md, Default Devices): make any node, and use these.
DEFAULT: tuple[Mapping[str, Any], ...] = (
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        # null, zero, full, random, urandom, tty, console, ptmx, and the terminals behind ptmx (pts)
        for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None))
    ),
)


class Device(Record):
    """A device, or with None in place of a number all of them."""

    type: str  # "c" or "b"
    major: int | None
    minor: int | None

    def covers(self, other: Device) -> bool:
        """Whether this pattern says something about some device of the other one, and is wider."""
        pairs = ((self.major, other.major), (self.minor, other.minor))
        return self != other and self.type == other.type and all(mine in (None, theirs) for mine, theirs in pairs)

    def __str__(self) -> str:
        return f"{self.type} {_star(self.major)}:{_star(self.minor)}"


def _star(number: int | None) -> str:
    return "*" if number is None else str(number)


class Policy(Record):
    """What is true of all devices, and for which access to which ones the contrary is."""

    allow: bool
    exceptions: Mapping[Device, str]  # access as a part of "rwm"

    def __str__(self) -> str:
        default, other = ("allow", "deny") if self.allow else ("deny", "allow")
        exceptions = (f"{other} {device} {access}" for device, access in self.exceptions.items())
        return "; ".join([f"{default} all", *exceptions])


def evaluate(rules: Iterable[Mapping[str, Any]]) -> Policy:
    """Apply the rules in their order: each one overrules those before it. Without a rule, everything is allowed.

    Raises InvalidConfig for a rule that would cut a hole into a wider one (allow c 1:*, then deny c 1:7): v1 would take
    it and ignore it, so it is refused on v2 too.
    """
    allow, exceptions = True, dict[Device, str]()
    for index, rule in enumerate(rules):
        where = f"linux.resources.devices[{index}]"
        devices, access = _devices(rule, where), _access(rule, where)
        everything = len(devices) == 2 and devices[0].major is devices[0].minor is None and access == "rwm"
        if everything:
            allow, exceptions = rule["allow"], {}
            continue
        for device in devices:
            if rule["allow"] != allow:
                exceptions[device] = _join(exceptions.get(device, "") + access)
            else:
                _check_hole(device, access, exceptions, where)
                rest = "".join(letter for letter in exceptions.pop(device, "") if letter not in access)
                exceptions |= {device: rest} if rest else {}
    return Policy(allow, exceptions)


def _devices(rule: Mapping[str, Any], where: str) -> list[Device]:
    """The type `a` is both; a number below zero is how Docker writes "all"."""
    if "allow" not in rule:
        raise InvalidConfig(f"{where}: {dict(rule)!r} does not say `allow`")
    kind = rule.get("type") or "a"
    if kind not in ("a", "b", "c"):
        raise InvalidConfig(f"{where}.type: {kind!r} is not a, b or c")
    numbers = [rule.get(name) for name in ("major", "minor")]
    major, minor = (None if number is None or number < 0 else number for number in numbers)
    return [Device(one, major, minor) for one in ("cb" if kind == "a" else kind)]


def _access(rule: Mapping[str, Any], where: str) -> str:
    access = rule.get("access") or "rwm"
    if not set(access) <= set("rwm"):
        raise InvalidConfig(f"{where}.access: {access!r} is not made of r, w and m")
    return _join(access)


def _join(access: str) -> str:
    return "".join(letter for letter in "rwm" if letter in access)


def _check_hole(device: Device, access: str, exceptions: Mapping[Device, str], where: str) -> None:
    for wider, granted in exceptions.items():
        if wider.covers(device) and set(granted) & set(access):
            raise InvalidConfig(
                f"{where}: {device} {access} cuts a hole into the earlier {wider} {granted}",
                remedy="the kernel keeps a default and exceptions to it, none to those: list the devices singly",
            )


# v1 -------------------------------------------------------------------------------------------------------------------


def write_v1(directory: str, policy: Policy) -> None:
    """Write a policy to the files of v1's devices controller: `a` sets the default and forgets all exceptions."""
    default, other = ("devices.allow", "devices.deny") if policy.allow else ("devices.deny", "devices.allow")
    files.write(f"{directory}/{default}", "a")
    files.write(f"{directory}/{other}", *(f"{device} {access}" for device, access in policy.exceptions.items()))


# v2 -------------------------------------------------------------------------------------------------------------------

_TYPE = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_…
_ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_…


def assemble(policy: Policy) -> bpf.Program:
    """Write the program that decides as `policy` says.

    It is called with r1 pointing at struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor, 32 bits each.
    """
    program = [
        bpf.load(2, 1, 0),
        bpf.move_register(3, 2),
        bpf.shift_right(3, 16),  # r3: the access that is asked for
        bpf.and_number(2, 0xFFFF),  # r2: the type
        bpf.load(4, 1, 4),  # r4: major
        bpf.load(5, 1, 8),  # r5: minor
    ]
    for device, access in policy.exceptions.items():
        program += _exception(device, sum(_ACCESS[letter] for letter in access), not policy.allow)
    return bpf.Program([*program, *_answer(policy.allow)])


def _answer(allow: bool) -> list[bpf.Instruction]:
    return [bpf.move_number(0, int(allow)), bpf.leave()]


def _exception(device: Device, access: int, allow: bool) -> Iterator[bpf.Instruction]:
    """Write the tests of one exception; each that fails jumps behind its answer, to the next one."""
    tests = [(2, _TYPE[device.type])]
    tests += [(register, number) for register, number in ((4, device.major), (5, device.minor)) if number is not None]
    last = [] if access == 7 else _access_test(access, allow)
    answer = _answer(allow)
    for index, (register, number) in enumerate(tests):
        yield bpf.jump_if_not(register, number, len(tests) - index - 1 + len(last) + len(answer))
    yield from last
    yield from answer


def _access_test(access: int, allow: bool) -> list[bpf.Instruction]:
    """Allowed is what asks for nothing else; denied is what asks for any of it."""
    asked = bpf.and_number(0, ~access & 7 if allow else access)
    skip = bpf.jump_if_not(0, 0, 2) if allow else bpf.jump_if(0, 0, 2)
    return [bpf.move_register(0, 3), asked, skip]


def attach(directory: str, policy: Policy) -> None:
    """Load the program and attach it to a v2 cgroup, in place of those that were attached there.

    The kernel asks all programs of a cgroup and of those above it, and each can only deny; so the new one goes in
    before the old ones come out. It goes with the cgroup. Needs CAP_SYS_ADMIN, or CAP_BPF and CAP_NET_ADMIN: raises
    PermissionError for an ordinary user, who in a user namespace makes no device nodes anyway.
    """
    cgroup = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        old = bpf.attached(cgroup, bpf.CGROUP_DEVICE)
        program = assemble(policy).load(bpf.PROG_TYPE_CGROUP_DEVICE, "labrt_devices")
        try:
            bpf.attach(cgroup, program, bpf.CGROUP_DEVICE)
        finally:
            os.close(program)  # the cgroup holds it now
        for number in old:
            with contextlib.suppress(FileNotFoundError):
                bpf.detach(cgroup, number, bpf.CGROUP_DEVICE)
    finally:
        os.close(cgroup)
