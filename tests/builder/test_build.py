"""Whole builds: what each instruction makes of an image, what the cache knows, what a failure leaves."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import pytest

import labrt
from labrt.builder.build import Wanted
from labrt.builder.context import Context
from labrt.builder.state import State
from labrt.engine import builds, prune
from labrt.engine.containers import Containers
from labrt.engine.images import Images
from labrt.errors import BuildFailed, Conflict, DigestMismatch, InvalidInput, NotFound, NotSupported, UnsafeLayer
from labrt.image.image import Image
from labrt.image.reference import Reference
from labrt.paths import Paths

pytestmark = pytest.mark.root


def tree(image: Image, *below: str) -> dict[str, tarfile.TarInfo]:
    """All entries of an image's own layers, those of busybox left out."""
    found: dict[str, tarfile.TarInfo] = {}
    layout = Images().layout
    base = set(Images().find("busybox").manifest.layers)
    for layer in image.manifest.layers:
        if layer not in base:
            with layout.open(layer.digest) as blob, tarfile.open(fileobj=blob) as archive:
                found |= {info.name: info for info in archive}
    return {name: info for name, info in found.items() if not below or name.startswith(below)}


def read(image: Image, path: str) -> str:
    """A file as a container sees it."""
    return labrt.run(str(image.reference), "cat", path, progress=False).stdout


def config(image: Image) -> dict:
    return json.loads(image.config.raw)["config"]


def files(tmp_path: Path, **content: str) -> Path:
    """Write files into the context."""
    for name, text in content.items():
        path = tmp_path / "context" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "context"


# The config


