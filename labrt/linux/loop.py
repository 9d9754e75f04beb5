"""Loop devices: a file that can be mounted like a disk.

    with loop.attached("/var/lib/labrt/layers/btrfs/disk") as device:        "/dev/loop3"
        …mount it…

A device is told at birth to vanish with its last user (LO_FLAGS_AUTOCLEAR): an open descriptor, a mount, a table of the
device mapper. So nothing has to be undone, and whoever is killed leaves none. A file has one device, however many ask:
two devices of one file would be two disks with the same name and their own idea of what is on them.

See loop(4), losetup(8). LOOP_CONFIGURE is of Linux 5.8. Notebook 11.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import struct
from collections.abc import Iterator

from labrt.errors import NotSupported, kernel_error

LOOP_CTL_GET_FREE = 0x4C82
LOOP_CLR_FD = 0x4C01
LOOP_GET_STATUS64 = 0x4C05
LOOP_CONFIGURE = 0x4C0A
LO_FLAGS_AUTOCLEAR = 4

# struct loop_info64: device, inode, rdevice, offset, sizelimit, number, encrypt_type, encrypt_key_size, flags,
# file_name[64], crypt_name[64], encrypt_key[32], init[2]; the same on every architecture.
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
# struct loop_config: fd, block_size, info, reserved[8].
_CONFIG = struct.Struct(f"=II{_INFO.size}s64x")
_TRIES = 64


@contextlib.contextmanager
def attached(path: str) -> Iterator[str]:
    """Yield the path of the loop device of a file, which stays one at least as long as the block.

    Raises KernelError (ENOENT, EPERM), NotSupported without a loop driver.
    """
    fd, device = attach(path)
    try:
        yield device
    finally:
        os.close(fd)


def attach(path: str) -> tuple[int, str]:
    """Open the loop device of a file: the one that it has, or a free one. The caller closes the descriptor.

    The device lives on after that while anything else uses it.
    """
    with _opened(path) as backing:
        fcntl.flock(backing, fcntl.LOCK_EX)  # two who come at once shall not make two devices
        try:
            for _ in range(_TRIES):
                found = _existing(os.fstat(backing)) or _configured(backing, path)
                if found is not None:
                    return found
        finally:
            fcntl.flock(backing, fcntl.LOCK_UN)  # to close it is not enough: the device has the same open file
    raise kernel_error(f"LOOP_CONFIGURE({path!r})", errno.EBUSY, remedy="all loop devices are taken: losetup --list")


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _existing(file: os.stat_result) -> tuple[int, str] | None:
    for device in devices():
        with contextlib.suppress(OSError):
            # To hold it, reading is enough; who has had it open for writing makes udev look at it when he closes it.
            fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
            # Asked only now that it is open: until then it could still vanish with another's last descriptor.
            if backing(fd) == (_kernel_dev(file.st_dev), file.st_ino):
                return fd, device
            os.close(fd)
    return None


def _kernel_dev(number: int) -> int:
    """Write a device's number as the kernel's huge_encode_dev does, which loop_info64 has; stat(2) has the same."""
    major, minor = os.major(number), os.minor(number)
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


def _configured(backing: int, path: str) -> tuple[int, str] | None:
    number = free()
    device = f"/dev/loop{number}"
    _make_node(device, number)
    fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    name = os.fsencode(path)[-63:]
    info = _INFO.pack(0, 0, 0, 0, 0, number, 0, 0, LO_FLAGS_AUTOCLEAR, name, b"", b"", 0, 0)
    try:
        fcntl.ioctl(fd, LOOP_CONFIGURE, _CONFIG.pack(backing, 0, info))
    except OSError as error:
        os.close(fd)
        if error.errno == errno.EBUSY:  # somebody else was given the same number and was faster
            return None
        raise kernel_error(f"LOOP_CONFIGURE({device}, {path!r})", error.errno or errno.EIO) from error
    return fd, device


def free() -> int:
    """Return the number of a free loop device, made by the kernel if there is none. NotSupported without the driver."""
    try:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise NotSupported(f"/dev/loop-control: {why}", remedy="be root, and sudo modprobe loop") from error
    try:
        number: int = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
        return number
    except OSError as error:
        raise kernel_error("LOOP_CTL_GET_FREE", error.errno or errno.EIO) from error
    finally:
        os.close(control)


def _make_node(device: str, number: int) -> None:
    """In a container's /dev nobody makes the node of a device that has just come."""
    if not os.path.exists(device):
        import stat

        with contextlib.suppress(FileExistsError, PermissionError):
            os.mknod(device, stat.S_IFBLK | 0o600, os.makedev(7, number))


def devices() -> list[str]:
    """Return the paths of all loop devices that have a file."""
    found = []
    for name in os.listdir("/sys/block") if os.path.isdir("/sys/block") else []:
        if re.fullmatch(r"loop\d+", name) and os.path.exists(f"/sys/block/{name}/loop/backing_file"):
            found.append(f"/dev/{name}")
    return found


def backing(fd: int) -> tuple[int, int] | None:
    """Return device and inode of the file behind an open loop device; None when it has none."""
    try:
        raw = fcntl.ioctl(fd, LOOP_GET_STATUS64, bytes(_INFO.size))
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    device, inode, *_ = _INFO.unpack(raw)
    return device, inode


def device_of(path: str) -> str | None:
    """Return the loop device that a file is attached to; None when it is to none, or is gone."""
    with contextlib.suppress(OSError):
        found = _existing(os.stat(path))
        if found:
            os.close(found[0])
            return found[1]
    return None


def clear(device: str) -> None:
    """Detach a device now, or, while somebody uses it, as soon as nobody does. Harmless when it has no file."""
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, LOOP_CLR_FD)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise kernel_error(f"LOOP_CLR_FD({device})", error.errno or errno.EIO) from error
        finally:
            os.close(fd)
