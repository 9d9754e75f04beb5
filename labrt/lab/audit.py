"""What confines a container, as it sees it itself: one table, and other engines' defaults beside it.

    lab.audit()                                             labrt's defaults, with busybox
    lab.audit("alpine", privileged=True)                    any image, with any options of `run`
    lab.audit(others={"podman": ["podman", "run", "--rm", "--network=none", "busybox"]})

Each answer is found by a shell inside: so `others` are the words that start a container of the same kind by another
engine, to which `sh -c …` is added. `differences()` says where two columns are not alike.

See capabilities(7), proc_pid_status(5), seccomp(2).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from labrt.errors import ContainerError
from labrt.lab import show
from labrt.lab.show import Picture, Shown

TITLE = "From inside"
# What is asked, and by which shell line. They leave nothing, and need no more than busybox.
QUESTIONS = {
    "capabilities": "sed -n 's/^CapEff:.//p' /proc/self/status",
    "bounding set": "sed -n 's/^CapBnd:.//p' /proc/self/status",
    "no_new_privs": "sed -n 's/^NoNewPrivs:.//p' /proc/self/status",
    "seccomp": "sed -n 's/^Seccomp:.//p' /proc/self/status",
    "user": "id -u",
    "users outside": "tr -s ' ' < /proc/self/uid_map",
    "umask": "umask",
    "open files": "echo /proc/self/fd/* | tr -dc '0-9 '",
    "process 1": "cat /proc/1/comm",
    "cgroup": "cut -d: -f3 /proc/self/cgroup | sort -u | sed 's/[0-9a-f]\\{12,\\}/ID/' | head -n 1",
    "AppArmor": "cat /proc/self/attr/apparmor/current 2>/dev/null || echo none",
    "keys": "cat /proc/keys 2>/dev/null | wc -l",
    "/": "awk '$5 == \"/\" { print $6 }' /proc/self/mountinfo",
    "/proc": "awk '$5 == \"/proc\" { print $6 }' /proc/self/mountinfo",
    "/sys": "awk '$5 == \"/sys\" { print $6 }' /proc/self/mountinfo",
    "/sys/fs/cgroup": "awk '$5 == \"/sys/fs/cgroup\" { print $6 }' /proc/self/mountinfo",
    "/dev": "awk '$5 == \"/dev\" { print $6 }' /proc/self/mountinfo",
    "masked": "awk '$5 ~ \"^/(proc|sys)/\" && $5 !~ \"^/sys/fs\" && "
              "$(NF-2) != \"proc\" && $(NF-2) != \"sysfs\" { print $5 }' /proc/self/mountinfo | sort",
    "read-only": "awk '$5 ~ \"^/proc/\" && $6 ~ \"^ro\" && $(NF-2) == \"proc\" { print $5 }' "
                 "/proc/self/mountinfo | sort",
    "devices": "cd /dev; for name in * */*; do [ -c $name ] || [ -b $name ] && echo $name; done; true",
    "disk": "mknod /tmp/audit b 7 0 2>/dev/null && { head -c 0 /tmp/audit 2>&1 | sed 's/.*: //'; rm /tmp/audit; } "
            "|| echo 'no node'",
    "new user namespace": "unshare -U true 2>/dev/null && echo possible || echo refused",
    "mount": "mount -t tmpfs audit /tmp 2>/dev/null && umount /tmp && echo possible || echo refused",
}  # fmt: skip


class Audit(Shown):
    """A table: a column of answers for each engine. It shows itself, in a terminal and in a notebook."""

    def __init__(self, columns: Mapping[str, Mapping[str, str]]) -> None:
        self.columns = columns

    def differences(self, one: str = "labrt", other: str = "") -> dict[str, tuple[str, str]]:
        """Return what two columns answer differently; `other` may be left out if there are just two."""
        other = other or next(name for name in self.columns if name != one)
        left, right = self.columns[one], self.columns[other]
        return {what: (left[what], right[what]) for what in left if left[what] != right[what]}

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for what in QUESTIONS:
            yield what, *(answers[what] for answers in self.columns.values())

    def __repr__(self) -> str:
        return f"<Audit of {', '.join(self.columns)}: {len(QUESTIONS)} questions>"

    def __rich__(self) -> object:
        return show.rich_table(TITLE, ["", *self.columns], self._rows())

    def picture(self) -> Picture:
        """Draw it."""
        return show.table(["", *self.columns], self._rows(), caption=TITLE)


def audit(image: str = "busybox", *, others: Mapping[str, Sequence[str]] | None = None, **options: Any) -> Audit:
    """Ask a new container of labrt, and one of each of `others`. Raises ContainerError when one does not answer."""
    import labrt

    columns = {"labrt": _read(labrt.run(image, "sh", "-c", SCRIPT, **options).stdout)}
    for name, command in (others or {}).items():
        done = subprocess.run([*command, "sh", "-c", SCRIPT], capture_output=True, text=True)
        if done.returncode:
            raise ContainerError(f"{name} does not run: {done.stderr.strip()[:300]}", remedy=f"try {' '.join(command)}")
        columns[name] = _read(done.stdout)
    return Audit(columns)


SCRIPT = "\n".join(f"echo '=== {what}'\n({line})" for what, line in QUESTIONS.items()) + "\ntrue\n"


def _read(text: str) -> dict[str, str]:
    found = dict.fromkeys(QUESTIONS, "")
    for part in text.split("=== ")[1:]:
        what, _, answer = part.partition("\n")
        found[what] = " ".join(answer.split())
    for what in ("capabilities", "bounding set"):
        found[what] = _capabilities(found[what])
    return found


def _capabilities(digits: str) -> str:
    """Name the bits of a set: `all 41` where nothing is missing."""
    from labrt.linux import capabilities

    if not re.fullmatch("[0-9a-f]+", digits):
        return digits
    names = capabilities.names(capabilities.CAP(int(digits, 16)))
    return f"{len(names)}: " + " ".join(name.removeprefix("CAP_").lower() for name in names) if names else "none"
