"""Classic BPF, as seccomp uses it: put a program together, read it, and work it by hand.

    statement, jump      one instruction each: eight bytes, `struct sock_filter`
    disassemble(prog)    a line per instruction
    decide(prog, …)      what the filter says to one system call, without a kernel

A filter sees one `struct seccomp_data` (number, architecture, instruction pointer, six arguments) and nothing else;
above all it cannot follow a pointer. It can only jump forward, so it always ends. Only the instructions that libseccomp
makes are known here. See seccomp(2) and, in the kernel's documentation, networking/filter.rst. Notebook 18.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from labrt.errors import InvalidInput

LD, AND, RET = 0x20, 0x54, 0x06
JA, JEQ, JGT, JGE, JSET = 0x05, 0x15, 0x25, 0x35, 0x45

# Where things are in struct seccomp_data. An argument's low half comes first on every machine that labrt runs on.
NR, ARCH, ARGS = 0, 4, 16

# What a filter answers; the low 16 bits are data (an errno).
ACTIONS = {
    0x8000_0000: "KILL_PROCESS",
    0x0000_0000: "KILL_THREAD",
    0x0003_0000: "TRAP",
    0x0005_0000: "ERRNO",
    0x7FC0_0000: "USER_NOTIF",
    0x7FF0_0000: "TRACE",
    0x7FFC_0000: "LOG",
    0x7FFF_0000: "ALLOW",
}
RET_ERRNO = 0x0005_0000
MAX_INSTRUCTIONS = 4096

_FORMAT = "=HBBI"
_JUMPS = {JEQ: "==", JGT: ">", JGE: ">=", JSET: "&"}


def statement(code: int, k: int) -> bytes:
    """One instruction that goes on to the next."""
    return struct.pack(_FORMAT, code, 0, 0, k)


def jump(code: int, k: int, if_true: int, if_false: int) -> bytes:
    """Compare the accumulator with `k`, then skip so many instructions."""
    return struct.pack(_FORMAT, code, if_true, if_false, k)


def check(program: bytes) -> None:
    """Raise InvalidInput unless it is 1 to 4096 instructions of eight bytes."""
    if not program or len(program) % 8 or len(program) // 8 > MAX_INSTRUCTIONS:
        raise InvalidInput(f"no BPF program: {len(program)} bytes are not 1 to {MAX_INSTRUCTIONS} instructions of 8")


def instructions(program: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield (code, jt, jf, k) of each."""
    check(program)
    return struct.iter_unpack(_FORMAT, program)


def verdict(answer: int) -> str:
    """Name what a filter answered: `ALLOW`, `ERRNO 1`."""
    name = ACTIONS.get(answer & 0xFFFF_0000, hex(answer))
    return f"{name} {answer & 0xFFFF}" if answer & 0xFFFF else name


def disassemble(program: bytes) -> list[str]:
    """Read a program, a line per instruction, with jump targets as line numbers."""
    return [f"{at:4}  {_line(at, *instruction)}" for at, instruction in enumerate(instructions(program))]


def _line(at: int, code: int, jt: int, jf: int, k: int) -> str:
    if code in _JUMPS:
        return f"if A {_JUMPS[code]} {k:#x} goto {at + 1 + jt} else {at + 1 + jf}"
    texts = {
        LD: f"A = {_field(k)}",
        AND: f"A &= {k:#x}",
        JA: f"goto {at + 1 + k}",
        RET: f"return {verdict(k)}",
    }
    return texts.get(code, f"code {code:#x} {jt} {jf} {k:#x}")


def _field(offset: int) -> str:
    if offset in (NR, ARCH):
        return "number" if offset == NR else "architecture"
    half = "low" if offset % 8 == 0 else "high"
    return f"arg {(offset - ARGS) // 8} {half}" if offset >= ARGS else f"instruction pointer {half}"


def decide(program: bytes, arch: int, number: int, args: Sequence[int] = ()) -> int:
    """Work a program by hand, as the kernel would on this call; returns the answer, see `verdict`.

    `arch` is an AUDIT_ARCH_* number. Raises InvalidInput for a program that the kernel would not take either.
    """
    words = [*args, *[0] * (6 - len(args))]
    data = struct.pack("=iIQ6Q", number if number < 1 << 31 else number - (1 << 32), arch, 0, *words)
    code = list(instructions(program))
    at = accumulator = 0
    while at < len(code):
        op, jt, jf, k = code[at]
        at += 1
        if op == RET:
            return k
        if op in _JUMPS:
            at += jt if _holds(op, accumulator, k) else jf
        elif op == JA:
            at += k
        elif op == AND:
            accumulator &= k
        elif op == LD and k % 4 == 0 and k < len(data):
            (accumulator,) = struct.unpack_from("=I", data, k)
        else:
            raise InvalidInput(f"BPF instruction {at - 1} is none that libseccomp makes: {op:#x} {k:#x}")
    raise InvalidInput("the BPF program runs off its end")


def _holds(op: int, a: int, k: int) -> bool:
    return {JEQ: a == k, JGT: a > k, JGE: a >= k, JSET: bool(a & k)}[op]
