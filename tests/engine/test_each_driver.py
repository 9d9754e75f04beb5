"""Containers on each storage driver that works here: run, changed, compared, committed, and gone without a trace."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

import pytest

from labrt import paths
from labrt.engine import builds, commit, embedded, info, run
from labrt.engine.containers import Containers
from labrt.engine.images import Images
from labrt.lab.ledger import reset
from labrt.linux import ledger, loop
from labrt.runtime import launcher
from labrt.storage.driver import NAMES

pytestmark = pytest.mark.root


@pytest.fixture(params=NAMES)
def driver(request, labrt_root, monkeypatch):
    reason = info.drivers(paths.default())[request.param]
    if reason:
        pytest.skip(f"{request.param}: {reason}")
    monkeypatch.setenv("LABRT_STORAGE_DRIVER", request.param)
    embedded.ensure(paths.default())
    yield request.param
    launcher.default().close()  # the next one has another LABRT_ROOT
    assert reset(quiet=True).ok


def pull() -> None:
    images = Images()
    with embedded.serve(images.where) as server:
        images._pull(embedded.REFERENCE, None, None, {"docker.io": server.url})


def wait_until(holds, seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.02)
    return False


def test_run_change_compare_commit_remove(driver):
    pull()
    script = "echo hi >/etc/motd && rm /bin/cat && mkdir /new && echo x >/new/f && chmod 600 /new/f && echo done"
    made = run("busybox", "sh", "-c", script, name="changed", remove=False)
    assert (made.exit_code, made.stdout) == (0, "done\n"), made.stderr
    container = Containers().get("changed")
    seen = {(change.kind, change.path) for change in commit.changes(container)}
    assert {("A", "etc/motd"), ("D", "bin/cat"), ("A", "new"), ("A", "new/f")} <= seen
    assert not [path for _, path in seen if path.startswith((".wh.", "proc", "dev"))]
    commit.commit(container, "mine:1")
    after = run("mine:1", "sh", "-c", "busybox cat /etc/motd /new/f; ls /bin/cat; stat -c %a /new/f")
    assert after.stdout == "hi\nx\n600\n" and "No such file" in after.stderr
    again = container  # it can be started again: what it wrote is there
    again.start()
    assert again.wait(30) == 1  # rm finds no /bin/cat any more
    again.remove()
    where = paths.default()
    assert Images().driver.containers() == []
    assert wait_until(lambda: not [e for e in ledger.entries(where.ledger) if e.kind in ("container", "dm", "process")])


MANY_CHANGES = r"""
FROM busybox
RUN mkdir -p /deep/er/still /gone /again/in /kind /old/a && cd /deep/er && echo 1 > still/in && echo 2 > beside && \
    echo x > /gone/x && echo y > /again/in/y && echo z > /again/in/z && ln -s /deep /kind/link && echo m > /old/a/m && \
    chmod 711 /deep/er && mknod /kind/fifo p
RUN echo more >> /deep/er/still/in && : >> /deep/er/beside && echo >> /etc/passwd && rm -r /gone && rm /bin/cat
RUN rm -r /again && mkdir -p /again/in && echo new > /again/in/z && rm /kind/link && mkdir /kind/link && \
    echo f > /kind/link/f && mv /old /new && chmod 4755 /new/a/m && chown 7:8 /deep && ln /new/a/m /new/same
RUN rm -r /kind/link && ln -s /new /kind/link && rm -r /new/a && touch /new/a && rm /kind/fifo && mkdir /kind/fifo
COPY . /deep/er/
WORKDIR /deep/er/w
"""


def test_a_build_has_one_digest_whatever_keeps_its_layers(tmp_path, monkeypatch):
    (tmp_path / "context/still").mkdir(parents=True)
    (tmp_path / "context/still/more").write_text("more")
    reasons = info.drivers(paths.default())
    found = {}
    for name in [name for name in NAMES if not reasons[name]]:
        monkeypatch.setenv("LABRT_STORAGE_DRIVER", name)
        monkeypatch.setenv("LABRT_ROOT", str(tmp_path / name))
        embedded.ensure(paths.default())
        pull()
        image = builds.build(tmp_path / "context", text=MANY_CHANGES, epoch=1_000_000_000)
        found[name] = [str(image.descriptor.digest), *map(str, image.config.diff_ids)]
        launcher.default().close()
        assert reset(quiet=True).ok
    assert len(found) > 1 and len({tuple(digests) for digests in found.values()}) == 1, found


def test_containers_of_one_image_do_not_see_each_other(driver):
    pull()
    containers = [run("busybox", "sh", "-c", f"echo {n} >/f; exec sleep 60", detach=True) for n in range(3)]
    try:
        assert [each.exec("cat", "/f").stdout for each in containers] == ["0\n", "1\n", "2\n"]
    finally:
        for each in containers:
            each.remove(force=True)


def test_reset_takes_down_what_a_running_container_stands_on(driver):
    pull()
    run("busybox", "sleep", "60", detach=True)
    where = paths.default()
    reset(quiet=True)
    assert Containers().list(all=True) == []
    assert [entry.kind for entry in ledger.entries(where.ledger) if entry.kind != "loop"] == []
    mine = [path for path in Path(where.layers).rglob("*") if path.is_file() and path.name in ("disk", "data")]
    gc.collect()  # this process may still have the driver, and so its disk, open
    assert all(wait_until(lambda path=path: loop.device_of(str(path)) is None) for path in mine)
    assert f"{os.getpid()}" not in [entry.what for entry in ledger.entries(where.ledger)]