def test_what_changes_the_config(build):
    image = build("""FROM busybox
MAINTAINER Ada
ENV A=1 B="two words" C=$PATH
ENV A=2 D=$A
LABEL a=b "c d"="e f"
EXPOSE 80 53/udp 8000-8002
VOLUME /v ["x"]
USER nobody
STOPSIGNAL SIGINT
SHELL ["/bin/ash", "-ec"]
ENTRYPOINT echo hi
CMD ["x"]
HEALTHCHECK --interval=1m30s --retries=2 CMD true || false
ONBUILD RUN echo triggered
""", labels={"own": "yes"})  # fmt: skip
    found = config(image)
    environment = dict(line.split("=", 1) for line in found["Env"])
    assert (environment["A"], environment["B"], environment["D"]) == ("2", "two words", "1")
    assert environment["C"] == environment["PATH"] != ""
    assert {"a": "b", "c d": "e f", "own": "yes"}.items() <= found["Labels"].items()
    assert sorted(found["ExposedPorts"]) == ["53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]
    assert sorted(found["Volumes"]) == ["/v", "[x]"]
    assert (found["User"], found["StopSignal"], found["Shell"]) == ("nobody", "SIGINT", ["/bin/ash", "-ec"])
    assert found["Entrypoint"] == ["/bin/ash", "-ec", "echo hi"] and found["Cmd"] == ["x"]
    assert found["Healthcheck"] == {"Test": ["CMD-SHELL", "true || false"], "Interval": 90 * 10**9, "Retries": 2}
    assert found["OnBuild"] == ["RUN echo triggered"] and image.config.author == "Ada"
    assert all(line.empty_layer for line in image.config.history[2:])


def test_an_entrypoint_forgets_the_command_that_was_for_another(build):
    assert "Cmd" not in config(build('FROM busybox\nENTRYPOINT ["a"]'))
    assert config(build('FROM busybox\nCMD ["b"]\nENTRYPOINT ["a"]'))["Cmd"] == ["b"]


def test_onbuild_happens_in_the_next_build_and_not_after_it(build, heard):
    build("FROM busybox\nONBUILD RUN echo now > /trigger", tag="triggering")
    image = build("FROM triggering\nRUN cat /trigger")
    assert heard.output() == "now\n" and "OnBuild" not in config(image)


@pytest.mark.parametrize("found", [["FROM x"], ["ONBUILD RUN true"], ["NONE x"], "RUN true", [1]])
def test_onbuild_of_an_image_that_a_stranger_made(build, found):
    images, reference = Images(), Reference.parse("hostile-onbuild:1")
    state = State.of(images.find("busybox"))
    state.config["OnBuild"] = found
    images.layout.tag(reference, state.image(images.layout, reference).descriptor)
    with pytest.raises(InvalidInput, match="Dockerfile:1"):
        build("FROM hostile-onbuild:1")


def test_arguments(build, heard):
    text = """ARG BASE=nothing
ARG V=0
FROM $BASE AS one
ARG V
ARG W=w$V
ARG TARGETARCH
ENV E=env
ARG E=arg
RUN echo $V $W $TARGETARCH $E "[$BASE]" $HTTP_PROXY
FROM one
RUN echo again $V
FROM busybox
RUN echo "[$V]"
"""
    build(text, args={"BASE": "busybox", "V": "1", "HTTP_PROXY": "p", "NOBODY": ""}, target="1")
    assert heard.output() == f"1 w1 {Images().find('busybox').platform.architecture} env [] p\nagain 1\n"
    assert [str(one) for one in heard if "NOBODY" in str(one)] == ["[Warning] no ARG asked for --build-arg NOBODY"]
    build(text, args={"BASE": "busybox"})
    assert heard.output() == "[]\n"  # and no stage that is not needed


def test_an_argument_is_in_the_history_and_a_proxy_is_not(build):
    image = build("FROM busybox\nARG A=1\nRUN true", args={"HTTPS_PROXY": "secret"})
    assert image.config.history[-1].created_by == "RUN |1 A=1 /bin/sh -c true"


# Files


def test_copy(build, tmp_path):
    context = files(tmp_path, a="a", b__c="c", b__d__e="e", x1="1", x2="2")
    (context / "a").chmod(0o640)
    (context / "b" / "link").symlink_to("/nowhere")
    image = build("""FROM busybox
WORKDIR /srv/app
COPY a .
COPY a named
COPY b ./b2
COPY x? many/
COPY ["a", "/with space/"]
COPY --chown=nobody:7 --chmod=600 a /owned/a
COPY --chmod=u=rwX,go= b /moded
COPY --parents b/d/e /p/
COPY --exclude=d b /less
COPY a b /both/
""")
    found = tree(image)
    assert {"srv/app/a", "srv/app/named", "srv/app/b2/c", "srv/app/b2/d/e", "srv/app/many/x1", "srv/app/many/x2",
            "with space/a", "p/b/d/e", "less/c", "both/a", "both/c"} <= set(found)  # fmt: skip
    assert found["srv/app/a"].mode == 0o640 and (found["srv/app/a"].uid, found["srv/app/a"].gid) == (0, 0)
    assert found["srv/app/b2/link"].linkname == "/nowhere"
    assert (found["owned/a"].uid, found["owned/a"].gid, found["owned/a"].mode) == (65534, 7, 0o600)
    assert (found["moded/d"].mode, found["moded/c"].mode) == (0o700, 0o600)
    assert "less/d" not in found
    assert int(found["srv/app/a"].mtime) == int((context / "a").stat().st_mtime)


def test_where_names_lead_is_looked_up_in_the_image(build, tmp_path):
    files(tmp_path, a="new", etc__x="x")
    image = build("FROM busybox\nRUN mkdir /real; ln -s /real /l; ln -s l /ll; ln -s /gone /dangling\n"
                  "COPY a /ll/a\nCOPY etc /l\nCOPY a /dangling")  # fmt: skip
    assert {"real/a", "real/x", "dangling"} <= set(tree(image)) and not tree(image, "l/", "ll/")
    assert read(image, "/l/a") == "new"


def test_what_is_there_already_is_not_in_the_layer(build, tmp_path):
    files(tmp_path, a="a")
    image = build("FROM busybox\nCOPY a /etc/a")
    assert list(tree(image)) == ["etc/a"]


@pytest.mark.parametrize("line", ["COPY a /etc", "COPY d /etc/passwd", "COPY a /etc/passwd/x", "COPY d /"])
def test_conflicts(build, tmp_path, line):
    files(tmp_path, a="a", d__passwd="x", d__etc="a file, and /etc is none")
    if line == "COPY a /etc":
        assert "etc/a" in tree(build(f"FROM busybox\n{line}"))
        return
    with pytest.raises(InvalidInput, match="Dockerfile:2: .*director"):
        build(f"FROM busybox\n{line}")


def test_dockerignore(build, tmp_path):
    files(tmp_path, a="a", b="b", d__a="a", d__keep="k", **{".dockerignore": "*\n!d\nd/*\n!d/keep\n"})
    assert sorted(tree(build("FROM scratch\nCOPY . /x/"))) == ["x", "x/d", "x/d/keep"]
    with pytest.raises(NotFound, match=r"Dockerfile:2: a: no such file.*dockerignore excludes it"):
        build("FROM scratch\nCOPY a /")


def test_a_dockerfile_has_patterns_of_its_own(root, tmp_path):
    own = {".dockerignore": "a", "my.dockerignore": "b", "my": "FROM scratch\nCOPY . /"}
    context = files(tmp_path, a="a", b="b", **own)
    image = builds.build(context, dockerfile=str(context / "my"))
    assert {"a", "my"} <= set(tree(image)) and "b" not in tree(image)


def test_heredocs(build, heard):
    image = build("""FROM busybox
ARG WHO=me
COPY <<one <<"two" /t/
$WHO "q" 'r' \\$x
one
$WHO
two
RUN <<END
echo a
  echo b
END
RUN <<END
#!/bin/cat
of its own
END
RUN cat <<X - <<Y 
x
X
y
Y
""")
    assert read(image, "/t/one") == "me \"q\" 'r' $x\n" and read(image, "/t/two") == "$WHO\n"
    assert heard.output() == "a\nb\n#!/bin/cat\nof its own\ny\n"


def test_add_unpacks_archives_and_leaves_others(build, tmp_path):
    context = tmp_path / "context"
    for name, mode in (("a.tar", "w"), ("b", "w:gz"), ("c.tbz", "w:bz2"), ("d.txz", "w:xz")):
        with tarfile.open(context / name, mode) as archive:
            info = tarfile.TarInfo(f"in/{name}")
            info.size, info.uid, info.mode = 2, 12, 0o751
            archive.addfile(info, io.BytesIO(b"hi"))
            hard = tarfile.TarInfo(f"hard-{name}")
            hard.type, hard.linkname = tarfile.LNKTYPE, f"in/{name}"
            archive.addfile(hard)
    files(tmp_path, empty="", text="no archive")
    image = build("FROM busybox\nADD a.tar b c.tbz d.txz /x/\nADD text empty /y/\n"
                  "ADD --unpack=false a.tar /z/\nCOPY b /w/")  # fmt: skip
    found = tree(image)
    unpacked = {f"x/in/{name}" for name in ("a.tar", "b", "c.tbz", "d.txz")}
    assert unpacked | {"y/text", "y/empty", "z/a.tar"} <= set(found)
    assert "w/b" in found
    assert (found["x/in/b"].uid, found["x/in/b"].mode) == (12, 0o751)
    assert found["x/hard-b"].linkname == "x/in/b" and read(image, "/x/hard-b") == "hi"


def test_add_from_the_web(build, tmp_path):
    content = b"from the web"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path.startswith("/a") else 404)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            return None

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            digest = hashlib.sha256(content).hexdigest()
            image = build(f"FROM busybox\nADD --checksum=sha256:{digest} {url}/a/file?x=1 /w/")
            info = tree(image)["w/file"]
            assert (info.mode, int(info.mtime), read(image, "/w/file")) == (0o600, 1420070400, "from the web")
            with pytest.raises(DigestMismatch, match=f"Dockerfile:2: .*is sha256:{digest}"):
                build(f"FROM busybox\nADD --checksum=sha256:{'0' * 64} {url}/a/file /w/")
            with pytest.raises(labrt.errors.Unreachable, match="404"):
                build(f"FROM busybox\nADD {url}/gone /w/")
        finally:
            server.shutdown()
    with pytest.raises(NotSupported, match="Git"):
        build("FROM busybox\nADD https://example.org/x.git /w/")


