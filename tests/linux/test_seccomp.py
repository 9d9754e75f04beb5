"""The seccomp compiler: its programs against the kernel, its refusals by the field they name, its cache."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyseccomp
import pytest

from labrt.errors import InvalidConfig, InvalidInput
from labrt.linux import bpf, capabilities, process, procfs, seccomp, seccomp_compiler, syscalls
from labrt.linux.capabilities import DEFAULT
from labrt.linux.flags import CLONE, SECCOMP_FILTER_FLAG

NATIVE = pyseccomp.system_arch() & 0xFFFF_FFFF


def number(name: str, arch: int = pyseccomp.Arch.NATIVE) -> int:
    return int(pyseccomp.resolve_syscall(arch, name))


def allow_all_but(*rules: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(rules), **fields}


def errno_of(name: str, *args: int) -> int:
    """Make a raw system call; 0 when it succeeds."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(ctypes.c_long(number(name)), *(ctypes.c_long(arg) for arg in args))
    return ctypes.get_errno() if result == -1 else 0


def under(program: bytes, function: Any) -> Any:
    """Run `function` in a child behind the filter."""

    def body() -> Any:
        capabilities.no_new_privileges()
        seccomp.install(program)
        return function()

    errno_of("getpid")  # loads what it needs before there is a filter
    return process.run_in_child(body)


# In the kernel --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", [pytest.param("root", marks=pytest.mark.root), "nobody"])
def test_the_default_filter_in_a_real_process(user: str) -> None:
    program = seccomp.build(seccomp.default_profile(capabilities.names(DEFAULT)))

    def look() -> dict[str, int]:
        return {
            "unshare": errno_of("unshare", CLONE.NEWUTS),
            "unshare user": errno_of("unshare", CLONE.NEWUSER),
            "mount": errno_of("mount", 0, 0, 0, 0, 0),
            "keyctl": errno_of("keyctl", 0, 0, 0, 0, 0),
            "bpf": errno_of("bpf", 0, 0, 0),
            "clone user": errno_of("clone", CLONE.NEWUSER | 17, 0, 0, 0, 0),
            "io_uring_setup": errno_of("io_uring_setup", 1, 0),
            "personality no-randomize": errno_of("personality", 0x0040000),
            "socket vsock": errno_of("socket", 40, 1, 0),
            "socket alg": errno_of("socket", 38, 5, 0),
            "clone3": errno_of("clone3", 0, 0),
            "personality ask": errno_of("personality", 0xFFFFFFFF),
            "getpid": errno_of("getpid"),
            "younger than the profile": errno_of_number(5000),
        }

    def as_user() -> dict[str, int]:
        if user == "nobody" and os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        return look()

    refused = ["unshare", "unshare user", "mount", "keyctl", "bpf", "clone user", "io_uring_setup",
               "personality no-randomize", "socket vsock", "socket alg"]  # fmt: skip
    expected = dict.fromkeys(refused, errno.EPERM)
    expected |= {"clone3": errno.ENOSYS, "younger than the profile": errno.ENOSYS, "personality ask": 0, "getpid": 0}
    assert under(program, as_user) == expected


