"""What the tests of exercises share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from labrt import lab, paths
from labrt.engine import embedded
from labrt.image.layout import Layout
from labrt.lab.checks.verdict import Check
from labrt.linux import ledger
from labrt.registry.client import Client

Answers = Mapping[str, tuple[Callable[..., object], str]]


@pytest.fixture
def pulled(labrt_root) -> None:
    """LABRT_ROOT has busybox, from no network."""
    with embedded.serve() as server, Client(mirrors={"docker.io": server.url}) as client:
        client.pull("busybox", Layout(paths.default().images))


@pytest.fixture
def busybox(pulled) -> Iterator[None]:
    """The same, and afterwards the ledger is empty."""
    yield
    assert ledger.entries() == []


@pytest.fixture
def judged(labrt_root) -> Callable[[str, Callable[..., object], Answers], None]:
    """Hold an exercise to its promise: the solution passes, each likely mistake is told so in its own way.

    `wrong` is {mistake: (function, a word of its first hint)}; three or more. Unwritten ones are tried, too.
    """

    def judge(number: str, right: Callable[..., object], wrong: Answers) -> None:
        check = lab.check(number, right)
        assert check.passed and not check.hints, str(check)
        assert len(wrong) >= 3
        verdicts = {mistake: lab.check(number, function) for mistake, (function, _) in wrong.items()}
        for mistake, check in verdicts.items():
            assert_helps(check, mistake)
            assert wrong[mistake][1] in check.hint(1), f"{mistake}: {check}"
        firsts = {check.hint(1): mistake for mistake, check in verdicts.items()}
        assert len(firsts) == len(wrong), f"the same hint for several mistakes: {firsts}"

        def unwritten(*_: object) -> object:
            raise NotImplementedError

        check = lab.check(number, unwritten)
        assert_helps(check, "unwritten")
        assert "not written yet" in check.saw

    def assert_helps(check: Check, mistake: str) -> None:
        assert not check.passed and check.saw and check.expected, f"{mistake}: {check}"
        assert len(set(check.hints)) == 3, f"{mistake}: {check.hints}"

    return judge
