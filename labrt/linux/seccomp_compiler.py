"""From a seccomp profile to BPF: names to numbers by libseccomp, and what libseccomp leaves to its callers.

    build(profile)   linux.seccomp of the OCI runtime-spec in, the bytes of a BPF program out

Whatever the spec does not know raises InvalidConfig with the name of the field, but for system calls that this
libseccomp does not know: those are skipped, as runc does, for a profile may be younger than the library. pyseccomp is
imported only when something is compiled: it starts ldconfig to find its library. See seccomp_rule_add(3),
seccomp_export_bpf(3).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from types import ModuleType

from labrt.errors import InvalidConfig, NotSupported
from labrt.linux import bpf
from labrt.linux.seccomp_default import Profile

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

# Actions that carry a number: an errno, or what the tracer gets to see.
_WITH_NUMBER = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")

# Where an architecture's ordinary numbers end. x86-64 shares its audit number with x32, whose calls have bit 30 set;
# 32-bit ARM keeps some private calls far above the others.
_X32_BIT = 0x4000_0000
_CEILING = {"SCMP_ARCH_X86_64": _X32_BIT, "SCMP_ARCH_ARM": 0xF_0000}
_PLAIN = ("ALLOW", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "NOTIFY", "TRAP")
_OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")


def build(profile: Profile) -> bytes:
    """Compile a profile with libseccomp. Raises NotSupported when that is missing."""
    if "archMap" in profile:
        raise _wrong("archMap", "…", "this is Docker's format: convert it with from_docker()")
    library = _pyseccomp()
    default = _action(library, profile, "defaultAction", "defaultErrnoRet", "")
    program = library.SyscallFilter(default)
    architectures = _architectures(library, profile)
    for name, architecture in architectures.items():
        try:
            with contextlib.suppress(FileExistsError):  # the machine's own is in from the start
                program.add_arch(architecture)
        except OSError as error:
            raise _wrong("architectures", name, f"libseccomp says {error.strerror}") from error
    names: set[str] = set()
    for number, rule in enumerate(profile.get("syscalls") or []):
        names.update(_add_rule(library, program, default, rule, f"syscalls[{number}]"))
    _search_as_a_tree(library, program)
    return _missing(library, architectures, names, default) + _export(program)


def _pyseccomp() -> ModuleType:
    try:
        import pyseccomp
    except (ImportError, RuntimeError) as error:
        remedy = "apt install libseccomp2 and pip install pyseccomp"
        raise NotSupported(f"no libseccomp: {error}", remedy=remedy) from error
    module: ModuleType = pyseccomp
    return module


def _search_as_a_tree(library: ModuleType, program: Any) -> None:
    """Find a call's number by halving instead of one by one: about 20 steps, not 200.

    The kernel goes through the whole program once for each number when it is installed (to remember which calls are
    always allowed), and again at each call whose arguments matter.
    """
    with contextlib.suppress(OSError):  # libseccomp before 2.5 cannot; it means the same either way
        program.set_attr(library.Attr.CTL_OPTIMIZE, 2)


def _export(program: Any) -> bytes:
    with open(os.memfd_create("seccomp", os.MFD_CLOEXEC), "r+b") as file:
        program.export_bpf(file)
        file.seek(0)
        return file.read()


def _architectures(library: ModuleType, profile: Profile) -> dict[str, int]:
    found = {}
    for name in profile.get("architectures") or []:
        number = getattr(library.Arch, str(name).removeprefix("SCMP_ARCH_"), None)
        if not str(name).startswith("SCMP_ARCH_") or number is None:
            raise _wrong("architectures", name, "see config-linux.md of the runtime-spec for the names")
        found[name] = number
    return found


def _action(library: ModuleType, where: dict[str, Any], field: str, number_field: str, prefix: str) -> int:
    """Make libseccomp's number of an action; what carries an errno carries EPERM unless it says otherwise."""
    name, number = where.get(field), where.get(number_field)
    bare = str(name).removeprefix("SCMP_ACT_")
    if name in _WITH_NUMBER:
        if number is not None and not (isinstance(number, int) and 0 <= number < 1 << 16):
            raise _wrong(prefix + number_field, number, "it is an errno, such as 1 for EPERM")
        return int(getattr(library, bare)(errno.EPERM if number is None else number))
    if f"SCMP_ACT_{bare}" != name or bare not in _PLAIN:
        raise _wrong(prefix + field, name, "such as SCMP_ACT_ALLOW or SCMP_ACT_ERRNO")
    if number is not None:
        raise _wrong(prefix + number_field, number, f"only {' and '.join(_WITH_NUMBER)} carry one, {name} does not")
    return int(getattr(library, bare))


