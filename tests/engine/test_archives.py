"""Images and containers as files: exchanged with podman, skopeo and umoci, and with ourselves."""

from __future__ import annotations

import functools
import io
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
import warnings
from pathlib import Path

import pytest

import labrt
from labrt import paths
from labrt.engine import archives, commit, packing, push, views
from labrt.engine.containers import Container, Containers
from labrt.engine.images import Images
from labrt.engine.options import Options
from labrt.errors import Conflict, ImageNotFound, InvalidInput, InvalidManifest, UnsafeLayer
from labrt.image.descriptor import OCI_LAYER_GZIP
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.registry.server import RegistryServer
from labrt.storage import driver as drivers

SCRIPT = r"""
echo hi > /etc/motd; rm /bin/cat; mkdir -p "/opt/a b" /opt/deep/er; ln /etc/motd /opt/hard; rm -r /var
mkdir -p /var/new; mknod /opt/dev c 5 1; mkfifo /opt/pipe
chown 3000000:3000001 /opt/pipe; chmod 4755 /bin/busybox; chmod 700 /home
n=$(printf "%0200d" 1); mkdir -p /opt/$n/$n; echo x > /opt/$n/$n/$n; ln -s nowhere "/opt/ü"
touch -d "1980-01-01 00:00:00" "/opt/a b"
"""


def run(*words: str | Path) -> str:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def need(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} is absent")


@pytest.fixture
def podman(tmp_path: Path):
    """Podman with a store of its own."""
    need("podman")
    with tempfile.TemporaryDirectory(prefix="pod-") as short:  # its runroot may have 50 characters
        place = ("--root", tmp_path / "podman", "--runroot", short, "--storage-driver", "vfs")
        yield lambda *words: run("podman", *place, *words)


@pytest.fixture(params=drivers.NAMES)
def on(request, house, monkeypatch) -> str:
    """The name of each driver that works here, made the one that serves."""
    where = Images().where
    why = {name: None for name in drivers.NAMES}
    try:
        drivers.open_driver(request.param, where)
    except labrt.errors.NotSupported as error:
        why[request.param] = str(error)
    if why[request.param]:
        pytest.skip(str(why[request.param]))
    os.makedirs(where.layers, exist_ok=True)
    Path(where.layers, "driver").write_text(request.param)
    return request.param


def changed(script: str = SCRIPT) -> Container:
    container = Containers().create(Options("busybox", ("sh", "-ec", script)))
    result = container.run_to_end()
    assert result.exit_code == 0, result
    return container


def saved(name: str, path: Path, form: str = "docker") -> Path:
    with path.open("wb") as stream:
        archives.save([name], stream, form=form)
    return path


def loaded(path: Path, where=None):
    with path.open("rb") as stream:
        return archives.load(stream, where=where)


# With others ---------------------------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.oracle
@pytest.mark.parametrize("form", ["docker", "oci"])
def test_podman_loads_what_we_save_and_we_what_it_saves(house, tmp_path, podman, form):
    image = Images().find("busybox")
    assert podman("load", "-q", "-i", saved("busybox", tmp_path / "ours.tar", form)).strip().endswith("busybox:latest")
    assert podman("images", "--no-trunc", "-q").strip() == str(image.id)
    podman("save", "-q", "--format", f"{form}-archive", "-o", tmp_path / "theirs.tar", "busybox")
    Images().remove("busybox")
    (again,) = loaded(tmp_path / "theirs.tar")
    assert again.reference.familiar == "busybox:latest" and again.id == image.id
    assert Images().find("busybox").config.diff_ids == image.config.diff_ids
    assert labrt.run("busybox", "echo", "back").stdout == "back\n"


@pytest.mark.oracle
def test_skopeo_reads_both_forms_and_writes_both(house, tmp_path):
    need("skopeo")
    image = Images().find("busybox")
    ours = saved("busybox", tmp_path / "ours.tar")
    for source in (f"docker-archive:{ours}:busybox:latest", f"oci-archive:{ours}"):
        for kind in ("docker", "oci"):
            theirs = tmp_path / f"{source.partition(':')[0]}-{kind}.tar"
            run("skopeo", "copy", "-q", "--insecure-policy", source, f"{kind}-archive:{theirs}:quay.io/a/b:1")
            (again,) = loaded(theirs)
            assert (again.reference.familiar, again.config.diff_ids) == ("quay.io/a/b:1", image.config.diff_ids)
            # From one form to the other skopeo writes the config anew, in the other's words.
            assert again.id == image.id or not source.startswith(kind)


