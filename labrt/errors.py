"""Everything that labrt raises, one class per meaning.

    LabrtError
    ├── KernelError           a system call failed (also an OSError, and PermissionError etc. by its errno)
    ├── NotSupported          this kernel, machine or user cannot do it; says what is missing
    ├── InvalidInput          what was given cannot be right (also a ValueError)
    │   ├── InvalidReference  an image name that Docker's grammar does not allow
    │   ├── InvalidDigest     not `sha256:<64 hex digits>`
    │   ├── InvalidManifest   a manifest, index or image config that breaks its specification
    │   ├── InvalidConfig     a config.json that breaks the OCI runtime-spec
    │   └── UnsafeLayer       a layer that reaches out of its root, or is no readable tar
    ├── NotFound              no such thing here (also a LookupError)
    │   ├── ImageNotFound     neither in the store nor, where it was asked, in the registry
    │   └── ContainerNotFound
    ├── Conflict              it exists, is in use, or is in the wrong state for this
    ├── RegistryError         a registry said no, or something that cannot be
    │   ├── Unauthorized      401 or 403 after every sign-in that we have
    │   ├── RateLimited       429, and waiting did not help
    │   ├── Unreachable       no connection, no name, no TLS
    │   └── DigestMismatch    the bytes are not those that were named
    ├── BuildFailed           a command of a Dockerfile has failed
    └── ContainerError        a container could not be started
        ├── HookFailed            a program that shall run at its start, a hook of its config
        ├── CommandNotFound       exit code 127, as in a shell
        └── CommandNotExecutable  exit code 126, as in a shell

    LabrtWarning              a Python warning (a UserWarning): it goes on, with less than was asked for

Each carries `remedy`: one sentence that says what to do, printed after the message by those who print.
Library code raises these and nothing else on purpose; only the command line turns them into exit codes.
"""

from __future__ import annotations

import errno as _errno
import os


class LabrtError(Exception):
    """The root of the tree: `except labrt.errors.LabrtError` catches whatever labrt raises on purpose."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.message,), self.__dict__  # keyword arguments are not in `args`, so pickle needs help

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class LabrtWarning(UserWarning):
    """What was asked for is done, but for a part that this machine cannot give."""


class NotSupported(LabrtError):
    """This kernel, machine or user cannot do it."""


class InvalidInput(LabrtError, ValueError):
    """What was given cannot be right."""


class InvalidReference(InvalidInput):
    """An image name that Docker's grammar does not allow."""


class InvalidDigest(InvalidInput):
    """Not a digest: `sha256:` and 64 lower-case hex digits."""


class InvalidManifest(InvalidInput):
    """A manifest, index or image config that breaks its specification."""


class InvalidConfig(InvalidInput):
    """A config.json that breaks the OCI runtime-spec, or asks what labrt does not do."""


class UnsafeLayer(InvalidInput):
    """A layer that reaches out of its root, or is no readable tar archive."""


class NotFound(LabrtError, LookupError):
    """No such thing here."""


class ImageNotFound(NotFound):
    """Neither in the local store nor, where it was asked, in the registry."""


class ContainerNotFound(NotFound):
    """No container has this name or id."""


class Conflict(LabrtError):
    """It exists already, is in use, or is in the wrong state for this."""


class RegistryError(LabrtError):
    """A registry said no, or something that cannot be. `status` is the HTTP status, or None."""

    def __init__(self, message: str, *, status: int | None = None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.status = status


class Unauthorized(RegistryError):
    """401 or 403 after every sign-in that we have."""


class RateLimited(RegistryError):
    """429, and waiting as long as Retry-After asked did not help."""


class Unreachable(RegistryError):
    """No connection: the name does not resolve, nobody listens, or TLS failed."""


class DigestMismatch(RegistryError):
    """The bytes that came are not those that were named."""


class BuildFailed(LabrtError):
    """A RUN of a Dockerfile ended with an exit code that is not 0: `code`."""

    def __init__(self, message: str, *, code: int = 1, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


class ContainerError(LabrtError):
    """A container could not be started. Its exit code, as `docker run` gives it, is 125."""


class HookFailed(ContainerError):
    """A hook of its config.json failed, or could not be run: the container does not come to be."""


class CommandNotFound(ContainerError):
    """The command is not in the image: exit code 127, as in a shell."""


class CommandNotExecutable(ContainerError):
    """The command is there but cannot be executed: exit code 126, as in a shell."""


class KernelError(LabrtError, OSError):
    """A system call failed. Made by `kernel_error`, which adds the builtin class of its errno.

    So `except PermissionError` and `except KernelError` both catch an EPERM, and `errno` is there as on any OSError.
    `call` is the call as it was made, flags decoded: `mount("none", "/x", None, MS_REC|MS_PRIVATE, None)`.
    """

    def __init__(self, call: str, errno: int, *, remedy: str = "") -> None:
        name = _errno.errorcode.get(errno, str(errno))
        LabrtError.__init__(self, f"{call}: {name} ({os.strerror(errno)})", remedy=remedy)
        self.call = call
        self.errno = errno
        self.strerror = os.strerror(errno)

    def __reduce__(self) -> tuple[object, ...]:
        # It comes back from a child pickled, and its class may be one that kernel_error has made up.
        return _again, (self.call, self.errno, self.remedy)


_kernel_classes: dict[type[OSError], type[KernelError]] = {OSError: KernelError}


def kernel_error(call: str, errno: int, *, remedy: str = "") -> KernelError:
    """Make the KernelError that is also what Python would raise for this errno (EPERM: PermissionError, …)."""
    builtin = type(OSError(errno, ""))
    if builtin not in _kernel_classes:
        name = f"Kernel{builtin.__name__}"
        _kernel_classes[builtin] = type(name, (KernelError, builtin), {"__doc__": f"A KernelError and {builtin}."})
    return _kernel_classes[builtin](call, errno, remedy=remedy)


def file_error(what: str, errno: int) -> KernelError:
    """Make the KernelError of work on files: `what` was being done. Where there is no room, it says what gives some."""
    full = errno in (_errno.ENOSPC, _errno.EDQUOT)
    return kernel_error(what, errno, remedy="make room: labrt prune, or a larger disk" if full else "")


def _again(call: str, errno: int, remedy: str) -> KernelError:
    return kernel_error(call, errno, remedy=remedy)
