"""What goes wrong, as runc's callers expect to read it.

Into --log goes one line for each error or warning: `time="…" level=error msg="…"`, or as a JSON object, the last
of which containerd and podman show as the reason. What ends us goes to standard error as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time


class Log:
    """Where --log and --log-format say. Without --log, only standard error hears of anything."""

    def __init__(self, path: str = "", format: str = "text") -> None:
        self.path = path
        self.format = format

    def error(self, text: str) -> None:
        """Note what ends us, and say it."""
        if self.path:
            self._write("error", text)
        with contextlib.suppress(OSError, AttributeError, ValueError):
            print(text if self.path else self._line("error", text), file=sys.stderr, flush=True)

    def warning(self, text: str) -> None:
        """Note what does not end us."""
        if self.path:
            self._write("warning", text)
        else:
            with contextlib.suppress(OSError, AttributeError, ValueError):
                print(self._line("warning", text), file=sys.stderr, flush=True)

    def _line(self, level: str, text: str) -> str:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        text = " ".join(text.split())
        if self.format == "json":
            return json.dumps({"level": level, "msg": text, "time": now}, ensure_ascii=False)
        return f"time={json.dumps(now)} level={level} msg={json.dumps(text, ensure_ascii=False)}"

    def _write(self, level: str, text: str) -> None:
        with contextlib.suppress(OSError):
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                os.write(fd, f"{self._line(level, text)}\n".encode(errors="replace"))
            finally:
                os.close(fd)
