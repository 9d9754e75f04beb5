"""Help, versions, usage errors, and that a command imports only what it needs."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys

import click
import pytest

import labrt
from labrt.cli import exitcodes
from labrt.cli.group import SECTIONS

SUMMARIES = {name: summary for section in SECTIONS.values() for name, summary in section.items()}
OURS = ("completion", "daemon", "df", "doctor", "generate", "prune", "reset", "spec")  # two of `docker system`
OUR_OPTIONS = {("wait", "--condition"), ("save", "--format")}  # podman's
OUR_OPTIONS |= {(name, option) for name in ("run", "create") for option in ("--uidmap", "--gidmap")}
OUR_OPTIONS |= {("build", f"--{name}") for name in ("allow", "progress", "secret", "ssh")}  # docker's, with buildx


def run(*arguments: str, **how: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "labrt", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **how)  # type: ignore


def command_of(name: str) -> click.Command:
    return importlib.import_module(f"labrt.cli.commands.{name}").command


def test_without_a_command_there_is_help():
    bare, asked = run(), run("--help")
    assert (bare.returncode, bare.stdout) == (0, asked.stdout)
    assert [name for name in SUMMARIES if f"\n  {name} " not in asked.stdout] == []
    assert "Common Commands:" in asked.stdout and "Examples:" in asked.stdout


@pytest.mark.parametrize("flag", ["--version", "-v"])
def test_version(flag):
    assert run(flag).stdout == f"labrt version {labrt.__version__}\n"


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_help_has_its_summary_and_an_example(name):
    with click.Context(command_of(name), info_name=f"labrt {name}") as ctx:
        text = command_of(name).get_help(ctx)
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0].startswith(f"Usage: labrt {name} ") or lines[0] == f"Usage: labrt {name} [OPTIONS]"
    paragraph = " ".join(lines[2 : lines.index("", 2)])  # a long one is filled
    assert paragraph.rstrip(".") == SUMMARIES[name], "the list of commands says something else than the command"
    example = lines[lines.index("Examples:") + 1]
    assert "labrt" in example
    assert max(map(len, text.splitlines())) <= 120


def test_help_of_run_is_not_h():
    done = run("run", "--help")
    assert done.returncode == 0 and "-h, --hostname" in done.stdout and "128 + n" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run"], "Missing argument 'IMAGE'"),
        (["run", "--nonsense", "busybox"], "--nonsense"),
        (["run", "--cpus", "many", "busybox"], "--cpus"),
        (["run", "--uts", "moon", "busybox"], "'private', 'host'"),
        (["exec", "nap"], "COMMAND"),
        (["ps", "--nonsense"], "--nonsense"),
        (["start", "-a", "one", "two"], "multiple containers"),
        (["stpo"], "did you mean start or stats or stop"),
    ],
)
def test_wrong_usage_is_125_one_line_and_the_usage(arguments, says):
    done = run(*arguments)
    first, second, *more = done.stderr.splitlines()
    assert done.returncode == exitcodes.OWN and done.stdout == "" and more == []
    assert first.startswith("labrt: ") and says in first and "--help` shows how" in first
    assert second.startswith("Usage: labrt ")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["exec", "--help"]])
def test_what_can_wait_is_not_imported(arguments):
    done = run(*arguments, env={"PATH": "/usr/bin:/bin", "PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    late = {"requests", "rich", "zstandard", "pyseccomp", "asyncio", "concurrent.futures", "logging"}
    assert late & imported == set()
    if arguments[0].startswith("-"):
        assert {name for name in imported if re.match(r"labrt\.(engine|runtime|linux|cli\.commands)", name)} == set()


def docker_options(command: str) -> dict[str, str]:
    """Each long option of the real docker's help, with its short one or an empty string."""
    text = subprocess.run(["docker", command, "--help"], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^ +(?:(-\w), )?(--[\w-]+)", text, re.MULTILINE)
    return {long: short for short, long in found}


@pytest.mark.oracle
@pytest.mark.parametrize("name", [name for name in SUMMARIES if name not in OURS])
def test_our_options_are_dockers(name):
    if not shutil.which("docker"):
        pytest.skip("docker is absent")
    said = subprocess.run(["docker", "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"version (\d+)", said)
    if not version or int(version[1]) < 28:
        pytest.skip("docker is older than the one that labrt takes its options from")
    theirs = docker_options(name)
    for parameter in command_of(name).params:
        if isinstance(parameter, click.Option):
            long = [option for option in parameter.opts if option.startswith("--")]
            short = [option for option in parameter.opts if not option.startswith("--")]
            if (name, long[0]) in OUR_OPTIONS:
                continue
            assert long[0] in theirs
            assert "".join(short) == theirs[long[0]], f"{name} {long[0]}"
