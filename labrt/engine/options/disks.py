"""How much of the disks a container may have: --blkio-weight, --device-read-bps and their like.

A rate is a limit of one device, and holds on any; a weight is a part of what is there, and only the scheduler BFQ looks
at it. On v1 what is written to the page cache first, and to the disk later, is nobody's: only v2 knows whose it is. See
cgroups(7), io.max and io.weight in cgroup-v2.rst.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from labrt.engine.options.model import Options
from labrt.errors import InvalidInput
from labrt.linux.cgroups import units

THROTTLES = {  # option: (the runtime-spec's field, docker's)
    "device_read_bps": ("throttleReadBpsDevice", "BlkioDeviceReadBps"),
    "device_write_bps": ("throttleWriteBpsDevice", "BlkioDeviceWriteBps"),
    "device_read_iops": ("throttleReadIOPSDevice", "BlkioDeviceReadIOps"),
    "device_write_iops": ("throttleWriteIOPSDevice", "BlkioDeviceWriteIOps"),
}


def check(options: Options) -> None:
    """Raise InvalidInput for what is no rate, no weight or no device."""
    if options.blkio_weight and not 10 <= options.blkio_weight <= 1000:
        raise InvalidInput(f"--blkio-weight {options.blkio_weight}: out of range", remedy="10 to 1000, or 0")
    for field in THROTTLES:
        list(_rates(options, field))
    list(_weights(options))


def apply(options: Options, config: dict[str, Any]) -> None:
    """Write linux.resources.blockIO. Raises InvalidInput for a device that is not here."""
    config["linux"]["resources"]["blockIO"] = _block_io(options)


def host_config(options: Options) -> dict[str, Any]:
    """Return docker's BlkioWeightDevice and BlkioDevice…; the weight is read from config.json."""
    found: dict[str, Any] = {
        "BlkioWeightDevice": [{"Path": path, "Weight": weight} for path, weight in _weights(options)]
    }
    for field, (_, name) in THROTTLES.items():
        found[name] = [{"Path": path, "Rate": rate} for path, rate in _rates(options, field)]
    return found


def _block_io(options: Options) -> dict[str, Any]:
    block: dict[str, Any] = {"weight": options.blkio_weight} if options.blkio_weight else {}
    if options.blkio_weight_device:
        block["weightDevice"] = [{**_device(path), "weight": weight} for path, weight in _weights(options)]
    for field, (name, _) in THROTTLES.items():
        rates = [{**_device(path), "rate": rate} for path, rate in _rates(options, field)]
        if rates:
            block[name] = rates
    return block


def _device(path: str) -> dict[str, int]:
    major, minor = units.parse_device(path).split(":")
    return {"major": int(major), "minor": int(minor)}


def _rates(options: Options, field: str) -> Iterator[tuple[str, int]]:
    """Read "/dev/sda:1m" (bytes in a second) or "/dev/sda:100" (operations)."""
    flag = f"--{field.replace('_', '-')}"
    for path, text in _by_device(getattr(options, field), flag):
        rate = units.parse_size(text) if field.endswith("bps") else units.parse_count(text)
        if not rate:
            raise InvalidInput(f"{flag} {path}:{text}: nothing is no limit", remedy="a rate above 0")
        yield path, rate


def _weights(options: Options) -> Iterator[tuple[str, int]]:
    for path, text in _by_device(options.blkio_weight_device, "--blkio-weight-device"):
        if not text.isdecimal() or not 10 <= int(text) <= 1000:
            raise InvalidInput(f"--blkio-weight-device {path}:{text}: out of range", remedy="10 to 1000")
        yield path, int(text)


def _by_device(entries: Sequence[str], flag: str) -> Iterator[tuple[str, str]]:
    for entry in entries:
        path, colon, value = entry.rpartition(":")
        if not colon or not path.startswith("/dev/"):
            raise InvalidInput(f"{flag} {entry!r}: not understood", remedy="/dev/NAME:NUMBER")
        yield path, value
