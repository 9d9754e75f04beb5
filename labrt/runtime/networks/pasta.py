"""An ordinary user's network by pasta(1): the container has this machine's own addresses.

    Pasta(where, id, wishes).attach(pid, name)       see tap.py

A connection in there is one of pasta's out here, without a NAT between. As the container has the machine's addresses,
these lead to the container itself. Of who listens on the machine's loopback, a container sees nothing.
See https://passt.top; notebook 15.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from labrt.errors import Conflict, ContainerError, LabrtError, NotSupported
from labrt.linux import process
from labrt.runtime.networks import tap
from labrt.runtime.networks.tap import Claim


class Pasta(tap.Tap):
    """One container's pasta."""

    def start(self, namespace: int, claims: Sequence[Claim]) -> None:
        """Start it, and wait until it stands: then it writes its pid, for which we hold a FIFO out to it."""
        path, note = tap.program("pasta", "passt"), os.path.join(self.directory, "pasta.pid")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(note)  # of a monitor that was killed
        os.mkfifo(note, 0o600)
        opened = [os.open(note, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), os.memfd_create("said", os.MFD_CLOEXEC)]
        stands, said = opened
        # As its standard input: by its path it could not open it, for init has powers that pasta has dropped by then.
        words = ["pasta", "--foreground", "--config-net", "--quiet", "--ns-ifname", "eth0", "--pid", note,
                 "--no-map-gw", *_words(claims), "-T", "none", "-U", "none", "--netns-only", "--no-netns-quit",
                 "--netns", "/proc/self/fd/0"]  # fmt: skip
        parent = os.getpid()
        try:
            self.child = process.spawn(lambda: tap.become(path, words, (namespace, said, said), parent))
            if not self.stands(stands):
                raise _refused(os.pread(said, 4096, 0).decode(errors="replace").strip())
        finally:
            for fd in opened:
                os.close(fd)
            os.unlink(note)


def _words(claims: Sequence[Claim]) -> list[str]:
    """Write published ports as pasta has them: -t ADDRESS/PORT:PORT; none at all is said, too."""
    found = []
    for flag, protocol in (("-t", "tcp"), ("-u", "udp")):
        mine = [f"{one.host and f'{one.host}/'}{one.port}:{one.to}" for one in claims if one.protocol == protocol]
        for word in mine or ["none"]:
            found += [flag, word]
    return found


def _refused(answer: str) -> LabrtError:
    """Make an error of pasta's words."""
    line = answer.splitlines()[-1] if answer else "it said nothing"
    if "bind" in line or "port" in line.lower():
        return Conflict(f"pasta: {line}", remedy="publish another port")
    if "no usable" in line.lower() or "interface" in line.lower():
        return NotSupported(f"pasta: {line}", remedy="it needs a machine with a network; or --network none")
    return ContainerError(f"pasta: {line}", remedy="--network none or host")
