"""An escape room: four ways out of a container, victims of the room's own, and defences to put back one by one.

    with lab.escapes.room() as room:
        print(room.words["disk"])                       what the attacker types
        room.attempt("disk")                            all defences taken away: Outcome(escaped=True, said="…")
        room.attempt("disk", "device cgroup")           and this one put back
        room.attempt("disk", caps=["CHOWN"])            in place of all others: these capabilities, and no more
        room.survey()                                   every attack against every defence, as a grid

Nothing of the host's is touched. The disk is a loop device of a file of ours, the neighbour a process of ours, the
secret beside the box a file of ours; and core_pattern is opened for writing, which shows that one could, and closed.
See capabilities(7), seccomp(2), core(5), chroot(2). Notebook 18.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from labrt.errors import KernelError, NotSupported
from labrt.lab import grid, live, workspace
from labrt.lab.show import Picture, Shown
from labrt.linux import capabilities, ledger, loop, process, procfs, seccomp, syscalls
from labrt.linux.flags import MNT, MS
from labrt.linux.process import ChildFailed

if TYPE_CHECKING:
    from labrt.engine.results import Result

ATTACKS = {
    "disk": "make a device file with the number of a disk, and read the disk",
    "setting": "open the file in which the host keeps which program it runs after a crash",
    "neighbour": "read the environment of a process of the host",
    "chroot": "keep a directory open, change the root, and go up from the directory",
}
# What each defence puts back, of the options of `run`; the filter's own is a file, and pivot_root no option.
DEFENCES: Mapping[str, Mapping[str, Any]] = {
    "nothing": {},
    "default capabilities": {"cap_add": ()},
    "seccomp filter": {},
    "device cgroup": {"device_cgroup_rule": ()},
    "PID namespace": {"pid": "private"},
    "pivot_root": {},
}
# An honest program for the exercise: it gives its files to nobody, listens on port 80, and goes on as nobody.
SERVER = """set -e
mkdir /www
echo hello > /www/index.html
chown -R 65534:65534 /www
httpd -p 80 -u 65534:65534 -h /www
wget -q -O- http://127.0.0.1/
sed -n 's/^CapBnd:.//p' /proc/self/status"""
CORE_PATTERN = "/proc/sys/kernel/core_pattern"


class Outcome(NamedTuple):
    """What became of one attempt. `said`: what the attacker got, or what stopped it; escaped None: not to be tried."""

    attack: str
    defence: str
    escaped: bool | None
    said: str

    @property
    def word(self) -> str:
        """Return it in one word, as the grid has it."""
        return {True: "OUT", False: "held", None: self.said and "skipped"}[self.escaped]


class Survey(Shown):
    """What became of every attack against every defence."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes = list(outcomes)

    def __repr__(self) -> str:
        out = sum(bool(one.escaped) for one in self.outcomes)
        return f"<Survey: {out} of {len(self.outcomes)} attempts got out>"

    def picture(self) -> Picture:
        """Draw it."""
        columns = list(dict.fromkeys(one.defence for one in self.outcomes))
        cells = {(one.attack, one.defence): one.word for one in self.outcomes}
        return grid.draw([*ATTACKS], columns, cells, title="Attack × defence, each put back alone")


