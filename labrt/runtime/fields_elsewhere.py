"""The sections of config.json that are for kernels other than Linux, in the table language of fields.py.

labrt starts nothing there, but what it reads and writes for them (a jail of FreeBSD, a zone of Solaris) must be
well-formed. A virtual machine is no container: where a config asks for one, it is refused.

See config-freebsd.md, config-solaris.md and the folder schema of the OCI runtime-spec.
"""

from __future__ import annotations

from labrt.runtime.fields import U8, U16, U32, U64, Refused

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

_OWN, _SHARING = {"new", "inherit"}, {"disable", "new", "inherit"}
_FREEBSD = {
    "devices": [{"path": str, "mode": range(0o1000)}],
    "jail": {
        "parent": str, "interface": str, "ip4Addr": [str], "ip6Addr": [str], "vnetInterfaces": [str],
        "host": _OWN, "vnet": _OWN, "ip4": _SHARING, "ip6": _SHARING,
        "sysvmsg": _SHARING, "sysvsem": _SHARING, "sysvshm": _SHARING,
        "enforceStatfs": U8,
        "allow": {
            "setHostname": bool, "rawSockets": bool, "chflags": bool, "mount": [str], "quotas": bool, "socketAf": bool,
            "mlock": bool, "reservedPorts": bool, "suser": bool,
        },
    },
}  # fmt: skip
_SOLARIS = {
    "milestone": str, "limitpriv": str, "maxShmMemory": str,
    "cappedCPU": {"ncpus": str},
    "cappedMemory": {"physical": str, "swap": str},
    "anet": [dict.fromkeys(
        ("linkname", "lowerLink", "allowedAddress", "configureAllowedAddress", "defrouter", "macAddress",
         "linkProtection"), str,
    )],
}  # fmt: skip
_WINDOWS = {
    "!layerFolders": [str],
    "devices": [{"!id": str, "!idType": {"class"}}],
    "resources": {
        "memory": {"limit": U64},
        "cpu": {"count": U64, "shares": U16, "maximum": U16, "affinity": {"mask": U64, "group": U32}},
        "storage": {"iops": U64, "bps": U64, "sandboxSize": U64},
    },
    "network": {
        "endpointList": [str], "allowUnqualifiedDNSQuery": bool, "DNSSearchList": [str],
        "networkSharedContainerName": str, "networkNamespace": str,
    },
    "credentialSpec": {}, "servicing": bool, "ignoreFlushesDuringBoot": bool,
    "hyperv": {"utilityVMPath": str},
}  # fmt: skip
_VM = {
    "hypervisor": {"!path": str, "parameters": [str]},
    "!kernel": {"!path": str, "parameters": [str], "initrd": str},
    "image": {"!path": str, "!format": {"raw", "qcow2", "vdi", "vmdk", "vhd"}},
    "hwConfig": {
        "deviceTree": str, "vcpus": U32, "memory": U64, "dtdevs": [str], "irqs": [U32],
        "iomems": [{"firstGFN": U64, "!firstMFN": U64, "!nrMFNs": U64}],
    },
}  # fmt: skip

SECTIONS: dict[str, Any] = {
    "freebsd": _FREEBSD,
    "solaris": _SOLARIS,
    "windows": _WINDOWS,
    "zos": {"namespaces": [{"!type": {"mount", "pid", "uts", "ipc"}, "path": str}]},
    "vm": Refused(_VM, "asks for a virtual machine", "labrt makes containers: leave it out, or use a runtime for VMs"),
}  # fmt: skip
