"""Directories that are made out of sight: who may make one, and when there is nothing left to make."""

from __future__ import annotations

import os
from pathlib import Path

from labrt.storage.workshop import Workshop


def test_what_is_finished_just_before_we_have_the_lock_is_not_made_again(tmp_path: Path) -> None:
    looks = iter([False, True, True])  # not there when we look first; somebody finishes it; then it is
    with Workshop(str(tmp_path)).claimed("layer", lambda: next(looks)) as building:
        assert building is None
    assert os.listdir(tmp_path) == []


def test_what_is_not_there_is_ours_to_make(tmp_path: Path) -> None:
    with Workshop(str(tmp_path)).claimed("layer", lambda: False) as building:
        assert building == str(tmp_path / "layer")
        assert os.path.isdir(building)
