"""Which variables mean what where: ARG, ENV, --build-arg, and what is known without either.

    before the first FROM    ARG gives defaults, which mean something in FROM lines only
    in a stage               an ARG begins to mean something where it stands; without a default it takes that of above
    everywhere               ENV wins over ARG; a --build-arg over an ARG's default

Of the platform TARGETPLATFORM, TARGETOS, TARGETARCH, TARGETVARIANT and the same with BUILD are known in FROM lines, and
in a stage after `ARG TARGETARCH`. Proxies (HTTP_PROXY, …) need no ARG; they are for RUN, and no cache asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from labrt.builder import instructions, words
from labrt.builder.dockerfile import Instruction
from labrt.image.platform import Platform

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
PREDEFINED = (*_PROXIES, *(name.lower() for name in _PROXIES))
Config = dict[str, Any]


class Arguments:
    """What --build-arg says and what the file says before its first FROM; and which of that was of use."""

    def __init__(self, given: Mapping[str, str], target: Platform) -> None:
        self.given = dict(given)
        self.used: set[str] = set(PREDEFINED) & set(self.given)
        self.known = {**_platform("TARGET", target), **_platform("BUILD", Platform.host())}
        self.above: dict[str, str] = {}

    def declare_above(self, instruction: Instruction) -> None:
        """Take an ARG that stands before the first FROM."""
        for name, default in _declared(instruction, self.for_from()):
            value = self._given(name, default)
            if value is not None:
                self.above[name] = value

    def for_from(self) -> dict[str, str]:
        """Return what FROM lines may use."""
        return {**self.known, **self.above}

    def _given(self, name: str, default: str | None) -> str | None:
        if name in self.given:
            self.used.add(name)
            return self.given[name]
        return default

    def value(self, name: str, default: str | None) -> str | None:
        """Return what an ARG of a stage begins with; None: nothing."""
        value = self._given(name, default)
        if value is None:
            value = self.above.get(name, self.known.get(name))
        return value

    def unused(self) -> list[str]:
        """Return the names of --build-arg that no ARG asked for."""
        return sorted(set(self.given) - self.used)


class Scope:
    """The variables of a stage, as far as it has got. A stage that stands on another one begins with its ARGs."""

    def __init__(self, arguments: Arguments, inherited: Mapping[str, str | None] | None = None) -> None:
        self.arguments = arguments
        self.declared: dict[str, str | None] = dict(inherited or {})

    def declare(self, instruction: Instruction, config: Config) -> None:
        """Take an ARG."""
        for name, default in _declared(instruction, self.variables(config)):
            self.declared[name] = self.arguments.value(name, default)

    def variables(self, config: Config) -> dict[str, str]:
        """Return what can be put into words here."""
        return {**self._arguments(), **environment(config)}

    def _arguments(self) -> dict[str, str]:
        return {name: value for name, value in self.declared.items() if value is not None}

    def for_run(self, config: Config) -> dict[str, str]:
        """Return what RUN gets besides the image's own environment, and what its cache asks for, sorted."""
        own = environment(config)
        return {name: value for name, value in sorted(self._arguments().items()) if name not in own}

    def proxies(self) -> dict[str, str]:
        """Return what RUN gets and no cache asks for."""
        given = self.arguments.given
        return {name: given[name] for name in PREDEFINED if name in given and name not in self.declared}


def environment(config: Config) -> dict[str, str]:
    """Return the variables of a config's Env."""
    return dict(line.partition("=")[::2] for line in config.get("Env") or [])


def _declared(instruction: Instruction, variables: Mapping[str, str]) -> Iterable[tuple[str, str | None]]:
    known = dict(variables)
    for word in words.cut(instruction.rest, escape=instruction.escape):
        name, equals, default = word.partition("=")
        name = instructions.expand(instruction, name, known)
        if not name or name[0].isdigit():
            instruction.fail(f"{word:.40} is no name of a variable", "ARG NAME=default")
        value = instructions.expand(instruction, default, known) if equals else None
        if value is not None:
            known[name] = value
        yield name, value


def _platform(prefix: str, platform: Platform) -> dict[str, str]:
    return {
        f"{prefix}PLATFORM": str(platform), f"{prefix}OS": platform.os, f"{prefix}ARCH": platform.architecture,
        f"{prefix}VARIANT": platform.variant,
    }  # fmt: skip
