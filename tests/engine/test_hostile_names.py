"""Names that a container chooses: they neither steer a terminal nor break an answer. Pure: no container."""

from __future__ import annotations

import json
import os
import subprocess
import time

from labrt.engine import top
from labrt.engine.api import errors
from labrt.linux import procfs


def test_a_process_cannot_steer_the_terminal_of_who_looks() -> None:
    with subprocess.Popen([b"\x1b[2J\xff\nroot", b"60"], executable="/bin/sleep") as process:
        try:
            while not procfs.read(process.pid, "cmdline"):  # execve(2) closes our end before its arguments are there
                time.sleep(0.001)
            assert top._process(process.pid).command == "?[2J??root 60"
        finally:
            process.kill()


def test_a_name_that_is_no_utf8_is_no_mistake_of_ours() -> None:
    body = errors.as_json([{"Path": f"/{os.fsdecode(bytes([255]))}"}]).body
    assert isinstance(body, bytes) and json.loads(body) == [{"Path": "/?"}]