@pytest.mark.root
@pytest.mark.oracle
def test_umoci_unpacks_our_layer_into_what_the_container_saw(on, tmp_path):
    need("umoci", "skopeo")
    container = changed()
    commit.commit(container, "mine:1")
    layout = f"oci:{tmp_path / 'layout'}:mine"
    ours = saved("mine:1", tmp_path / "mine.tar", "oci")
    run("skopeo", "copy", "-q", "--insecure-policy", f"oci-archive:{ours}", layout)
    run("umoci", "unpack", "--image", f"{tmp_path / 'layout'}:mine", tmp_path / "bundle")
    theirs = look(tmp_path / "bundle/rootfs")
    again = Containers().create(Options("mine:1", ("true",)))
    assert views.look(again, _look) == theirs
    # And it is what the container itself saw, but for what was only there to mount something on it.
    own = views.look(container, _look)
    stubs = {name for name in own.keys() - theirs.keys() if name.split("/")[0] in ("dev", "proc", "sys", "etc")}
    assert {name: own[name] for name in own.keys() - stubs} == theirs
    assert ("opt/dev" in theirs) and theirs["opt/pipe"][1:3] == (3_000_000, 3_000_001)
    assert "bin/cat" not in theirs and [name for name in theirs if name.startswith("var/")] == ["var/new"]


def _look(view: views.View) -> dict[str, tuple]:
    return look(Path(view.root))


def look(root: Path) -> dict[str, tuple]:
    """Type, mode, owner, time, hard links, attributes and content of all that is below a root."""
    found: dict[str, tuple] = {}
    inodes: dict[int, str] = {}
    for directory, directories, files in os.walk(root):
        directories.sort()
        for name in sorted(directories + files):
            path = Path(directory, name)
            about, shown = path.lstat(), str(path.relative_to(root))
            what: object = about.st_rdev if not stat.S_ISDIR(about.st_mode) else None
            if stat.S_ISLNK(about.st_mode):
                what = os.readlink(path)
            elif stat.S_ISREG(about.st_mode):
                what = str(Digest.of(path.read_bytes()))
            same = shown if stat.S_ISDIR(about.st_mode) else inodes.setdefault(about.st_ino, shown)
            keys = [] if path.is_symlink() else os.listxattr(path)
            attributes = {key: os.getxattr(path, key) for key in keys if not key.startswith(("trusted.", "user.umoci"))}
            found[shown] = (about.st_mode, about.st_uid, about.st_gid, about.st_mtime_ns, same, attributes, what)
    return found


# Diff and commit -----------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_diff_says_what_changed(on):
    container = changed("echo hi > /etc/motd; rm /bin/cat; mkdir /opt; chmod 700 /home")
    lines = [str(change) for change in commit.changes(container)]
    assert lines == ["C /bin", "D /bin/cat", "C /etc", "A /etc/motd", "C /home", "A /opt"]
    assert commit.changes(Containers().create(Options("busybox", ("true",)))) == []


@pytest.mark.root
def test_a_commit_is_an_image_with_one_more_layer(on):
    base = Images().find("busybox")
    container = changed("echo hi > /etc/motd; rm /bin/cat")
    image = commit.commit(container, "mine:1", author="Ada", message="a greeting", change=["ENV A=1", 'CMD ["true"]'])
    assert image.config.diff_ids[:-1] == base.config.diff_ids and len(image.manifest.layers) == 2
    assert (image.config.author, image.config.cmd, image.config.env) == ("Ada", ("true",), (*base.config.env, "A=1"))
    assert image.config.history[-1].comment == "a greeting" and len(image.config.history) == 3
    result = labrt.run("mine:1", "sh", "-c", "busybox cat /etc/motd; echo $A; ls /bin/cat")
    assert result.stdout == "hi\n1\n" and result.exit_code == 1
    assert Images().find("mine:1").id == image.id


@pytest.mark.root
def test_a_container_that_runs_is_looked_at_without_harm(house):
    container = labrt.run("busybox", "sh", "-c", "echo 1 > /one; sleep 1000", detach=True)
    while container.exec("test", "-e", "/one").exit_code != 0:
        continue
    assert [str(change) for change in commit.changes(container)] == ["A /one"]
    assert container.exec("sh", "-c", "echo 2 > /two; rm /one; ls /").stdout.split().count("two") == 1
    assert [str(change) for change in commit.changes(container)] == ["A /two"]
    container.remove(force=True)


