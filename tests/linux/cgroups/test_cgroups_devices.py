"""Device rules: what they boil down to, and that the eBPF program decides just so."""

from __future__ import annotations

import itertools
import struct

import pytest

from labrt.errors import InvalidConfig
from labrt.linux.cgroups import bpf, devices
from labrt.linux.cgroups.devices import Device, Policy, evaluate


def rule(allow: bool, kind: str = "a", major: int | None = None, minor: int | None = None, access: str = "rwm") -> dict:
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}


DENY, ALLOW = rule(False), rule(True)


@pytest.mark.parametrize(
    ("rules", "policy"),
    [
        ([], Policy(True, {})),
        ([DENY], Policy(False, {})),
        ([{"allow": False}], Policy(False, {})),
        ([DENY, ALLOW], Policy(True, {})),
        ([DENY, rule(True, "c", 1, 3)], Policy(False, {Device("c", 1, 3): "rwm"})),
        ([rule(True, "c", 1, 3), DENY], Policy(False, {})),
        ([DENY, rule(True, "c", 1, 3, "r"), rule(True, "c", 1, 3, "mw")], Policy(False, {Device("c", 1, 3): "rwm"})),
        ([DENY, rule(True, "c", 1, 3), rule(False, "c", 1, 3, "w")], Policy(False, {Device("c", 1, 3): "rm"})),
        ([DENY, rule(True, "c", 1, 3), rule(False, "c", 1, 3)], Policy(False, {})),
        ([DENY, rule(True, "b", 8, -1, "r")], Policy(False, {Device("b", 8, None): "r"})),
        ([ALLOW, rule(False, "c", 1, 3)], Policy(True, {Device("c", 1, 3): "rwm"})),
        (  # `a` with less than everything is both types
            [DENY, rule(True, "a", access="m")],
            Policy(False, {Device("c", None, None): "m", Device("b", None, None): "m"}),
        ),
        (
            [DENY, rule(True, "c", 1, 3), rule(True, "c", 1)],
            Policy(False, {Device("c", 1, 3): "rwm", Device("c", 1, None): "rwm"}),
        ),
    ],
)
def test_evaluate(rules, policy):
    assert evaluate(rules) == policy


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([DENY, rule(True, "c", 1), rule(False, "c", 1, 7)], r"devices\[2\]: c 1:7 rwm cuts a hole into .* c 1:\* rwm"),
        ([DENY, rule(True, "c", access="m"), rule(False, "c", 1, 7, "m")], "cuts a hole"),
        ([ALLOW, rule(False, "b"), rule(True, "b", 8, 0)], "cuts a hole"),
        ([{"type": "c"}], "does not say `allow`"),
        ([rule(True, "x")], "'x' is not a, b or c"),
        ([rule(True, "c", 1, 3, "rx")], "'rx' is not made of"),
    ],
)
def test_rules_that_cannot_be(rules, said):
    with pytest.raises(InvalidConfig, match=said):
        evaluate(rules)


def test_a_hole_in_other_access_is_none():
    policy = evaluate([DENY, rule(True, "c", access="m"), rule(False, "c", 10, 229, "rw")])
    assert policy == Policy(False, {Device("c", None, None): "m"})


def test_a_policy_can_be_read():
    assert str(evaluate([DENY, rule(True, "c", 136, None, "rw")])) == "deny all; allow c 136:* rw"


def run(program: bpf.Program, kind: int, access: int, major: int, minor: int) -> int:
    """Interpret the encoded program, as the kernel would: an oracle for the assembler that is no assembler."""
    registers, counter = [0] * 11, 0
    context = struct.pack("<III", access << 16 | kind, major, minor)
    code = program.encode()
    while True:
        opcode, both, offset, number = struct.unpack_from("<BBhi", code, counter * 8)
        target, source = both & 15, both >> 4
        counter += 1
        match opcode:
            case 0x61:
                (registers[target],) = struct.unpack_from("<I", context, offset)
            case 0xBF:
                registers[target] = registers[source]
            case 0xB7:
                registers[target] = number
            case 0x57:
                registers[target] &= number
            case 0x77:
                registers[target] >>= number
            case 0x15:
                counter += offset if registers[target] == number else 0
            case 0x55:
                counter += offset if registers[target] != number else 0
            case 0x95:
                return registers[0]
            case _:
                raise AssertionError(f"unknown opcode {opcode:#x}")


def decide(policy: Policy, kind: str, access: str, major: int, minor: int) -> bool:
    """What the policy means, straight from the kernel's documentation of v1."""
    matching = [
        set(letters)
        for device, letters in policy.exceptions.items()
        if device.type == kind and device.major in (None, major) and device.minor in (None, minor)
    ]
    if policy.allow:
        return not any(set(access) & letters for letters in matching)
    return any(set(access) <= letters for letters in matching)


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [DENY],
        list(devices.DEFAULT),
        [DENY, rule(True, "c", 1, 3, "r"), rule(True, "b", 8, None, "rw"), rule(True, "c", None, 5, "m")],
        [ALLOW, rule(False, "c", 1, 3), rule(False, "b", 8, None, "w"), rule(False, "c", None, 5, "rm")],
    ],
)
def test_the_program_decides_as_the_policy_says(rules):
    policy = evaluate(rules)
    program = devices.assemble(policy)
    accesses = ["".join(letters) for size in (1, 2, 3) for letters in itertools.combinations("rwm", size)]
    for kind, access, major, minor in itertools.product("bc", accesses, (0, 1, 5, 8, 136), (0, 3, 5, 200)):
        number = sum({"m": 1, "r": 2, "w": 4}[letter] for letter in access)
        answer = run(program, {"b": 1, "c": 2}[kind], number, major, minor)
        assert answer == decide(policy, kind, access, major, minor), (kind, access, major, minor)


def test_a_program_can_be_read():
    text = str(devices.assemble(evaluate([DENY, rule(True, "c", 1, 3, "r")])))
    assert "if r4 != 1 skip" in text
    assert text.splitlines()[-2:] == ["  14  r0 = 0", "  15  exit"]
    assert repr(bpf.Program([bpf.leave()])) == "<Program of 1 instructions>"


def test_v1_writes_the_default_first(tmp_path):
    for name in ("devices.allow", "devices.deny"):
        (tmp_path / name).write_text("")
    devices.write_v1(str(tmp_path), evaluate([DENY, rule(True, "c", 1, None, "rw")]))
    assert (tmp_path / "devices.deny").read_text() == "a"
    assert (tmp_path / "devices.allow").read_text() == "c 1:* rw"
