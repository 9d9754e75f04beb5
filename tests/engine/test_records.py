"""Looking for one container while others come and go: theirs is no error of ours."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path

from labrt.engine.containers import Containers


def test_who_is_looked_for_is_found_while_others_are_removed(labrt_root: Path) -> None:
    containers, ended = Containers(), threading.Event()

    def record(digit: str, name: str) -> Path:
        directory = Path(containers.where.containers, digit * 64)
        directory.mkdir(parents=True, exist_ok=True)
        about = {"name": name, "created": float(int(digit)), "image_id": f"sha256:{digit * 64}"}
        (directory / "new").write_text(json.dumps(about))
        os.rename(directory / "new", directory / "labrt.json")
        return directory / "labrt.json"

    def come_and_go() -> None:
        while not ended.is_set():
            path = record("2", "guest")
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    record("1", "resident")
    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(2000):  # the guest is newer, so it is looked at first
            assert containers.get("resident").id == "1" * 64
            assert f"sha256:{'1' * 64}" in map(str, containers.image_ids())
    finally:
        ended.set()
        thread.join()
