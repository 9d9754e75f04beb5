"""Notebook 18: the smallest set of capabilities with which an honest program works, and no way out does.

    lab.checks.confines(smallest)       the check; in a notebook lab.check("18", smallest)

`smallest()` returns names. With these and no other capability the web server of escapes.py is run; then the four
attacks, with every other defence taken away; then the server again, without each of the names in turn.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from labrt.errors import InvalidInput
from labrt.lab import escapes
from labrt.lab.checks import attempt
from labrt.lab.checks.verdict import Check, not_yet, passed
from labrt.linux import capabilities

EXPECTED = "the server serves, none of the four gets out, and nothing is in the set that the server can do without"
_UNWRITTEN = (
    "begin with none, run the server, and read what it complains of: which capability is that?",
    "capabilities(7) has a sentence for each; four of them are enough",
    'return ["CHOWN", …]: to give files away, to listen below port 1024, to become another user, and other groups',
)
# What the server says when a capability is missing, and which; what to be told about it.
_MISSING = (
    ("chown", "CHOWN", "it may not give its files to another user"),
    ("bind", "NET_BIND_SERVICE", "it may not listen on port 80: ports below 1024 are root's"),
    ("setgroups", "SETGID", "it may not change its groups, as who becomes another user has to"),
    ("setuid", "SETUID", "it may not become another user"),
)
_WAYS = {
    "disk": ("MKNOD", "who may make device files has every disk, unless a cgroup forbids it"),
    "setting": ("SYS_ADMIN", "who may mount can turn what is read-only into what is not"),
    "neighbour": ("SYS_PTRACE", "who may trace any process may also read what it keeps to itself"),
    "chroot": ("SYS_CHROOT", "who may change the root can move it below the directory that he keeps open"),
}


def confines(smallest: Callable[[], object]) -> Check:
    """Judge `smallest`, by a server that runs with what it names, and by four attackers that have just as much."""
    tried = attempt.run(lambda: _plain(smallest()), namespaces="pid,mnt")
    if tried.problem:
        return not_yet("smallest", tried.problem, EXPECTED, tried.hints(_UNWRITTEN))
    names = tried.value
    if not isinstance(names, list):
        hints = (f"it returned {names:.60}: a list of names was wanted", 'such as ["KILL", "CHOWN"]', _UNWRITTEN[2])
        return not_yet("smallest", f"{names:.100}", EXPECTED, hints)
    try:
        wanted = capabilities.parse(*names) & capabilities.bounding()
    except InvalidInput as error:
        hints = (f"{error.message}", "they are named in capabilities(7), with or without the CAP_", _UNWRITTEN[2])
        return not_yet("smallest", f"{names}", EXPECTED, hints)
    with escapes.room() as room:
        return _judge([name.removeprefix("CAP_") for name in capabilities.names(wanted)], room)


def _plain(answer: object) -> object:
    if isinstance(answer, list | tuple | set | frozenset):
        return [str(name) for name in answer]
    return repr(answer)


def _judge(names: list[str], room: escapes.Room) -> Check:
    result = room.serve(names)
    kept = _bounding(result.stdout)
    saw = f"with {kept}, says the kernel, " if kept else ""
    if result.exit_code or not result.stdout.startswith("hello\n"):
        complaint = " ".join(result.stderr.split())[:160] or "nothing"
        saw = f"the server ended with {result.exit_code}: {complaint}"
        return not_yet("smallest", saw, EXPECTED, _lacks(complaint))
    outcomes = [room.attempt(attack, caps=names) for attack in escapes.ATTACKS]
    saw += "the server served; " + ", ".join(f"{one.attack} {one.word}" for one in outcomes)
    for one in outcomes:
        if one.escaped:
            return not_yet("smallest", saw, EXPECTED, _way_out(one))
    for name in names:
        rest = [other for other in names if other != name]
        if room.serve(rest).exit_code == 0:
            return not_yet("smallest", f"{saw}; and without {name} the server serves, too", EXPECTED, _spare(name))
    return passed("smallest", f"{saw}; without any one of them it serves no more", EXPECTED)


def _bounding(output: str) -> str:
    """Name what the server found in its own /proc/self/status."""
    found = re.search(r"^([0-9a-f]{16})$", output, re.MULTILINE)
    caps = capabilities.names(capabilities.CAP(int(found[1], 16))) if found else []
    return f"{len(caps)} capabilities" if len(caps) > 6 else " ".join(name.removeprefix("CAP_") for name in caps)


def _lacks(complaint: str) -> tuple[str, ...]:
    for word, name, why in _MISSING:
        if f"{word}:" in complaint:
            return (f"the server does not work: {why}", f"it says {complaint!r}: look for that in capabilities(7)",
                    f"{name} is missing")  # fmt: skip
    return (f"the server does not work: {complaint}", *_UNWRITTEN[1:])


def _way_out(one: escapes.Outcome) -> tuple[str, ...]:
    name, why = _WAYS[one.attack]
    return (
        f"with these capabilities the attack {one.attack!r} gets out: {escapes.ATTACKS[one.attack]}",
        why,
        f"leave out {name}: the server does not need it",
    )


def _spare(name: str) -> tuple[str, ...]:
    return (
        f"{name} is not needed: who gets into the server gets it, too",
        "for each name: room.serve without it. Does it still serve? Then the name goes",
        f"leave out {name}; four are enough",
    )
