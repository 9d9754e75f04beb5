"""What is only remembered of a container, for those who act on it later: labels, stop, restart, health, logs.

Here it takes the Engine API's form (HostConfig and Config of a container), checked: `inspect` shows it as it is. The
exceptions are annotations and env files, which go into config.json.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

from labrt.engine.options.model import Options
from labrt.errors import InvalidInput
from labrt.image.config import ImageConfig

RESTARTS = ("no", "always", "unless-stopped", "on-failure")
LOG_OPTIONS = ("max-size", "max-file")
_PORT = re.compile(r"(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
SHORTEST = 1_000_000  # nanoseconds: Docker's limit for a health check's times


def check(options: Options) -> None:
    """Raise InvalidInput for what cannot be. Reading the files is left to who needs their content."""
    restart_policy(options)
    log_config(options)
    _healthcheck(options, None)
    list(ports(options.expose))
    if options.stop_signal is not None:
        from labrt.engine.signal_names import parse_signal

        parse_signal(options.stop_signal)
    if options.stop_timeout is not None and options.stop_timeout < -1:
        raise InvalidInput(f"--stop-timeout {options.stop_timeout}: less than none", remedy="seconds, or -1 for ever")
    if options.runtime != "labrt" and not shutil.which(options.runtime):
        remedy = "labrt, or a program like it: runc, crun, or a path"
        raise InvalidInput(f"--runtime {options.runtime!r} is not known", remedy=remedy)
    _pairs("--annotation", options.annotation, foreign=True)


def apply(options: Options, config: dict[str, Any]) -> None:
    """Write the annotations into config.json."""
    config["annotations"] |= _pairs("--annotation", options.annotation, foreign=True)


def host_config(options: Options) -> dict[str, Any]:
    """Return docker's RestartPolicy, LogConfig, Annotations."""
    found: dict[str, Any] = {"RestartPolicy": restart_policy(options), "LogConfig": log_config(options)}
    if options.runtime != "labrt":
        found["Runtime"] = options.runtime
    if options.annotation:
        found["Annotations"] = _pairs("--annotation", options.annotation, foreign=True)
    return found


def container_config(options: Options, image: ImageConfig) -> dict[str, Any]:
    """Return docker's Labels, Healthcheck, StopSignal, StopTimeout and ExposedPorts, the image's own among them."""
    from_files = [line for path in options.label_file for line in lines(path, "--label-file")]
    return {
        "Labels": {**image.labels, **_pairs("--label", [*from_files, *options.label])},
        "Healthcheck": _healthcheck(options, image),
        "StopSignal": options.stop_signal or image.stop_signal or "SIGTERM",
        "StopTimeout": options.stop_timeout,
        "ExposedPorts": {port: {} for port in (*image.exposed_ports, *ports(options.expose))},
    }


def restart_policy(options: Options) -> dict[str, Any]:
    """Read `--restart`: a word, and after on-failure perhaps how many times at most (0: for ever)."""
    name, colon, most = options.restart.partition(":")
    if name not in RESTARTS or (colon and (name != "on-failure" or not most.isdecimal())):
        remedy = f"one of {', '.join(RESTARTS)}[:times]"
        raise InvalidInput(f"--restart {options.restart!r} is not known", remedy=remedy)
    if options.remove and name != "no":
        raise InvalidInput(f"--restart {options.restart} and --rm contradict each other", remedy="leave one out")
    return {"Name": name, "MaximumRetryCount": int(most or 0)}


def log_config(options: Options) -> dict[str, Any]:
    """Read `--log-driver` and `--log-opt`."""
    if options.log_driver != "json-file":
        raise InvalidInput(f"--log-driver {options.log_driver!r} is not known", remedy="json-file is")
    given = _pairs("--log-opt", options.log_opt)
    for name, value in given.items():
        if name not in LOG_OPTIONS:
            raise InvalidInput(f"--log-opt {name!r} is not known", remedy=f"one of {', '.join(LOG_OPTIONS)}")
        if name == "max-file" and not (value.isdecimal() and int(value) > 0):
            raise InvalidInput(f"--log-opt max-file={value}: no number of files", remedy="1, 2, …")
        if name == "max-size" and value != "-1":
            from labrt.linux.cgroups import units

            if not units.parse_size(value):
                raise InvalidInput(f"--log-opt max-size={value}: nothing fits", remedy="10m, say; -1: no limit")
    if int(given.get("max-file", 1)) > 1 and given.get("max-size", "-1") == "-1":
        raise InvalidInput("--log-opt max-file without max-size: when to begin a new file?", remedy="add max-size=10m")
    return {"Type": options.log_driver, "Config": given}


