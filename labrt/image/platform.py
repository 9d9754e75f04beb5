"""Platforms: for which operating system and processor an image is.

    Platform.parse("linux/arm64/v8")   also "arm64", "amd64", "linux/amd64", "aarch64"
    Platform.host()                    this machine
    have.matches(wanted)               may an image for `have` run where `wanted` is asked for?

The names are Go's (GOOS, GOARCH), so uname's x86_64 is amd64 and aarch64 is arm64. Names are normalised as containerd
does, when a Platform is made by `parse` or `normalized`: arm64 without a variant is arm64/v8, arm is arm/v7.
Specification: OCI image-spec, image-index.md, "Platform Variants". Notebook 12.
"""

from __future__ import annotations

import os as _os
import re

from labrt.errors import InvalidInput
from labrt.shapes import Record

_ALIASES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v8"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
    "armv5l": ("arm", "v5"),
    "armv5tel": ("arm", "v5"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
}
# What no variant means; the empty string stays where a family has no variants.
_DEFAULT_VARIANT = {"arm64": "v8", "arm": "v7", "amd64": "v1"}
_SYSTEMS = {"linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "illumos", "android", "wasip1"}
_PART = re.compile("[A-Za-z0-9_.-]+")


class Platform(Record):
    """`os/architecture/variant`. An empty variant means: whatever the family's base is."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `os/arch[/variant]`, or one word that is an operating system or an architecture."""
        parts = text.lower().split("/")
        if len(parts) > 3 or not all(_PART.fullmatch(part) for part in parts):
            raise InvalidInput(f"{text!r:.100} is no platform", remedy="write os/arch, like linux/arm64")
        if len(parts) == 1:
            host = cls.host()
            if parts[0] in _SYSTEMS:
                return host._replace(os=parts[0])
            return cls("linux", parts[0]).normalized()
        return cls(parts[0], parts[1], "".join(parts[2:])).normalized()

    @classmethod
    def host(cls) -> Platform:
        """Return the platform of this machine, as containers on it see it: always Linux."""
        return cls("linux", _os.uname().machine.lower()).normalized()

    def normalized(self) -> Platform:
        """Return this platform in containerd's spelling: no aliases, the default variant left out where it has none.

        arm64/v8 is spelled arm64/v8 and amd64/v1 plain amd64, as Docker prints them.
        """
        architecture, variant = _ALIASES.get(self.architecture, (self.architecture, self.variant))
        variant = self.variant or variant
        if variant and variant[0].isdigit():
            variant = f"v{variant}"
        if not variant and architecture in ("arm64", "arm"):
            variant = _DEFAULT_VARIANT[architecture]
        if architecture == "amd64" and variant == "v1":
            variant = ""
        return self._replace(os=self.os.lower(), architecture=architecture, variant=variant)

    @property
    def level(self) -> tuple[int, ...]:
        """The variant as numbers that compare: v8 is (8,), arm64's v8.1 is (8, 1), none is the family's default."""
        variant = self.variant or _DEFAULT_VARIANT.get(self.architecture, "")
        return tuple(int(number) for number in re.findall("[0-9]+", variant))

    def matches(self, wanted: Platform) -> bool:
        """Whether an image for this platform runs on `wanted`: same system and family, no higher variant."""
        have, want = self.normalized(), wanted.normalized()
        return (have.os, have.architecture) == (want.os, want.architecture) and have.level <= want.level

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