def errno_of_number(call: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return ctypes.get_errno() if libc.syscall(ctypes.c_long(call)) == -1 else 0


def test_without_the_filter_those_calls_get_further() -> None:
    # So that the test above cannot pass because of something else.
    assert errno_of("clone3", 0, 0) == errno.EINVAL
    assert errno_of("mount", 0, 0, 0, 0, 0) != errno.EPERM or os.geteuid() != 0
    assert process.run_in_child(lambda: errno_of("personality", 0x0040000)) == 0


def test_normal_work_goes_on(tmp_path: Path) -> None:
    """A shell, files, pipes, threads, sockets, a child, the clock."""
    program = seccomp.build(seccomp.default_profile(capabilities.names(DEFAULT)))
    script = """
import os, socket, subprocess, threading, time, tempfile, json
out = {}
thread = threading.Thread(target=lambda: out.update(thread=True)); thread.start(); thread.join()
done = subprocess.run("echo hello | tr a-z A-Z; ls / | wc -l", shell=True, capture_output=True, text=True)
out["shell"] = done.stdout.split()[0]
a, b = socket.socketpair(); a.send(b"x"); out["socket"] = b.recv(1).decode()
with socket.create_server(("127.0.0.1", 0)) as server:
    with socket.create_connection(server.getsockname()) as client: out["tcp"] = client.getpeername()[1] > 0
with tempfile.NamedTemporaryFile(dir=os.environ["HERE"]) as f:
    f.write(b"1"); f.flush(); os.utime(f.name); out["file"] = os.stat(f.name).st_size
time.sleep(0.001)
out["fork"] = os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)[1])
out["seccomp"] = [l.split()[1] for l in open("/proc/self/status") if l.startswith("Seccomp:")][0]
print(json.dumps(out))
"""

    def look() -> tuple[int, str, str]:
        env = {**os.environ, "HERE": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env)
        return done.returncode, done.stdout, done.stderr

    code, out, err = under(program, look)
    assert (code, err) == (0, "")
    expected = '{"thread": true, "shell": "HELLO", "socket": "x", "tcp": true, "file": 1, "fork": 0, "seccomp": "2"}'
    assert out.strip() == expected


def test_status_says_that_a_filter_is_there() -> None:
    before = int(procfs.status()["Seccomp_filters"])
    found = under(seccomp.build(allow_all_but()), procfs.status)
    assert (found["Seccomp"], found["NoNewPrivs"], found["Seccomp_filters"]) == ("2", "1", str(before + 1))


@pytest.mark.root
def test_without_no_new_privileges_it_takes_a_capability() -> None:
    program = seccomp.build(allow_all_but())

    def look() -> tuple[int, str]:
        first = seccomp.install(program)
        capabilities.set_current(capabilities.NONE, capabilities.NONE)
        try:
            seccomp.install(program)
        except PermissionError:
            return first, "EPERM"
        except OSError as error:
            return first, str(error)
        return first, "allowed"

    first, second = process.run_in_child(look)
    assert first == 0 and second != "allowed"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"action": "SCMP_ACT_ERRNO"}, f"errno {errno.EPERM}"),
        ({"action": "SCMP_ACT_ERRNO", "errnoRet": 0}, "errno 0"),
        ({"action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOTTY}, f"errno {errno.ENOTTY}"),
        ({"action": "SCMP_ACT_KILL"}, "killed by SIGSYS"),
        ({"action": "SCMP_ACT_KILL_THREAD"}, "killed by SIGSYS"),
        ({"action": "SCMP_ACT_KILL_PROCESS"}, "killed by SIGSYS"),
        ({"action": "SCMP_ACT_TRAP"}, "killed by SIGSYS"),
        ({"action": "SCMP_ACT_LOG"}, "errno 0"),
        ({"action": "SCMP_ACT_ALLOW"}, "errno 0"),
        ({"action": "SCMP_ACT_TRACE", "errnoRet": 5}, f"errno {errno.ENOSYS}"),  # nobody traces
    ],
)
def test_what_each_action_does(rule: dict[str, Any], expected: str) -> None:
    program = seccomp.build(allow_all_but({"names": ["getpgrp" if number("getpgrp") >= 0 else "getpgid"], **rule}))

    def look() -> str:
        return f"errno {errno_of('getpgrp' if number('getpgrp') >= 0 else 'getpgid', 0)}"

    try:
        assert under(program, look) == expected
    except process.ChildFailed as failed:
        assert str(failed.exit) == expected


def test_notify_hands_out_a_listener() -> None:
    profile = allow_all_but({"names": ["getsid"], "action": "SCMP_ACT_NOTIFY"}, flags=["SECCOMP_FILTER_FLAG_LOG"])
    assert seccomp.flags(profile) == SECCOMP_FILTER_FLAG.NEW_LISTENER | SECCOMP_FILTER_FLAG.LOG
    program, flags = seccomp.build(profile), seccomp.flags(profile)

    def look() -> str:
        capabilities.no_new_privileges()
        return os.readlink(f"/proc/self/fd/{seccomp.install(program, flags)}")

    assert process.run_in_child(look) == "anon_inode:seccomp notify"


