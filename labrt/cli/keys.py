"""The keys that leave a container, as `--detach-keys` names them: "ctrl-p,ctrl-q", "ctrl-x", "a,b"."""

from __future__ import annotations

from labrt.errors import InvalidInput

USUAL = "ctrl-p,ctrl-q"
_MORE = "@[\\]^_"  # what Ctrl makes something of, besides letters: ascii(7)


def parse(text: str) -> bytes:
    """Turn names into the bytes that a terminal sends for them. Empty: the usual ones."""
    return b"".join(map(_key, (text or USUAL).split(",")))


def _key(name: str) -> bytes:
    if len(name) == 1 and name.isascii():
        return name.encode()
    letter = name[5:]
    known = len(letter) == 1 and letter.isascii() and (letter.isalpha() or letter in _MORE)
    if name.lower().startswith("ctrl-") and known:
        return bytes([ord(letter.upper()) & 0x1F])
    remedy = f"single letters, or ctrl- and a letter or one of {_MORE}, with commas between"
    raise InvalidInput(f"--detach-keys: {name!r} is no key", remedy=remedy)


def held_back(data: bytes, keys: bytes) -> int:
    """Return how many bytes at the end of `data` may be the first of `keys`: what comes next will tell."""
    return next((length for length in range(len(keys) - 1, 0, -1) if data.endswith(keys[:length])), 0)
