"""Dockerfile instructions that change an image's config: what `import -c` and `commit -c` take.

    apply({"Cmd": ["sh"]}, ["ENV A=1", 'CMD ["/hello"]'])     the "config" object, changed; the old one stays

The instructions are those that docker allows there: CMD ENTRYPOINT ENV EXPOSE LABEL STOPSIGNAL USER VOLUME WORKDIR.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable
from typing import Any

from labrt.errors import InvalidInput

Config = dict[str, Any]


def apply(config: Config, instructions: Iterable[str]) -> Config:
    """Return the config after these instructions, in order. Raises InvalidInput, which names the instruction."""
    changed = json.loads(json.dumps(config))
    for text in instructions:
        word, _, rest = text.strip().partition(" ")
        change = _CHANGES.get(word.upper())
        if change is None:
            raise InvalidInput(f"{text!r:.200} changes no image config", remedy=f"one of {', '.join(sorted(_CHANGES))}")
        try:
            change(changed, rest.strip())
        except ValueError as error:
            raise InvalidInput(f"{text!r:.200} cannot be read: {error}") from None
    return dict(changed)


def _words(rest: str) -> list[str]:
    """Read the JSON form, ["a", "b"], or the shell's, which a shell then runs."""
    if rest.startswith("["):
        words = json.loads(rest)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("a list of strings is wanted")
        return words
    return ["/bin/sh", "-c", rest] if rest else []


def _pairs(rest: str) -> list[tuple[str, str]]:
    """Read A=1 B="two words", or the old form `A one value`."""
    words = shlex.split(rest)
    if not words:
        raise ValueError("NAME=value is wanted")
    if "=" not in words[0]:
        name, _, value = rest.partition(" ")
        return [(name, value.strip())]
    pairs = [word.partition("=") for word in words]
    if not all(name and equals for name, equals, _ in pairs):
        raise ValueError("NAME=value is wanted")
    return [(name, value) for name, _, value in pairs]


def _set_env(config: Config, rest: str) -> None:
    for name, value in _pairs(rest):
        others = [line for line in config.get("Env") or [] if line.partition("=")[0] != name]
        config["Env"] = [*others, f"{name}={value}"]


def _set_labels(config: Config, rest: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(_pairs(rest))}


def _add_ports(config: Config, rest: str) -> None:
    ports = [port if "/" in port else f"{port}/tcp" for port in shlex.split(rest)]
    config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), **{port: {} for port in ports}}


def _add_volumes(config: Config, rest: str) -> None:
    paths = _words(rest) if rest.startswith("[") else shlex.split(rest)
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}


def _set(key: str) -> Callable[[Config, str], None]:
    def change(config: Config, rest: str) -> None:
        if not rest:
            raise ValueError("a value is wanted")
        config[key] = rest

    return change


def _set_words(key: str) -> Callable[[Config, str], None]:
    def change(config: Config, rest: str) -> None:
        config[key] = _words(rest)

    return change


_CHANGES: dict[str, Callable[[Config, str], None]] = {
    "CMD": _set_words("Cmd"), "ENTRYPOINT": _set_words("Entrypoint"), "ENV": _set_env, "LABEL": _set_labels,
    "EXPOSE": _add_ports, "VOLUME": _add_volumes, "USER": _set("User"), "WORKDIR": _set("WorkingDir"),
    "STOPSIGNAL": _set("StopSignal"),
}  # fmt: skip
