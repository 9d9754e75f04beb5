"""Mounts and their options, propagation, owners, and the root, seen from inside."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from labrt.linux import mounts

pytestmark = pytest.mark.root


def options_of(lines: list[str], path: str) -> set[str]:
    """The options of a mount, from the lines of mountinfo. See proc_pid_mountinfo(5)."""
    return set(next(line.split()[5].split(",") for line in lines if line.split()[4] == path))


@pytest.mark.parametrize(
    ("options", "has", "has_not"),
    [
        (["ro"], {"ro"}, {"rw"}),
        (["ro", "rw"], {"rw"}, {"ro"}),
        (["nosuid", "nodev", "noexec"], {"nosuid", "nodev", "noexec"}, set()),
        (["nosuid", "suid", "nodev", "dev", "noexec", "exec"], set(), {"nosuid", "nodev", "noexec"}),
        (["noatime"], {"noatime"}, {"relatime"}),
        (["noatime", "atime"], {"relatime"}, {"noatime"}),
        (["strictatime"], set(), {"relatime", "noatime"}),
        (["strictatime", "relatime"], {"relatime"}, set()),
        (["nodiratime"], {"nodiratime"}, set()),
        (["nodiratime", "diratime"], set(), {"nodiratime"}),
        (["nosymfollow"], {"nosymfollow"}, set()),
        (["defaults", "norelatime", "nostrictatime", "async", "symfollow", "loud"], {"rw", "relatime"}, set()),
    ],
)
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_mount_options(see, tmp_path, options, has, has_not, kind):
    def change(config):
        how = {"type": "tmpfs", "source": "x"} if kind == "tmpfs" else {"source": str(tmp_path)}
        words = options if kind == "tmpfs" else [*options, "bind"]
        config["mounts"].append({"destination": "/tmp/there", "options": words, **how})

    found = options_of(see("cat /proc/self/mountinfo", change), "/tmp/there")
    assert has <= found and not has_not & found


def test_options_of_the_file_system(see):
    def change(config):
        options = ["sync", "dirsync", "lazytime", "silent", "iversion", "noiversion", "mode=1750", "size=64k", "uid=5"]
        config["mounts"].append({"destination": "/tmp/there", "type": "tmpfs", "source": "x", "options": options})

    lines = see("cat /proc/self/mountinfo", change)
    line = next(line for line in lines if " /tmp/there " in line)
    assert {"sync", "dirsync", "lazytime", "size=64k", "mode=1750", "uid=5"} <= set(line.split()[-1].split(","))


def test_recursive_options(see, tmp_path):
    words = ["rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime", "rnosymfollow"]
    undo = ["rrw", "rsuid", "rdev", "rexec", "rrelatime", "rdiratime", "rsymfollow"]
    (tmp_path / "below").mkdir()
    with mounts.tmpfs(str(tmp_path / "below")):  # which is nosuid and nodev itself
        for options, has, has_not in (
            (words, {"ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"}, set()),
            ([*words, *undo], {"rw", "relatime"}, {"nosuid", "nodev", "noexec", "noatime"}),
        ):

            def change(config, options=options):
                entry = {"destination": "/tmp/there", "source": str(tmp_path), "options": ["rbind", *options]}
                config["mounts"].append(entry)

            lines = see("cat /proc/self/mountinfo", change)
            for path in ("/tmp/there", "/tmp/there/below"):
                found = options_of(lines, path)
                assert has <= found and not has_not & found, path


def test_recursive_options_are_for_what_comes_before(see):
    def change(config):
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "x"})
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "x", "options": ["remount", "ro"]})

    assert "ro" in options_of(see("cat /proc/self/mountinfo", change), "/tmp")


@pytest.mark.parametrize(
    "word", ["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"]
)
def test_propagation_of_a_mount(see, word):
    def change(config):
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "x", "options": [word]})

    line = next(line for line in see("cat /proc/self/mountinfo", change) if " /tmp " in line)
    fields = line.partition(" - ")[0].split()[6:]
    kind = word.removeprefix("r") if word != "runbindable" else "unbindable"
    assert bool([field for field in fields if field.startswith("shared:")]) == (kind == "shared")
    assert ("unbindable" in fields) == (kind == "unbindable")


def test_a_mount_that_is_shared_with_the_host(make, run_in, tmp_path):
    """What is mounted below it in the container shows on the host; below another mount it does not."""
    outside = tmp_path / "outside"
    outside.mkdir()
    with mounts.tmpfs(str(outside)):
        mounts.set_propagation(str(outside), "shared")
        for name in ("seen", "unseen"):
            (outside / name).mkdir()

        def change(config):
            for name, options in (("/shared", ["rbind", "rshared"]), ("/slave", ["rbind", "rslave"])):
                config["mounts"].append({"destination": name, "source": str(outside), "options": options})
            for kind in ("bounding", "effective", "permitted"):
                config["process"]["capabilities"][kind].append("CAP_SYS_ADMIN")
            del config["linux"]["seccomp"]

        container = make("sleep", "300", change=change)
        container.start()
        run_in(container, "mount -t tmpfs x /shared/seen && mount -t tmpfs x /slave/unseen")
        try:
            assert os.path.ismount(outside / "seen")
            assert not os.path.ismount(outside / "unseen")
        finally:
            mounts.unmount(str(outside / "seen"))


@pytest.mark.parametrize("word", ["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable"])
def test_propagation_of_the_root(see, word):
    lines = see("cat /proc/self/mountinfo", lambda config: config["linux"].update(rootfsPropagation=word))
    root = next(line for line in lines if line.split()[4] == "/").partition(" - ")[0].split()[6:]
    proc = next(line for line in lines if line.split()[4] == "/proc").partition(" - ")[0].split()[6:]
    kind = word.removeprefix("r")
    assert bool([field for field in root if field.startswith("shared:")]) == (kind == "shared")
    assert bool([field for field in proc if field.startswith("shared:")]) == (word == "rshared")
    assert ("unbindable" in root) == (kind == "unbindable")


def test_relative_paths_of_mounts(make, outcome):
    """A destination counts from the root, a bind's source from the bundle."""

    def change(config):
        config["mounts"].append({"destination": "tmp/there", "source": "files", "options": ["bind"]})

    container_files = []

    def files_first(config):
        change(config)
        directory = Path(os.environ["LABRT_ROOT"]) / "lib/containers" / f"test0-{os.getpid()}" / "files"
        directory.mkdir()
        (directory / "hello").write_text("from the bundle\n")
        container_files.append(directory)

    assert outcome(make("cat", "/tmp/there/hello", change=files_first)) == (0, "from the bundle\n", "")