def duration(text: str, flag: str) -> int:
    """Read "1m30s", "500ms", "0" as Go writes them; in nanoseconds."""
    from labrt.image.durations import nanoseconds

    found = nanoseconds(text)
    if found is None:
        raise InvalidInput(f"{flag} {text!r} is no duration", remedy="30s, 1m30s, 500ms, …")
    return found


def _healthcheck(options: Options, image: ImageConfig | None) -> dict[str, Any] | None:
    """Merge the image's HEALTHCHECK with what is given. None: there is none. Zero: left to whoever runs it."""
    given: dict[str, Any] = {}
    for key in ("interval", "timeout", "start_period", "start_interval"):
        text, flag = getattr(options, f"health_{key}"), f"--health-{key.replace('_', '-')}"
        if text is not None:
            given[key.title().replace("_", "")] = _long_enough(duration(text, flag), flag, text)
    if options.health_retries is not None:
        if options.health_retries < 0:
            raise InvalidInput(f"--health-retries {options.health_retries}: less than none", remedy="0, 1, …")
        given["Retries"] = options.health_retries
    if options.health_cmd is not None:
        cmd = options.health_cmd
        given["Test"] = ["CMD-SHELL", cmd] if isinstance(cmd, str) else ["CMD", *cmd]
    if options.no_healthcheck:
        if given:
            raise InvalidInput("--no-healthcheck and --health-… contradict each other", remedy="leave out one of them")
        return {"Test": ["NONE"]}
    base = dict(image.healthcheck) if image and image.healthcheck else {}
    merged = base | {key: value for key, value in given.items() if value}
    return merged if merged.get("Test") else None


def _long_enough(nanoseconds: int, flag: str, text: str) -> int:
    if 0 < nanoseconds < SHORTEST:
        raise InvalidInput(f"{flag} {text}: too short", remedy="1ms at least")
    return nanoseconds


def ports(texts: Iterable[str]) -> Iterator[str]:
    """Write out `--expose`: "8000-8002/udp" is three ports; tcp if nothing is said."""
    for text in texts:
        match = _PORT.fullmatch(text)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match is None or not 0 < first <= last < 1 << 16:
            raise InvalidInput(f"--expose {text!r} is no port", remedy="80, 53/udp, 8000-8010")
        yield from (f"{port}/{(match[3] or 'tcp').lower()}" for port in range(first, last + 1))


def _pairs(flag: str, entries: Iterable[str], *, foreign: bool = False) -> dict[str, str]:
    """Read KEY=value, or KEY for an empty value. `foreign`: not one of our own keys, which the runtime obeys."""
    pairs = {}
    for entry in entries:
        key, _, value = entry.partition("=")
        if not key or "\0" in entry:
            raise InvalidInput(f"{flag} {entry!r}: no key", remedy="KEY=value")
        if foreign and key.startswith("org.labrt."):
            raise InvalidInput(f"{flag} {entry}: org.labrt. is labrt's own", remedy="choose another key")
        pairs[key] = value
    return pairs


def env_files(files: Iterable[str]) -> list[str]:
    """Read `--env-file`: NAME=value, or NAME for one's own value; a value is taken as it stands, quotes and all."""
    entries = [line for path in files for line in lines(path, "--env-file")]
    for entry in entries:
        name = entry.partition("=")[0]
        if not name or any(letter.isspace() for letter in name):
            raise InvalidInput(f"--env-file: {entry!r:.100} names no variable", remedy="NAME=value, one on each line")
    return entries


def lines(path: str, flag: str) -> list[str]:
    """Read the lines of a file, but for empty ones and comments; white space before them is no part of them."""
    try:
        with open(os.path.expanduser(path), encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInput(f"{flag} {path}: {reason}", remedy="a text file with one entry on each line") from None
    every = (line.lstrip() for line in text.split("\n"))
    return [line.removesuffix("\r") for line in every if line.strip() and not line.startswith("#")]
