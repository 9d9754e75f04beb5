"""`labrt generate`, as it is typed. What it writes: tests/engine/test_generate.py."""

from __future__ import annotations

import os
import stat

import pytest

pytestmark = pytest.mark.root


def test_generate(cli, tmp_path):
    cli.ok("create", "--name", "web", "--pids-limit", "50", "-e", "API_TOKEN=x", "-v", "data:/data", "busybox")
    done = cli("generate", "kube", "web", "data")
    assert done.code == 0 and "kind: PersistentVolumeClaim" in done.out and "kind: Pod" in done.out
    assert "left out: web: --pids-limit 50" in done.err and "left out: web: secrecy" in done.err
    assert "#   web: --pids-limit 50" in done.out
    file = tmp_path / "compose.yaml"
    done = cli("generate", "compose", "web", "-f", str(file))
    assert (done.code, done.out) == (0, "") and "container_name: web" in file.read_text()
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600, "secrets may be in it"
    again = cli("generate", "compose", "web", "-f", str(file))
    assert again.code == 1 and "is there already" in again.err
    assert cli("generate", "compose", "web", "-f", "/nowhere/at/all").code == 1
    assert cli("generate", "kube", "nobody").code == 1
    completed = cli("", COMP_WORDS="labrt generate kube ", COMP_CWORD="3", _LABRT_COMPLETE="bash_complete")
    assert completed.out.split() == ["plain,web", "plain,data"]