# Stages


def test_stages(build, heard, tmp_path):
    text = """FROM busybox AS never
RUN false
FROM busybox AS made
RUN mkdir /out && echo made > /out/x && chown 5:6 /out/x
FROM scratch AS data
COPY --from=made /out /data
FROM busybox
COPY --from=1 /out/x /one
COPY --from=data /data/ /two/
COPY --from=busybox /bin/busybox /three
RUN --mount=type=bind,from=made,source=/out,target=/m cat /m/x; ls -ln /one; ls -d /m
"""
    image = build(text)
    found = tree(image)
    assert found["one"].uid == 5 and found["two/x"].gid == 6 and found["three"].size > 1000
    assert heard.output().splitlines()[0] == "made" and " 5 " in heard.output()
    assert not [name for name in found if name.split("/")[0] == "m"]
    small = build(text, target="data")
    assert [len(small.manifest.layers), config(small).get("Cmd")] == [1, None]
    with pytest.raises(NotFound, match="no stage is called x.*never, made, data"):
        build(text, target="x")


def test_independent_stages_run_at_the_same_time(build, heard):
    """Each waits for what the other does, in a cache that both have mounted."""
    wait = "i=0; until [ -e /c/{} ]; do i=$((i+1)); [ $i -lt 600 ] || exit 1; sleep 0.1; done"
    mount = "--mount=type=cache,target=/c,id=meeting"
    build(f"""FROM busybox AS a
RUN {mount} touch /c/a; {wait.format('b')}; touch /a
FROM busybox AS b
RUN {mount} touch /c/b; {wait.format('a')}; touch /b
FROM busybox
COPY --from=a /a /
COPY --from=b /b /
""")
    assert not any(heard.cached())


