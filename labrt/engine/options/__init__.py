"""What a container can be told, in the words of `docker run`, and the config.json that comes of it.

    options = Options("busybox", ("sh",), memory="64m", volumes=["/srv:/data:ro"], cap_add=["NET_ADMIN"])
    config = to_config(options, image.config, id, directory)      what runc would read
    record = to_record(options, image.config)                     what `inspect` shows: docker's HostConfig and Config

    model        every option, with what the kernel makes of it
    build        the config.json
    resources    memory, CPU time, number of processes, cgroup          security     capabilities, seccomp, --privileged
    disks        rates and weights                                      namespaces   --ipc, --pid, --uts, --cgroupns
    processes    ulimits, sysctls                                       devices      --device
    mounts       -v, --mount, --tmpfs, --volumes-from                   init         --init
    etc          hosts, resolv.conf                                     records      labels, health, restart, logs
    networking   --network, -p, --ip

Each of them but the first two is imported when one of its options is given. The table of notebook 16, from flag to
JSON, is this directory.
"""

from __future__ import annotations

from labrt.engine.options.build import hostname_of, to_config, write_etc
from labrt.engine.options.model import NETWORKS, SMALLEST_MEMORY, Options, to_record

__all__ = ["NETWORKS", "SMALLEST_MEMORY", "Options", "hostname_of", "no_copies", "to_config", "to_record",
           "write_etc"]  # fmt: skip


def no_copies(options: Options) -> set[str]:
    """Return the places of volumes that are not to be filled with what the image has there."""
    if not options.given("volumes", "mount"):
        return set()
    from labrt.engine.options import mounts

    return mounts.no_copies(options)
