"""The main job, narrated: a real image is pulled, unpacked and run, and everything is taken down again.

    python -m labrt.lab.demo [--image IMAGE]        or: sudo sh labrt/setup.sh demo

What it shows is what happened: the HTTP exchanges as the client reports them, the plan that init executed, and the
container's namespaces, mounts and limits as /proc and the cgroup files give them while it runs. It keeps the image and
the container in a directory of its own, so that every time there is a whole pull to see and nothing stays behind; that
directory is in the ledger, so that `labrt.reset()` finds it even after a kill -9.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence

from labrt import paths
from labrt.engine.containers import Container, Containers
from labrt.engine.images import Images
from labrt.engine.options import Options
from labrt.errors import CommandNotFound, ContainerError, LabrtError, NotSupported
from labrt.image.image import Image, human
from labrt.lab import show
from labrt.lab.hub import Hub, hub
from labrt.lab.narrator import Narrator
from labrt.lab.snapshot import Snapshot, snapshot
from labrt.lab.workspace import workspace
from labrt.linux import cgroups, namespaces, procfs
from labrt.paths import Paths
from labrt.registry import events
from labrt.registry.client import Client
from labrt.runtime import init

LOOK = "now look at me from the host"
SCRIPT = f"""
echo "hello from $(hostname)"
echo "I am user $(id -u), and my process id is $$. These are all processes that I see:"
ps 2>/dev/null || ls -d /proc/[0-9]*
echo "and this is all of my root directory:"
echo $(ls /)
echo "{LOOK}"
read -r answer
echo "the host said: $answer"
"""
NEXT = (
    "sudo .venv/bin/labrt run busybox echo hello    the same, in one line",
    "sudo sh labrt/setup.sh lab                     the course in JupyterLab; begin with notebook 00",
    "README.md                                      which part of this is in which file",
)
_HEARD = (events.Exchange, events.Redirected, events.TokenGranted, events.RateLimit, events.Waiting, events.LayerDone)


class Demo:
    """One run of the demo. The methods are called in the order in which they stand here."""

    def __init__(self, image: str, tell: Narrator) -> None:
        self.wanted = image
        self.tell = tell
        self.home = paths.default()
        # Only what survives a reboot is the demo's own; the ledger and the sockets are where they always are.
        self.where = Paths(os.path.join(self.home.state, f"demo-{os.getpid()}"), self.home.run)
        self.images = Images(self.where)

    def run(self) -> bool:
        """Do it all. Returns whether nothing stayed behind."""
        before = snapshot(self.home)
        with self._home(), hub(self.home) as registry:
            self.tell.say(str(registry))
            image = self.pull(registry)
            self.unpack(image)
            with self.tell.step("create", "Make a container of it: a writable layer, and the plan of its root"):
                container = self.create(image)
            try:
                during = self.start(container)
            finally:
                container.remove(force=True)
        return self.prove(container, before, during)

    @contextlib.contextmanager
    def _home(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(workspace(os.path.basename(self.where.state)))
            try:
                yield
            finally:
                with self.tell.step("remove", "Take it down: the container, its layers, its image"):
                    stack.close()
                    cgroups.prune()  # /labrt, where the containers' cgroups were, if no other is there
                    self.tell.detail(f"removed {self.where.state}")

    def pull(self, registry: Hub) -> Image:
        """Fetch the image, and tell of each exchange with the registry."""

        def hear(event: events.Event) -> None:
            if isinstance(event, _HEARD):
                self.tell.detail(show.short_ids(event.describe()))

        reference = registry.reference(self.wanted)
        with self.tell.step("pull", f"Pull {reference}, each part checked against its digest"):
            with Client(on_event=hear) as client:
                image = client.pull(reference, self.images.layout)
            self.tell.show(image)
        return image

    def unpack(self, image: Image) -> None:
        """Let the storage driver unpack each layer."""
        driver = self.images.driver
        with self.tell.step("unpack", f"Unpack its layers, each into a directory of its own ({driver.name})"):
            for number, chain_id in enumerate(self.images.unpack(image), 1):
                size = human(driver.usage(chain_id))
                self.tell.detail(f"layer {number}  chain id {chain_id.short}…  {size} on disk")

    def create(self, image: Image) -> Container:
        """Make the container, and print the plan that its init will execute."""
        options = Options(
            str(image.reference), ("-c", 'eval "$TALK"'), entrypoint="sh", env=[f"TALK={SCRIPT}"], interactive=True,
            pull="never", memory="64m", pids_limit=32, network="none",  # a bridge would stay, for the next container
        )  # fmt: skip
        container = Containers(self.where).create(options)
        plan = init.root_plan(
            container.runtime.config(),
            os.path.join(container.runtime.directory, "rootfs"),
            self.images.driver.mounts(container.id),
        )
        steps = [show.short_ids(str(step)).replace(self.where.state, "…") for step in plan]
        more = f"… and {len(steps) - 7} more: mounts, devices, masked and read-only paths"
        for line in [*steps[:6], more, steps[-1]]:
            self.tell.detail(line)
        return container

    def start(self, container: Container) -> Snapshot:
        """Start it, look at it from outside while it runs, let it end."""
        flags, late, _ = init.births(container.runtime.config())
        with self.tell.step("start", "Start it: a process with namespaces of its own builds its root, and waits"):
            container.prepare()
            self.tell.detail(f"clone3({flags})")
            self.tell.detail(f"unshare({late}), once it is in its cgroup")
            self.tell.detail("then the plan above; what is left is execve")
            attached = container.attach(stdin=True)
        with attached:
            with self.tell.step("execve", "Let it execve its program, and read what that says"):
                attached.start()
                output = self.tell.lines(data for _, data in attached.output())
                if LOOK not in output:
                    raise ContainerError(f"it ended at once, with exit code {attached.exit_code}", remedy="see above")
            with self.tell.step("look", "The same process, seen from the host: /proc and the cgroup's files"):
                self.look(container)
                during = snapshot(self.home)
            with self.tell.step("end", "Say goodbye: one line to its standard input, and it ends"):
                attached.send(b"goodbye\n")
                attached.end_input()
                self.tell.lines((data for _, data in attached.output()), until_end=True)
                self.tell.detail(f"exit code {attached.exit_code}")
        return during

    def look(self, container: Container) -> None:
        """Tell what the kernel knows of the running container."""
        state = container.state
        group = cgroups.load(state.cgroup, parent="/")
        here, there = namespaces.of("self"), namespaces.of(state.pid)
        inside = procfs.mountinfo(state.pid)
        added = [mount.mount_point for mount in procfs.mountinfo() if self.where.state in mount.mount_point]
        memory, pids = group.memory, group.pids
        numbers = procfs.status(state.pid)["NSpid"].split()
        shared = ", ".join(there.shared_with(here))
        self.tell.detail(f"pid {numbers[-1]} in there is pid {numbers[0]} here")
        self.tell.table(
            ("namespace", "the host's", "the container's"),
            [(kind, str(here[kind].inode), str(there[kind].inode)) for kind in there if kind not in shared],
        )
        self.tell.detail(f"shared with the host: {shared}")
        used = f"{human(memory.current or 0)} of {human(memory.max or 0)} memory"
        self.tell.detail(f"cgroup {show.short_ids(state.cgroup)}: {used}, {pids.current} of {pids.max} processes")
        self.tell.detail(f"{len(inside)} mounts in there, / is {inside[0].fstype}; of these {len(added)} on the host")

    def prove(self, container: Container, before: Snapshot, during: Snapshot) -> bool:
        """Show the host before, during and after, and whether anything of ours is left."""
        with self.tell.step("prove", "Look what is left: the ledger, and what the kernel has"):
            after = snapshot(self.home)
            rows = [(kind, *(str(len(each[kind])) for each in (before, during, after))) for kind in before]
            self.tell.table(("on the host", "before", "while it ran", "now"), rows)
            names = (container.id, container.id[:12], self.where.state)
            left = [thing for kind in after for thing in after[kind] if any(name in thing for name in names)]
            left += [self.where.state] if os.path.lexists(self.where.state) else []
            self.tell.detail(f"left behind: {', '.join(left)}" if left else "nothing of it is left")
        return not left


def check_machine() -> None:
    """Raise NotSupported where this cannot work at all."""
    if os.geteuid() != 0:
        raise NotSupported("the demo makes containers, and that needs root", remedy="sudo sh labrt/setup.sh demo")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0: all went well and nothing is left, 1: not so, 130 and the like: interrupted, and taken down."""
    parser = argparse.ArgumentParser(
        prog="python -m labrt.lab.demo",
        description="Pull a real image, run it in its own namespaces, cgroup and root, and take everything down again.",
        epilog="example: sudo .venv/bin/python -m labrt.lab.demo --image alpine:3.20",
    )
    parser.add_argument("--image", default="busybox", help="an image with a shell in it (default: busybox)")
    wanted = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # as an exception, so that all is taken down
    tell = Narrator("labrt: from an image's name to a running process, and back")
    try:
        check_machine()
        clean = Demo(wanted.image, tell).run()
    except KeyboardInterrupt:
        tell.say("interrupted; what was there is taken down")
        return 130
    except CommandNotFound as error:
        return tell.fail(f"{error.message}: the demo's script wants a shell in the image")
    except (LabrtError, OSError) as error:
        return tell.fail(str(error))
    tell.end(NEXT)
    return 0 if clean else 1


if __name__ == "__main__":
    raise SystemExit(main())
