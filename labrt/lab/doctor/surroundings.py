"""What the doctor looks at around the kernel: Python, programs, disk, memory, clock, network, labrt's own things."""

from __future__ import annotations

import datetime
import email.utils
import os
import shlex
import shutil
import sys
import time

from labrt.image.image import human
from labrt.lab.doctor.host import Host
from labrt.lab.doctor.kernel import NEWER
from labrt.lab.doctor.report import Check
from labrt.paths import Paths

OLDEST_PYTHON = (3, 11)
LEAST_DISK = 2 << 30
LEAST_MEMORY = 512 << 20
HUB = "https://registry-1.docker.io/v2/"
# labrt did not exist before this day; a clock that says so makes every TLS certificate "not yet valid".
EARLIEST = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC).timestamp()
LATEST = EARLIEST + 20 * 365 * 86400
SET_CLOCK = "sudo timedatectl set-ntp true"
PYTHON = shlex.quote(sys.executable)  # as one types it: the checkout's path may have spaces


def python(version: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """Look at the Python that runs us."""
    saw = f"Python {'.'.join(map(str, version))} ({sys.executable})"
    if version < OLDEST_PYTHON:
        return Check("python", "fail", f"{saw}; labrt needs 3.11 or newer", "sudo sh labrt/setup.sh install")
    return Check("python", "ok", saw)


def program(name: str, package: str, what_for: str, path: str | None = None) -> Check:
    """Look for a program. `path` is a PATH to search; None means ours, and where root's programs lie."""
    path = path if path is not None else f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    found = shutil.which(name, path=path)
    if not found:
        return Check(name, "warn", f"no {name}, which is for {what_for}", f"sudo apt-get install -y {package}")
    return Check(name, "ok", found)


def users_network(path: str | None = None) -> Check:
    """Look for what an ordinary user's networks are made with: pasta, or else slirp4netns."""
    found = program("pasta", "passt", "the networks of ordinary users", path)
    second = program("slirp4netns", "slirp4netns", "", path)
    if found.status != "ok" and second.status == "ok":
        return Check("pasta", "ok", f"{second.saw}, for there is no pasta")
    return found


def disk(paths: Paths, least: int = LEAST_DISK) -> Check:
    """Look how much room there is where labrt keeps images and containers."""
    place = paths.state
    while not os.path.exists(place):  # labrt may not have made it yet
        place = os.path.dirname(place)
    free = shutil.disk_usage(place).free
    if free < least:
        saw = f"{human(free)} free at {paths.state}; an image and its layers want {human(least)}"
        return Check("disk", "warn", saw, "sudo apt-get clean; df -h")
    return Check("disk", "ok", f"{human(free)} free at {paths.state}")


def memory(host: Host) -> Check:
    """Look how much memory is to be had."""
    available = host.fields("/proc/meminfo").get("MemAvailable", "").split()
    if not available:
        return Check("memory", "warn", "no MemAvailable in /proc/meminfo", "free -m")
    free = int(available[0]) * 1024
    if free < LEAST_MEMORY:
        saw = f"{human(free)} to be had; {human(LEAST_MEMORY)} is comfortable"
        return Check("memory", "warn", saw, "ps aux --sort -rss | head")
    return Check("memory", "ok", f"{human(free)} to be had")


def clock(now: float | None = None) -> Check:
    """Look whether the clock can be right. `now` is in seconds since 1970; None asks the clock."""
    now = time.time() if now is None else now
    saw = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    if not EARLIEST <= now <= LATEST:
        return Check("clock", "warn", f"{saw}: certificates will look expired, or not yet valid", SET_CLOCK)
    return Check("clock", "ok", saw)


def hub() -> str:
    """Return the URL that is asked first for Docker Hub's images: LABRT_MIRROR's, where that is set, or its own."""
    from labrt.registry import endpoints

    mirror = endpoints.of_environment().get("docker.io")
    return f"{mirror.rstrip('/')}/v2/" if mirror else HUB


def docker_hub(url: str = "", timeout: float = 1.5) -> Check:
    """Ask a registry for /v2/: any answer at all, 401 as a rule, means that images can be had from it.

    `url` "" is what pulls ask, see hub(). `timeout` is in seconds, for connecting and for the answer each; the answer's
    date is compared with our clock.
    """
    import requests  # 60 ms and more: only those who ask pay

    url = url or hub()
    name, who = "docker hub", _who(url)
    try:
        answer = requests.get(url, timeout=timeout, allow_redirects=False, headers={"User-Agent": "labrt-doctor"})
    except requests.RequestException as error:
        return Check(name, "warn", f"{who} not reached ({type(error).__name__}): {_instead(url)}", _reach(url))
    if answer.status_code not in (200, 401):
        return Check(name, "warn", f"{who} answers {answer.status_code} {answer.reason}: {_instead(url)}", _reach(url))
    there = email.utils.parsedate_tz(answer.headers.get("Date", ""))
    if there and abs(skew := time.time() - email.utils.mktime_tz(there)) > 300:
        return Check(name, "warn", f"our clock is {skew:+.0f} s from that of {who}", SET_CLOCK)
    return Check(name, "ok", f"{who} answers")


def _mirrored(url: str) -> bool:
    return url != HUB and url == hub()


def _who(url: str) -> str:
    host = url.split("/")[2].rpartition("@")[2]  # not its password
    return f"the mirror {host}" if _mirrored(url) else host


def _instead(url: str) -> str:
    return "Docker Hub itself is asked instead" if _mirrored(url) else "the embedded default is used instead"


def _reach(url: str) -> str:
    if _mirrored(url):
        return f"curl -sSI {url} || unset LABRT_MIRROR  # a VM keeps it in /etc/labrt.conf"
    return f"curl -sSI {url} || export LABRT_MIRROR=http://HOST:5000  # HOST: a mirror that is near"


def no_answer(url: str = "") -> Check:
    """Say that nothing came back in time: a resolver that hangs knows no timeout of ours."""
    url = url or hub()
    return Check("docker hub", "warn", f"no answer from {_who(url)} in time: {_instead(url)}", _reach(url))


def libseccomp() -> Check:
    """Look whether the library that compiles seccomp filters can be loaded."""
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError) as error:
        saw = f"libseccomp cannot be loaded: {error}"
        return Check("libseccomp", "fail", saw, "sudo apt-get install -y libseccomp2; sudo sh labrt/setup.sh install")
    return Check("libseccomp", "ok", f"API level {pyseccomp.get_api()}")


