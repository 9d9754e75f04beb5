"""What ADD takes for an archive."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import http.server
import io
import lzma
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrt.builder import adding, selecting
from labrt.builder.context import Context
from labrt.builder.selecting import Root
from labrt.errors import UnsafeLayer

BROKEN = {
    "bad.xz": b"\xfd7zXZ\0" + b"garbage" * 100, "cut.xz": lzma.compress(b"x" * 100_000)[:40],
    "bad.bz2": b"BZh9" + b"garbage" * 100, "cut.bz2": bz2.compress(b"x" * 100_000)[:20],
    "bad.gz": b"\x1f\x8b" + b"garbage" * 100, "cut.gz": gzip.compress(b"x" * 100_000)[:20],
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_only_begins_like_an_archive_is_a_file_like_others(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(BROKEN[name])
    with Root.of(str(tmp_path)) as root:
        (source,) = selecting.select(root, [name])
        assert not adding.is_archive(root, source)


@pytest.mark.parametrize("name", BROKEN)
def test_as_a_context_it_is_refused(name: str):
    with pytest.raises(UnsafeLayer, match="the context: "):
        Context.of_archive(io.BytesIO(BROKEN[name]))


@contextlib.contextmanager
def saying(modified: str) -> Iterator[str]:
    """A web server on the loopback that says when its file was changed."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Last-Modified", modified)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"hi")

        def log_message(self, *_: object) -> None:
            return None

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/file"
        finally:
            server.shutdown()


@pytest.mark.parametrize(("modified", "mtime"), [
    ("Tue, 24 Nov 2026 15:00:00 GMT", 1_795_532_400), ("yesterday", 0), ("Tue, 99 Nov 2026 15:00:00 GMT", 0),
])  # fmt: skip
def test_a_download_has_the_time_that_the_server_says_if_it_is_one(tmp_path: Path, modified: str, mtime: int):
    with saying(modified) as url:
        assert adding.download(url, str(tmp_path)) == "file"
    file = tmp_path / "file"
    assert (file.read_bytes(), file.stat().st_mtime, file.stat().st_mode & 0o777) == (b"hi", mtime, 0o600)
