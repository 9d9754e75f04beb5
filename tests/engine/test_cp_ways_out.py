"""A container that misleads `cp`: CVE-2018-15664, with the links of /proc that lead past every root."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from labrt.engine import copy
from labrt.engine.containers import Containers
from labrt.engine.options import Options
from labrt.errors import LabrtError

pytestmark = pytest.mark.root


def test_links_of_proc_lead_nowhere(house, tmp_path):
    """It sees the host's processes, and puts a link to the host's root in the way of what is copied."""
    bait = tmp_path / "bait"
    bait.mkdir()
    (bait / "secret").write_text("the host's")
    (tmp_path / "file").write_text("theirs")
    out = f"/proc/{os.getpid()}/root{bait}"
    assert Path(out, "secret").read_text() == "the host's"  # whoever is root follows it, from any root
    link = f"ln -s {out} /data; ln -s {out}/secret /secret; echo ready; sleep 60"
    container = Containers().create(Options("busybox", ("sh", "-c", link), pid="host"))
    try:
        container.start()
        while not list(container.logs()):
            time.sleep(0.02)
        for attempt in (
            lambda: copy.copy_in(container, str(tmp_path / "file"), "/data/"),
            lambda: copy.copy_in(container, str(tmp_path / "file"), "/data/new"),
            lambda: copy.copy_out(container, "/secret", str(tmp_path / "copy"), follow=True),
            lambda: copy.copy_out(container, "/data/secret", str(tmp_path / "copy")),
            lambda: copy.look(container, "/data/secret"),
        ):
            with pytest.raises(LabrtError):
                attempt()
        copy.copy_in(container, str(tmp_path / "file"), "/tmp")
        assert copy.look(container, "/tmp/file").size == 6
    finally:
        container.remove(force=True)
    assert os.listdir(bait) == ["secret"] and not (tmp_path / "copy").exists()