def overlay(paths: Paths, host: Host | None = None) -> Check:
    """Look whether labrt's directory can carry overlay mounts; without them each container is a full copy."""
    from labrt.storage.overlay import Overlay

    # In this order: a mount by root makes the kernel load its module, and only then does /proc/filesystems name it.
    reason = Overlay.can_use(paths)
    host = host or Host()
    if "overlay" not in (host.read("/proc/filesystems") or "").split():
        saw = "no overlay in /proc/filesystems: vfs is used, which copies every layer"
        return Check("overlay", "warn", saw, _load_overlay(host))
    if reason:
        saw = f"{reason}: vfs is used, which copies every layer"
        return Check("overlay", "warn", saw, f"sudo mount -t tmpfs tmpfs {shlex.quote(paths.state)}")
    return Check("overlay", "ok", f"works in {paths.layers}")


def _load_overlay(host: Host) -> str:
    release = host.read("/proc/sys/kernel/osrelease") or ""
    if "/overlay.ko" in (host.read(f"/lib/modules/{release}/modules.dep") or ""):
        return "sudo modprobe overlay"
    return NEWER  # the distribution's own kernel has it


def default_image(paths: Paths) -> Check:
    """Look whether the image that is used without a network is there."""
    from labrt.engine import embedded

    if not embedded.present(paths):
        return Check("default image", "warn", "not made yet", f"{PYTHON} -m labrt.engine.embedded")
    return Check("default image", "ok", f"{embedded.REFERENCE} in {embedded.directory(paths)}")


def ledger(paths: Paths) -> Check:
    """Look for what is still in the ledger, though its maker is gone."""
    from labrt.lab import ledger as book

    found = book.ledger(paths)
    left = [entry for entry in found if not book.owner_alive(entry)]
    if left or found.unreadable:
        count = len(left) + len(found.unreadable)
        remedy = f"{PYTHON} -c 'import labrt; print(labrt.reset())'"
        return Check("ledger", "warn", f"{count} left behind by processes that are gone", remedy)
    return Check("ledger", "ok", f"{len(found)} in use" if len(found) else "empty")
