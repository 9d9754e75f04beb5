"""Notebook 07's exercise: what passes, and how each likely mistake is answered, whatever a learner's numbers are."""

from __future__ import annotations

import pytest

from labrt.lab import given

pytestmark = pytest.mark.root


@pytest.mark.parametrize("name", ["Ada", "Grace"])
def test_id_map(judged, name):
    given.learner(name)
    me, base = given.id_map()
    below, itself, rest = (0, base, me), (me, me, 1), 1999 - me
    judged("07", lambda: [below, itself, (me + 1, base + me + 1, rest)], {
        "root is root": (lambda: [(0, 0, 2000)], "owns the machine"),
        "the other way round": (lambda: [(base, 0, me), itself], "nobody can be root inside"),
        "one stretch": (lambda: [(0, base, 2000)], "a stranger's"),
        "overlap": (lambda: [(0, base, 2000), itself], "overlap"),
        "off by one": (lambda: [below, itself, (me + 1, base + me + 2, rest - 1)], f"user {me + 1} is {base + me + 2}"),
        "too few": (lambda: [below, itself], f"user {me + 1} is nobody"),
        "a neighbour's": (lambda: [(0, base + 1000, me), itself, (me + 1, base + me + 1001, rest)], "user 0 is"),
        "two numbers": (lambda: [("0", "200000")], "it raised"),
    })  # fmt: skip
