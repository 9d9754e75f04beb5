"""Directories that are made out of sight: who may make one, and when there is nothing left to make."""

from __future__ import annotations

import multiprocessing
import os
from functools import partial
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


def test_a_directory_that_comes_and_goes_meanwhile_is_no_error(tmp_path: Path) -> None:
    """Several want the same, which is finished by then: each makes the directory and takes it away again."""

    def want() -> None:
        for _ in range(1000):
            looks = iter([False])
            with Workshop(str(tmp_path)).claimed("layer", partial(next, looks, True)) as building:
                assert building is None

    fork = multiprocessing.get_context("fork")
    others = [fork.Process(target=want) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0, 0, 0]
