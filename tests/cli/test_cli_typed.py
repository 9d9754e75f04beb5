"""What is plainly typed is read as click reads it, and everything else is left to click. Pure."""

from __future__ import annotations

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labrt.cli import container_options, typed
from labrt.cli.commands import create, run
from labrt.cli.typed import Option

EXEC = __import__("labrt.cli.commands.exec", fromlist=["command"]).command
COMMANDS = {
    "run": (container_options.RUN, "image", run.command),
    "create": (container_options.CREATE, "image", create.command),
    "exec": (container_options.EXEC, "name", EXEC),
}


def by_click(command: click.Command, arguments: list[str]) -> dict[str, object] | None:
    try:
        return command.make_context("it", list(arguments)).params
    except click.UsageError:
        return None


def without_values_of_flags(options: tuple[Option, ...], arguments: list[str]) -> list[str]:
    """Write `--rm=true` as `--rm`, and `--rm=false` not at all: click has no values of flags, docker and we do."""
    flags = {flag: option for option in options if option.is_flag for flag in option.flags}
    simple = []
    for word in arguments:
        name, equals, value = word.partition("=")
        if name in flags and equals and value in typed._BOOLS:
            # A later one wins; click cannot take one back, so an earlier one goes.
            simple = [one for one in simple if one not in flags[name].flags]
            simple += [name] if typed._BOOLS[value] else []
        else:
            simple.append(word)
    return simple


def agree(name: str, arguments: list[str]) -> dict[str, object] | None:
    """Both readers, or ours has left it to click; returns what ours has read."""
    options, place, command = COMMANDS[name]
    ours = typed.read(options, (place,), arguments)
    if ours is not None and not (name == "exec" and not ours["words"]):  # as main.py has it
        assert ours == by_click(command, without_values_of_flags(options, arguments))
    return ours


def likely(option: Option) -> st.SearchStrategy[str]:
    if option.choices:
        return st.sampled_from([*option.choices, option.choices[0].upper(), "other"])
    if option.kind in (int, float):
        return st.sampled_from(["1", "-1", "0.5", "0x10", " 7 ", "1_000", "many", ""])
    return st.sampled_from(["a", "A=b=c", "", "-x", "--", "-", "ä b", "=", "1:2"])


def typing(options: tuple[Option, ...]) -> st.SearchStrategy[list[str]]:
    """A few options, each in one of the ways it can be written, now and then wrongly; then an argument or more."""
    ways = []
    for option in options:
        for flag in option.flags:
            value = likely(option)
            ways.append(st.just([flag]))
            ways.append(value.map(lambda text, flag=flag: [flag, text]))
            joint = "=" if flag.startswith("--") else ""
            ways.append(value.map(lambda text, flag=flag, joint=joint: [f"{flag}{joint}{text}"]))
    ways += [st.sampled_from([["-it"], ["-itd"], ["-dm64m"], ["-tie", "A=1"], ["--nosuch"], ["-Z"], ["--"], ["-i=1"]])]
    words = st.lists(st.sampled_from(["busybox", "echo", "-x", "--rm", "--", "-", ""]), max_size=4)
    return st.tuples(st.lists(st.one_of(ways), max_size=4), words).map(lambda both: [*sum(both[0], []), *both[1]])


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(COMMANDS)).flatmap(lambda name: st.tuples(st.just(name), typing(COMMANDS[name][0]))))
def test_both_read_the_same(what: tuple[str, list[str]]) -> None:
    agree(*what)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_option_is_plain(name: str) -> None:
    for option in COMMANDS[name][0]:
        value = [] if option.is_flag else [option.choices[0]] if option.choices else ["3"]
        for flag in option.flags:
            value = ["false"] if option.kind is bool else value
            assert agree(name, [flag, *value, "busybox", "true", "--rm"]) is not None, flag


def test_what_people_type() -> None:
    read = agree("run", ["--rm", "-it", "-m64m", "--cpus=.5", "-v", "/a:/b", "-v/c:/d", "busybox", "sh", "-c", "x"])
    assert read and (read["remove"], read["tty"], read["memory"], read["cpus"]) == (True, True, "64m", 0.5)
    assert (read["volumes"], read["image"], read["words"]) == (("/a:/b", "/c:/d"), "busybox", ("sh", "-c", "x"))


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [(["--rm=true"], "remove", True), (["--rm", "--rm=false"], "remove", False), (["--tty=0"], "tty", False),
     (["--sig-proxy", "F"], "sig_proxy", False), (["--sig-proxy=1"], "sig_proxy", True)],
)  # fmt: skip
def test_flags_have_values_as_with_docker(words, field, value) -> None:
    read = agree("run", [*words, "busybox"])
    assert read and read[field] is value


@pytest.mark.parametrize(
    "wrong", [["--nosuch", "busybox"], ["-m"], ["--rm=yes", "busybox"], ["--cpus", "x", "busybox"], [], ["--help"]]
)
def test_what_is_wrong_is_for_click(wrong: list[str]) -> None:
    assert typed.read(container_options.RUN, ("image",), wrong) is None
