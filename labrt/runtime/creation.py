"""Creating a container, from the side of init's parent: what the monitor and `labrt-oci` do alike.

    creation = Creation(config, bundle, cgroup=group, stdio=(0, 1, 2))
    creation.clone()            init is there, in its namespaces, and waits
    creation.release()          its limits and its id maps stand: it may go on
    creation.hear_of_root()     its root stands: only *start* is missing
    creation.abandon()          … or none of it

Who was told with `listener` where *start* will come from, is not needed any more after `hear_of_root` and `let_wait`;
without, *start* goes over `sync`, and init ends with its parent. See init.py for the other side; runtime.md of the OCI
runtime-spec, "Lifecycle"; notebook 17.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable

from labrt.errors import ContainerError, HookFailed, InvalidConfig, NotSupported
from labrt.linux import cgroups, mounts, process, syscalls, userns
from labrt.linux.flags import CLONE
from labrt.linux.mounts import Mount
from labrt.runtime import config as oci
from labrt.runtime import init, wire
from labrt.runtime.init import Birth

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any


class Creation:
    """An init in the making. The methods are called in the order in which they stand here."""

    def __init__(
        self,
        config: dict[str, Any],
        bundle: str,
        *,
        cgroup: cgroups.Cgroup | None = None,
        stdio: tuple[int, int, int] | None = None,
        root_mounts: tuple[Mount, ...] = (),
        listener: socket.socket | None = None,
        pivot: bool = True,
        **terms: Any,
    ) -> None:
        """Say what init is to do. `stdio` None is a terminal; `terms` are further fields of init.Birth."""
        self.config = config
        self.cgroup = cgroup
        self.child: process.Child | None = None
        self.warnings: list[str] = []  # what this machine could not give, for whoever asked
        self.master: int | None = None  # of the terminal, if there is one
        self._birthplace = ""  # the working directory that init is born in
        flags, late, joined = init.births(config)
        # Devices are opened by us: init is in the container's cgroup, which lets it open hardly any.
        self._opened: list[int] = []
        root, place = root_of(config, bundle), ""
        if any("idmap" in mount.options for mount in root_mounts):
            place, root, opened = self._open_mapped_root(root, root_mounts)
        else:
            opened = [self._open(mount) for mount in root_mounts]
        own_users = CLONE.NEWUSER in flags or any(flag == CLONE.NEWUSER for _, flag in joined)
        opened_mounts = [self._open_special(entry, own_users) for entry in config.get("mounts") or ()]
        self.birth = init.Birth(
            config=config,
            # By us, as far as can be: each page of memory that init writes to, the kernel must copy for it first.
            program=None if own_users or not config.get("process") else init.prepare(config),
            root=init.root_plan(
                config, root, opened, opened_mounts, cgroup=cgroup, pivot=pivot, place=place
            ),
            flags=flags,
            late=late,
            joined=[pair for pair in joined if pair[1] != CLONE.NEWPID],
            cgroup=cgroup,
            stdio=stdio,
            listener=listener,
            bundle=bundle,
            own_users=own_users,
            seen=any(flag in (CLONE.NEWPID, CLONE.NEWUSER) for _, flag in joined),
            **terms,
        )
        self._start = False
        self.failed_hook = False
        self._pid_namespace = next((path for path, flag in joined if flag == CLONE.NEWPID), None)
        self.sync, self._far = wire.pair()

    def _open(self, mount: Mount) -> Mount:
        if not mount.wants_device:
            return mount
        opened = mount.opened()
        self._opened.append(int(opened.source))
        return opened

    def _open_mapped_root(self, root: str, root_mounts: tuple[Mount, ...]) -> tuple[str, str, list[Mount]]:
        """Make a root whose owners are the container's. Only we may: init is root in its user namespace only.

        Nor may init come to where its root shall be: that lies behind directories of root's. So it is born there, and
        has the mount by a descriptor. Returns where to attach it, what it is called from then on, and the mount.
        """
        from labrt.linux import idmap

        maps = [_id_maps(self.config["linux"].get(name)) for name in ("uidMappings", "gidMappings")]
        mount = root_mounts[0]._replace(options=tuple(word for word in root_mounts[0].options if word != "idmap"))
        if len(root_mounts) > 1 or not (mount.type == "overlay" or mount.is_bind):
            remedy = "LABRT_STORAGE_DRIVER=overlay, or leave out --uidmap and --userns"
            raise NotSupported(f"a root on {mount.type} cannot have other owners", remedy=remedy)
        tree = idmap.overlay(mount, *maps) if mount.type == "overlay" else idmap.open(mount, *maps)
        self._opened.append(tree)
        self._birthplace = root
        return "/proc/self/cwd", f"/proc/self/fd/{tree}", [Mount("/", "detached", str(tree))]

    def _open_special(self, entry: dict[str, Any], own_users: bool) -> Mount:
        """Make a mount ourselves, where init cannot.

        An idmapped one, which in a user namespace of its own init would not be allowed to make. And one that is to be
        shared with the host: in init's mount namespace all mounts are slaves of the host's, or nobody's. And one whose
        source others may not reach: in its user namespace init is nobody's root.
        """
        mount = Mount.from_json(entry)
        if entry.get("uidMappings") or {"idmap", "ridmap"} & set(mount.options):
            self._opened.append(self._open_mapped(mount, entry))
        elif mount.is_bind and (self._hidden(mount) if own_users else {"shared", "rshared"} & set(mount.options)):
            self._opened.append(mounts.open_bind(mount))
        else:
            return mount
        words = tuple(word for word in mount.options if word in mounts.PROPAGATION)
        return Mount(mount.destination, "detached", str(self._opened[-1]), words)

    def _open_mapped(self, mount: Mount, entry: dict[str, Any]) -> int:
        from labrt.linux import idmap

        linux = self.config["linux"]
        maps = [_id_maps(entry.get(name) or linux.get(name)) for name in ("uidMappings", "gidMappings")]
        others = "" if entry.get("uidMappings") else oci.namespaces_of(self.config).get("user", "")
        return idmap.open(mount, *maps, user_namespace=others)

    @staticmethod
    def _hidden(mount: Mount) -> bool:
        """Whether only root comes to it, as to all that lies in our own state; and we are that root."""
        return os.geteuid() == 0 and userns.is_first() and not _reached_by_others(mount.source)

    def _close(self) -> None:
        """Leave the root's mounts to init: with our descriptors open, they would outlive it."""
        while self._opened:
            os.close(self._opened.pop())

    @property
    def init(self) -> process.Child:
        """Init, once it is cloned."""
        assert self.child is not None, "there is no init yet"
        return self.child

    def clone(self) -> None:
        """Let init be born. It waits until `release`."""
        if self._pid_namespace:
            # Only children enter a PID namespace: so we go, and the clone follows. We ourselves stay where we are.
            fd = os.open(self._pid_namespace, os.O_RDONLY | os.O_CLOEXEC)
            syscalls.setns(fd, CLONE.NEWPID)
            os.close(fd)
        into = self.cgroup.open_fd() if self.cgroup else None
        users = next((path for path, flag in self.birth.joined if flag == CLONE.NEWUSER), None)
        try:
            child = self._clone_within(users, into) if users else self._clone_init(self.birth, self.birth.flags, into)
        finally:
            if into is not None:
                os.close(into)
        self.child = process.Child(*child)
        self._far.close()

    def _clone_init(self, birth: Birth, flags: int, into: int | None) -> tuple[int, int]:
        with contextlib.chdir(self._birthplace) if self._birthplace else contextlib.nullcontext():
            return self._clone_here(birth, flags, into)

    def _clone_here(self, birth: Birth, flags: int, into: int | None) -> tuple[int, int]:
        pid, pidfd = syscalls.clone3(flags, exit_signal=0 if flags & CLONE.PARENT else signal.SIGCHLD, cgroup=into)
        if pid == 0:
            try:
                self.sync.close()
                init.run(birth, self._far)
            finally:
                os._exit(127)
        return pid, pidfd

    def _clone_within(self, users: str, into: int | None) -> tuple[int, int]:
        """Let init be born in a user namespace that exists, so that its new namespaces belong to that one.

        Born outside, they would belong to ours, and init would have no rights over them, not even to mount. So a
        *scout* goes in first, after it has entered the cgroup, which it could not from inside; it makes init as its
        sibling (CLONE_PARENT), and ends. joiner.py has another.
        """
        back, scouts = wire.pair()
        scout, pidfd = syscalls.clone3(0, exit_signal=signal.SIGCHLD, cgroup=into)
        if scout == 0:
            try:
                if self.cgroup:
                    self.cgroup.enter(cloned=into is not None)
                init.join(users, CLONE.NEWUSER)
                joined = [pair for pair in self.birth.joined if pair[1] != CLONE.NEWUSER]
                birth = self.birth._replace(cgroup=None, joined=joined)
                made = self._clone_init(birth, self.birth.flags | CLONE.PARENT, None)
                wire.send(scouts, {"made": True}, [made[1]])
            except BaseException as error:
                wire.send(scouts, {"error": wire.error_to_json(error)})
            finally:
                os._exit(0)
        os.close(pidfd)
        scouts.close()
        with back:
            answer, fds = wire.receive(back)
        os.waitpid(scout, 0)
        if answer is None or "error" in answer:
            raise wire.error_from_json(answer["error"]) if answer else ContainerError("init's maker was killed")
        return process.pid_of(fds[0]), fds[0]  # by its number here: the scout may be in another PID namespace

    def release(self, *, start: bool = False, meanwhile: Callable[[], object] | None = None) -> None:
        """Finish what init was born into, its id maps and its cgroup's limits, and let it go on.

        `start`: at once to the end, without another word. `meanwhile` is done while init builds its root, and before
        its program starts. So are the limits put into force, but where hooks, which are the container's, run before.
        """
        linux = self.config["linux"]
        init.set_oom_score(self.config.get("process") or {}, self.init.pid)
        if self.config.get("hooks"):
            self._limit()
        if CLONE.NEWUSER in self.birth.flags:
            userns.write_maps(self.init.pid, _id_maps(linux.get("uidMappings")), _id_maps(linux.get("gidMappings")))
        if self.cgroup and len(self.cgroup.paths) == 1:
            self._hand_cgroup_over(next(iter(self.cgroup.paths.values())))
        if linux.get("netDevices"):
            self._move_interfaces()
        hooked = "hooks" in self.config and self._hooked("prestart", "createRuntime")
        self._tell({"go": True})
        if not self.config.get("hooks"):
            self._limit()
        if meanwhile:
            meanwhile()
        if start and not hooked:
            self._tell({"start": True})
        self._start = start and hooked

    def _limit(self) -> None:
        if self.cgroup:
            self.cgroup.apply(oci.resources(self.config))

    def _hand_cgroup_over(self, directory: str) -> None:
        """Let the container's user manage the cgroup below it, where the config mounts it to be written to.

        Of v2 only, for v1's files are not safe in others' hands, and only what the kernel names as safe: see
        config-linux.md, "Cgroup ownership"; cgroups(7), "Cgroup delegation".
        """
        mounted = any(
            mount["destination"] == "/sys/fs/cgroup" and mount.get("source") == "cgroup" and "ro" not in
            (mount.get("options") or ()) for mount in self.config.get("mounts") or ()
        )  # fmt: skip
        if not mounted or oci.namespaces_of(self.config).get("cgroup") != "":
            return
        uid = ((self.config.get("process") or {}).get("user") or {}).get("uid") or 0
        maps = _id_maps(self.config["linux"].get("uidMappings"))
        owner = userns.to_host(maps, uid) if maps else uid
        if owner:
            cgroups.tree.delegate(directory, owner)

    def _move_interfaces(self) -> None:
        """Move interfaces of ours into the container's network namespace: linux.netDevices."""
        from labrt.linux import rtnetlink

        path = oci.namespaces_of(self.config)["network"] or f"/proc/{self.init.pid}/ns/net"
        namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for interface, wanted in self.config["linux"]["netDevices"].items():
                rtnetlink.move(interface, namespace, name=(wanted or {}).get("name") or "")
        finally:
            os.close(namespace)

    def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError, ProcessLookupError):  # it has ended already: its answer says why
            wire.send(self.sync, message)  # it finds what is for later when it comes to that

    def _hooked(self, *kinds: str) -> bool:
        from labrt.runtime import hooks

        return hooks.wanted(self.config, *kinds)

    def state(self, status: str) -> dict[str, Any]:
        """Return the container's state, as hooks and seccomp agents get it."""
        from labrt.runtime import hooks

        pid = self.child.pid if self.child and status != "stopped" else 0
        return hooks.state(self.config, self.birth.id, self.birth.bundle, status, pid)

    def run_hooks(self, kind: str, status: str) -> None:
        """Run hooks of ours. Raises HookFailed for the first that fails; of poststop, warn and go on."""
        if not self.config.get("hooks"):
            return
        from labrt.runtime import hooks

        if kind == "poststop":
            self.warnings += hooks.run_all(self.config, kind, self.state(status), cwd=self.birth.bundle)
        else:
            hooks.run(self.config, kind, self.state(status), cwd=self.birth.bundle)

    def hear_of_root(self) -> None:
        """Wait until init has built its root; get the terminal's master from there.

        While it stands at the door of its root, our hooks run.
        """
        try:
            self._hear_of_root()
        except HookFailed:
            self.failed_hook = True
            raise

    def _hear_of_root(self) -> None:
        answer, fds = wire.receive(self.sync)
        if answer and "mounted" in answer:
            self.run_hooks("prestart", "creating")
            self.run_hooks("createRuntime", "creating")
            self._tell({"enter": True})
            if self._start:
                self._tell({"start": True})
            answer, fds = wire.receive(self.sync)
        self._close()
        if answer is None:
            raise ContainerError(f"init was killed while it built the root: {self.init.wait()}")
        if "error" in answer:
            raise wire.error_from_json(answer["error"])
        self.warnings = answer["warnings"]
        if fds:
            self.master = fds[0]

    def start(self) -> None:
        """Let its program begin. What comes on `sync` then says how that went."""
        wire.send(self.sync, {"start": True})

    def ended(self) -> None:
        """Do what is to be done when init has ended: nothing, for the kernel does."""

    def let_wait(self) -> None:
        """Leave init to its `listener`: from here on it lives without us. Raises ContainerError if it has died."""
        try:
            wire.send(self.sync, {"wait": True})
        except ConnectionError:
            raise ContainerError(f"init was killed while it waited: {self.init.wait()}") from None

    def abandon(self) -> None:
        """Take down what there is of it. The cgroup may go then, too: it is whoever made it's.

        After a hook that failed, `run_hooks("poststop", "stopped")` is what comes after that: runtime.md, "Lifecycle".
        """
        self._close()
        if self.child:
            self.child.kill()
            self.child.wait()
        for end in (self.sync, self._far):
            end.close()


def _reached_by_others(path: str) -> bool:
    """Whether each directory above it lets everybody through."""
    above = os.path.dirname(os.path.realpath(path))
    while above != "/":
        if not os.stat(above).st_mode & 0o001:
            return False
        above = os.path.dirname(above)
    return True


def root_of(config: dict[str, Any], bundle: str) -> str:
    """Return where the root that a config names lies. Raises InvalidConfig if nothing is there."""
    root = os.path.join(bundle, config["root"]["path"])
    if not os.path.isdir(root):
        raise InvalidConfig(f"root.path: {root} is no directory", remedy="the bundle must hold it")
    return os.path.realpath(root)


def _id_maps(entries: Any) -> list[userns.IdMap]:
    return [userns.IdMap(entry["containerID"], entry["hostID"], entry["size"]) for entry in entries or ()]
