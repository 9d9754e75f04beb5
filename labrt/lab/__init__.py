"""What a learner sees: how this machine is, what labrt has left in it, and pictures of both.

    doctor/     what this machine can do, and what to type where it cannot        lab.doctor()
    ledger      what labrt has made and not yet taken down; takes it down         lab.ledger(), lab.reset()
    source      the live source of anything, with its file, line and man page     lab.source(mounts.overlay)
    snapshot    what the host has just now, to be compared with later             lab.snapshot()
    exercise    which exercises there are; what helps a learner along             lab.check("01", relay), lab.hint("01")
    checks/     judge an exercise by the kernel's state, one file per notebook    lab.checks.cleans_up(clean_up)
    own         the learner's function where it passed, else labrt's (ours)          lab.own()("13")
    redis       redis as an image: Docker Hub's, or one of Debian's packages
    progress    what a learner has done, kept in their home                       lab.progress()
    given       what exercises ask of this learner alone, by a seed               lab.given("05")
    roster      a learner's progress as a file, a class's as a table              labrt lab export
    handover    the machine as new for the next class                             labrt lab reset
    preflight   everything that a session will need, looked at before it          lab.preflight("08", "18")
    goto        begin at any notebook                                             lab.goto("08")
    show        tables and pictures as HTML and SVG, each with the same in text   lab.show.timeline(steps)
    charts      memory climbing to its wall, CPU held and let go, bars of time and disk
    content     images as blobs that name each other by digest; samples makes small ones
    wire        requests and answers as a message sequence; faulty is a registry on a bad day
    stations    network namespaces with names, to lay cables between              lab.stations("left", "right")
    cable       packets on their way from station to station; rules: what went by which rule of nft's
    lifecycle   the states that a container went through, as it went
    bundles     a config and a root, run by runc or by labrt
    grid        what was tried against what, a verdict in each cell
    escapes     four ways out of a container, and defences to put back            lab.escapes.room()
    buildgraph  stages, steps and hits of a build, while it is built              lab.buildgraph.Watch(text)
    sheets      a union of directories as a pile, each file in its layer's colour lab.sheets.pile(layers, root)
    meters      what a group uses, interval by interval; a dial to turn meanwhile lab.meters.dial(group)
    skipped     why a cell is not run here, and what it said elsewhere            lab.skipped(error)
    live        a picture that changes while a cell runs                          draw = lab.live()
    diagrams    boxes and lines: trees, pairs, a number line                      lab.diagrams.tree(nodes)
    trees       processes, mounts and namespaces of now, to be drawn so           lab.trees.processes(pid)
    audit       what confines a container, from inside, and other engines' beside lab.audit()
    daemon      a labrt daemon to play with: docker, HTTP by hand, kill -9          lab.daemon()
    traces      a request from the client to the kernel, of what the daemon told
    steps       names what was done and how long it took                          lab.steps()
    sides       one process, seen from inside and from outside                    lab.sides(pid)
    workspace   a directory to work in, which does not stay                       lab.workspace("by-hand")
    hub         Docker Hub, or the embedded default where it does not answer      lab.hub()
    demo        the main job, narrated by narrator                                python -m labrt.lab.demo

The top floor but for the command line: it may use every other, and none of them uses it.

    >>> from labrt import lab
    >>> lab.doctor()

Most rooms have one function of their own name. Such a module can itself be called: `lab.doctor` is the module
labrt.lab.doctor whichever way it was imported, and `lab.doctor()` is `lab.doctor.doctor()`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_CALLABLE = (
    "audit", "daemon", "doctor", "given", "goto", "hub", "ledger", "live", "own", "progress", "rules", "sides",
    "skipped", "snapshot", "source", "preflight", "stations", "steps", "workspace",
)  # fmt: skip
_ROOMS = (
    *_CALLABLE, "bundles", "cable", "charts", "checks", "content", "demo", "diagrams", "exercise", "faulty",
    "lifecycle", "meters", "ours", "redis", "samples", "sheets", "show", "traces", "trees", "wire",
    "buildgraph", "escapes", "grid", "handover", "roster",
)  # fmt: skip
_FUNCTIONS = {
    "reset": "ledger",
    **dict.fromkeys(("check", "hint", "predict", "reset_exercise", "solution"), "exercise"),
}


class _Room(ModuleType):
    """A module that can be called, as the function in it that has its name."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*arguments, **options)


class _Floor(ModuleType):
    """This package. However one of its modules is imported, Python ends with `lab.NAME = module`: here it comes by."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CALLABLE and type(value) is ModuleType:
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Floor


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"labrt.lab.{_FUNCTIONS[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"labrt.lab.{name}")
    raise AttributeError(f"labrt.lab has no {name!r}; it has {', '.join(sorted([*_FUNCTIONS, *_ROOMS]))}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS, *_FUNCTIONS])