def test_one_stage_fails_and_the_others_end(build):
    begun = time.monotonic()
    with pytest.raises(BuildFailed, match=r"Dockerfile:4: .*non-zero code: 3") as error:
        build("FROM busybox AS a\nRUN sleep 1000\nFROM busybox AS b\nRUN sleep 1; exit 3\n"
              "FROM busybox\nCOPY --from=a / /\nCOPY --from=b / /")  # fmt: skip
    assert error.value.code == 3 and time.monotonic() - begun < 500


# RUN


def test_run_mounts(build, heard, tmp_path):
    files(tmp_path, a="of the context\n")
    text = """FROM busybox
WORKDIR /w
RUN --mount=target=/ctx cat /ctx/a && ! touch /ctx/b
RUN --mount=target=/ctx,rw touch /ctx/b && ls /ctx
RUN --mount=type=cache,target=cache echo x >> /w/cache/n && wc -l < cache/n
RUN --mount=type=tmpfs,target=/t,size=64k mount | grep -c ' /t '
RUN --mount=type=secret,id=s --mount=type=secret,id=s,target=/s2,mode=0444,uid=3 \\
  cat /run/secrets/s /s2; stat -c %u:%a /s2
RUN --mount=type=secret,id=s,env=TOKEN echo $TOKEN
RUN --mount=type=secret,id=none true
"""
    image = build(text, secrets={"s": b"hidden\n"})
    said = [line for line in heard.output().splitlines() if "Read-only" not in line]
    assert said == ["of the context", "a", "b", "1", "1", "hidden", "hidden", "3:444", "hidden"]
    assert sorted(tree(image)) == ["w"] and not (tmp_path / "context" / "b").exists()
    with pytest.raises(NotFound, match="no secret is called none"):
        build(text + "RUN --mount=type=secret,id=none,required true")