def test_a_destination_does_not_lead_out(make, outcome, tmp_path, busybox_root):
    """A symbolic link in the image that points at the host is a link within the image."""
    root = tmp_path / "image"
    shutil.copytree(busybox_root, root, symlinks=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "trap").symlink_to(outside)
    (root / "far").symlink_to("../../../../../../" + str(outside))

    def change(config):
        for name in ("/trap/a", "/far/b"):
            config["mounts"].append({"destination": name, "type": "tmpfs", "source": "x"})

    code, out, err = outcome(make("sh", "-c", f"ls {outside}", change=change, root=root))
    assert (code, out.split()) == (0, ["a", "b"]), err
    assert list(outside.iterdir()) == []


def test_tmpcopyup(make, outcome, tmp_path, busybox_root):
    root = tmp_path / "image"
    shutil.copytree(busybox_root, root, symlinks=True)
    (root / "data/deep").mkdir(parents=True)
    (root / "data").chmod(0o751)
    (root / "data/file").write_text("content\n")
    (root / "data/deep/link").symlink_to("/etc/passwd")
    os.mkfifo(root / "data/fifo", 0o604)
    os.chown(root / "data/file", 7, 8)
    (root / "data/file").chmod(0o4755)
    os.utime(root / "data/deep", (1, 1_000_000_000))

    def change(config):
        options = ["tmpcopyup", "size=1m"]
        config["mounts"].append({"destination": "/data", "type": "tmpfs", "source": "x", "options": options})

    script = (
        "cd /data; cat file; stat -c '%a %u:%g' . file fifo; readlink deep/link; stat -c %Y deep; echo new >file;"
        "df . | tail -1"
    )
    code, out, err = outcome(make("sh", "-c", script, change=change, root=root))
    assert code == 0, err
    lines = out.splitlines()
    assert lines[:6] == ["content", "751 0:0", "4755 7:8", "604 0:0", "/etc/passwd", "1000000000"]
    assert lines[6].split()[1] == "1024"
    assert (root / "data/file").read_text() == "content\n"


