"""Another runtime starts the container: `labrt run --runtime runc`. The monitor keeps it as it keeps its own.

    Foreign("runc", config, bundle, cgroup=…, stdio=…, root_mounts=…)     has Creation's methods

Of the OCI runtime-spec's words it takes create, start and delete, on a bundle like ours: config.json as it stands, but
for what only we read in it. The root's mounts are made by the monitor, in a mount namespace of its own. `runc create`
leaves its init behind when it ends; the monitor is the subreaper that gets it, and so hears how it ended.

If the monitor is killed the container lives on, until the next command takes its cgroup down.
See runtime.md of the OCI runtime-spec; prctl(2), PR_SET_CHILD_SUBREAPER; notebook 17.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator

from labrt.errors import CommandNotExecutable, CommandNotFound, ContainerError, LabrtError, NotSupported
from labrt.linux import cgroups, mounts, process, pty, rootfs, syscalls
from labrt.linux.flags import CLONE, MNT
from labrt.linux.mounts import Mount
from labrt.runtime import config as oci
from labrt.runtime import hooks, program, wire
from labrt.runtime.creation import Creation, root_of

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any

_WORDS = {  # of runc and of crun, when the command is not to be executed
    "executable file not found": CommandNotFound,
    "no such file or directory": CommandNotFound,
    "permission denied": CommandNotExecutable,
}


class Foreign(Creation):
    """A container in the making, by another runtime. The methods are called as Creation's are."""

    def __init__(
        self,
        runtime: str,
        config: dict[str, Any],
        bundle: str,
        *,
        id: str,
        cgroup: cgroups.Cgroup | None = None,
        stdio: tuple[int, int, int] | None = None,
        root_mounts: tuple[Mount, ...] = (),
    ) -> None:
        found = shutil.which(runtime)
        if found is None:
            raise NotSupported(f"--runtime {runtime}: there is no such program", remedy="install it, or give its path")
        if any(mount.get("type") == "detached" for mount in config.get("mounts") or ()):
            remedy = "leave out --runtime, or --ipc"
            raise NotSupported(f"--runtime {runtime} cannot share another container's /dev/shm", remedy=remedy)
        self.config, self.cgroup, self.id, self.child = config, cgroup, id, None
        self.warnings, self.master, self.failed_hook = [], None, False
        self.root = root_of(config, bundle)
        self._stdio, self._root_mounts = stdio, root_mounts
        self.place = os.path.join(bundle, "foreign")
        self._words = [found, "--root", f"{self.place}/state", "--log", f"{self.place}/log", "--log-format", "json"]
        self.sync, self._far = wire.pair()

    def clone(self) -> None:
        """Have it create the container, and take its init over."""
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        os.makedirs(self.place, 0o700, exist_ok=True)
        syscalls.unshare(CLONE.NEWNS)
        mounts.set_propagation("/", "rslave")
        for mount in self._root_mounts:
            mount.attach(self.root)
        with open(f"{self.place}/config.json", "w") as file:
            json.dump(self._theirs(), file)
        pid_file = f"{self.place}/pid"
        with contextlib.ExitStack() as stack:
            words = ["create", "--bundle", self.place, "--pid-file", pid_file]
            console = stack.enter_context(self._console()) if self._stdio is None else None
            if console:
                words += ["--console-socket", console.getsockname()]
            self._run(*words, self.id, stdio=self._stdio)
            with open(pid_file) as file:
                pid = int(file.read())
            self.child = process.Child(pid, os.pidfd_open(pid))
            if console:
                with console.accept()[0] as giver:
                    self.master = pty.receive_fd(giver)[0]

    def _theirs(self) -> dict[str, Any]:
        """Return our config as others read it: absolute, where it is, with numbers for names."""
        config = json.loads(json.dumps(self.config))
        for entry in config["linux"].get("namespaces") or ():
            if (entry.get("path") or "").startswith("/proc/self/fd/"):  # joins.py opened it
                entry["path"] = entry["path"].replace("self", str(os.getpid()), 1)
        config["root"]["path"] = self.root
        user = self._user(oci.user_annotation(config))
        if user and config.get("process"):
            theirs = {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)}
            config["process"]["user"] |= theirs
            if not any(entry.startswith("HOME=") for entry in config["process"].get("env") or ()):
                config["process"]["env"] = [*(config["process"].get("env") or ()), f"HOME={user.home}"]
        if self.cgroup:
            config["linux"]["cgroupsPath"] = self.cgroup.path
        config["annotations"] = {
            key: value for key, value in (config.get("annotations") or {}).items() if not key.startswith("org.labrt.")
        }
        return config  # type: ignore[no-any-return]

    def _user(self, text: str) -> program.User | None:
        """Look a user up in the image, from inside its root."""
        if not text:
            return None

        def inside() -> program.User:
            rootfs.seal_imports()
            os.chroot(self.root)
            os.chdir("/")
            return program.find_user(text)

        return process.run_in_child(inside)

    @contextlib.contextmanager
    def _console(self) -> Iterator[socket.socket]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.place}/console")
        place = os.open(self.place, os.O_PATH | os.O_CLOEXEC)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                listener.settimeout(30)
                listener.bind(f"/proc/{os.getpid()}/fd/{place}/console")  # an address has room for 107 bytes: unix(7)
                listener.listen(1)
                yield listener
        finally:
            os.close(place)

    def _run(self, *words: str, stdio: tuple[int, int, int] | None = None) -> None:
        """Run one of its commands. Raises ContainerError, or that of a command that cannot be, with its last word."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.place}/log")
        nowhere = subprocess.DEVNULL
        stdin, stdout, stderr = stdio or (nowhere, nowhere, nowhere)
        done = subprocess.run([*self._words, *words], stdin=stdin, stdout=stdout, stderr=stderr, check=False)
        if done.returncode:
            said = self._last_word()
            kind = next((kind for words, kind in _WORDS.items() if words in said and "exec" in said), ContainerError)
            raise kind(f"{os.path.basename(self._words[0])} {words[0]}: {said or f'exit code {done.returncode}'}")

    def _last_word(self) -> str:
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"{self.place}/log") as file:
            said = [json.loads(line) for line in file.read().splitlines()]
            return str([entry["msg"] for entry in said if entry.get("level") == "error"][-1])
        return ""

    def release(self, *, start: bool = False, meanwhile: Callable[[], object] | None = None) -> None:
        """Let it be known on our networks; with `start` begin its program at once."""
        if meanwhile:
            meanwhile()
        self._start = start

    def _hear_of_root(self) -> None:
        if self._start:
            self.start()

    def start(self) -> None:
        """Have its program begin; as from our own init, silence and the end of `sync` mean that it runs."""
        try:
            self._run("start", self.id)
        except LabrtError as error:
            wire.send(self._far, {"error": wire.error_to_json(error)})
        self._far.close()

    def run_hooks(self, kind: str, status: str) -> None:
        """Do nothing: they are in the bundle, and so the other runtime's to run."""

    def state(self, status: str) -> dict[str, Any]:
        """Return the container's state, as hooks get it."""
        return hooks.state(self.config, self.id, self.place, status, self.child.pid if self.child else 0)

    def ended(self) -> None:
        """Have it forget the container, and take the root down."""
        with contextlib.suppress(LabrtError, OSError):
            self._run("delete", "--force", self.id)
        for _ in self._root_mounts:
            with contextlib.suppress(OSError):
                syscalls.umount2(self.root, MNT.DETACH)

    def abandon(self) -> None:
        """Take down what there is of it."""
        if self.child:
            self.child.kill()
            self.child.wait()
        self.ended()
        for end in (self.sync, self._far):
            end.close()
