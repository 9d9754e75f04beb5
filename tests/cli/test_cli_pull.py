"""Ctrl-C in the middle of a layer: the end at once, and the next pull goes on where this one was."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from labrt.engine import embedded
from labrt.image.image import Image
from labrt.image.layout import Layout

pytestmark = pytest.mark.root


class Slow(ThreadingHTTPServer):
    """A registry with one image, which gives half of its layer and then waits for `go`."""

    daemon_threads = True

    def __init__(self, layout: Layout) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.layout = layout
        self.image: Image = layout.image(embedded.REFERENCE)
        self.half_is_out, self.go = threading.Event(), threading.Event()
        self.ranges: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Slow

    def do_GET(self) -> None:
        kind, name = self.path.split("/")[-2:] if self.path != "/v2/" else ("", "")
        manifest, layer = self.server.image.manifest, self.server.image.manifest.layers[0].digest
        if kind == "manifests":
            self._answer(manifest.raw, media_type=manifest.media_type)
        elif kind == "blobs":
            blob = self.server.layout.read(next(one for one in (layer, manifest.config.digest) if str(one) == name))
            self._answer(blob, slowly=name == str(layer))
        else:
            self._answer(b"{}")

    do_HEAD = do_GET

    def _answer(self, body: bytes, *, media_type: str = "application/octet-stream", slowly: bool = False) -> None:
        begin = 0
        wanted = self.headers.get("Range", "")
        if wanted:
            self.server.ranges.append(wanted)
            begin = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        if self.command == "HEAD":
            return
        if slowly and not wanted:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.server.half_is_out.set()
            self.server.go.wait()
            return
        self.wfile.write(body[begin:])

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def slow(cli) -> Iterator[Slow]:
    with Slow(embedded.ensure(cli.where)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.go.set()
        server.shutdown()
        thread.join()


def _largest(directory: Path) -> int:
    sizes = [0]
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # renamed just now
            sizes.append(path.stat().st_size * path.is_file())
    return max(sizes)


def test_ctrl_c_and_again(cli, slow, tmp_path):
    name = f"127.0.0.1:{slow.server_address[1]}/library/busybox"
    cli.env["LABRT_ROOT"] = str(tmp_path)
    try:
        process = cli.start("pull", name)
        assert slow.half_is_out.wait(60)
        # What has been sent has not yet been written: wait for the file in which the layer grows.
        cli.eventually(lambda: _largest(tmp_path / "lib" / "images") > 65536, "a part of the layer on disk")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130 and b"Digest:" not in out and b"Traceback" not in err
        assert cli.ok("images", "-q") == ""
        assert "Status: Downloaded newer image" in cli.ok("pull", name)
        assert len(slow.ranges) == 1 and slow.ranges[0] != "bytes=0-"
        assert cli.ok("run", "--rm", name, "echo", "whole") == "whole\n"
        assert cli.ok("reset", "--all", "--force")
    finally:
        cli.env["LABRT_ROOT"] = str(cli.root)
