"""Notebook 21: a container made by hand must answer a probe as one of labrt's does.

    lab.checks.contained(by_hand, by_labrt)         the check: two dicts, as parse_probe makes them
"""

from __future__ import annotations

from collections.abc import Mapping

from labrt.lab.checks.verdict import Check

# What a container is made of, in the order of making; what is missing when the two differ; where to look.
ISOLATION = {
    "root": ("its root is not the image's", "rootfs.execute(plan) makes the root, and pivots into it"),
    "pid": ("it is not process 1 of a PID namespace", 'spawn it with namespaces="…,pid,…"'),
    "hostname": ("it has another hostname", 'syscalls.sethostname("…"), in the child, before the exec'),
    "network": ("it sees other network interfaces", 'spawn it with namespaces="…,net"'),
    "cgroup": ("it does not take its own cgroup for the root", "begin become() with syscalls.unshare(CLONE.NEWCGROUP)"),
    "mounts": ("it sees other mounts", "the plan comes after unshare: cgroups are mounted as the namespace shows them"),
    "limit": ("it has another memory limit", "group.memory.max = …, and spawn(…, cgroup=group)"),
    "uid": ("it is another user", "nothing should have changed the user: the image says root"),
}


def contained(by_hand: Mapping[str, str], by_labrt: Mapping[str, str]) -> Check:
    """Judge a container made by hand: what it says of itself must be what one of labrt's says, in all that isolates."""
    if not by_hand:
        hints = (
            "the program said nothing: it never ran. Is become() written? It must end in os.execve",
            "three steps: a cgroup namespace and a hostname; rootfs.execute(plan); os.execve",
            'os.execve("/bin/sh", ["sh", "-c", PROBE], {"PATH": "/bin:/sbin:/usr/bin"})',
        )
        return Check("become", False, "no answer from inside", "what labrt's container says of itself", hints)
    differ = [field for field in ISOLATION if by_hand.get(field) != by_labrt.get(field)]
    saw = ", ".join(f"{field} {by_hand.get(field, 'missing')!r}" for field in differ) or "the same"
    expected = ", ".join(f"{field} {by_labrt.get(field, 'missing')!r}" for field in differ)
    expected = expected or f"what labrt's container says of {', '.join(ISOLATION)}"
    return Check("become", not differ, saw, expected, ISOLATION[differ[0]] if differ else ())


def parse_probe(text: str) -> dict[str, str]:
    """Turn `name=value` lines into a dict."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name: value.strip() for name, _, value in pairs}
