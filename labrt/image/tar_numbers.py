"""How tar headers write numbers: octal digits or 255 bits of two's complement, and in pax records decimal digits.

See tar(5). Both raise UnsafeLayer for what is no number, `decimal` and `number` alike for what is negative, too.
"""

from __future__ import annotations

from labrt.errors import UnsafeLayer


def number(raw: bytes, what: str) -> int:
    """Read a number field: octal digits, or with the top bit set 255 bits in two's complement (GNU's base-256)."""
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big") & ~(0x80 << 8 * (len(raw) - 1))
        if raw[0] & 0x40:
            value -= 1 << (8 * len(raw) - 1)
    else:
        digits = raw.partition(b"\0")[0].strip()
        try:
            value = int(digits, 8) if digits else 0
        except ValueError:
            raise UnsafeLayer(f"a tar header's {what} is {digits!r}, which is no octal number") from None
    if value < 0 and what != "mtime":
        raise UnsafeLayer(f"a tar header's {what} is negative")
    return value


def decimal(digits: bytes, what: str) -> int:
    """Read the decimal digits of a pax record."""
    if not digits.isdigit() or len(digits) > 19:
        raise UnsafeLayer(f"a pax header's {what} is {digits[:40]!r}, which is no number")
    return int(digits)
