""".dockerignore's patterns."""

from __future__ import annotations

import pytest

from labrt.builder.ignore import Patterns, fits


@pytest.mark.parametrize(
    ("lines", "path", "excluded"),
    [
        ("*.log", "a.log", True),
        ("*.log", "b/a.log", False),
        ("**/*.log", "b/c/a.log", True),
        ("**/*.log", "a.log", True),
        ("/x", "x", True),
        ("./x/", "x/y", True),
        ("x", "xy", False),
        ("x*", "xy/z", True),
        ("*\n!keep", "keep/a", False),
        ("*\n!keep", "other", True),
        ("a\n!a/b\na/b/c", "a/b/d", False),
        ("a\n!a/b\na/b/c", "a/b/c", True),
        ("!a\na", "a", True),
        ("# a\n\n", "# a", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        (r"\*", "*", True),
        (r"\*", "a", False),
        ("a/../b", "b", True),
        ("**", "a/b", True),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        (".", "a", False),
        ("**.log", "a/b/c.log", True),
        ("a/**", "a/b", True),
        ("a/**", "ab", False),
    ],
)
def test_patterns(lines, path, excluded):
    assert Patterns.parse(lines).excludes(path) is excluded


def test_wildcards_of_copy():
    assert fits("*.c", "a.c") and not fits("*.c", "a/b.c") and fits("a[0-9]", "a7") and fits("[[]", "[")


def test_many_stars_do_not_run_away():
    assert not fits("*a" * 40 + "b", "a" * 200)
    assert not fits("**/" * 40 + "b", "a/" * 200 + "a")
    assert fits("*" * 40 + "b", "x/b") and fits("a**b", "acb") and fits("a**b", "ac/d/eb") and not fits("a**b", "cb")