@pytest.mark.parametrize("own_users", [False, True])
def test_idmapped_mounts(make, users, outcome, mappable, own_users):
    (mappable / "mine").write_text("x")
    os.chown(mappable / "mine", 3, 4)

    def change(config):
        maps = [{"containerID": 0, "hostID": 100_000 if own_users else 500, "size": 1000}]
        given = {"uidMappings": maps, "gidMappings": maps}
        entry = {"destination": "/tmp/there", "source": str(mappable), "options": ["rbind", "ridmap", "ro"]}
        config["mounts"].append(entry | given)
        config["mounts"].append({"destination": "/tmp/plain", "source": str(mappable), "options": ["rbind"]})

    script = "stat -c %u:%g /tmp/there/mine /tmp/plain/mine; touch /tmp/there/x 2>&1; true"
    code, out, err = outcome((users if own_users else make)("sh", "-c", script, change=change))
    assert code == 0, err
    there, plain, refused = out.splitlines()
    assert there == ("3:4" if own_users else "503:504")
    assert plain == ("65534:65534" if own_users else "3:4")
    assert "Read-only" in refused


def test_an_idmapped_mount_takes_the_containers_map(users, outcome, mappable):
    (mappable / "mine").write_text("x")

    def change(config):
        config["mounts"].append({"destination": "/tmp/there", "source": str(mappable), "options": ["bind", "idmap"]})

    code, out, err = outcome(users("sh", "-c", "cd /tmp/there; stat -c %u:%g mine; touch new", change=change))
    assert (code, out) == (0, "0:0\n"), err
    assert (mappable / "new").stat().st_uid == 0


@pytest.fixture
def mappable(labrt_root):
    """A directory on a file system that can be idmapped: a tmpfs of ours from Linux 6.3 on, else what /tmp lies on."""
    labrt_root.mkdir(exist_ok=True)
    place = labrt_root.parent / "mappable"
    place.mkdir()
    with mounts.mounted(mounts.Mount(str(place), "tmpfs", "tmpfs", ("mode=755",))):
        if takes_ids(place):
            yield place
            return
    if not takes_ids(place):
        pytest.skip("neither a tmpfs nor /tmp can be idmapped here")
    yield place


def takes_ids(place: Path) -> bool:
    from labrt.linux import idmap
    from labrt.linux.userns import IdMap

    with contextlib.suppress(OSError):
        os.close(idmap.open(mounts.Mount("/", "bind", str(place), ("bind",)), [IdMap(0, 1, 1)], [IdMap(0, 1, 1)]))
        return True
    return False


def test_a_read_only_root(see):
    script = "touch /x 2>&1; touch /dev/shm/x && echo written; touch /tmp/x"

    def change(config):
        config["root"]["readonly"] = True
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "x"})

    refused, written = see(script, change)
    assert "Read-only file system" in refused and written == "written"


def test_masked_and_read_only_paths(see):
    def change(config):
        config["linux"]["maskedPaths"] = ["/proc/version", "/proc/fs", "/no/such"]
        config["linux"]["readonlyPaths"] = ["/proc/sys", "/etc"]

    script = (
        "wc -c </proc/version; ls /proc/fs | wc -l; (echo x >/proc/sys/kernel/hostname) 2>&1; touch /etc/x 2>&1; true"
    )
    size, entries, refused, etc = see(script, change)
    assert (size, entries) == ("0", "0")
    assert "Read-only" in refused and "Read-only" in etc
