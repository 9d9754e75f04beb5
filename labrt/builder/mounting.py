"""The mounts of one RUN, made ready: each a directory or a file of this machine that the engine binds.

    with Mounts(stage, instruction) as mounts: mounts.key(); mounts.binds(); mounts.tmpfs(); mounts.places()

Nothing is made before `binds` is asked for: a step that is in the cache needs none. What may be written to, and is to
be thrown away, is a copy. At the end of the block the copies are gone and the locks of caches are open.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Self

from labrt.builder import files, instructions, layers, running, selecting
from labrt.builder.copying import Plan
from labrt.builder.dockerfile import Instruction
from labrt.builder.running import Mount
from labrt.errors import Conflict, InvalidInput, NotFound
from labrt.image import files as disk
from labrt.image.tree import remove_path
from labrt.storage import unpacking

if TYPE_CHECKING:
    from labrt.builder.stage import StageBuilder

Bind = tuple[str, str, bool]


def script_place(name: str) -> str:
    """Return where a RUN <<EOF that begins with #! has its text."""
    return f"/dev/pipes/{os.path.basename(name)}"


class Mounts:
    """All mounts of one RUN."""

    def __init__(self, stage: StageBuilder, step: Instruction) -> None:
        self.stage, self.step, self.build = stage, step, stage.build
        self._stack = contextlib.ExitStack()
        self._env: dict[str, str] = {}
        self._binds: list[Bind] | None = None
        self.mounts = [*map(self._parse, step.flag_list("mount"))]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _parse(self, text: str) -> Mount:
        config = self.stage.state.config
        variables = self.stage.scope.variables(config)
        mount = running.parse(text, lambda word: instructions.expand(self.step, word, variables))
        return mount._replace(target=instructions.absolute(config, mount.target)) if mount.target else mount

    def key(self) -> list[object]:
        """Return what the cache asks for: what is bound from where; of secrets and agents only that they are there."""
        found: list[object] = []
        for mount in self.mounts:
            found.append(list(mount))
            if mount.type == "bind":
                found.append(self._digest(mount))
        return found

    def _digest(self, mount: Mount) -> str:
        source = mount.source or "/"
        if mount.origin:
            return files.digest_of(self.stage, self.stage.origin(mount.origin), [source], ())
        with self.build.context.root() as root:
            return selecting.digest(root, selecting.select(root, [source]))

    def tmpfs(self) -> tuple[str, ...]:
        """Return the tmpfs, in the words of `run --tmpfs`."""
        sizes = ((mount.target, f",size={mount.size}" if mount.size else "") for mount in self.mounts
                 if mount.type == "tmpfs")  # fmt: skip
        return tuple(f"{target}:exec{size}" for target, size in sizes)

    def places(self) -> tuple[str, ...]:
        """Return where something is mounted, all types of mounts."""
        return (*(place for _, place, _ in self.binds()), *(text.partition(":")[0] for text in self.tmpfs()))

    def environment(self) -> dict[str, str]:
        """Return the variables that mounts bring: secrets with env=, and where the agent's socket is."""
        self.binds()
        return self._env

    def binds(self) -> tuple[Bind, ...]:
        """Return what is to be bound: (path here, place in the container, read-only). It is made ready now."""
        if self._binds is None:
            makers = {"bind": self._bind, "cache": self._cache, "secret": self._secret, "ssh": self._ssh}
            found = [makers[mount.type](mount) for mount in self.mounts if mount.type in makers]
            self._binds = [bind for bind in found if bind is not None]
            first = self.step.heredocs[0] if len(self.step.heredocs) == 1 else None
            if first and first.content.startswith("#!"):
                path = self._file(first.content.encode(), 0o755, 0, 0)
                self._binds.append((path, script_place(first.name), True))
        return tuple(self._binds)

    def _bind(self, mount: Mount) -> Bind:
        if not mount.origin and mount.readonly and not self.build.context.ignored:
            with self.build.context.root() as root:
                real, found = root.resolve(mount.source or "/")
            if found is None:
                raise NotFound(f"--mount=source={mount.source}: no such file in the context")
            return os.path.join(self.build.context.path, real), mount.target, True
        return self._extract(mount, self.build.place()), mount.target, mount.readonly

    def _extract(self, mount: Mount, place: str) -> str:
        """Copy a file or directory of another stage, or of the context, to here."""
        origin = self.stage.origin(mount.origin) if mount.origin else None
        source = (files.ORIGIN if origin else files.CONTEXT, mount.source or "/")
        plan = Plan((source,), "/content", owners=origin is not None)
        with self.build.context.root() as root, layers.scratch(self.build.layout) as fd:
            files.write(self.stage, None, origin, {files.CONTEXT: root}, plan, fd)
            with open(fd, "rb", closefd=False) as stream:
                stream.seek(0)
                unpacking.apply(stream, place)
        os.chmod(place, 0o755)
        return os.path.join(place, "content")

    def _cache(self, mount: Mount) -> Bind:
        name = mount.id or mount.target
        for attempt in range(1000):
            path = self.build.cache.mount(f"{name}\n{attempt}" if attempt else name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if mount.sharing == "shared":
                break
            lock = disk.locked(f"{path}.lock", wait=mount.sharing == "locked")
            with contextlib.suppress(Conflict):
                self._stack.enter_context(lock)
                break
        if not os.path.isdir(path):
            if mount.origin:
                self._fill(mount, path)
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o755)
                os.chown(path, mount.uid, mount.gid)
                os.chmod(path, 0o755 if mount.mode is None else mount.mode)
        return path, mount.target, mount.readonly

    def _fill(self, mount: Mount, path: str) -> None:
        """Begin a cache with what --mount=from= names; it is made beside it, for only there it can be renamed."""
        place = f"{path}.{os.urandom(4).hex()}"
        os.mkdir(place, 0o700)
        try:
            os.rename(self._extract(mount, place), path)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another build was faster
                raise
        finally:
            remove_path(place)

    def _secret(self, mount: Mount) -> Bind | None:
        secret = self.build.wanted.secrets.get(mount.id)
        if secret is None:
            if mount.required:
                raise NotFound(f"no secret is called {mount.id:.80}", remedy=f"--secret id={mount.id},src=FILE")
            return None
        if mount.env:
            self._env[mount.env] = secret.decode(errors="surrogateescape")
            if not mount.target:
                return None
        path = self._file(secret, 0o400 if mount.mode is None else mount.mode, mount.uid, mount.gid)
        return path, mount.target or f"/run/secrets/{mount.id}", True

    def _file(self, content: bytes, mode: int, uid: int, gid: int) -> str:
        path = os.path.join(self.build.place(), "content")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)
            os.fchown(file.fileno(), uid, gid)
            os.fchmod(file.fileno(), mode)
        return path

    def _ssh(self, mount: Mount) -> Bind | None:
        id = mount.id or "default"
        path = self.build.wanted.ssh.get(id)
        if path is None:
            if mount.required:
                raise NotFound(f"no ssh agent is called {id:.80}", remedy="--ssh default")
            return None
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise InvalidInput(f"--ssh {id}={path}: no socket", remedy="the socket of an ssh-agent")
        number = sum(1 for other in self.mounts[: self.mounts.index(mount)] if other.type == "ssh")
        place = mount.target or running.SSH_SOCKET.format(number)
        self._env.setdefault("SSH_AUTH_SOCK", place)
        return path, place, False
