"""A small assembler for eBPF, and loading what it makes: as much as a device filter needs.

    >>> print(Program([move_number(0, 1), leave()]))
       0  r0 = 1
       1  exit

An instruction is eight bytes: opcode, two registers (four bits each), a jump's or load's offset, a number. r0 is the
answer, r1 points at the context. See bpf(2), and Documentation/bpf/standardization/instruction-set.rst in the kernel.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

from labrt.linux import syscalls
from labrt.shapes import Record

# bpf(2)'s commands, program types and attach types, of linux/bpf.h.
PROG_LOAD, PROG_ATTACH, PROG_DETACH, PROG_GET_FD_BY_ID, PROG_QUERY = 5, 8, 9, 13, 16
PROG_TYPE_CGROUP_DEVICE = 15
CGROUP_DEVICE = 6
F_ALLOW_MULTI = 2  # other programs may be attached here and below; all are asked


class Instruction(Record):
    """One instruction, with what it says in C for people."""

    opcode: int
    target: int
    source: int
    offset: int
    number: int
    text: str

    def encode(self) -> bytes:
        """Return the eight bytes. The order of the registers is that of little-endian machines."""
        return struct.pack("<BBhi", self.opcode, self.source << 4 | self.target, self.offset, self.number)


def load(target: int, pointer: int, offset: int) -> Instruction:
    """LDX | MEM | W: 32 bits from where `pointer` points."""
    return Instruction(0x61, target, pointer, offset, 0, f"r{target} = *(u32 *)(r{pointer} + {offset})")


def move_register(target: int, source: int) -> Instruction:
    """ALU64 | MOV | X."""
    return Instruction(0xBF, target, source, 0, 0, f"r{target} = r{source}")


def move_number(target: int, number: int) -> Instruction:
    """ALU64 | MOV | K."""
    return Instruction(0xB7, target, 0, 0, number, f"r{target} = {number}")


def and_number(target: int, number: int) -> Instruction:
    """ALU64 | AND | K."""
    return Instruction(0x57, target, 0, 0, number, f"r{target} &= {number:#x}")


def shift_right(target: int, number: int) -> Instruction:
    """ALU64 | RSH | K."""
    return Instruction(0x77, target, 0, 0, number, f"r{target} >>= {number}")


def jump_if(target: int, number: int, offset: int) -> Instruction:
    """JMP | JEQ | K: skip `offset` instructions."""
    return Instruction(0x15, target, 0, offset, number, f"if r{target} == {number} skip {offset}")


def jump_if_not(target: int, number: int, offset: int) -> Instruction:
    """JMP | JNE | K: skip `offset` instructions."""
    return Instruction(0x55, target, 0, offset, number, f"if r{target} != {number} skip {offset}")


def leave() -> Instruction:
    """JMP | EXIT: r0 is the answer."""
    return Instruction(0x95, 0, 0, 0, 0, "exit")


class Program:
    """Instructions, readable as text and loadable into the kernel."""

    def __init__(self, instructions: Sequence[Instruction]) -> None:
        self.instructions = tuple(instructions)

    def encode(self) -> bytes:
        """Return the bytes that the kernel's verifier reads."""
        return b"".join(instruction.encode() for instruction in self.instructions)

    def load(self, kind: int, name: str) -> int:
        """Hand it to the verifier; return its descriptor. The program lives while it is open or attached."""
        # prog_type, insn_cnt, insns, license; log_level, log_size, log_buf; kern_version, prog_flags, prog_name
        return syscalls.bpf(
            PROG_LOAD, "IIQQIIQII16s", kind, len(self.instructions), self.encode(), b"GPL\0", 0, 0, 0, 0, 0, name
        )

    def __str__(self) -> str:
        return "\n".join(f"{index:4}  {one.text}" for index, one in enumerate(self.instructions))

    def __repr__(self) -> str:
        return f"<Program of {len(self.instructions)} instructions>"


def attached(target: int, kind: int) -> list[int]:
    """Return the ids of the programs attached to a cgroup itself (not to those above it)."""
    ids = bytearray(4 * 64)  # the kernel takes no more on one cgroup
    # target_fd, attach_type, query_flags, attach_flags, prog_ids, prog_cnt
    syscalls.bpf(PROG_QUERY, "IIIIQI", target, kind, 0, 0, ids, 64)
    return [number for (number,) in struct.iter_unpack("=I", ids) if number]


def attach(target: int, program: int, kind: int) -> None:
    """Attach a program to a cgroup."""
    # target_fd, attach_bpf_fd, attach_type, attach_flags
    syscalls.bpf(PROG_ATTACH, "IIII", target, program, kind, F_ALLOW_MULTI)


def detach(target: int, number: int, kind: int) -> None:
    """Take a program, by its id, off a cgroup."""
    program = syscalls.bpf(PROG_GET_FD_BY_ID, "III", number, 0, 0)
    try:
        syscalls.bpf(PROG_DETACH, "III", target, program, kind)
    finally:
        os.close(program)
