"""What each process may use, and parameters of the kernel: --ulimit, --oom-score-adj, --sysctl.

A limit of setrlimit(2) is inherited from process to process, and counts for each of them, or for each user. What a
namespace has of its own below /proc/sys is the container's to set; all else would be the host's, and is refused. See
getrlimit(2), proc_pid_oom_score_adj(5), sysctl(8).
"""

from __future__ import annotations

import re
import resource
from typing import Any

from labrt.engine.options.model import Options
from labrt.errors import InvalidInput, NotSupported

INFINITY = (1 << 64) - 1  # RLIM_INFINITY, as config.json has it
_SYSCTL = re.compile(r"[a-z0-9_-]+([./][\w.-]+)+", re.IGNORECASE)


def check(options: Options) -> None:
    """Raise InvalidInput for what is no limit or no parameter."""
    if not -1000 <= options.oom_score_adj <= 1000:
        raise InvalidInput(f"--oom-score-adj {options.oom_score_adj}: out of range", remedy="-1000 to 1000")
    rlimits(options)
    sysctls(options)


def apply(options: Options, config: dict[str, Any]) -> None:
    """Write them into config.json. Raises NotSupported for a score that we may not set."""
    config["process"]["rlimits"] = rlimits(options)
    if options.oom_score_adj:
        _check_may_set_oom_score(options.oom_score_adj)
        config["process"]["oomScoreAdj"] = options.oom_score_adj
    if options.sysctl:
        config["linux"]["sysctl"] = sysctls(options)


def host_config(options: Options) -> dict[str, Any]:
    """Return docker's OomScoreAdj, Ulimits and Sysctls."""
    return {
        "OomScoreAdj": options.oom_score_adj,
        "Ulimits": [
            {"Name": one["type"][7:].lower(), **{word.title(): _signed(one[word]) for word in ("soft", "hard")}}
            for one in rlimits(options)
        ],
        "Sysctls": sysctls(options),
    }


def _signed(limit: int) -> int:
    return -1 if limit == INFINITY else limit


def _check_may_set_oom_score(wanted: int) -> None:
    from labrt.linux import capabilities

    with open("/proc/self/oom_score_adj") as file:
        ours = int(file.read())
    if wanted < ours and capabilities.CAP.SYS_RESOURCE not in capabilities.bounding():
        remedy = f"{ours} or more"
        raise NotSupported(f"--oom-score-adj {wanted}: less than our own {ours} needs CAP_SYS_RESOURCE", remedy=remedy)


def rlimits(options: Options) -> list[dict[str, Any]]:
    """Read `--ulimit NAME=SOFT[:HARD]`; -1 and "unlimited" are RLIM_INFINITY. The last one of a name holds."""
    found = {}
    for entry in options.ulimit:
        name, equals, text = entry.partition("=")
        kind = f"RLIMIT_{name.upper()}"
        if not equals or not name.islower() or not hasattr(resource, kind):
            known = ", ".join(sorted(each[7:].lower() for each in dir(resource) if each.startswith("RLIMIT_")))
            remedy = f"NAME=SOFT[:HARD] of {known}"
            raise InvalidInput(f"--ulimit {entry!r}: no limit is called {name!r}", remedy=remedy)
        soft, _, hard = text.partition(":")
        low, high = _limit(soft, entry), _limit(hard or soft, entry)
        if low > high:
            raise InvalidInput(f"--ulimit {entry}: soft is above hard", remedy="SOFT:HARD, the smaller one first")
        found[kind] = {"type": kind, "soft": low, "hard": high}
    return list(found.values())


def _limit(text: str, entry: str) -> int:
    if text in ("-1", "unlimited"):
        return INFINITY
    if not text.isdecimal():
        raise InvalidInput(f"--ulimit {entry}: {text!r} is no number", remedy="0, 1, …, or -1 for no limit")
    return int(text)


def sysctls(options: Options) -> dict[str, str]:
    """Read `--sysctl NAME=VALUE`. Whether it is the container's own to set, runtime/rules.py knows."""
    found = {}
    for entry in options.sysctl:
        name, equals, value = entry.partition("=")
        if not equals or not _SYSCTL.fullmatch(name) or ".." in name:
            raise InvalidInput(f"--sysctl {entry!r}: not understood", remedy="NAME=VALUE, like net.ipv4.ip_forward=1")
        found[name] = value
    return found
