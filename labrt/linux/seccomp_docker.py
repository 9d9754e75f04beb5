"""Docker's own format of seccomp profiles, as in `docker run --security-opt seccomp=FILE`.

It is the OCI's with conditions: a rule may hold for some architectures, capabilities and kernels only (`includes`,
`excludes`), and `archMap` says which other architectures a machine runs too. For one container on one machine all of
them are known, and what remains is the OCI's. Podman's /usr/share/containers/seccomp.json is in this format too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from labrt.errors import InvalidConfig

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

# uname -m: Go's name in Docker's rules, libseccomp's name in archMap.
_MACHINES = {"x86_64": ("amd64", "SCMP_ARCH_X86_64"), "aarch64": ("arm64", "SCMP_ARCH_AARCH64")}


def from_docker(
    profile: dict[str, Any],
    capabilities: Iterable[str],
    *,
    machine: str | None = None,
    kernel: str | None = None,
) -> dict[str, Any]:
    """Make an OCI profile for a container with these capabilities (`CAP_…`) on this machine.

    `machine` is as in `uname -m`, `kernel` as in `uname -r`; None for those that we run on. A profile that is the
    OCI's already comes out as it is.
    """
    machine, kernel = machine or os.uname().machine, kernel or os.uname().release
    go_arch, scmp_arch = _MACHINES.get(machine, (machine, ""))
    made = {key: value for key, value in profile.items() if key not in ("archMap", "defaultErrno", "syscalls")}
    for entry in profile.get("archMap") or []:
        if entry.get("architecture") == scmp_arch:
            made["architectures"] = [scmp_arch, *(entry.get("subArchitectures") or [])]
    granted, version = {*capabilities}, _version(kernel)
    made["syscalls"] = [
        _plain(rule)
        for rule in profile.get("syscalls") or []
        if _included(rule.get("includes") or {}, go_arch, granted, version)
        and not _excluded(rule.get("excludes") or {}, go_arch, granted, version)
    ]
    return made


def _included(test: dict[str, Any], arch: str, granted: set[str], version: tuple[int, ...]) -> bool:
    """Everything asked for must hold, and of several capabilities all."""
    return (
        (not test.get("arches") or arch in test["arches"])
        and granted.issuperset(test.get("caps") or [])
        and (not test.get("minKernel") or version >= _version(test["minKernel"]))
    )


def _excluded(test: dict[str, Any], arch: str, granted: set[str], version: tuple[int, ...]) -> bool:
    """One thing that holds is enough."""
    return (
        arch in (test.get("arches") or [])
        or not granted.isdisjoint(test.get("caps") or [])
        or bool(test.get("minKernel") and version >= _version(test["minKernel"]))
    )


def _plain(rule: dict[str, Any]) -> dict[str, Any]:
    made = {key: rule[key] for key in ("action", "errnoRet", "args") if rule.get(key) is not None}
    names = rule.get("names") or ([rule["name"]] if rule.get("name") else [])
    return {"names": names, **made}


def _version(kernel: str) -> tuple[int, ...]:
    major, _, rest = kernel.partition(".")
    minor = rest.split(".")[0].split("-")[0]
    if not (major.isdigit() and minor.isdigit()):
        raise InvalidConfig(f"linux.seccomp: {kernel!r} is no kernel version", remedy="write it like 4.8")
    return int(major), int(minor)
