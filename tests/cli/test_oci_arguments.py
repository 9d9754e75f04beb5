"""labrt-oci's options, by the rules of Go's flag package."""

from __future__ import annotations

import importlib
import signal

import pytest

from labrt.cli.oci import commands, steering, usage
from labrt.cli.oci.arguments import Option, Usage, parse
from labrt.errors import InvalidInput

OPTIONS = [
    Option("--bundle, -b", "text", "", "."), Option("--detach, -d", "flag", ""), Option("--env, -e", "list", ""),
    Option("--preserve-fds", "number", "", 0),
]  # fmt: skip
NOTHING = {"bundle": ".", "detach": False, "env": [], "preserve_fds": 0}


@pytest.mark.parametrize(("words", "changes", "left"), [
    ([], {}, []),
    (["-b", "/x", "id"], {"bundle": "/x"}, ["id"]),
    (["--bundle=/x", "-detach", "id"], {"bundle": "/x", "detach": True}, ["id"]),
    (["-d=false", "--preserve-fds", "3"], {"preserve_fds": 3}, []),
    (["-e", "A=1", "--env=B=2"], {"env": ["A=1", "B=2"]}, []),
    (["id", "ls", "-d", "--", "x"], {}, ["id", "ls", "-d", "--", "x"]),
    (["-d", "--", "-b"], {"detach": True}, ["-b"]),
    (["-"], {}, ["-"]),
])  # fmt: skip
def test_parse(words, changes, left):
    assert parse(OPTIONS, words) == (NOTHING | changes, left)


def test_options_after_words_where_people_type_them():
    assert parse(OPTIONS, ["id", "-d"], mixed=True) == (NOTHING | {"detach": True}, ["id"])


@pytest.mark.parametrize("words", [["--nope"], ["-b"], ["-db"], ["--preserve-fds", "x"], ["-d=maybe"]])
def test_what_cannot_be(words):
    with pytest.raises(Usage):
        parse(OPTIONS, words)


def test_lists_do_not_leak_from_one_call_to_the_next():
    parse(OPTIONS, ["-e", "A=1"])
    assert parse(OPTIONS, [])[0] == NOTHING


def test_every_command_has_its_options_and_a_function():
    assert set(usage.COMMANDS) == set(commands.COMMANDS)
    for file, function, _, _ in commands.COMMANDS.values():
        assert callable(getattr(importlib.import_module(f"labrt.cli.oci.{file}"), function))


@pytest.mark.parametrize(("text", "number"), [
    ("9", 9), ("0", 0), ("KILL", 9), ("SIGKILL", 9), ("term", 15), ("RTMIN+1", signal.SIGRTMIN + 1),
    ("SIGRTMAX-1", signal.SIGRTMAX - 1), ("RTMIN", signal.SIGRTMIN),
])  # fmt: skip
def test_signals(text, number):
    assert steering.signal_number(text) == number


@pytest.mark.parametrize("text", ["", "NOPE", "65", "-1", "RTMAX+1", "_DFL", "RTMIN+x", "SIG"])
def test_what_is_no_signal(text):
    with pytest.raises(InvalidInput, match="unknown signal"):
        steering.signal_number(text)
