"""Notebook 16's check: configure(args), run by runc where it is installed. What passes, what each mistake is told."""

from __future__ import annotations

import pytest

from labrt.lab import bundles
from labrt.lab.checks import configs
from labrt.linux import ledger

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def nothing_stays(labrt_root):
    yield
    assert ledger.entries() == []


def configure(args, *, kinds=("pid", "mount", "uts", "ipc", "network"), **change):
    config = {
        "ociVersion": "1.0.2",
        "process": {"args": args, "cwd": "/", "env": ["PATH=/bin:/usr/bin"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "hostname": "lesson",
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": kind} for kind in kinds]},
    }
    return {name: value for name, value in {**config, **change}.items() if value is not None}


def unwritten(args):
    raise NotImplementedError


def but(**how):
    return lambda args: configure(args, **how)


MISTAKES = {
    "unwritten": (unwritten, "a dict with ociVersion"),
    "a list": (lambda args: [args], "should return a dict"),
    "no version": (but(ociVersion=None), "ociVersion"),
    "no process": (but(process={"args": [], "cwd": "/"}), "args"),
    "no network": (but(kinds=("pid", "mount", "uts", "ipc")), "shares with the host: net"),
    "no ipc": (but(kinds=("pid", "mount", "uts", "network")), "shares with the host: ipc"),
    "no proc": (but(mounts=[]), "sees no /proc"),
    "another name": (but(hostname="mine"), "its hostname is 'mine'"),
    "other args": (lambda args: configure(["true"]), "did not answer"),
    "raises": (lambda args: args.nothing, "AttributeError"),
}


def test_the_smallest_config_passes():
    check = configs.configures(configure)
    assert check.passed, (check.saw, check.hints)
    assert check.saw.startswith(f"{(bundles.others() or ['labrt'])[0]}: exit code 5")


def test_where_there_is_no_other_runtime_labrt_runs_it(monkeypatch):
    monkeypatch.setattr(bundles, "others", list)
    check = configs.configures(configure)
    assert check.passed and check.saw.startswith("labrt: exit code 5")


@pytest.mark.parametrize(("mistake", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_is_told_what_it_is(mistake, hint):
    check = configs.configures(mistake)
    assert not check.passed
    assert hint in check.hint(), (check.hint(), check.saw)
    assert len(check.hints) >= 2