def test_the_cache_of_a_run_stays(build, heard):
    for count in ("1", "2"):
        build("FROM busybox\nRUN --mount=type=cache,target=/c,id=stays echo x >> /c/n && wc -l < /c/n", no_cache=True)
        assert heard.output() == f"{count}\n"


def test_a_cache_begins_with_files_of_a_stage(build, heard, root):
    """On a machine what is below `run` lies in memory, and no rename leads from there to the cache."""
    text = """FROM busybox AS a
RUN mkdir /d && echo there > /d/x
FROM busybox
RUN --mount=type=cache,target=/c,id=begun,from=a,source=/d cat /c/x; echo more >> /c/x
"""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as run:
        where = Paths(str(root / "lib"), run)
        build(text, where=where)
        build(text, where=where, no_cache=True)
    assert heard.output() == "there\nmore\n"


def test_an_agent_is_reached(build, heard, tmp_path):
    path = str(tmp_path / "agent")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        build("FROM busybox\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK", ssh={"default": path})
    assert heard.output() == "/run/buildkit/ssh_agent.0\n"


def test_run_is_as_the_image_says(build, heard):
    build("""FROM busybox
USER nobody
WORKDIR /tmp
ENV A=1
SHELL ["/bin/ash", "-c"]
RUN echo $A $(id -u) $(pwd) $0
RUN ["echo", "$A"]
RUN --network=none ip -o link | wc -l
""", add_host=("there:1.2.3.4",))  # fmt: skip
    assert heard.output() == "1 65534 /tmp /bin/ash\n$A\n1\n"
    for word in ("security=insecure", "network=host"):
        with pytest.raises(InvalidInput, match=f"{word} is not allowed"):
            build(f"FROM busybox\nRUN --{word} true")
    with pytest.raises(InvalidInput, match="--network=mine is not known"):
        build("FROM busybox\nRUN --network=mine true")
    build("FROM busybox\nRUN --security=insecure grep CapEff /proc/self/status", insecure=True)


def test_what_run_writes_to_a_volume_is_in_the_image(build):
    assert "v/x" in tree(build("FROM busybox\nVOLUME /v\nRUN mkdir -p /v; echo kept > /v/x"))


def test_removed_files_are_removed(build):
    image = build("FROM busybox\nRUN rm /etc/passwd; mkdir /a")
    assert "etc/.wh.passwd" in tree(image)


# The cache


def test_the_cache(build, heard, tmp_path):
    context = files(tmp_path, a="cache-a", b="cache-b")
    text = "FROM busybox\nRUN echo cache > /r\nCOPY a /a\nRUN cat /a\nENV X=1\nCOPY b /b\n"
    first = build(text)
    assert heard.cached() == [False] * 5
    second = build(text)
    assert heard.cached() == [True] * 5 and second.id == first.id and second.descriptor == first.descriptor
    os.utime(context / "a", (1, 1))
    assert build(text).id == first.id  # content, not times
    (context / "b").write_text("changed")
    build(text)
    assert heard.cached() == [True] * 4 + [False]
    (context / "a").chmod(0o600)
    build(text)
    assert heard.cached() == [True, False, False, False, False]
    build(text, no_cache=True)
    assert heard.cached() == [False] * 5


def test_a_step_that_comes_to_the_same_lets_the_next_ones_be(build, heard):
    """What a stage was made with does not matter to who copies from it, but what came of it."""
    text = "FROM busybox AS a\nARG N\nRUN echo {n} > /dev/null; echo same > /x\nFROM busybox\nCOPY --from=a /x /y\n"
    build(text.format(n=1))
    build(text.format(n=2))
    assert heard.cached() == [True, False, True]


def test_a_label_does_not_undo_a_run(build, heard):
    build("FROM busybox\nLABEL v=1\nRUN echo of a label")
    build("FROM busybox\nLABEL v=2\nRUN echo of a label")
    assert heard.cached() == [False, True]


