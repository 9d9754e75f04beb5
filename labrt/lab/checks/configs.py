"""Notebook 16: a config.json, written by hand, that a runtime accepts.

    lab.checks.configures(configure)        the check; in a notebook lab.check("16", configure)

`configure(args)` returns the config as a dict. It becomes a bundle, which runc runs, where it is installed, else labrt.
The program in it is the check's: it says from inside which namespaces it is in, and what it sees.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from labrt.errors import InvalidConfig
from labrt.lab import bundles
from labrt.lab.bundles import Ran
from labrt.lab.checks import attempt, capstone
from labrt.lab.checks.verdict import Check, judged, not_yet
from labrt.linux import namespaces
from labrt.runtime import config as oci

# What the kernel calls a kind, and what the specification does.
KINDS = {"pid": "pid", "mnt": "mount", "uts": "uts", "ipc": "ipc", "net": "network"}
EXPECTED = 'it runs, with "lesson" as hostname, as process 1, in five namespaces of its own'
_UNWRITTEN = (
    "a dict with ociVersion, process, root, hostname, mounts and linux",
    'process has args, cwd, env and user; root is {"path": "rootfs"}; linux has namespaces',
    '"namespaces": [{"type": "pid"}, {"type": "mount"}, …], and mount proc on /proc',
)


def configures(configure: Callable[[list[str]], Any]) -> Check:
    """Judge `configure` by what a runtime makes of its config."""
    args = ["sh", "-c", _probe()]
    tried = attempt.run(lambda: _plain(configure(list(args))), namespaces="pid,mnt")
    if tried.problem:
        return not_yet("configure", tried.problem, EXPECTED, tried.hints(_UNWRITTEN))
    made = tried.value
    if not isinstance(made, dict):
        return not_yet("configure", f"{made!r:.100}", EXPECTED, ("it should return a dict", _UNWRITTEN[0]))
    try:
        oci.validate(made)
    except InvalidConfig as error:
        hints = (f"the specification says otherwise: {error.message}", "see config.md of the OCI runtime-spec")
        return not_yet("configure", f"refused: {error.message}", EXPECTED, hints)
    with bundles.bundle(made) as path:
        ran = bundles.run(path)
    return _judge(ran)


def _probe() -> str:
    links = "; ".join(f"echo {kind}=$(readlink /proc/self/ns/{kind})" for kind in KINDS)
    return f"echo hostname=$(hostname); echo number=$$; {links}; exit 5"


def _plain(made: object) -> object:
    return json.loads(json.dumps(made)) if isinstance(made, dict) else repr(made)


def _judge(ran: Ran) -> Check:
    told = capstone.parse_probe(ran.output)
    here = namespaces.of("self")
    shared = [kind for kind in KINDS if told.get(kind) == f"{kind}:[{here[kind].inode}]"]
    saw = f"{ran.runtime}: exit code {ran.exit_code}, hostname {told.get('hostname', 'unknown')!r}, process "
    saw += f"{told.get('number', 'unknown')}; shared with the host: {', '.join(shared) or 'nothing'}"
    return judged("configure", saw, EXPECTED, _hints(ran, told, shared))


def _hints(ran: Ran, told: dict[str, str], shared: list[str]) -> tuple[str, ...]:
    no_proc = (
        "it sees no /proc: that is a mount, and in a new mount namespace somebody has to make it",
        "`mounts` is a list of objects with destination, type and source; proc(5) is a type",
        '"mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}]',
    )
    if not told and "/proc/" in ran.error:  # runc itself looks there
        return no_proc
    if not told:
        complaint = " ".join((ran.error or "nothing").split())[-200:]
        return (
            f"the program did not answer, and {ran.runtime} says: {complaint}",
            "is `args` in process, as it was given? And a PATH in env, to find sh?",
            '"process": {"args": args, "cwd": "/", "env": ["PATH=/bin:/usr/bin"], …}',
        )
    if not told.get("pid"):
        return no_proc
    if shared:
        missing = ", ".join(f'{{"type": "{KINDS[kind]}"}}' for kind in shared)
        return (
            f"it shares with the host: {', '.join(shared)}",
            "each kind of namespace that is to be new stands in linux.namespaces, by its type",
            f"linux.namespaces lacks {missing}",
        )
    if told.get("hostname") != "lesson":
        return (
            f"its hostname is {told.get('hostname')!r}",
            "the name stands at the top of the document, beside process and root",
            '"hostname": "lesson"',
        )
    if ran.exit_code != 5:
        return (
            f"the program ended with 5, and {ran.runtime} with {ran.exit_code}",
            "which program is it that ran? A shell around it has an exit code of its own",
            '"args": args, as it was given',
        )
    return ()