def test_the_kernel_and_the_emulator_agree_on_every_number() -> None:
    # Numbers whose calls do nothing bad without arguments: those that the filter refuses. On x86-64 the kernel asks no
    # filter about 335 and 336 (uretprobe and uprobe), by which it calls itself.
    program = seccomp.build(seccomp.default_profile(capabilities.names(DEFAULT)))
    answers = {call: bpf.decide(program, NATIVE, call) for call in range(700) if call not in (335, 336)}
    refused = {call: answer & 0xFFFF for call, answer in answers.items() if answer & 0xFFFF_0000 == bpf.RET_ERRNO}
    assert len(refused) > 300
    assert under(program, lambda: {call: errno_of_number(call) for call in refused}) == refused


# The compiler ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "value", "value_two", "yes", "no"),
    [
        ("EQ", 5, 0, [5], [4, 6, 5 | 1 << 32]),
        ("NE", 5, 0, [4, 6], [5]),
        ("LT", 5, 0, [0, 4], [5, 6]),
        ("LE", 5, 0, [5], [6]),
        ("GT", 5, 0, [6, 1 << 40], [5]),
        ("GE", 1 << 40, 0, [1 << 40, 1 << 63], [(1 << 40) - 1]),
        ("MASKED_EQ", 0xF0, 0x20, [0x20, 0x2F, 0x120], [0, 0x30]),
    ],
)
def test_operators_on_all_64_bits(op: str, value: int, value_two: int, yes: list[int], no: list[int]) -> None:
    arg = {"index": 2, "value": value, "valueTwo": value_two, "op": f"SCMP_CMP_{op}"}
    program = seccomp.build(allow_all_but({"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "args": [arg]}))
    answers = {arg: bpf.verdict(bpf.decide(program, NATIVE, number("ioctl"), [0, 0, arg])) for arg in (*yes, *no)}
    assert answers == dict.fromkeys(yes, "ERRNO 1") | dict.fromkeys(no, "ALLOW")


def equal(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def test_conditions_on_different_arguments_hold_together() -> None:
    rule = {"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "args": [equal(0, 1), equal(1, 2)]}
    program = seccomp.build(allow_all_but(rule))
    assert bpf.decide(program, NATIVE, number("ioctl"), [1, 2]) != pyseccomp.ALLOW
    assert bpf.decide(program, NATIVE, number("ioctl"), [1, 3]) == pyseccomp.ALLOW


def test_conditions_on_one_argument_hold_each_alone() -> None:
    rule = {"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "args": [equal(0, 1), equal(0, 2)]}
    program = seccomp.build(allow_all_but(rule))
    answers = [bpf.verdict(bpf.decide(program, NATIVE, number("ioctl"), [arg])) for arg in (0, 1, 2, 3)]
    assert answers == ["ALLOW", "ERRNO 1", "ERRNO 1", "ALLOW"]


def test_names_that_the_library_does_not_know_are_skipped() -> None:
    rule = {"names": ["call_of_the_year_2099", "mount"], "action": "SCMP_ACT_ERRNO"}
    program = seccomp.build(allow_all_but(rule))
    assert bpf.verdict(bpf.decide(program, NATIVE, number("mount"))) == "ERRNO 1"


def test_a_rule_that_says_what_is_done_anyway() -> None:
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["umount2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 2},
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
    ]}  # fmt: skip
    program = seccomp.build(profile)
    answers = [bpf.verdict(bpf.decide(program, NATIVE, number(name))) for name in ("mount", "umount2", "read", "close")]
    assert answers == ["ERRNO 1", "ERRNO 2", "ALLOW", "ERRNO 1"]  # close is no younger than these: on arm64, write is


def test_the_default_errno() -> None:
    program = seccomp.build({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 95})
    assert bpf.verdict(bpf.decide(program, NATIVE, number("read"))) == "ERRNO 95"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_searching_as_a_tree_means_the_same(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = seccomp.default_profile(capabilities.names(DEFAULT), machine=machine)
    tree = seccomp.build(profile)
    monkeypatch.setattr(seccomp_compiler, "_search_as_a_tree", lambda library, program: None)
    line = seccomp.build(profile)
    assert line != tree
    arches = {"x86_64": [0xC000_003E, 0x4000_0003], "aarch64": [0xC000_00B7, 0x4000_0028]}[machine]
    for arch in arches:
        for call in (*range(480), *range(0x4000_0000, 0x4000_0230), *range(0xF_0000, 0xF_0010)):
            assert bpf.decide(tree, arch, call, [40]) == bpf.decide(line, arch, call, [40]), (hex(arch), call)


X86 = "SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"
ARM = "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"


@pytest.mark.parametrize("name", [*X86, *ARM])
def test_sub_architectures_cannot_be_used_to_walk_around(name: str) -> None:
    """On any machine: the program for any architecture, worked by hand."""
    profile = seccomp.default_profile(capabilities.names(DEFAULT), machine="x86_64" if name in X86 else "aarch64")
    program = seccomp.build(profile)
    arch = getattr(pyseccomp.Arch, name.removeprefix("SCMP_ARCH_"))
    audit = pyseccomp.Arch.X86_64 if name == "SCMP_ARCH_X32" else arch

    def answer(call: str) -> str:
        return bpf.verdict(bpf.decide(program, audit, number(call, arch)))

    assert [answer(call) for call in ("read", "openat", "futex", "execve", "setgroups")] == ["ALLOW"] * 5
    assert [answer(call) for call in ("mount", "keyctl", "bpf", "unshare", "init_module")] == ["ERRNO 1"] * 5
    assert answer("clone3") == "ERRNO 38"
    beyond = number("read", arch) & 0x4000_0000 | 480
    assert bpf.verdict(bpf.decide(program, audit, beyond)) == "ERRNO 38"


def test_arms_private_calls_are_not_taken_for_young_ones() -> None:
    program = seccomp.build(seccomp.default_profile([], machine="aarch64"))
    assert bpf.verdict(bpf.decide(program, pyseccomp.Arch.ARM, 0xF0005)) == "ALLOW"  # set_tls
    assert bpf.verdict(bpf.decide(program, pyseccomp.Arch.ARM, 0xF0009)) == "ERRNO 1"


def test_an_architecture_that_was_not_named_is_killed() -> None:
    program = seccomp.build({"defaultAction": "SCMP_ACT_ALLOW"})
    assert bpf.verdict(bpf.decide(program, pyseccomp.Arch.RISCV64, 0)).startswith("KILL")


GOOD: dict[str, Any] = {"names": ["read"], "action": "SCMP_ACT_ERRNO"}


@pytest.mark.parametrize(
    ("profile", "field"),
    [
        ({}, "defaultAction"),
        ({"defaultAction": "ALLOW"}, "defaultAction"),
        ({"defaultAction": "SCMP_ACT_ALLOWED"}, "defaultAction"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}, "defaultErrnoRet"),
        (allow_all_but(architectures=["SCMP_ARCH_PDP11"]), "architectures"),
        (allow_all_but(architectures=["X86"]), "architectures"),
        (allow_all_but({"action": "SCMP_ACT_ERRNO"}), "syscalls[0].names"),
        (allow_all_but({**GOOD, "names": []}), "syscalls[0].names"),
        (allow_all_but(GOOD, {**GOOD, "names": "read"}), "syscalls[1].names"),
        (allow_all_but({**GOOD, "action": "SCMP_ACT_NONE"}), "syscalls[0].action"),
        (allow_all_but({**GOOD, "action": "SCMP_ACT_KILL", "errnoRet": 1}), "syscalls[0].errnoRet"),
        (allow_all_but({**GOOD, "errnoRet": "EPERM"}), "syscalls[0].errnoRet"),
        (allow_all_but({**GOOD, "args": [{**equal(6, 1)}]}), "syscalls[0].args[0].index"),
        (allow_all_but({**GOOD, "args": [equal(0, 1), {**equal(1, 1), "op": "EQ"}]}), "syscalls[0].args[1].op"),
        (allow_all_but({**GOOD, "args": [{**equal(0, 1), "value": 1 << 64}]}), "syscalls[0].args[0].value"),
        (allow_all_but({**GOOD, "args": [{**equal(0, 1), "valueTwo": -1}]}), "syscalls[0].args[0].valueTwo"),
        (allow_all_but({**GOOD, "args": [equal(0, 1)]}, {**GOOD, "args": [equal(0, 1)], "errnoRet": 7}), "syscalls[1]"),
        (allow_all_but({**GOOD, "includes": {"caps": ["CAP_SYS_ADMIN"]}}), "syscalls[0].includes"),
        (allow_all_but({**GOOD, "excludes": {"arches": ["arm"]}}), "syscalls[0].excludes"),
        (allow_all_but(archMap=[]), "archMap"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(profile: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        seccomp.build(profile)
    assert caught.value.message.startswith(f"linux.seccomp.{field}: ")


def test_flags() -> None:
    assert seccomp.flags(allow_all_but()) == 0
    flags = [f"SECCOMP_FILTER_FLAG_{name}" for name in ("TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV")]
    assert seccomp.flags(allow_all_but(flags=flags)) == 0b111  # the last says how to wait for a listener: there is none
    with pytest.raises(InvalidConfig, match="linux.seccomp.flags: 'SECCOMP_FILTER_FLAG_FAST'"):
        seccomp.flags(allow_all_but(flags=["SECCOMP_FILTER_FLAG_FAST"]))


def test_what_is_no_program_is_not_installed() -> None:
    with pytest.raises(InvalidInput, match="no BPF program"):
        seccomp.install(b"")


# The cache ------------------------------------------------------------------------------------------------------------


def only_file(cache: Path) -> Path:
    [file] = cache.iterdir()
    return file


def test_the_cache_is_used_and_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, profile = tmp_path / "cache", allow_all_but(GOOD)
    first = seccomp.compile(profile, cache=str(cache))
    assert first == seccomp.build(profile)
    file = only_file(cache)
    assert (file.stat().st_mode & 0o777, cache.stat().st_mode & 0o777) == (0o600, 0o700)
    monkeypatch.setattr(seccomp, "build", lambda profile: b"built again")
    assert seccomp.compile(dict(reversed(profile.items())), cache=str(cache)) == first
    assert seccomp.compile(allow_all_but({**GOOD, "errnoRet": 2}), cache=str(cache)) == b"built again"


def test_the_cache_lies_where_labrt_root_says(labrt_root: Path) -> None:
    seccomp.compile(allow_all_but(GOOD))
    assert only_file(labrt_root / "lib/cache/seccomp").is_file()


def spoil_content(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1] + b"\1")


def spoil_length(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])


def spoil_mode(file: Path) -> None:
    file.chmod(0o622)


def spoil_by_link(file: Path) -> None:
    file.rename(file.with_suffix(".real"))
    file.symlink_to(file.with_suffix(".real"))


def spoil_by_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def spoil_by_another_ones(file: Path) -> None:
    """A filter of ours that allows more, renamed."""
    weaker = file.parent / "weaker"
    seccomp.compile(allow_all_but(), cache=str(weaker))
    os.rename(only_file(weaker), file)


def spoil_owner(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a file away")
    os.chown(file, 65534, 65534)


@pytest.mark.parametrize(
    "spoil", [spoil_content, spoil_length, spoil_mode, spoil_by_link, spoil_by_fifo, spoil_by_another_ones, spoil_owner]
)
def test_a_cached_file_that_cannot_be_trusted_is_made_again(tmp_path: Path, spoil: Any) -> None:
    profile = allow_all_but(GOOD)
    right = seccomp.compile(profile, cache=str(tmp_path))
    file = only_file(tmp_path)
    spoil(file)
    assert seccomp.compile(profile, cache=str(tmp_path)) == right
    assert file.is_file() and not file.is_symlink() and file.stat().st_uid == os.geteuid()


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    profile = allow_all_but(GOOD)
    assert seccomp.compile(profile, cache=str(tmp_path / "file")) == seccomp.build(profile)


def test_neither_library_is_imported_with_the_module() -> None:
    script = "import sys; from labrt.linux import seccomp; print('pyseccomp' in sys.modules, 'rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_the_syscall_seam_sees_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, int]] = []
    monkeypatch.setattr(syscalls, "seccomp", lambda op, flags, program: seen.append((op, flags, len(program))) or 0)
    program = seccomp.build(allow_all_but())
    assert seccomp.install(program, SECCOMP_FILTER_FLAG.LOG) == 0
    assert seen == [(1, SECCOMP_FILTER_FLAG.LOG, len(program))]
