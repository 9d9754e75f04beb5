"""From which NUMA nodes a program's memory comes: linux.memoryPolicy of a config.json.

    mode, nodes = parse({"mode": "MPOL_INTERLEAVE", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]})
    syscalls.set_mempolicy(mode, nodes)

The policy is a thread's, survives execve and goes to its children. See set_mempolicy(2), numa(7).
"""

from __future__ import annotations

from labrt.errors import InvalidConfig
from labrt.linux import scheduler

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# linux/mempolicy.h: modes, and the flags that are or-ed to them.
MODES = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip
FLAGS = {"MPOL_F_STATIC_NODES": 1 << 15, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_NUMA_BALANCING": 1 << 13}
WITHOUT_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL")


def parse(policy: Mapping[str, Any], where: str = "linux.memoryPolicy") -> tuple[int, frozenset[int]]:
    """Return the mode, flags included, and the nodes. Raises InvalidConfig for what cannot go together."""
    name, text = policy["mode"], policy.get("nodes") or ""
    nodes = scheduler.cpus(text, f"{where}.nodes")
    if nodes and max(nodes) >= 1024:
        raise InvalidConfig(f"{where}.nodes: {text!r} is more than any machine has")
    if nodes and name in WITHOUT_NODES:
        raise InvalidConfig(f"{where}.nodes: {text!r}: {name} has none", remedy="leave them out")
    if not nodes and name not in (*WITHOUT_NODES, "MPOL_PREFERRED"):  # preferred without a node is local
        raise InvalidConfig(f"{where}.nodes: {text!r}: {name} wants at least one", remedy="such as 0-1")
    flags = policy.get("flags") or ()
    if {"MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"} <= {*flags}:
        raise InvalidConfig(f"{where}.flags: {list(flags)!r} exclude each other", remedy="see set_mempolicy(2)")
    if "MPOL_F_NUMA_BALANCING" in flags and name not in ("MPOL_BIND", "MPOL_PREFERRED_MANY"):
        raise InvalidConfig(f"{where}.flags: MPOL_F_NUMA_BALANCING is for MPOL_BIND, not {name}")
    return MODES[name] | sum(FLAGS[flag] for flag in {*flags}), nodes
