"""`cp` into a container of an ordinary user's: its child leaves /proc behind there, too."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.root


def test_into_it_and_out_of_it(any_user):
    labrt, home = any_user.labrt, any_user.home
    (home / "letter").write_text("dear container")
    labrt("run", "-d", "--name", "nap", "box", "sleep", "300")
    labrt("cp", f"{home}/letter", "nap:/tmp/")
    assert labrt("exec", "nap", "cat", "/tmp/letter") == "dear container"
    labrt("cp", "nap:/tmp/letter", f"{home}/back")
    assert (home / "back").read_text() == "dear container"
    labrt("rm", "-f", "nap")