@pytest.mark.root
@pytest.mark.parametrize("pause", [True, False])
def test_a_container_that_runs_is_frozen_while_it_is_read(house, pause, monkeypatch):
    container = Containers().create(Options("busybox", ("sleep", "60")))
    container.start()
    seen = []
    look = views.look
    monkeypatch.setattr(views, "look", lambda *args, **how: (seen.append(container.status), look(*args, **how))[1])
    commit.commit(container, "frozen:1", pause=pause)
    assert seen == ["paused" if pause else "running"]
    assert container.status == "running"
    with pytest.raises(InvalidInput):
        commit.commit(container, "frozen:2", change=["FROM scratch"])
    container.pause()
    commit.commit(container, "frozen:3")
    assert container.status == "paused"  # as it was
    container.remove(force=True)


@pytest.mark.root
def test_a_commit_is_sent_compressed(house, tmp_path):
    """As docker sends it; and what comes back is the same image, under the digest that it has here by then."""
    container = changed("seq 100000 > /numbers")
    with RegistryServer(Layout(tmp_path / "served"), push=True) as server:
        name = f"{server.host}/mine:1"
        made = commit.commit(container, name)
        told: list[object] = []
        sent = push.push(name, on_event=told.append)
        assert [event for event in told if isinstance(event, packing.Packed)]
        image = Images().layout.image(name)
        assert image.id == made.id and image.manifest.digest == sent.digest != made.manifest.digest
        assert image.manifest.layers[-1].media_type == OCI_LAYER_GZIP
        assert image.manifest.layers[-1].size < made.manifest.layers[-1].size / 2
        assert push.push(name).digest == sent.digest  # nothing is packed twice
        other = paths.Paths(str(tmp_path / "lib"), str(tmp_path / "run"))
        assert Images(other).pull(name).id == made.id
    Images().layout.collect()
    assert labrt.run(name, "tail", "-n1", "/numbers").stdout == "100000\n"


def test_an_archive_of_before_docker_1_10_is_refused_by_name(labrt_root, tmp_path):
    """Images were named by random numbers then, and nothing in them can be checked."""
    with tarfile.open(tmp_path / "old.tar", "w") as tar:
        for name, content in {"repositories": b'{"busybox":{"latest":"ab12"}}', "ab12/VERSION": b"1.0",
                              "ab12/json": b'{"id":"ab12"}', "ab12/layer.tar": bytes(1024)}.items():  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(InvalidManifest, match=r"docker before 1\.10.*save it again"):
        loaded(tmp_path / "old.tar")
    assert Images().layout.blobs() == []


def test_without_its_image_there_is_no_commit(house):
    container = changed("echo hi > /etc/motd")
    Images().remove("busybox", force=True)
    Images().layout.collect()  # nobody says that the container needs them
    with pytest.raises(ImageNotFound, match="is gone"):
        commit.commit(container)


@pytest.mark.root
def test_an_image_that_has_lost_its_name_is_committed_on_by_its_id(house):
    container = changed("echo hi > /etc/motd")
    base = Images().find("busybox")
    Images().remove("busybox", force=True)
    made = commit.commit(container, "again:1")
    assert made.manifest.layers[:-1] == base.manifest.layers and made.config.diff_ids[:-1] == base.config.diff_ids
    assert labrt.run("again:1", "cat", "/etc/motd").stdout == "hi\n"


# Export and import ---------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_export_and_import(house, tmp_path):
    container = changed()
    path = tmp_path / "root.tar"
    with path.open("wb") as stream:
        archives.export(container, stream)
    with tarfile.open(path) as archive:
        names = set(archive.getnames())
        assert archive.extractfile("etc/motd").read() == b"hi\n"
    assert {"bin/sh", "opt/ü", "opt/dev", "var/new"} <= names and "bin/cat" not in names
    with path.open("rb") as stream:
        image = archives.import_root(stream, "flat:1", config={"Cmd": ["busybox", "cat", "/opt/hard"]})
    assert len(image.manifest.layers) == 1 and image.config.cmd[0] == "busybox"
    assert labrt.run("flat:1").stdout == "hi\n"


def test_a_real_root_file_system_is_imported(labrt_root, shared):
    with (shared / "images/alpine-3.20-x86_64.tar.gz").open("rb") as stream:
        image = archives.import_root(stream, "alpine:mine")
    whole = (shared / "images/alpine-3.20-x86_64.tar.gz").read_bytes()
    assert image.manifest.layers[0].digest == Digest.of(whole)
    assert image.manifest.layers[0].compression == "gzip"
    assert Images().find("alpine:mine").id == image.id


