"""The device mapper: block devices made of others by a table. In a thin pool they take room only as they are written.

    devmapper.create("labrt-pool", [Target(0, sectors, "thin-pool", "7:1 7:0 128 0")])    "/dev/dm-0"
    devmapper.message("labrt-pool", "create_thin 1")
    devmapper.create("labrt-1", [Target(0, sectors, "thin", "/dev/dm-0 1")])              "/dev/dm-1", a disk
    devmapper.message("labrt-pool", "create_snap 2 1")                                    disk 2: like 1 now, and apart
    devmapper.remove("labrt-1")

One ioctl per step, all with the same structure, on /dev/mapper/control. Sizes are in sectors of 512 bytes.
See dmsetup(8); the kernel's include/uapi/linux/dm-ioctl.h and device-mapper/thin-provisioning.rst. Notebook 11.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import Sequence

from labrt.errors import InvalidInput, NotSupported, kernel_error
from labrt.shapes import Record

CONTROL = "/dev/mapper/control"
CREATE, REMOVE, SUSPEND, STATUS, LOAD, TABLE_STATUS, MESSAGE, TARGET_VERSION = 3, 4, 6, 7, 9, 12, 14, 17
DEFERRED_REMOVE = 1 << 17
# udev shall only make its links: were it to look for file systems on each, it would hold them just when they go.
_NO_UDEV_RULES = (0x02 | 0x04 | 0x08) << 16

# struct dm_ioctl: version, data_size, data_start, target_count, open_count, flags, event_nr, dev, name, uuid, data[7].
_HEAD = struct.Struct("=3IIIIiII4xQ128s129s7x")
# struct dm_target_spec: sector_start, length, status, next, target_type; a string follows.
_SPEC = struct.Struct("=QQiI16s")
_ROOM = 16384
_PATIENCE = 5.0  # seconds for whoever still has a device open for a moment: udev, a mount namespace that is just ending


class Target(Record):
    """One line of a table: these sectors are made by `kind` with these parameters."""

    start: int
    length: int
    kind: str
    parameters: str


class Device(Record):
    """A mapped device: `number` as stat(2) has it, `opened` how many times it is open."""

    name: str
    number: int
    opened: int

    @property
    def path(self) -> str:
        """The node that the kernel itself makes."""
        return f"/dev/dm-{os.minor(self.number)}"


def can_use(target: str) -> str | None:
    """Return None when the kernel has this kind of target (its module is loaded), else the reason why not."""
    try:
        _ioctl(TARGET_VERSION, name=target)
    except NotSupported as error:
        return str(error)
    except OSError as error:
        return f"this kernel's device mapper has no target {target!r}: {os.strerror(error.errno or 0)}"
    return None


def create(name: str, table: Sequence[Target]) -> Device:
    """Make a device with this table, and let it work. All or nothing. KernelError (EBUSY: the name is taken)."""
    _ioctl(CREATE, name=name)
    try:
        _ioctl(LOAD, name=name, data=b"".join(map(_line, table)), count=len(table))
        _ioctl(SUSPEND, name=name, event=_NO_UDEV_RULES)  # without the flag that says "suspend", it resumes
    except BaseException:
        with contextlib.suppress(OSError):
            _ioctl(REMOVE, name=name)
        raise
    device = find(name)
    if device is None:
        raise kernel_error(f"DM_DEV_STATUS({name!r})", errno.ENXIO)
    _make_node(device)
    return device


def _line(target: Target) -> bytes:
    text = os.fsencode(target.parameters) + b"\0"
    size = (_SPEC.size + len(text) + 7) // 8 * 8
    return (_SPEC.pack(target.start, target.length, 0, size, target.kind.encode()) + text).ljust(size, b"\0")


def _make_node(device: Device) -> None:
    """In a container's /dev nobody makes nodes."""
    if not os.path.exists(device.path):
        import stat

        with contextlib.suppress(FileExistsError, PermissionError):
            os.mknod(device.path, stat.S_IFBLK | 0o600, device.number)


def find(name: str) -> Device | None:
    """Return the device of this name; None when there is none."""
    try:
        answer, _ = _ioctl(STATUS, name=name)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    return Device(name, answer[9], answer[6])


def message(name: str, text: str) -> None:
    """Send a target a message: create_thin, create_snap, delete … KernelError (EEXIST, ENODATA: no such id)."""
    _ioctl(MESSAGE, name=name, data=struct.pack("=Q", 0) + text.encode() + b"\0", shown=text)


def status(name: str) -> list[Target]:
    """Return what each line of a device's table says of itself; of a thin device first the sectors that it maps."""
    answer, data = _ioctl(TABLE_STATUS, name=name)
    found, at = [], 0
    for _ in range(answer[5]):
        start, length, _, following, kind = _SPEC.unpack_from(data, at)
        text = data[at + _SPEC.size :].split(b"\0", 1)[0].decode(errors="replace")
        found.append(Target(start, length, kind.rstrip(b"\0").decode(), text))
        at = following  # counted from the first one
    return found


def remove(name: str, *, patience: float = _PATIENCE) -> bool:
    """Remove a device. False when it is in use for longer than `patience`: then it goes with its last user, by itself.

    Harmless when it is not there.
    """
    until = time.monotonic() + patience
    while True:
        try:
            _ioctl(REMOVE, name=name, event=_NO_UDEV_RULES)
            return True
        except OSError as error:
            if error.errno == errno.ENXIO:
                return True
            if error.errno != errno.EBUSY:
                raise
        if time.monotonic() >= until:
            break
        time.sleep(0.02)
    with contextlib.suppress(FileNotFoundError):
        _ioctl(REMOVE, name=name, flags=DEFERRED_REMOVE, event=_NO_UDEV_RULES)
    return False


def try_remove(name: str) -> bool:
    """Remove a device if nobody uses it at this moment; else leave it as it is. Whether it is gone."""
    try:
        _ioctl(REMOVE, name=name, event=_NO_UDEV_RULES)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENXIO):
            raise
        return error.errno == errno.ENXIO
    return True


def _ioctl(
    command: int, *, name: str = "", data: bytes = b"", count: int = 0, flags: int = 0, event: int = 0, shown: str = ""
) -> tuple[tuple[int, ...], bytes]:
    """Make one call; return the structure and the data that it came back with."""
    raw = name.encode()
    if len(raw) > 127 or b"/" in raw:
        raise InvalidInput(f"{name!r:.200} cannot be a mapped device's name")
    size = _HEAD.size + max(len(data), _ROOM)
    head = _HEAD.pack(4, 0, 0, size, _HEAD.size, count, 0, flags, event, 0, raw, b"")
    buffer = bytearray((head + data).ljust(size, b"\0"))
    fd = _open_control()
    try:
        # _IOWR(0xfd, command, struct dm_ioctl), as asm-generic/ioctl.h puts it together: x86-64 and arm64.
        fcntl.ioctl(fd, 3 << 30 | _HEAD.size << 16 | 0xFD << 8 | command, buffer)
    except OSError as error:
        call = f"device-mapper ioctl {command}({name!r}{', ' + repr(shown) if shown else ''})"
        raise kernel_error(call, error.errno or errno.EIO) from error
    finally:
        os.close(fd)
    answer = _HEAD.unpack_from(buffer)
    return answer, bytes(buffer[answer[4] : answer[3]])


def _open_control() -> int:
    try:
        return os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise NotSupported(f"{CONTROL}: {why}", remedy="be root, and sudo modprobe dm_mod") from error