class Room:
    """The victims, and the way to each. Made by `room()`."""

    def __init__(self, place: str, disk: str | None, why_no_disk: str, neighbour: int, secret: str) -> None:
        self.place, self.disk, self.why_no_disk, self.neighbour, self.secret = (
            place, disk, why_no_disk, neighbour, secret)  # fmt: skip
        self.box = os.path.join(place, "box")
        self.profile = os.path.join(place, "profile.json")
        number = os.stat(disk).st_rdev if disk else 0
        self.number = f"{os.major(number)}:{os.minor(number)}"
        self.words = {
            "disk": f"mknod /disk b {self.number.replace(':', ' ')} && head -c {len(secret)} /disk",
            # Opened to be added to, and nothing is added: the host's setting stays what it is.
            "setting": f"mount -o remount,bind,rw /proc/sys && : >> {CORE_PATTERN} && echo could",
            "neighbour": f"grep -o 'SECRET=[-a-z0-9]*' /proc/{neighbour}/environ",
        }

    def __repr__(self) -> str:
        return f"<Room: disk {self.disk or 'none'}, neighbour {self.neighbour}, box {self.box}>"

    @property
    def open(self) -> dict[str, Any]:
        """Return the options that take all defences away."""
        rule = [f"b {self.number} rwm"] if self.disk else []
        return {
            "cap_add": ["ALL"], "security_opt": ["seccomp=unconfined"], "pid": "host", "device_cgroup_rule": rule,
        }  # fmt: skip

    def attempt(self, attack: str, defence: str = "nothing", *, caps: Sequence[str] | None = None) -> Outcome:
        """Try one attack, with all defences taken away but one; `caps` are in place of all capabilities.

        Raises InvalidInput for a capability that there is not.
        """
        if attack == "disk" and not self.disk:
            return Outcome(attack, defence, None, self.why_no_disk)
        if attack == "chroot":
            return self._chroot(defence, caps)
        if defence == "pivot_root":  # a container has it anyhow, and so it bears on nothing here
            return Outcome(attack, defence, None, "")
        import labrt

        options = {**self.open, **DEFENCES[defence]}
        if defence == "seccomp filter":
            options["security_opt"] = [f"seccomp={self.profile}"]
        if caps is not None:
            options |= {"cap_drop": ["ALL"], "cap_add": [*caps]}
        result = labrt.run("busybox", "sh", "-c", self.words[attack], network="none", **options)
        sign = "could" if attack == "setting" else self.secret
        said = (result.stdout or result.stderr).strip()
        return Outcome(attack, defence, sign in result.stdout, said)

    def _chroot(self, defence: str, caps: Sequence[str] | None) -> Outcome:
        """Lock a child up in a box by chroot(2), or as it should be, and let it try."""
        if defence == "device cgroup":  # no device is in this
            return Outcome("chroot", defence, None, "")
        kept = capabilities.DEFAULT if defence == "default capabilities" else None
        kept = kept if caps is None else capabilities.parse(*caps)
        with open(self.profile) as file:
            program = seccomp.compile(json.load(file)) if defence == "seccomp filter" else b""

        def prisoner() -> tuple[bool, str]:
            (_pivot if defence == "pivot_root" else os.chroot)(self.box)
            os.chdir("/")
            if program:
                seccomp.install(program)
            if kept is not None:
                capabilities.apply(capabilities.Capabilities.of_root(kept))
            return self._climb()

        kinds = {"pivot_root": "mnt", "PID namespace": "pid"}.get(defence, "")
        try:
            escaped, said = process.run_in_child(prisoner, namespaces=kinds)
        finally:
            with contextlib.suppress(FileNotFoundError):  # from inside, its name may be another by now
                os.rmdir(os.path.join(self.box, "cell"))
        return Outcome("chroot", defence, escaped, said)

    def _climb(self) -> tuple[bool, str]:
        """Get out of a root: what the prisoner does. Notebook 18 shows these lines."""
        try:
            above = os.open("/", os.O_RDONLY)
            os.mkdir("cell")
            os.chroot("cell")
            os.fchdir(above)  # the root is below us now
            for _ in range(64):
                os.chdir("..")
            os.chroot(".")
            with open(os.path.join(self.place, "secret")) as file:
                return True, file.read()
        except OSError as error:
            return False, f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)

    def serve(self, caps: Sequence[str]) -> Result:
        """Run the honest program with these capabilities and no more. See SERVER."""
        import labrt

        return labrt.run("busybox", "sh", "-c", SERVER, network="none", cap_drop=["ALL"], cap_add=[*caps])

    def survey(self, *, yours: Sequence[str] | None = None, before: Survey | None = None) -> Survey:
        """Try everything, and draw meanwhile. `yours`: capabilities that get a column of their own.

        What was found `before` is not tried again.
        """
        outcomes: list[Outcome] = [*before.outcomes] if before else []
        draw = live.live()
        for defence in () if before else DEFENCES:
            outcomes += [self.attempt(attack, defence) for attack in ATTACKS]
            draw(Survey(outcomes).picture())
        if yours is not None:
            found = [self.attempt(attack, caps=yours) for attack in ATTACKS]
            outcomes += [one._replace(defence="your capabilities") for one in found]
            draw(Survey(outcomes).picture())
        return Survey(outcomes)


def _pivot(box: str) -> None:
    """Make a directory the root, and leave nothing above it: notebook 04. In a mount namespace of its own."""
    syscalls.mount(box, box, None, MS.BIND | MS.REC)
    os.chdir(box)
    syscalls.pivot_root(".", ".")
    syscalls.umount2(".", MNT.DETACH)


@contextlib.contextmanager
def room() -> Iterator[Room]:
    """Set the room up: a disk, a neighbour and a box with a secret beside it. All is gone at the end."""
    secret = f"secret-{secrets.token_hex(4)}"
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(workspace.workspace(f"escape-room-{secrets.token_hex(4)}"))
        os.mkdir(os.path.join(place, "box"))
        _write(os.path.join(place, "secret"), secret.encode())
        _write(os.path.join(place, "disk"), secret.encode().ljust(1 << 20, b"\0"))
        profile = seccomp.default_profile(capabilities.names(capabilities.DEFAULT))
        _write(os.path.join(place, "profile.json"), json.dumps(profile).encode())
        disk, why = _disk(stack, os.path.join(place, "disk"))
        yield Room(place, disk, why, stack.enter_context(_neighbour(secret)), secret)


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _disk(stack: contextlib.ExitStack, file: str) -> tuple[str | None, str]:
    """Make a disk of a file; or say why not."""
    try:
        return stack.enter_context(loop.attached(file)), ""
    except (KernelError, NotSupported) as error:
        return None, f"no loop device can be had: {error}"


@contextlib.contextmanager
def _neighbour(secret: str) -> Iterator[int]:
    """Run a process of the host with a secret in its environment. It ends with us, or by the ledger."""
    environment = {"SECRET": secret, "PATH": os.environ.get("PATH", os.defpath)}

    def sleep() -> None:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(3):  # whoever reads our output does not wait for its end
            os.dup2(nowhere, number)
        os.execvpe("sleep", ["sleep", "86400"], environment)

    with process.spawn(sleep) as child:
        began = str(procfs.stat(child.pid).starttime)
        entry = ledger.record("process", str(child.pid), starttime=began)
        try:
            _wait_for_exec(child)
            yield child.pid
        finally:
            child.kill()
            child.wait()
            ledger.strike(entry)


def _wait_for_exec(child: process.Child) -> None:
    """Wait until it is another program: from then on it has the secret, and dies with us."""
    while child.wait(0.002) is None:
        if procfs.stat(child.pid).comm == "sleep":
            return
    raise ChildFailed("sleep does not run", child.exit or process.Exit(1))
