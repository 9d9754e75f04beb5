"""Notebook 07's exercise: what passes, and how each likely mistake is answered."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.root


def test_id_map(judged):
    judged("07", lambda: [(0, 200000, 1000), (1000, 1000, 1), (1001, 201001, 999)], {
        "root is root": (lambda: [(0, 0, 2000)], "owns the machine"),
        "the other way round": (lambda: [(200000, 0, 1000), (1000, 1000, 1)], "nobody can be root inside"),
        "one stretch": (lambda: [(0, 200000, 2000)], "a stranger's"),
        "overlap": (lambda: [(0, 200000, 2000), (1000, 1000, 1)], "overlap"),
        "off by one": (lambda: [(0, 200000, 1000), (1000, 1000, 1), (1001, 201002, 998)], "user 1001 is 201002"),
        "too few": (lambda: [(0, 200000, 1000), (1000, 1000, 1)], "user 1001 is nobody"),
        "two numbers": (lambda: [("0", "200000")], "it raised"),
    })  # fmt: skip
