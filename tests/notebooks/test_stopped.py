"""A notebook that is stopped in the middle: ■ in a cell that takes long, and kill -9 of its Python.

The kernels are run as JupyterLab runs them, by jupyter_client; ■ is SIGINT to the kernel's whole process group.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labrt.linux import ledger

pytestmark = pytest.mark.root
PROJECT = Path(__file__).resolve().parents[2]
SOURCES = sorted((PROJECT / "notebooks/src").glob("[0-9][0-9]_*.py"))
PATIENCE = 60.0 * int(os.environ.get("LABRT_SLOWNESS", "1"))  # see conftest.py
LONG = {source.stem[:2]: source for source in SOURCES if 'tags=["long"]' in source.read_text()}


class Kernel:
    """A notebook's Python, told cell by cell what to do."""

    def __init__(self, manager: Any, client: Any) -> None:
        self.manager, self.client = manager, client

    def begin(self, code: str) -> str:
        """Have a cell run; do not wait."""
        return self.client.execute(code, stop_on_error=False)

    def heard(self, cell: str, *kinds: str) -> dict:
        """Wait until a cell says something of these kinds."""
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == cell and message["msg_type"] in kinds:
                return message

    def end(self, cell: str) -> dict:
        """Wait for a cell's end."""
        while True:
            message = self.client.get_shell_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == cell:
                return message["content"]

    def run(self, code: str) -> None:
        """Have a cell run, to its good end."""
        answer = self.end(self.begin(code))
        assert answer["status"] == "ok", "\n".join(answer.get("traceback", ()))

    @property
    def pid(self) -> int:
        return self.manager.provisioner.pid


@pytest.fixture
def kernel(house: Path) -> Iterator[Kernel]:
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(PROJECT / "notebooks"))
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def cells_of(build, number: str) -> list[tuple[str, bool]]:
    """Give the code of a solution's cells, and whether each is a long one."""
    source = next(path for path in SOURCES if path.stem.startswith(number))
    cells = json.loads(build.build(source, "solution"))["cells"]
    return [("".join(cell["source"]), "long" in cell["metadata"].get("tags", ()))
            for cell in cells if cell["cell_type"] == "code"]  # fmt: skip


def interrupted(kernel: Kernel, code: str) -> tuple[dict, float]:
    """Run a cell, press ■ when it is at work, and say how it ended, and how many seconds later."""
    cell = kernel.begin(code)
    kernel.heard(cell, "execute_input")
    time.sleep(0.4)
    begin = time.monotonic()
    kernel.manager.interrupt_kernel()
    return kernel.end(cell), time.monotonic() - begin


@pytest.mark.parametrize("number", LONG)
def test_a_long_cell_can_be_interrupted_and_leaves_nothing(number, build, kernel, nothing_left):
    cells = cells_of(build, number)
    last = max(at for at, (_, long) in enumerate(cells) if long)  # which is only interrupted
    for code, long in cells[: last + 1]:
        if long:
            before = known()
            tried = [interrupted(kernel, code)]
            if not at_once(*tried[0]):  # a machine may be busy: once more, before it is believed
                tried.append(interrupted(kernel, code))
            assert any(at_once(*one) for one in tried), (code, tried)
            assert [what for what in known() if what not in before] == [], code
        if code != cells[last][0]:
            kernel.run(code)
    kernel.run("import labrt; labrt.reset(quiet=True)")
    kernel.manager.shutdown_kernel(now=True)
    nothing_left()


def at_once(answer: dict, seconds: float) -> bool:
    return answer.get("ename") == "KeyboardInterrupt" and seconds <= 5  # a second, on a machine that does nothing else


def known() -> list[tuple[str, str]]:
    return [(entry.kind, entry.what) for entry in ledger.entries()]


# What is killed at its first word: a namespace with somebody in it and a container; a group with a hog in it; a union.
@pytest.mark.parametrize(("number", "word"), [
    ("05", "lab.trees.namespaces("), ("08", 'print(watch(group, hog, "A hog'), ("10", "lab.sheets.pile("),
])  # fmt: skip
def test_after_kill_9_a_reset_takes_all_down(number, word, build, kernel, house, nothing_left):
    for code, _ in cells_of(build, number):
        if word in code:
            break
        kernel.run(code)
    else:
        pytest.fail(f"there is no {word} in {number}")
    kernel.heard(kernel.begin(code), "display_data", "execute_result", "stream")
    assert known(), "nothing was made that could be left"
    os.kill(kernel.pid, signal.SIGKILL)
    kernel.manager.provisioner.process.wait()
    done = subprocess.run([sys.executable, "-m", "labrt", "reset", "--force"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    nothing_left()