def _add_rule(library: ModuleType, program: Any, default: int, rule: dict[str, Any], where: str) -> Iterable[str]:
    """Add one rule for all its names, and return them. Names that this libseccomp does not know are skipped."""
    for foreign in ("includes", "excludes"):
        if rule.get(foreign):  # taken for an unconditional rule it would allow too much
            raise _wrong(f"{where}.{foreign}", rule[foreign], "this is Docker's format: convert it with from_docker()")
    names = rule.get("names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise _wrong(f"{where}.names", names, "at least one system call must be named")
    action = _action(library, rule, "action", "errnoRet", f"{where}.")
    alternatives = list(_conditions(library, rule.get("args") or [], where))
    for name in names if action != default else ():  # a rule that says what is done anyway is an error to libseccomp
        number = library.resolve_syscall(library.Arch.NATIVE, name)
        for conditions in alternatives if number != -1 else ():
            try:
                program.add_rule(action, number, *conditions)
            except OSError as error:
                raise _wrong(where, name, f"libseccomp says {error.strerror}: does an earlier rule differ?") from error
    return names


def _conditions(library: ModuleType, args: list[dict[str, Any]], where: str) -> Iterator[list[Any]]:
    """Yield the alternatives of a rule: all conditions hold together, but those on one same argument each alone.

    libseccomp compares an argument once per rule. runc reads two conditions on one argument as "or", so we do too.
    """
    made = [_condition(library, arg, f"{where}.args[{number}]") for number, arg in enumerate(args)]
    if len({arg["index"] for arg in args}) < len(args):
        yield from ([condition] for condition in made)
    else:
        yield made


def _condition(library: ModuleType, arg: dict[str, Any], where: str) -> Any:
    op, index = str(arg.get("op")), arg.get("index")
    if not op.startswith("SCMP_CMP_") or op.removeprefix("SCMP_CMP_") not in _OPERATORS:
        raise _wrong(f"{where}.op", arg.get("op"), f"SCMP_CMP_ and one of {', '.join(_OPERATORS)}")
    if not isinstance(index, int) or not 0 <= index <= 5:
        raise _wrong(f"{where}.index", index, "a system call has the arguments 0 to 5")
    for field in ("value", "valueTwo"):
        value = arg.get(field, 0)
        if not isinstance(value, int) or not 0 <= value < 1 << 64:
            raise _wrong(f"{where}.{field}", value, "it is a number of 64 bits")
    operator = getattr(library, op.removeprefix("SCMP_CMP_"))
    return library.Arg(index, operator, arg.get("value", 0), arg.get("valueTwo", 0))


def _missing(library: ModuleType, architectures: dict[str, int], names: set[str], default: int) -> bytes:
    """BPF that answers ENOSYS, not EPERM, to calls that are younger than every call which the profile names.

    A libc tries a new call first and takes the old one on ENOSYS; EPERM it takes for the answer. So a container of next
    year would fail on the profile of this year. Goes in front of what libseccomp makes; runc does the like.
    """
    if default & 0xFFFF_0000 != bpf.RET_ERRNO:
        return b""
    prelude = b""
    x32 = architectures.get("SCMP_ARCH_X32")
    for name, arch in _with_native(library, architectures).items():
        body = _younger(library, arch, names, _CEILING.get(name, 1 << 32))
        if name == "SCMP_ARCH_X86_64" and x32 is not None:
            body += _younger(library, x32, names, _X32_BIT + 512)  # from there on it has old calls of its own
        if body:
            body = bpf.statement(bpf.LD, bpf.NR) + body
            prelude += bpf.statement(bpf.LD, bpf.ARCH) + bpf.jump(bpf.JEQ, arch, 0, len(body) // 8) + body
    return prelude


def _with_native(library: ModuleType, architectures: dict[str, int]) -> dict[str, int]:
    """Name the architectures by their audit numbers; x32 has none of its own."""
    native = library.system_arch() & 0xFFFF_FFFF
    own = {f"SCMP_ARCH_{name}": native for name, number in vars(library.Arch).items() if number == native}
    return {name: number for name, number in (own | architectures).items() if name != "SCMP_ARCH_X32"}


def _younger(library: ModuleType, arch: int, names: set[str], ceiling: int) -> bytes:
    """If the newest call named < number < ceiling: return ENOSYS. Else go on with the next instruction."""
    known = [library.resolve_syscall(arch, name) for name in names]
    newest = max((number for number in known if 0 <= number < ceiling), default=None)
    if newest is None:
        return b""
    answer = bpf.statement(bpf.RET, bpf.RET_ERRNO | errno.ENOSYS)
    if ceiling >= 1 << 32:
        return bpf.jump(bpf.JGT, newest, 0, 1) + answer
    return bpf.jump(bpf.JGT, newest, 0, 2) + bpf.jump(bpf.JGE, ceiling, 1, 0) + answer


def _wrong(field: str, value: object, remedy: str) -> InvalidConfig:
    return InvalidConfig(f"linux.seccomp.{field}: {value!r} cannot be", remedy=remedy)
