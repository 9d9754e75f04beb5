"""Security labels: what AppArmor and SELinux shall call a program, said before it is executed.

    check_apparmor(profile, "process.apparmorProfile")   refuse it where the kernel has no AppArmor
    set_next(proc, apparmor="docker-default")            the label of what this thread executes next

The kernel takes the label from the file /proc/self/attr/…/exec, so that must be the kernel's /proc: an image could have
a directory of that name, and the container would go on without its label (CVE-2019-16884). So it is opened on the
host, and kept over the pivot: heldproc.py. See apparmor(7), proc_pid_attr(5), selinux(8); notebook 18.
"""

from __future__ import annotations

import os

from labrt.errors import KernelError, NotSupported, kernel_error
from labrt.linux import heldproc

UNCONFINED = "unconfined"  # the name by which AppArmor knows having no profile


def has_apparmor(*, sys: str = "/sys") -> bool:
    """Whether this kernel has AppArmor, and it is switched on."""
    try:
        with open(f"{sys}/module/apparmor/parameters/enabled") as stream:
            return stream.read().strip() == "Y"
    except OSError:
        return False


def has_selinux(*, sys: str = "/sys") -> bool:
    """Whether SELinux has a policy here: its file system is mounted, and labels files."""
    return os.path.exists(f"{sys}/fs/selinux/enforce")


def check_apparmor(profile: str, where: str) -> None:
    """Raise NotSupported, which names `where`, for a profile that this kernel cannot set. Empty: none is asked for."""
    if profile and profile != UNCONFINED and not has_apparmor():
        raise NotSupported(f"{where}: {profile!r}: this kernel has no AppArmor", remedy="leave it out")


def check_selinux(label: str, where: str) -> None:
    """Raise NotSupported, which names `where`, for a label that this kernel cannot set. Empty: none is asked for."""
    if label and not has_selinux():
        raise NotSupported(f"{where}: {label!r}: this kernel has no SELinux, or no policy", remedy="leave it out")


def set_next(proc: int, *, apparmor: str = "", selinux: str = "") -> None:
    """Label the program that this thread executes next. `proc` is of heldproc.hold.

    To be done before the user and the capabilities change, and before no_new_privs, which allows no change of profile.
    """
    if apparmor and (apparmor != UNCONFINED or has_apparmor()):
        # Kernels before 5.8 have no directory of AppArmor's own; there the file belongs to the one module there is.
        _write(proc, ("self/attr/apparmor/exec", "self/attr/exec"), f"exec {apparmor}", f"AppArmor profile {apparmor}")
    if selinux:
        _write(proc, ("self/attr/exec",), selinux, f"SELinux label {selinux}")


def _write(proc: int, names: tuple[str, ...], value: str, what: str) -> None:
    for name in names:
        try:
            fd = heldproc.open_below(proc, name, os.O_WRONLY)
        except FileNotFoundError:
            continue
        try:
            os.write(fd, value.encode())
        except OSError as error:
            raise _refused(name, value, error) from error
        finally:
            os.close(fd)
        return
    raise NotSupported(f"{what}: this kernel has no /proc/{names[0]}", remedy="leave it out")


def _refused(name: str, value: str, error: OSError) -> KernelError:
    remedy = "is it loaded? see /sys/kernel/security/apparmor/profiles" if error.errno == 2 else ""
    return kernel_error(f"write('/proc/{name}', {value!r})", error.errno or 0, remedy=remedy)
