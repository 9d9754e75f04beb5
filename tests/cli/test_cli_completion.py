"""Tab completion: as click answers it, and as a real bash asks for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labrt.cli.group import SECTIONS

COMMANDS = [name for section in SECTIONS.values() for name in section]


def complete(cli, line: str) -> list[str]:
    """Ask as bash's function does: the words of a line, the last of which is being typed."""
    words = line.split(" ")
    done = cli(_LABRT_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    assert done.code == 0 and done.err == ""
    return [answer.partition(",")[2] for answer in done.out.splitlines() if answer]


def test_commands_and_options(cli):
    assert sorted(complete(cli, "labrt ")) == sorted(COMMANDS)
    assert complete(cli, "labrt st") == ["start", "stats", "stop"]
    assert {"--rm", "--read-only", "--restart", "--runtime"} == set(complete(cli, "labrt run --r"))
    assert complete(cli, "labrt run --network ") == ["none", "host", "bridge"]
    assert complete(cli, "labrt completion ") == ["bash", "zsh", "fish"]


@pytest.mark.root
def test_names(cli):
    assert complete(cli, "labrt run bus") == ["busybox"] == complete(cli, "labrt rmi ")
    cli.ok("create", "--name", "made", "busybox")
    cli.ok("run", "-d", "--name", "napping", "busybox", "sleep", "1000")
    assert complete(cli, "labrt exec ") == ["napping"] == complete(cli, "labrt stop nap")
    assert complete(cli, "labrt start ") == ["made"]
    assert set(complete(cli, "labrt rm ")) == {"made", "napping"}
    assert set(complete(cli, "labrt inspect ")) == {"made", "napping", "busybox"}
    assert complete(cli, "labrt rm zzz") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_the_shells(cli, shell):
    if not shutil.which("bash") and shell == "bash":
        pytest.skip("bash is absent")
    script = cli.ok("completion", shell)
    assert f"_LABRT_COMPLETE={shell}_complete" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_bash_itself_completes(cli, tmp_path: Path):
    if not shutil.which("bash"):
        pytest.skip("bash is absent")
    program = tmp_path / "labrt"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m labrt "$@"\n')
    program.chmod(0o755)
    asking = (
        'source <(labrt completion bash); entry=$(complete -p labrt); function=${entry#*-F }; '
        'COMP_WORDS=(labrt do) COMP_CWORD=1; "${function% labrt}" labrt do labrt; echo "${COMPREPLY[@]}"'
    )
    env = cli.env | {"PATH": f"{tmp_path}:{cli.env['PATH']}"}
    done = subprocess.run(["bash", "--norc", "-c", asking], env=env, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("doctor\n", "")
