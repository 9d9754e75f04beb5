"""The doctor: what this machine can do for containers, and what to type where it cannot.

    >>> report = labrt.doctor()
    >>> report.ok                   # nothing failed; warnings only make something smaller
    True
    >>> print(report)               # a notebook shows a table by itself; `python -m labrt.lab.doctor` prints it too

    report          the values: Check and Report            host            a machine, by its /proc and /sys
    kernel          questions to the kernel                 surroundings    Python, disk, clock, network, …
    control_groups  controllers, delegation, swap        ids             an ordinary user's ids, and logout

Nothing is changed by looking, except that an overlay is tried out in labrt's own directory. Docker Hub, or the mirror
that LABRT_MIRROR names, is asked in a thread beside the rest, and waited for at most two seconds. Notebook 00 begins
with it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import threading
import time
from collections.abc import Callable

from labrt import paths
from labrt.errors import LabrtError
from labrt.lab.doctor import control_groups, ids, kernel, surroundings
from labrt.lab.doctor.host import Host
from labrt.lab.doctor.report import Check, Report, Status
from labrt.paths import Paths

__all__ = ["Check", "Host", "Report", "Status", "doctor"]

PATIENCE = 1.8  # seconds, for Docker Hub's answer, from when it is asked


def doctor(*, host: Host | None = None, where: Paths | None = None, hub: str = "") -> Report:
    """Examine a machine; None means this one, and this user's places.

    `hub` is the URL that is asked whether it answers; "" is that of LABRT_MIRROR where that is set, else Docker Hub's.
    A question that itself goes wrong is a failed check: this function raises nothing on purpose.
    """
    host, where = host or Host(), where or paths.default()
    asked = _in_background(lambda: surroundings.docker_hub(hub))
    questions: list[tuple[str, Callable[[], Check]]] = [
        ("python", surroundings.python),
        ("kernel", functools.partial(kernel.kernel, host)),
        ("user", functools.partial(kernel.user, host)),
        ("namespaces", functools.partial(kernel.namespaces, host)),
        ("rootless", functools.partial(kernel.user_namespaces, host)),
        ("subordinate ids", functools.partial(ids.subordinate_ids, host, where)),
        ("logout", functools.partial(ids.lingering, host)),
        ("cgroups", functools.partial(control_groups.cgroups, host)),
        ("swap", functools.partial(control_groups.swap, host)),
        ("seccomp", functools.partial(kernel.seccomp, host)),
        ("libseccomp", surroundings.libseccomp),
        ("overlay", functools.partial(surroundings.overlay, where, host)),
        ("nft", functools.partial(surroundings.program, "nft", "nftables", "networks and published ports")),
        ("pasta", surroundings.users_network),
        ("disk", functools.partial(surroundings.disk, where)),
        ("memory", functools.partial(surroundings.memory, host)),
        ("clock", surroundings.clock),
        ("default image", functools.partial(surroundings.default_image, where)),
        ("ledger", functools.partial(surroundings.ledger, where)),
        ("docker hub", lambda: asked() or surroundings.no_answer(hub)),
    ]
    return Report(tuple(_ask(name, question) for name, question in questions))


def _ask(name: str, question: Callable[[], Check]) -> Check:
    try:
        return question()
    except LabrtError as error:
        return Check(name, "fail", error.message, error.remedy)
    except Exception as error:  # a doctor that stops at the first surprise helps nobody
        return Check(name, "fail", f"{type(error).__name__}: {error}", f"{surroundings.PYTHON} -m labrt.lab.doctor")


def _in_background(question: Callable[[], Check]) -> Callable[[], Check | None]:
    """Start a question in a thread; return a function that waits for its answer, PATIENCE long (None: too late).

    A daemon thread, and no pool: getaddrinfo may hang for half a minute, and must not keep Python from ending. The time
    that a slow machine needs to import what asks is not the network's, and not counted.
    """
    answers: list[Check] = []
    deadline: list[float] = []
    prepared = threading.Event()

    def ask() -> None:
        with contextlib.suppress(ImportError):
            importlib.import_module("requests")
        deadline.append(time.monotonic() + PATIENCE)
        prepared.set()
        answers.append(_ask("docker hub", question))

    def answer() -> Check | None:
        prepared.wait()
        thread.join(max(0.0, deadline[0] - time.monotonic()))
        return answers[0] if answers else None

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return answer
