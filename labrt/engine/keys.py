"""The keys that leave a container, as `--detach-keys` names them: "ctrl-p,ctrl-q", "ctrl-x", "a,b".

    keys = Keys(parse("ctrl-p,ctrl-q"))
    typed, left = keys.feed(data)         what goes on to the container, and whether they have come
"""

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


class Keys:
    """Finds them in what is typed. What may be the first of them waits for what comes after it."""

    def __init__(self, keys: bytes) -> None:
        self.keys, self._held = keys, b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return what goes on, up to the keys that leave, and whether these have come."""
        data = self._held + data
        before, found, _ = data.partition(self.keys)
        held = 0 if found else held_back(data, self.keys)
        self._held = data[len(data) - held :]
        return before[: len(before) - held], bool(found)
