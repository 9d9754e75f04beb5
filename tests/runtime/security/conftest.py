"""The attacker's workshop: the host's Python, read-only, in a container, for what a shell cannot try."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest

PYTHON = os.path.realpath(sys.executable)
# Every attempt says what it got, or which error stopped it; the number is in the kernel's words, such as EPERM.
PRELUDE = """
import ctypes, errno, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"

def call(name, *args):
    numbers = {"ptrace": (101, 117), "keyctl": (250, 219), "add_key": (248, 217), "unshare": (272, 97),
               "mount": (165, 40), "open_by_handle_at": (304, 265), "bpf": (321, 280), "clone": (56, 220),
               "clone3": (435, 435), "setns": (308, 268), "init_module": (175, 105), "pivot_root": (155, 41),
               "kexec_load": (246, 104), "process_vm_readv": (310, 270), "userfaultfd": (323, 282)}
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    result = libc.syscall(ctypes.c_long(numbers[name][0 if X86 else 1]), *wide)
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return result

def say(function, *args):
    try:
        print(function(*args))
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


def with_python(config):
    """Show the container the host's interpreter, and what it loads, read-only."""
    places = {"/usr", "/lib", "/lib64", sys.base_prefix}
    config["mounts"] += [
        {"destination": place, "type": "bind", "source": place, "options": ["rbind", "rro"]}
        for place in sorted(places) if os.path.isdir(place)
    ]  # fmt: skip


@pytest.fixture
def attempt(make, outcome) -> Callable[..., list[str]]:
    """Run Python lines in a container, with the prelude before them; return the lines that they wrote."""

    def run(code: str, *changes: Callable[[dict], None]) -> list[str]:
        def change(config):
            with_python(config)
            for each in changes:
                each(config)

        status, out, err = outcome(make(PYTHON, "-I", "-c", PRELUDE + code, change=change))
        assert status == 0, err
        return out.splitlines()

    return run


def _without_filter(config):
    config["linux"].pop("seccomp", None)


def _with_capability(*names: str):
    def change(config):
        for kind in ("bounding", "permitted", "effective"):
            config["process"]["capabilities"][kind] += [f"CAP_{name}" for name in names]

    return change


@pytest.fixture
def weaker():
    """Ways to take a part of the confinement away: `weaker.filter`, `weaker.capability("SYS_PTRACE")`."""

    class Weaker:
        filter = staticmethod(_without_filter)
        capability = staticmethod(_with_capability)

        @staticmethod
        def paths(config):
            config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = []

        @staticmethod
        def pids(config):
            kept = [entry for entry in config["linux"]["namespaces"] if entry["type"] != "pid"]
            config["linux"]["namespaces"] = kept

    return Weaker