@pytest.mark.parametrize("raw", [b"no tar" * 500, b"\x1f\x8b\x08broken"])
def test_what_is_no_tar_is_not_imported(labrt_root, raw):
    with pytest.raises(UnsafeLayer):
        archives.import_root(io.BytesIO(raw), "bad:1")
    images = Images()
    assert images.all() == [] and images.driver.layers() == [] and os.listdir(images.layout.ingest) == []


def test_a_hostile_layer_in_a_good_archive_gets_no_name(house, tmp_path):
    """The archive is in order, one of its layers is not: that shows when it is unpacked."""
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../escaped"))
    images = Images()
    with pytest.raises(UnsafeLayer, match="leads out"):
        archives.import_root(io.BytesIO(evil.getvalue()), "evil:1")
    assert [image.reference.familiar for image in images.all()] == ["busybox:latest"]
    before = set(images.layout.blobs())
    images.layout.collect()
    assert set(images.layout.blobs()) < before  # what came of it is garbage, and goes as such


def test_while_images_are_loaded_nothing_is_collected(house, tmp_path):
    path = saved("busybox", tmp_path / "ours.tar")

    class Slow(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            with pytest.raises(Conflict):
                Images().layout.collect()
            return super().read(size)

    with Slow(str(path)) as stream:
        assert len(archives.load(stream)) == 1


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("CMD echo hi", {"Cmd": ["/bin/sh", "-c", "echo hi"]}),
        ('entrypoint ["/a", "b"]', {"Entrypoint": ["/a", "b"]}),
        ('ENV A=2 B="two words"', {"Env": ["A=2", "X=0", "B=two words"]}),
        ("ENV A one value", {"Env": ["A=one value", "X=0"]}),
        ("LABEL a=b c=d", {"Labels": {"a": "b", "c": "d"}}),
        ("EXPOSE 80 53/udp", {"ExposedPorts": {"80/tcp": {}, "53/udp": {}}}),
        ('VOLUME ["/a", "/b"]', {"Volumes": {"/a": {}, "/b": {}}}),
        ("USER nobody", {"User": "nobody"}),
        ("WORKDIR /srv", {"WorkingDir": "/srv"}),
        ("STOPSIGNAL INT", {"StopSignal": "INT"}),
    ],
)
def test_instructions(instruction, expected):
    from labrt.engine import changes

    before = {"Env": ["A=1", "X=0"]}
    assert changes.apply(before, [instruction]) == {**before, **expected}
    assert before == {"Env": ["A=1", "X=0"]}


@pytest.mark.parametrize("instruction", ["", "RUN true", "CMD [1]", 'CMD ["', "ENV", "ENV =1", "USER", 'LABEL a="'])
def test_instructions_that_cannot_be(instruction):
    from labrt.engine import changes

    with pytest.raises(InvalidInput):
        changes.apply({}, [instruction])


@pytest.mark.root
def test_nothing_that_a_container_puts_there_leads_a_look_to_the_host(on, tmp_path):
    """It may swap a directory for a link, or a file for a device, while we walk: then we see its own, or nothing."""
    (tmp_path / "secret").write_text("the host's")
    up = "../" * 12
    container = changed(f"ln -s {tmp_path} /absolute; ln -s {up}{tmp_path} /relative; mknod /disk b 8 0")
    ways = views.look(container, functools.partial(_try_to_leave, str(tmp_path)), image=True)
    assert ways == {"absolute": "FileNotFoundError", "relative": "FileNotFoundError", "disk": "PermissionError",
                    "path": "FileNotFoundError", "import": "ModuleNotFoundError"}  # fmt: skip


def _try_to_leave(host, view):
    def opened(path):
        with open(path, "rb"):
            return "opened"

    def imported():
        import this  # noqa: F401 - any module that nobody has imported yet

    ways = {
        "absolute": lambda: opened(f"{view.root}/absolute/secret"),
        "relative": lambda: opened(f"{view.root}/relative/secret"),
        "disk": lambda: opened(f"{view.root}/disk"),
        "path": lambda: opened(f"{host}/secret"),
        "import": imported,
    }
    found = {}
    with warnings.catch_warnings(action="ignore"):  # Python minds that nothing can be imported
        for name, way in ways.items():
            try:
                found[name] = way()
            except (OSError, ImportError) as error:
                found[name] = type(error).__name__
    return found
