"""--init: a small program as PID 1, which reaps orphans and hands signals on.

PID 1 has two duties that an ordinary program does not know of: orphans become its children, and stay zombies until it
waits for them; and the kernel drops every signal for which it has no handler, so that Ctrl-C does nothing to `sleep`.
With --init the program is PID 2, and PID 1 is tini: 700 KB, static, so that it needs nothing of the image; it starts
the program, passes on what it is sent, waits for everybody, and ends with the program's exit code.

It is Debian's tini and no Python of ours: an interpreter in every container would hold the host's memory and files in
the reach of whoever is in there, and a bundle with tini in it runs under runc and crun too. It is mounted where Docker
has it, /sbin/docker-init. See tini(1), pid_namespaces(7), and notebook 06 for one in ten lines of Python.
"""

from __future__ import annotations

import os
from typing import Any

from labrt.engine.options.model import Options
from labrt.errors import InvalidInput, NotSupported
from labrt.linux.mounts import Mount

INSIDE = "/sbin/docker-init"
# Debian's packages tini and catatonit (podman's): both static, both called as `init -- program arguments`.
CANDIDATES = ("/usr/bin/tini-static", "/usr/bin/catatonit", "/usr/libexec/podman/catatonit")


def check(options: Options) -> None:
    """Raise InvalidInput where it would not be PID 1."""
    if options.pid != "private":
        raise InvalidInput(f"--init with --pid {options.pid}: PID 1 is another one's there", remedy="leave out --init")


def apply(options: Options, config: dict[str, Any]) -> None:
    """Mount it, and let it be what is executed. Raises NotSupported when none is installed."""
    found = next((path for path in CANDIDATES if os.access(path, os.X_OK)), None)
    if found is None:
        raise NotSupported("--init: no init to give to the container", remedy="apt install tini")
    config["mounts"].append(Mount(INSIDE, "bind", found, ("bind", "ro", "nosuid", "nodev", "rprivate")).to_json())
    config["process"]["args"] = [INSIDE, "--", *config["process"]["args"]]


def host_config(options: Options) -> dict[str, Any]:
    """Return docker's Init."""
    return {"Init": True}