def test_an_environment_does(build, heard):
    for value in "12":
        build(f"FROM busybox\nENV V={value}\nRUN echo of an environment")
        assert heard.cached()[-1] is False


def test_source_date_epoch(build, tmp_path, monkeypatch):
    files(tmp_path, a="a", d__b="b")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    text = "FROM busybox\nCOPY . /c/\nRUN mkdir /new; echo x > /new/x; echo >> /etc/passwd\nWORKDIR /w\nCMD x"
    first = build(text, no_cache=True, epoch=builds.epoch())
    time.sleep(1.1)
    again = build(text, no_cache=True, epoch=builds.epoch())
    assert first.id == again.id and first.descriptor.digest == again.descriptor.digest
    assert {int(info.mtime) for info in tree(first).values()} == {1000000000}
    assert first.config.created == "2001-09-09T01:46:40Z"


def test_prune_and_df_know_the_cache(build, heard, tmp_path):
    text = "FROM busybox\nRUN echo pruned > /pruned\nRUN --mount=type=cache,target=/c,id=pruned echo x > /c/x"
    build(text, tag="pruned")
    row = next(each for each in prune.usage() if each.kind == "Build cache")
    assert row.total > row.active > 0 and row.reclaimable > 0
    Images().remove("pruned")
    build(text, tag="pruned")
    assert heard.cached() == [True, True]  # removing an image leaves what was built
    Images().remove("pruned")
    assert prune.prune().caches
    build(text)
    assert heard.cached() == [False, False]


# What must not be


@pytest.mark.parametrize("link", ["/etc/shadow", "../../../../../../../etc/shadow", "up/etc/shadow"])
def test_nothing_of_the_host_gets_into_an_image(build, tmp_path, link):
    context = files(tmp_path, d__x="x")
    (context / "up").symlink_to("../../../../../..")
    (context / "s").symlink_to(link)
    (context / "etc").symlink_to("/etc")
    for source in ("s", "etc/shadow", "up/etc/shadow", "../../../../../../etc/shadow", "/etc/shadow", "etc/*"):
        with pytest.raises(NotFound):
            build(f"FROM scratch\nCOPY {source} /x")
    image = build("FROM scratch\nCOPY . /x/")
    assert tree(image)["x/s"].issym()
    with pytest.raises(NotFound):
        build("FROM busybox\nRUN --mount=source=etc,target=/m cat /m/shadow")


def test_nothing_of_the_host_through_another_stage(build):
    for source in ("/l", "/d/shadow"):
        with pytest.raises(NotFound):
            build("FROM busybox AS a\nRUN ln -s /etc/gshadow /l; ln -s ../../../../etc /d\n"
                  f"FROM scratch\nCOPY --from=a {source} /x")  # fmt: skip


def test_a_dockerfile_that_is_a_link_out_shows_nothing(root, tmp_path):
    context = files(tmp_path, x="x")
    (context / "Dockerfile").symlink_to("/etc/passwd")
    with pytest.raises(NotFound, match="Dockerfile"):
        builds.build(context)


def test_a_file_that_would_be_a_whiteout(build, tmp_path):
    files(tmp_path, **{".wh.passwd": ""})
    with pytest.raises(InvalidInput, match="removes another"):
        build("FROM busybox\nCOPY . /etc/")


def archive_of(**content: str | tarfile.TarInfo) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in content.items():
            if isinstance(text, str):
                info = tarfile.TarInfo(name)
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text.encode()))
            else:
                archive.addfile(text)
    stream.seek(0)
    return stream


def test_an_archive_as_context(root):
    with Context.of_archive(archive_of(Dockerfile="FROM scratch\nCOPY a /b\n", a="x")) as context:
        image = builds.build_context(context, Wanted(tags=("from-archive:1",)))
    assert "b" in tree(image) and not os.path.exists(context.path)
    assert image.reference.familiar == "from-archive:1"


