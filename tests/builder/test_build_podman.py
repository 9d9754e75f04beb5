"""The same Dockerfiles built by podman (buildah) and by us: the same trees, and the same configs.

What differs on purpose, and is not compared:
    times of made directories      ours are those of what was copied into them, theirs of the build
    HOSTNAME and the like in RUN   differ from run to run
    VOLUME                         ours keeps what a later RUN writes there, as BuildKit; theirs throws it away
    history                        theirs has #(nop) lines, as docker's old builds
    labels                         theirs adds io.buildah.version
    SHELL, ONBUILD                 theirs does not show them
    EXPOSE 8000-8002               theirs notes it as it stands, docker and we three ports
    set-user-ID bits of a context  ours keeps them, as docker; theirs takes them away
    ENTRYPOINT after CMD           theirs keeps a CMD of the base image, docker and we drop it
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from labrt.engine import archives, builds
from labrt.engine.containers import Containers
from labrt.engine.options import Options

pytestmark = [pytest.mark.root, pytest.mark.oracle]

BUILDS = {
    "config": """FROM base
ENV A=1 B="two $A" C='$A' D=a\\ b
ENV OLD one  value
LABEL x=y "a b"="c d"
EXPOSE 80 53/udp
USER 7:8
WORKDIR /w/x
WORKDIR y
STOPSIGNAL SIGINT
CMD echo "$A"
ONBUILD RUN true
""",
    "files": """FROM base
WORKDIR /w
COPY a.txt .
COPY a.txt new/name
COPY dir /dir
COPY dir/ /dir2/
COPY dir a.txt /both/
COPY *.txt /txt/
COPY --chown=3:4 dir /owned
COPY --chown=nobody dir/inner /nobody/
COPY link.txt /followed
COPY --chmod=700 a.txt /mode
ADD a.tar.gz /unpacked
ADD a.txt /added/
COPY a.tar.gz /packed/
COPY dir /etc
COPY ["a.txt", "/with space"]
""",
    "links": """FROM base
RUN mkdir /real && ln -s real /l && ln -s /l /ll
COPY a.txt /l/
COPY dir /ll
COPY a.txt /ll/deep/er/x
""",
    "stages": """ARG FROM=base
FROM base AS one
ARG V=1
RUN mkdir /out && echo "$V" > /out/v && chown 5:6 /out/v && chmod 4755 /out/v && ln /out/v /out/hard
FROM $FROM
COPY --from=one /out /copied
COPY --from=0 /out/v /single
COPY --from=base /etc/group /group
ENV P=${P:-none} Q=${V:+set}
""",
    "run": """FROM base
ENV A=1
ARG B=2
USER 1:1
WORKDIR /tmp
RUN echo $A $B $(pwd) $(id -u) > /tmp/said
USER 0
SHELL ["/bin/ash", "-c"]
RUN rm /etc/passwd && echo x > /etc/motd && mkdir -p /a/b && rmdir /home
RUN ["touch", "/a/$A"]
""",
    "scratch": """FROM scratch
COPY dir /
ADD a.tar.gz /
ENV A=1
CMD ["/x"]
""",
}  # fmt: skip


@pytest.fixture(scope="module")
def podman(tmp_path_factory):
    """Podman with a store of its own."""
    if not shutil.which("podman"):
        pytest.skip("podman is absent")
    with tempfile.TemporaryDirectory(prefix="pod-") as short:  # its runroot may have 50 characters
        place = ("--root", tmp_path_factory.mktemp("pod") / "store", "--runroot", short, "--storage-driver", "vfs")

        def run(*words: str | Path) -> str:
            command = ["podman", *map(str, place), *map(str, words)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
            assert done.returncode == 0, (words, done.stderr)
            return done.stdout

        yield run


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A directory to build in."""
    place = tmp_path / "made"
    (place / "dir" / "inner" / "empty").mkdir(parents=True)
    for name, text in (("a.txt", "a"), ("b.txt", "bb"), ("dir/x", "x"), ("dir/inner/y", "y"), ("dir/.hidden", "h")):
        (place / name).write_text(text)
    (place / "dir" / "inner").chmod(0o750)
    (place / "dir" / "x").chmod(0o711)
    (place / "dir" / "out").symlink_to("/etc/passwd")
    (place / "link.txt").symlink_to("dir/x")
    (place / ".dockerignore").write_text("**/.hidden\n*.log\n")
    (place / "a.log").write_text("ignored")
    with tarfile.open(place / "a.tar.gz", "w:gz") as archive:
        archive.add(place / "dir" / "inner", "tree", filter=somebody)
    return place


def somebody(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 9
    return info


def looks(path: Path) -> dict[str, tuple]:
    """All files of an exported root, without times, and without what only was mounted on."""
    found = {}
    with tarfile.open(path) as archive:
        for info in archive:
            name = info.name.strip("./").rstrip("/")
            content = archive.extractfile(info).read() if info.isreg() and info.size < 4096 else info.size
            link = info.linkname.lstrip("./") if info.islnk() else info.linkname
            found[name] = (info.type, oct(info.mode & 0o7777), info.uid, info.gid, link, content)
    mounted = ("dev", "proc", "sys", "run", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", "")
    return {name: it for name, it in found.items() if name not in mounted and name.split("/")[0] not in mounted[:4]}


@pytest.mark.parametrize("name", BUILDS)
def test_podman_builds_the_same(name, root, podman, context, tmp_path):
    base = tmp_path / "base.tar"
    with open(base, "wb") as file:
        archives.save(["busybox"], file)
    podman("load", "-q", "-i", base)
    podman("tag", "docker.io/library/busybox:latest", "localhost/base")
    text = BUILDS[name].replace("=base", "=localhost/base").replace("FROM base", "FROM localhost/base")
    (tmp_path / "Dockerfile").write_text(text)
    podman("build", "--isolation", "chroot", "--format", "docker", "--layers=false", "-q", "-t", f"their-{name}",
           "-f", tmp_path / "Dockerfile", context)  # fmt: skip
    their_config = json.loads(podman("image", "inspect", f"localhost/their-{name}"))[0]["Config"]
    container = podman("create", f"localhost/their-{name}", "/x").strip()
    podman("export", "-o", tmp_path / "their.tar", container)

    ours_text = text.replace("localhost/base", "busybox")
    image = builds.build(context, text=ours_text, tag=f"our-{name}", no_cache=True)
    container_of_ours = Containers().create(Options(f"our-{name}", ("/x",)))
    with open(tmp_path / "our.tar", "wb") as file:
        archives.export(container_of_ours, file)
    container_of_ours.remove()
    ours, theirs = looks(tmp_path / "our.tar"), looks(tmp_path / "their.tar")
    different = {path for path in {*ours, *theirs} if ours.get(path) != theirs.get(path)}
    assert {path: (ours.get(path), theirs.get(path)) for path in different} == {}
    labels = their_config.get("Labels") or {}
    their_config["Labels"] = {key: it for key, it in labels.items() if key != "io.buildah.version"}
    our_config = json.loads(image.config.raw)["config"]
    for key in ("Shell", "OnBuild"):
        our_config.pop(key, None)
    assert {key: it for key, it in their_config.items() if it} == our_config
