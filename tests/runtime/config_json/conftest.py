"""What the tests of single properties of config.json share: they run a shell line, and look at what it sees."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

MAPS = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]


@pytest.fixture
def labrt_root(monkeypatch):
    """A house that the users of a user namespace can reach: pytest's own directories are closed to them."""
    with tempfile.TemporaryDirectory(prefix="labrt-inside-") as house:
        os.chmod(house, 0o711)
        monkeypatch.setenv("LABRT_ROOT", f"{house}/labrt")
        yield Path(house) / "labrt"


@pytest.fixture
def see(make, outcome):
    """Run a shell line in a container with a changed config; return what it wrote, by lines."""

    def run(script: str, change=None, code: int = 0) -> list[str]:
        got, out, err = outcome(make("sh", "-c", script, change=change))
        assert got == code, err or out
        return out.splitlines()

    return run


@pytest.fixture
def run_in():
    """Bring a shell line into a container that runs; return what it wrote: `run_in(container, "id -u")`."""
    return _run_in


def _run_in(container, script: str) -> str:
    """Bring a shell line into a container; return what it wrote."""
    out, out_end = os.pipe()
    with open(out) as reading, open(os.devnull) as nothing:
        execution = container.exec(["sh", "-c", script], stdio=(nothing.fileno(), out_end, out_end))
        os.close(out_end)
        text = reading.read()
        assert execution.wait(20) == 0, text
    return text


def with_users(config):
    """Ask for a user namespace, and let its root own what it shall write to, and reach it."""
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"] |= {"uidMappings": MAPS, "gidMappings": MAPS}
    house = Path(os.environ["LABRT_ROOT"])
    for directory in (house, house / "lib", house / "lib/containers"):
        directory.chmod(0o711)
    for container in (house / "lib/containers").iterdir():
        container.chmod(0o711)
        for name in ("rootfs", "upper", "work"):
            os.chown(container / name, MAPS[0]["hostID"], MAPS[0]["hostID"])


@pytest.fixture
def users(make, labrt_root, busybox_root):
    """Make containers in a user namespace: `users("id", change=…)`."""
    root = labrt_root.parent / "image"
    shutil.copytree(busybox_root, root, symlinks=True)
    for directory, _, names in os.walk(root):
        for name in (".", *names):
            os.chown(os.path.join(directory, name), MAPS[0]["hostID"], MAPS[0]["hostID"], follow_symlinks=False)

    def build(*args: str, change=None):
        def both(config):
            with_users(config)
            if change:
                change(config)

        return make(*args, change=both, root=root)

    return build
