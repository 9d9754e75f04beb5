"""Capabilities: names against the C library's and python-prctl's, sets against the kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import prctl
import pytest
from rich.console import Console

from labrt.errors import InvalidInput
from labrt.linux import capabilities, process, procfs
from labrt.linux.capabilities import CAP, DEFAULT, MEANING, NONE, Capabilities

SMALL = CAP.CHOWN | CAP.NET_BIND_SERVICE
NOBODY = 65534


def as_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


# Names ----------------------------------------------------------------------------------------------------------------


def test_the_names_are_those_of_python_prctl() -> None:
    theirs = {name: 1 << getattr(prctl, name) for name in dir(prctl) if name.startswith("CAP_")}
    for name in ("CAP_LAST_CAP", "CAP_EFFECTIVE", "CAP_PERMITTED", "CAP_INHERITABLE"):
        theirs.pop(name)
    ours = {f"CAP_{cap.name}": int(cap) for cap in CAP}
    assert theirs.items() <= ours.items()
    assert set(ours) - set(theirs) <= {"CAP_CHECKPOINT_RESTORE"}


def test_the_names_are_those_of_the_kernels_header() -> None:
    header = Path("/usr/include/linux/capability.h")
    if not header.exists():
        pytest.skip(f"{header} is absent: linux-libc-dev is not installed")
    lines = [line.split() for line in header.read_text().splitlines() if line.startswith("#define CAP_")]
    theirs = {words[1]: 1 << int(words[2]) for words in lines if words[2].isdigit()}
    ours = {f"CAP_{cap.name}": int(cap) for cap in CAP}
    assert theirs and theirs.items() <= ours.items()


def test_every_capability_has_a_meaning() -> None:
    assert set(MEANING) == set(CAP)


@pytest.mark.parametrize("name", ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_Net_Admin"])
def test_names_as_people_type_them(name: str) -> None:
    assert capabilities.parse(name) == CAP.NET_ADMIN


def test_all_is_what_this_kernel_knows() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    everything = capabilities.parse("all")
    assert everything == capabilities.supported()
    assert int(everything) == (1 << min(last + 1, len(CAP))) - 1


@pytest.mark.parametrize("name", ["", "CAP_", "NET_ADMIN ", "CAP_41", "ROOT"])
def test_an_unknown_name_is_named(name: str) -> None:
    with pytest.raises(InvalidInput, match="no such capability") as caught:
        capabilities.parse("CHOWN", name)
    assert repr(name) in str(caught.value)


def test_names_are_in_the_kernels_order_and_come_back() -> None:
    caps = CAP.KILL | CAP.CHOWN | CAP.CHECKPOINT_RESTORE
    assert capabilities.names(caps) == ["CAP_CHOWN", "CAP_KILL", "CAP_CHECKPOINT_RESTORE"]
    assert capabilities.parse(*capabilities.names(caps)) == caps


def test_the_default_set_is_dockers_fourteen() -> None:
    assert len(capabilities.names(DEFAULT)) == 14
    # https://docs.docker.com/engine/containers/run/#runtime-privilege-and-linux-capabilities
    assert not DEFAULT & capabilities.parse("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "SYS_MODULE", "DAC_READ_SEARCH")


def test_a_bit_without_a_name_survives_taking_others_away() -> None:
    young = CAP(1 << 50 | int(CAP.KILL))
    assert int(young & ~CAP.KILL) == 1 << 50


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ([], [], DEFAULT),
        (["NET_ADMIN"], [], DEFAULT | CAP.NET_ADMIN),
        ([], ["CHOWN"], DEFAULT & ~CAP.CHOWN),
        ([], ["SYS_ADMIN"], DEFAULT),
        (["CHOWN"], ["CHOWN"], DEFAULT),
        ([], ["ALL"], NONE),
        (["KILL"], ["all"], CAP.KILL),
        (["ALL"], ["SYS_ADMIN"], "all but SYS_ADMIN"),
        (["ALL"], ["ALL"], "all"),
        (["cap_all"], [], "all"),
    ],
)
def test_adjusting_as_docker_does(add: list[str], drop: list[str], expected: CAP | str) -> None:
    everything = capabilities.supported()
    expected = {"all": everything, "all but SYS_ADMIN": everything & ~CAP.SYS_ADMIN}.get(expected, expected)  # type: ignore[arg-type,call-overload]
    assert capabilities.adjust(DEFAULT, add, drop) == expected


def test_to_the_oci_and_back() -> None:
    sets = Capabilities(bounding=SMALL, permitted=CAP.CHOWN)
    written = sets.to_oci()
    assert written["bounding"] == ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"] and written["ambient"] == []
    assert Capabilities.from_oci(written) == sets
    assert Capabilities.from_oci({"effective": ["CAP_KILL"]}) == Capabilities(effective=CAP.KILL)


def test_it_shows_itself() -> None:
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        console.print(Capabilities.of_root(SMALL))
        text = console.export_text()
    assert "NET_BIND_SERVICE" in text and "listen on ports below 1024" in text and "●" in text
    assert "SYS_ADMIN" not in text
    assert repr(Capabilities(ambient=SMALL)) == "<Capabilities ambient=CHOWN,NET_BIND_SERVICE>"


# The kernel -----------------------------------------------------------------------------------------------------------


def test_our_own_sets_are_those_of_proc() -> None:
    lines, sets = procfs.status(), capabilities.of()
    keys = "CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"
    assert [f"{caps:016x}" for caps in sets] == [lines[key] for key in keys]
    assert sets._fields == ("bounding", "effective", "permitted", "inheritable", "ambient")
    assert capabilities.bounding() == sets.bounding


@pytest.mark.root
def test_limiting_the_bounding_set_leaves_exactly_that() -> None:
    def look() -> Capabilities:
        capabilities.limit_bounding(SMALL)
        return capabilities.of()

    after = process.run_in_child(look)
    assert after.bounding == SMALL
    assert after.permitted == capabilities.of().permitted


@pytest.mark.root
def test_a_root_container_has_its_sets_before_and_after_exec() -> None:
    def look() -> tuple[Capabilities, CAP, str]:
        clamped = capabilities.apply(Capabilities.of_root(SMALL))
        status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
        return capabilities.of(), clamped, status

    sets, clamped, status = process.run_in_child(look)
    assert sets == Capabilities(SMALL, SMALL, SMALL, NONE, NONE)
    assert clamped == NONE
    for name in ("CapBnd", "CapPrm", "CapEff"):
        assert f"{name}:\t{SMALL:016x}" in status


@pytest.mark.root
def test_another_user_keeps_capabilities_over_setuid_and_by_ambient_over_exec() -> None:
    wanted = Capabilities(SMALL, SMALL, SMALL, SMALL, SMALL)

    def look() -> tuple[Capabilities, int, str]:
        capabilities.apply(wanted, change_user=as_nobody)
        capabilities.no_new_privileges()
        status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
        return capabilities.of(), os.getuid(), status

    sets, uid, status = process.run_in_child(look)
    assert sets == wanted and uid == NOBODY
    assert f"CapEff:\t{SMALL:016x}" in status and f"CapAmb:\t{SMALL:016x}" in status
    assert "NoNewPrivs:\t1" in status and f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status


@pytest.mark.root
def test_another_user_without_ambient_has_nothing_after_exec() -> None:
    def look() -> str:
        capabilities.apply(Capabilities.of_root(SMALL), change_user=as_nobody)
        return subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout

    status = process.run_in_child(look)
    assert "CapEff:\t0000000000000000" in status and f"CapBnd:\t{SMALL:016x}" in status


@pytest.mark.root
def test_what_is_dropped_is_really_gone(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    def look() -> tuple[bool, bool]:
        return chown_works(CAP.CHOWN | CAP.SETPCAP), chown_works(NONE)

    def chown_works(caps: CAP) -> bool:
        capabilities.apply(Capabilities.of_root(caps))
        try:
            os.chown(file, 1, 1)
        except PermissionError:
            return False
        return True

    assert process.run_in_child(look) == (True, False)


@pytest.mark.root
def test_nobody_can_give_more_than_he_has_and_says_so() -> None:
    def look() -> tuple[Capabilities, CAP, Capabilities]:
        capabilities.limit_bounding(SMALL | CAP.KILL)
        capabilities.set_current(SMALL, SMALL)
        wanted = Capabilities.of_root(SMALL | CAP.KILL | CAP.SYS_ADMIN)
        sets, clamped = capabilities.granted(wanted)
        return sets, clamped, wanted

    sets, clamped, _ = process.run_in_child(look)
    assert sets == Capabilities(SMALL | CAP.KILL, SMALL, SMALL, NONE, NONE)
    assert clamped == CAP.KILL | CAP.SYS_ADMIN


@pytest.mark.root
def test_nothing_remains_of_capabilities_that_python_prctl_has_no_name_for() -> None:
    # python-prctl 1.8.1 does not name CAP_CHECKPOINT_RESTORE, and its own `limit()` may leave it in.

    def look() -> tuple[int, int]:
        capabilities.limit_bounding(NONE)
        capabilities.set_current(NONE, NONE)
        lines = procfs.status()
        return int(lines["CapBnd"], 16), int(lines["CapPrm"], 16)

    assert process.run_in_child(look) == (0, 0)


@pytest.mark.root
@pytest.mark.parametrize("step", ["limit_bounding", "set_current", "set_ambient"])
def test_failures_name_the_call_and_the_remedy(step: str) -> None:
    def look() -> str:
        capabilities.set_current(SMALL, SMALL)
        try:
            if step == "limit_bounding":
                capabilities.limit_bounding(NONE)
            elif step == "set_current":
                capabilities.set_current(CAP.KILL, CAP.KILL)
            else:
                capabilities.set_ambient(SMALL)
        except PermissionError as error:
            return str(error)
        return "nothing raised"

    message = process.run_in_child(look)
    calls = {"limit_bounding": "PR_CAPBSET_DROP, CAP_", "set_current": "permitted=CAP_KILL", "set_ambient": "prctl(47"}
    assert calls[step] in message and "EPERM" in message


@pytest.mark.root
@pytest.mark.oracle
def test_setpriv_and_capsh_see_the_same() -> None:
    if not shutil.which("capsh"):
        pytest.skip("capsh is not installed (libcap2-bin)")

    def look() -> str:
        capabilities.apply(Capabilities(SMALL, SMALL, SMALL, SMALL, SMALL))
        return subprocess.run(["capsh", "--print"], capture_output=True, text=True, check=True).stdout

    lines = dict(line.partition("=")[::2] for line in process.run_in_child(look).splitlines() if "=" in line)
    assert lines["Bounding set "].strip() == "cap_chown,cap_net_bind_service"
    assert lines["Ambient set "].strip() == "cap_chown,cap_net_bind_service"
