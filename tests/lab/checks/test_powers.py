"""Notebook 18's check: smallest(). What passes, and what each mistake is told."""

from __future__ import annotations

import pytest

from labrt.lab import escapes
from labrt.lab.checks import powers
from labrt.linux import capabilities

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("busybox")]
NEEDED = ["CHOWN", "NET_BIND_SERVICE", "SETUID", "SETGID"]


def but(*missing):
    return lambda: [name for name in NEEDED if name not in missing]


def more(*names):
    return lambda: [*NEEDED, *names]


def unwritten():
    raise NotImplementedError


def raises():
    return NEEDED.nothing


WRONG = {
    "none": (list, "give its files to another user"),
    "no port": (but("NET_BIND_SERVICE"), "ports below 1024"),
    "no groups": (but("SETGID"), "change its groups"),
    "no user": (but("SETUID"), "become another user"),
    "the default": (lambda: capabilities.names(capabilities.DEFAULT), "'disk' gets out"),
    "mounts": (more("SYS_ADMIN"), "'setting' gets out"),
    "traces": (more("CAP_SYS_PTRACE"), "'neighbour' gets out"),
    "chroots": (more("sys_chroot"), "'chroot' gets out"),
    "one too many": (more("KILL"), "KILL is not needed"),
    "no such": (more("NET_BIND"), "no such capability: 'NET_BIND'"),
    "a word": (lambda: "CHOWN", "a list of names was wanted"),
    "raises": (raises, "AttributeError"),
}


def test_smallest(judged):
    judged("18", lambda: NEEDED, WRONG)


def test_the_kernel_says_what_the_server_had():
    check = powers.confines(lambda: ["cap_chown", "CAP_NET_BIND_SERVICE", "SETUID", "SETGID"])
    assert check.passed and "with CHOWN SETGID SETUID NET_BIND_SERVICE, says the kernel" in check.saw
    assert all(f"{attack} held" in check.saw for attack in escapes.ATTACKS)