def test_hostile_archives(root, tmp_path):
    out = tarfile.TarInfo(f"../../../../../../..{tmp_path}/out")
    with pytest.raises(UnsafeLayer, match="the context: "):
        Context.of_archive(archive_of(out=out))
    link = tarfile.TarInfo("l")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
    below = tarfile.TarInfo("l/out")
    with Context.of_archive(archive_of(Dockerfile="FROM scratch\nCOPY . /\n", l=link, x=below)):
        assert list(tmp_path.iterdir()) == [tmp_path / "labrt"] or not (tmp_path / "out").exists()
    with pytest.raises(UnsafeLayer):
        Context.of_archive(io.BytesIO(b"\1\2\3\0" * 1000))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no FROM"),
        ("RUN x\nFROM busybox", "Dockerfile:1: RUN before the first FROM"),
        ("FROM $X", "Dockerfile:1: .*is nothing"),
        ("FROM busybox AS a\nFROM busybox AS A", "Dockerfile:2: two stages"),
        ("FROM busybox\nCOPY a", "Dockerfile:2: COPY wants at least"),
        ("FROM busybox\nCOPY a b c", "no directory"),
        ("FROM busybox\nENV A=<<x\nCOPY <<E $A /y/\nE", "Dockerfile:3: <<x: no such file"),
        ("FROM busybox\nCOPY a <<E\nE", "Dockerfile:2: <<E is no place"),
        ("FROM busybox\nEXPOSE x", "Dockerfile:2: x is no port: `EXPOSE x`"),
        ("FROM busybox\nUSER a b", "one word"),
        ("FROM busybox\nSHELL sh", "a list is wanted"),
        ("FROM busybox\nONBUILD FROM x", "may not be"),
        ("FROM busybox\nHEALTHCHECK x", "NONE"),
        ("FROM busybox\nRUN --mount=type=x,target=/y z", "Dockerfile:2: .*no type x"),
        ("FROM busybox\nRUN --mount=type=cache z", "no target"),
        ("FROM busybox\nENV A='", "Dockerfile:2: a ' without its second"),
        ("FROM busybox\nCOPY --chown=ghost Dockerfile /", "no user ghost|no such file"),
    ],
)
def test_mistakes_say_where_and_what(build, text, says):
    with pytest.raises((InvalidInput, NotFound), match=says):
        build(text)


def test_a_build_that_fails_has_no_name_and_goes_on_where_it_was(build, heard):
    with pytest.raises(BuildFailed, match=r"Dockerfile:3: the command '/bin/sh -c exit 7' returned .* 7"):
        build("FROM busybox\nRUN echo before a failure\nRUN exit 7", tag="failed")
    assert "failed" not in repr(Images())
    build("FROM busybox\nRUN echo before a failure\nRUN exit 0", tag="failed")
    assert heard.cached() == [True, False]


def test_nobody_removes_what_a_build_stands_on(build, heard):
    def prune_meanwhile(event):
        if "Step 2" in str(event):
            with pytest.raises(Conflict):
                prune.prune()
            asked.append(event)

    asked: list[object] = []
    builds.build_context(Context.of_text("FROM busybox\nRUN true"), on_event=prune_meanwhile)
    assert asked and Containers().list(all=True) == []


def test_labrt_build(root, tmp_path):
    files(tmp_path, Dockerfile="FROM busybox\nCMD echo hi")
    image = labrt.build(str(tmp_path / "context"), tag="lib:1", progress=False)
    assert labrt.run("lib:1").stdout == "hi\n" and image.reference.familiar == "lib:1"


def test_git_is_where_epochs_come_from(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(InvalidInput, match="no number of seconds"):
        builds.epoch()
    said = subprocess.run(["date", "+%s"], capture_output=True, text=True, check=True).stdout.strip()
    assert builds.epoch({"SOURCE_DATE_EPOCH": said}) == int(said)
