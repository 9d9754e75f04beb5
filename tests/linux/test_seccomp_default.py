"""The default filter's contents, against Podman's list of the same descent, and Docker's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyseccomp
import pytest

from labrt.errors import InvalidConfig
from labrt.linux import bpf, capabilities, seccomp, seccomp_default
from labrt.linux.capabilities import DEFAULT

MACHINES = ("x86_64", "aarch64")
DEFAULT_NAMES = capabilities.names(DEFAULT)


def allowed(profile: dict[str, Any]) -> set[str]:
    return {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}


# Against Podman's ----------------------------------------------------------------------------------------------------

# Podman's profile allows these, ours and Docker's do not, and why.
STRICTER = {
    "mount umount umount2 mount_setattr move_mount open_tree fsopen fspick fsconfig fsmount unshare setns syslog":
        "Podman leaves them to the kernel's check of CAP_SYS_ADMIN; Docker and we ask for the capability here too",
    "clone3": "Podman filters no clone flags at all; we hide clone3, whose flags cannot be seen",
    "reboot": "needs CAP_SYS_BOOT here",
    "pidfd_getfd": "needs CAP_SYS_PTRACE here",
    "get_mempolicy set_mempolicy mbind": "need CAP_SYS_NICE here",
    "keyctl pivot_root": "Docker refuses them, see REFUSED; Podman allows them for nested containers",
    "query_module sigaction signal sigpending sigsuspend readdir syscall timerfd":
        "no longer there, or no calls of these architectures; libc uses the rt_ ones",
    "io_uring_setup io_uring_enter io_uring_register": "Docker took them out in 2023",
    "fanotify_init": "needs CAP_SYS_ADMIN here; the kernel, and so younger Podmans, give some of it to all",
    "process_madvise kcmp": "need CAP_SYS_PTRACE here",
}  # fmt: skip

# We allow these and Podman's, of Debian's age, does not.
YOUNGER = {
    "cachestat fchmodat2 map_shadow_stack mseal futex_wait futex_wake futex_requeue futex_waitv getxattrat setxattrat "
    "listxattrat removexattrat listmount statmount uretprobe": "younger than that list; Docker allows them",
    "lsm_get_self_attr lsm_set_self_attr lsm_list_modules quotactl_fd set_mempolicy_home_node":
        "the same, by capability",
    "io_pgetevents io_pgetevents_time64 vmsplice": "Docker allows them; Podman does not",
    "ptrace process_vm_readv process_vm_writev": "Docker allows them since Linux 4.8; older Podmans do not",
    "sigprocmask membarrier memfd_secret process_mrelease landlock_create_ruleset landlock_add_rule "
    "landlock_restrict_self epoll_pwait2": "younger than older Podmans",
}  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("granted", ["default", "none", "all"])
def test_every_difference_to_podmans_list_has_a_reason(machine: str, granted: str) -> None:
    file = Path("/usr/share/containers/seccomp.json")
    if not file.exists():
        pytest.skip(f"{file} is absent: golang-github-containers-common is not installed")
    caps = {"default": DEFAULT_NAMES, "none": [], "all": capabilities.names(capabilities.supported())}[granted]
    theirs = allowed(seccomp.from_docker(json.loads(file.read_text()), caps, machine=machine))
    ours = allowed(seccomp.default_profile(caps, machine=machine))
    assert len(theirs & ours) > 300
    assert theirs - ours - set(" ".join(STRICTER).split()) == set()
    assert ours - theirs - set(" ".join(YOUNGER).split()) == set()


# What it says of itself ----------------------------------------------------------------------------------------------


def test_nothing_is_listed_twice() -> None:
    names = " ".join([*seccomp_default.ALLOWED.values(), *seccomp_default.BY_MACHINE.values()]).split()
    assert sorted(names) == sorted(set(names))


def test_what_needs_a_capability_or_is_refused_is_not_allowed_to_all() -> None:
    free = set(" ".join(seccomp_default.ALLOWED.values()).split())
    bound = set(" ".join(seccomp_default.BY_CAPABILITY.values()).split())
    refused = set(" ".join(seccomp_default.REFUSED).split())
    assert free & bound == free & refused == bound & refused == set()


def test_every_name_is_one_of_a_system_call() -> None:
    """A typing error here would silently refuse a call: libseccomp skips what it does not know."""
    groups = seccomp_default.ALLOWED, seccomp_default.BY_MACHINE, seccomp_default.BY_CAPABILITY
    names = " ".join(names for group in groups for names in group.values()).split()
    unknown = {name for name in names if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) == -1}
    # Younger than libseccomp 2.5.4, with their numbers in the kernel's table: 335 (x86 only), 452 to 466.
    young = """uretprobe fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount mseal
               lsm_get_self_attr lsm_set_self_attr lsm_list_modules setxattrat getxattrat listxattrat removexattrat"""
    assert unknown <= set(young.split())


def test_every_capability_is_one() -> None:
    assert capabilities.parse(*seccomp_default.BY_CAPABILITY)


@pytest.mark.parametrize("capability", sorted(seccomp_default.BY_CAPABILITY))
def test_a_capability_brings_its_calls(capability: str) -> None:
    without = allowed(seccomp.default_profile([], machine="x86_64"))
    with_it = allowed(seccomp.default_profile([capability], machine="x86_64"))
    # clone is allowed before too, but not to make namespaces
    assert with_it - without == set(seccomp_default.BY_CAPABILITY[capability].split()) - {"clone"}


@pytest.mark.parametrize("machine", MACHINES)
def test_clone_flags_one_by_one(machine: str) -> None:
    arch = getattr(pyseccomp.Arch, machine.upper())
    number = pyseccomp.resolve_syscall(arch, "clone")
    namespaces = 0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
    strict = seccomp.build(seccomp.default_profile(DEFAULT_NAMES, machine=machine))
    admin = seccomp.build(seccomp.default_profile(["CAP_SYS_ADMIN"], machine=machine))
    for bit in range(32):
        answer = bpf.verdict(bpf.decide(strict, arch, number, [1 << bit | 17]))
        assert answer == ("ERRNO 1" if 1 << bit in namespaces else "ALLOW"), hex(1 << bit)
        assert bpf.verdict(bpf.decide(admin, arch, number, [1 << bit | 17])) == "ALLOW"
    assert bpf.verdict(bpf.decide(admin, arch, pyseccomp.resolve_syscall(arch, "clone3"))) == "ALLOW"


def test_socket_families_and_personalities() -> None:
    program = seccomp.build(seccomp.default_profile(DEFAULT_NAMES, machine="aarch64"))

    def answers(call: str, values: list[int]) -> set[str]:
        number = pyseccomp.resolve_syscall(pyseccomp.Arch.AARCH64, call)
        return {bpf.verdict(bpf.decide(program, pyseccomp.Arch.AARCH64, number, [value])) for value in values}

    assert answers("socket", [1, 2, 10, 16, 17, 29, 31, 44, 45]) == {"ALLOW"}
    assert answers("socket", [12, 19, 20, 23, 25, 34, 37, 38, 40, 46, 99]) == {"ERRNO 1"}
    assert answers("personality", [0, 8, 0x20000, 0x20008, 0xFFFFFFFF]) == {"ALLOW"}
    assert answers("personality", [1, 0x40000, 0x400000, 0x40008]) == {"ERRNO 1"}


def test_a_machine_that_we_do_not_know_gets_its_own_architecture_alone() -> None:
    profile = seccomp.default_profile([], machine="riscv64")
    assert profile["architectures"] == [] and "arch_prctl" not in allowed(profile)


def test_it_is_plain_json() -> None:
    profile = seccomp.default_profile(DEFAULT_NAMES)
    assert json.loads(json.dumps(profile)) == profile


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("read", "read: allowed (opening, reading and writing)"),
        ("arch_prctl", "arch_prctl: allowed (x86_64)"),
        ("mount", "mount: needs CAP_SYS_ADMIN"),
        ("bpf", "bpf: needs CAP_SYS_ADMIN or CAP_BPF"),
        ("clone", "clone: allowed, but with CAP_SYS_ADMIN only to make namespaces"),
        ("kexec_load", "kexec_load: refused; boots another kernel"),
        ("afs_syscall", "afs_syscall: refused; nobody missed it"),
    ],
)
def test_explain(name: str, expected: str) -> None:
    assert seccomp.explain(name) == expected


# Docker's format ------------------------------------------------------------------------------------------------------


def docker(*rules: dict[str, Any]) -> dict[str, Any]:
    arch_map = [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": None},
    ]
    return {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "archMap": arch_map, "syscalls": list(rules)}


def converted(rule: dict[str, Any], caps: list[str], machine: str = "x86_64", kernel: str = "6.1.0-13-amd64") -> int:
    return len(seccomp.from_docker(docker(rule), caps, machine=machine, kernel=kernel)["syscalls"])


RULE = {"names": ["read"], "action": "SCMP_ACT_ALLOW"}


@pytest.mark.parametrize(
    ("conditions", "caps", "kept"),
    [
        ({"includes": {"caps": ["CAP_A", "CAP_B"]}}, ["CAP_A"], 0),
        ({"includes": {"caps": ["CAP_A", "CAP_B"]}}, ["CAP_B", "CAP_A"], 1),
        ({"includes": {"arches": ["arm64", "amd64"]}}, [], 1),
        ({"includes": {"arches": ["arm64"]}}, [], 0),
        ({"includes": {"minKernel": "4.8"}}, [], 1),
        ({"includes": {"minKernel": "6.10"}}, [], 0),
        ({"excludes": {"caps": ["CAP_A", "CAP_B"]}}, ["CAP_A"], 0),
        ({"excludes": {"caps": ["CAP_A"]}}, [], 1),
        ({"excludes": {"arches": ["amd64"]}}, [], 0),
        ({"includes": {"caps": ["CAP_A"]}, "excludes": {"arches": ["amd64"]}}, ["CAP_A"], 0),
        ({"includes": {}, "excludes": {}}, [], 1),
        ({"includes": None, "excludes": None, "comment": "", "args": None}, [], 1),
    ],
)
def test_conditions_of_dockers_format(conditions: dict[str, Any], caps: list[str], kept: int) -> None:
    assert converted({**RULE, **conditions}, caps) == kept


def test_what_comes_out_is_the_ocis() -> None:
    conditions = {"comment": "x", "includes": {"arches": ["arm64"]}}
    rule = {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [], **conditions}
    made = seccomp.from_docker(docker(rule, {"name": "write", "action": "SCMP_ACT_ALLOW"}), [], machine="aarch64")
    assert made == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_AARCH64"],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": []},
            {"names": ["write"], "action": "SCMP_ACT_ALLOW"},
        ],
    }
    seccomp.build(made)


def test_an_oci_profile_stays_as_it_is() -> None:
    profile = seccomp.default_profile(DEFAULT_NAMES)
    assert seccomp.from_docker(profile, []) == profile


def test_a_kernel_version_that_is_none() -> None:
    with pytest.raises(InvalidConfig, match="'new' is no kernel version"):
        converted({**RULE, "includes": {"minKernel": "new"}}, [])


@pytest.mark.oracle
def test_podmans_own_profile_compiles() -> None:
    file = Path("/usr/share/containers/seccomp.json")
    if not file.exists():
        pytest.skip(f"{file} is absent: golang-github-containers-common is not installed")
    program = seccomp.build(seccomp.from_docker(json.loads(file.read_text()), DEFAULT_NAMES, machine="x86_64"))
    answers = [bpf.verdict(bpf.decide(program, pyseccomp.Arch.X86_64, number)) for number in (0, 321, 5000)]
    assert answers == ["ALLOW", "ERRNO 1", "ERRNO 38"]  # read, bpf, and what nobody has thought of
