"""Instructions that change an image's config and nothing else: one function each.

    apply(config, instruction, variables)      the "config" object of an image's config is changed in place

CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL MAINTAINER ONBUILD SHELL STOPSIGNAL USER VOLUME WORKDIR. `commit -c` and
`import -c` take them, too: engine/changes.py. Specification: OCI image-spec, config.md; Docker's own are Healthcheck,
OnBuild and Shell.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from labrt.builder import words
from labrt.builder.dockerfile import Instruction, parse_one
from labrt.errors import InvalidInput
from labrt.image.durations import nanoseconds

T = TypeVar("T")

Config = dict[str, Any]
Variables = Mapping[str, str]

SHELL = ("/bin/sh", "-c")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_SIGNAL = re.compile(r"\d{1,2}|(SIG)?[A-Z][A-Z0-9]*([+-]\d{1,2})?", re.IGNORECASE)


def apply(config: Config, instruction: Instruction, variables: Variables) -> None:
    """Change the config as the instruction says. Raises InvalidInput, which shows it."""
    CHANGES[instruction.keyword](config, instruction, variables)


def command_line(config: Config, instruction: Instruction) -> list[str]:
    """Return what is to be run: the list as it stands, or a line for the shell."""
    if instruction.json is not None:
        return list(instruction.json)
    return [*shell(config), instruction.rest] if instruction.rest else []


def shell(config: Config) -> list[str]:
    """Return the shell that SHELL has chosen, or the usual one."""
    return list(config.get("Shell") or SHELL)


def pairs(instruction: Instruction, variables: Variables) -> list[tuple[str, str]]:
    """Read A=1 B="two words", or the old form `A one value`. All variables are those of before the instruction."""
    found = words.cut(instruction.rest, escape=instruction.escape)
    if "=" not in found[0]:
        value = instruction.rest[len(found[0]) :].strip()
        if not value and instruction.keyword == "ENV":
            instruction.fail("NAME=value is wanted")
        found = [f"{found[0]}={value}"]
    result = []
    for word in found:
        name, equals, value = word.partition("=")
        name = expand(instruction, name, variables)
        if not equals or not name:
            instruction.fail(f"{word:.40} is no NAME=value", "quote what has blanks in it")
        result.append((name, expand(instruction, value, variables)))
    return result


def expand(instruction: Instruction, text: str, variables: Variables) -> str:
    """Put variables into a word of an instruction; an error says which instruction that was."""
    return _explained(instruction, lambda: words.expand(text, variables, escape=instruction.escape))


def split(instruction: Instruction, text: str, variables: Variables) -> list[str]:
    """Put variables into the words of an instruction, and tell the words apart."""
    return _explained(instruction, lambda: words.split(text, variables, escape=instruction.escape))


def _explained(instruction: Instruction, function: Callable[[], T]) -> T:
    try:
        return function()
    except InvalidInput as error:
        instruction.fail(error.message, error.remedy)


def set_env(config: Config, name: str, value: str) -> None:
    """Set one variable, in the place that it has if it has one."""
    lines = list(config.get("Env") or [])
    names = [line.partition("=")[0] for line in lines]
    if name in names:
        lines[names.index(name)] = f"{name}={value}"
    else:
        lines.append(f"{name}={value}")
    config["Env"] = lines


def _env(config: Config, instruction: Instruction, variables: Variables) -> None:
    for name, value in pairs(instruction, variables):
        set_env(config, name, value)


def _label(config: Config, instruction: Instruction, variables: Variables) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(pairs(instruction, variables))}


def _cmd(config: Config, instruction: Instruction, variables: Variables) -> None:
    config["Cmd"] = command_line(config, instruction)


def _entrypoint(config: Config, instruction: Instruction, variables: Variables) -> None:
    config["Entrypoint"] = command_line(config, instruction)


def _expose(config: Config, instruction: Instruction, variables: Variables) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for text in split(instruction, instruction.rest, variables):
        match = _PORT.fullmatch(text)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not match or not 0 <= first <= last < 1 << 16:
            instruction.fail(f"{text:.40} is no port", "80, 53/udp, 8000-8010")
        ports |= {f"{port}/{(match[3] or 'tcp').lower()}": {} for port in range(first, last + 1)}
    config["ExposedPorts"] = ports


def _volume(config: Config, instruction: Instruction, variables: Variables) -> None:
    paths = instruction.json
    found = split(instruction, instruction.rest, variables) if paths is None else [
        expand(instruction, path, variables) for path in paths
    ]  # fmt: skip
    if not found or not all(path.strip() for path in found):
        instruction.fail("a volume without a path")
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in found}}


def _user(config: Config, instruction: Instruction, variables: Variables) -> None:
    config["User"] = _one_word(instruction, variables)


def _workdir(config: Config, instruction: Instruction, variables: Variables) -> None:
    path = expand(instruction, instruction.rest, variables)
    if not path:
        instruction.fail("a directory is wanted")
    config["WorkingDir"] = absolute(config, path)


def absolute(config: Config, path: str) -> str:
    """Return a path of the image as one that begins at its root; it may be relative to WORKDIR."""
    return posixpath.normpath("/" + posixpath.join(config.get("WorkingDir") or "/", path).lstrip("/"))


def _stopsignal(config: Config, instruction: Instruction, variables: Variables) -> None:
    word = _one_word(instruction, variables)
    if not _SIGNAL.fullmatch(word):
        instruction.fail(f"{word:.40} is no signal", "a number or a name: 15, SIGTERM, SIGRTMIN+3")
    config["StopSignal"] = word


def _one_word(instruction: Instruction, variables: Variables) -> str:
    found = split(instruction, instruction.rest, variables)
    if len(found) != 1 or not found[0]:
        instruction.fail("one word is wanted")
    return found[0]


def _shell(config: Config, instruction: Instruction, variables: Variables) -> None:
    if not instruction.json:
        instruction.fail("a list is wanted", 'SHELL ["/bin/bash", "-o", "pipefail", "-c"]')
    config["Shell"] = list(instruction.json)


def _onbuild(config: Config, instruction: Instruction, variables: Variables) -> None:
    trigger(instruction.rest, instruction.where)
    config["OnBuild"] = [*(config.get("OnBuild") or []), instruction.rest]


def trigger(text: str, where: str) -> Instruction:
    """Read what stands behind ONBUILD, in a Dockerfile or in the config of an image. Raises InvalidInput."""
    found = parse_one(text, where)
    if found.keyword in ("ONBUILD", "FROM", "MAINTAINER"):
        found.fail(f"ONBUILD {found.keyword} may not be")
    return found


def _healthcheck(config: Config, instruction: Instruction, variables: Variables) -> None:
    kind, _, command = instruction.rest.partition(" ")
    if kind.upper() == "NONE":
        if command.strip() or instruction.flags:
            instruction.fail("HEALTHCHECK NONE takes nothing else")
        config["Healthcheck"] = {"Test": ["NONE"]}
        return
    if kind.upper() != "CMD" or not command.strip():
        instruction.fail("HEALTHCHECK CMD and a command, or NONE, is wanted")
    inner = parse_one(f"CMD {command.strip()}", instruction.where)
    test = ["CMD", *inner.json] if inner.json is not None else ["CMD-SHELL", inner.rest]
    found: dict[str, Any] = {"Test": test}
    keys = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod",
            "start-interval": "StartInterval"}  # fmt: skip
    for flag, key in keys.items():
        if text := instruction.flag(flag):
            value = nanoseconds(text)
            if value is None or 0 < value < 10**6:
                instruction.fail(f"--{flag}={text} is no duration", "30s, 1m30s, 500ms; 1ms at least")
            found[key] = value
    if text := instruction.flag("retries"):
        if not text.isdecimal():
            instruction.fail(f"--retries={text} is no number")
        found["Retries"] = int(text)
    config["Healthcheck"] = {key: value for key, value in found.items() if value}


CHANGES: dict[str, Callable[[Config, Instruction, Variables], None]] = {
    "CMD": _cmd, "ENTRYPOINT": _entrypoint, "ENV": _env, "EXPOSE": _expose, "HEALTHCHECK": _healthcheck,
    "LABEL": _label, "ONBUILD": _onbuild, "SHELL": _shell, "STOPSIGNAL": _stopsignal, "USER": _user,
    "VOLUME": _volume, "WORKDIR": _workdir,
}  # fmt: skip
