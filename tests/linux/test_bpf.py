"""Classic BPF: put together, read, worked by hand; the kernel's own answers are in test_seccomp."""

from __future__ import annotations

import pytest

from labrt.errors import InvalidInput
from labrt.linux import bpf

X86_64 = 0xC000_003E
ALLOW = 0x7FFF_0000

# if the call is number 5 and argument 1 has a bit of 0x30: EPERM, else go on
PROGRAM = b"".join([
    bpf.statement(bpf.LD, bpf.NR),
    bpf.jump(bpf.JEQ, 5, 0, 4),
    bpf.statement(bpf.LD, bpf.ARGS + 8),
    bpf.statement(bpf.AND, 0xF0),
    bpf.jump(bpf.JSET, 0x30, 0, 1),
    bpf.statement(bpf.RET, bpf.RET_ERRNO | 1),
    bpf.statement(bpf.RET, ALLOW),
])  # fmt: skip


@pytest.mark.parametrize(
    ("number", "args", "expected"),
    [
        (5, [0, 0x10], "ERRNO 1"),
        (5, [0, 0x20], "ERRNO 1"),
        (5, [0, 0x40], "ALLOW"),
        (5, [0x10], "ALLOW"),
        (4, [0, 0x10], "ALLOW"),
    ],
)
def test_a_program_worked_by_hand(number: int, args: list[int], expected: str) -> None:
    assert bpf.verdict(bpf.decide(PROGRAM, X86_64, number, args)) == expected


def test_the_architecture_and_both_halves_of_an_argument_are_seen() -> None:
    def load(offset: int) -> bytes:
        test = bpf.statement(bpf.LD, offset) + bpf.jump(bpf.JEQ, 0xABCD, 0, 1)
        return test + bpf.statement(bpf.RET, 0) + bpf.statement(bpf.RET, ALLOW)

    assert bpf.decide(load(bpf.ARCH), 0xABCD, 0) == 0
    assert bpf.decide(load(bpf.ARGS + 5 * 8), 0, 0, [0] * 5 + [0xABCD]) == 0
    assert bpf.decide(load(bpf.ARGS + 5 * 8 + 4), 0, 0, [0] * 5 + [0xABCD << 32]) == 0
    assert bpf.decide(load(bpf.NR), 0, 0xABCD) == 0
    assert bpf.decide(load(bpf.NR), 0, 0xFFFF_FFFF) == ALLOW


def test_it_is_read_with_line_numbers_as_jump_targets() -> None:
    assert bpf.disassemble(PROGRAM) == [
        "   0  A = number",
        "   1  if A == 0x5 goto 2 else 6",
        "   2  A = arg 1 low",
        "   3  A &= 0xf0",
        "   4  if A & 0x30 goto 5 else 6",
        "   5  return ERRNO 1",
        "   6  return ALLOW",
    ]


@pytest.mark.parametrize("program", [b"", b"1234567", bpf.statement(bpf.RET, 0) * 4097])
def test_what_is_no_program(program: bytes) -> None:
    with pytest.raises(InvalidInput, match="no BPF program"):
        bpf.disassemble(program)


@pytest.mark.parametrize(
    "program",
    [bpf.statement(bpf.LD, bpf.NR), bpf.jump(bpf.JA, 5, 0, 0), bpf.statement(0x87, 0), bpf.statement(bpf.LD, 62)],
)
def test_a_program_that_the_kernel_would_refuse(program: bytes) -> None:
    with pytest.raises(InvalidInput):
        bpf.decide(program, X86_64, 0)
