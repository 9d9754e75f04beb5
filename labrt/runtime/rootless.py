"""Without root: a user's containers live in a user namespace of their own, which all of this user's commands share.

    rootless.enter()        from here on this process is root: of what its user owns, and of nothing else

Root on the machine stays who it is. An ordinary user gets, at their first command, one user namespace and one mount
namespace, and every later command enters these two before it does anything else (setns(2); nothing is executed anew).
In there the rest of labrt finds what it needs, and knows no difference: uid 0, mounts, overlayfs, new namespaces.

Why one for all, and not one per container? An image has files of many owners. They are unpacked as subordinate ids
(subuid(5)), which outside of these maps are strangers' ids: not even their user could read, repack or delete them out
there. With one map for all, layers are shared as root's are.

What keeps the two alive between commands is a *keeper*, a process that does nothing (`sleep infinity`: half a MB). It
is in the ledger, so `labrt reset` ends it. If it is gone, but a container runs, the namespaces are found with that
container's monitor, and get a new keeper. Where it is, says namespaces.json among the state: a file that no logout
deletes, only believed for this boot, and for a process that began when it says.

Who is who: uid 0 inside is the user; 1 and on are the subordinate ids, written by newuidmap(1). Who has none gets a
map of one line: nobody exists in there but root, and whatever an image gives to others is root's (image/powers.py).
Their processes also keep the user's supplementary groups, for they may not call setgroups(2): user_namespaces(7).

Why not one that is executed anew, as podman does? A command has a single thread when it comes here, so it may enter
itself; that costs two system calls, and a second Python 11 ms. A process with several threads, such as a notebook's
kernel, cannot enter at all: `labrt unshare jupyter lab` starts it in there.

What in there a container gets in another way than root's, and what not at all: unprivileged.py.
See also user_namespaces(7), mount_namespaces(7); notebook 07.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat

from labrt import paths
from labrt.errors import Conflict, LabrtWarning, NotSupported

TYPE_CHECKING = False  # as in syscalls.py: this is on the way of a cold start
if TYPE_CHECKING:
    from collections.abc import Iterator

    from labrt.linux.process import Maps
    from labrt.paths import Paths

SLEEP = "/bin/sleep"  # an absolute path: what it is does not hang on anybody's PATH
IN_THERE = "start it in there: `labrt unshare python3`, `labrt unshare jupyter lab`"


def enter(where: Paths | None = None) -> None:
    """Become root of this user's own namespaces, made now if there are none. Harmless for root, and a second time.

    Raises NotSupported: a process with several threads cannot enter, or this machine lets no user have a user
    namespace; Conflict: a directory of labrt's is somebody else's. Open files, the working directory and the
    environment stay.
    """
    if os.geteuid() == 0:
        return
    from labrt.image import files
    from labrt.linux import process

    if process.threads() != 1:
        raise NotSupported("a process with several threads cannot enter a user namespace", remedy=IN_THERE)
    os.environ.setdefault("HOME", os.path.expanduser("~"))  # in there uid 0 would be told root's
    where = where or paths.default()
    make_private(where.state, "XDG_DATA_HOME")
    make_private(where.run, "XDG_RUNTIME_DIR")
    with files.locked(os.path.join(where.state, ".namespaces.lock")):
        if not _enter_existing(where):
            _go_to(_begin(where))


# Directories ----------------------------------------------------------------------------------------------------------


def make_private(place: str, variable: str) -> None:
    """Make a directory that nobody else can look into, or see to it that it is one.

    Its parents may be /tmp, where everybody makes what names they like: so none of them may be a stranger's. Raises
    Conflict; NotSupported when it cannot be made, with the environment's `variable` as the remedy.
    """
    remedy = f"set {variable} (or LABRT_ROOT) to a directory of your own"
    _trust_above(place, remedy)
    try:
        os.makedirs(place, 0o700, exist_ok=True)
    except OSError as error:
        raise NotSupported(f"{place} cannot be made: {error.strerror}", remedy=remedy) from None
    _trust_above(place, remedy)  # what was not there a moment ago, somebody may have been quicker to make
    found = os.stat(place)
    if found.st_uid != os.geteuid() or os.lstat(place).st_uid != os.geteuid():
        raise Conflict(f"{place} belongs to user {found.st_uid}, not to you", remedy=remedy)
    if found.st_mode & 0o077:
        os.chmod(place, 0o700)


def _trust_above(place: str, remedy: str) -> None:
    while place != (place := os.path.dirname(place)):
        _trust(place, remedy)


def _trust(directory: str, remedy: str) -> None:
    """Raise Conflict for a directory in which a stranger could put something else under our name."""
    try:
        found = os.lstat(directory)
    except OSError:  # not there yet, or out of our sight: then nothing can be made below it
        return
    if found.st_uid not in (0, os.geteuid()):
        raise Conflict(f"{directory} belongs to user {found.st_uid}", remedy=remedy)
    if stat.S_ISDIR(found.st_mode) and found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX:
        raise Conflict(f"everybody may write to {directory}", remedy=remedy)


# Entering -------------------------------------------------------------------------------------------------------------


def _enter_existing(where: Paths) -> bool:
    """Enter the namespaces that are there; False if there are none."""
    from labrt.linux import process

    for keeper, pid, starttime in _holders(where):
        pidfd = process.open_pidfd(pid, starttime)
        if pidfd is None:
            continue
        try:
            _go_to(pidfd)
        except OSError:  # it has just ended, or is not in there
            continue
        finally:
            os.close(pidfd)
        if not keeper:
            os.close(_keep(where))
        return True
    return False


def _holders(where: Paths) -> Iterator[tuple[bool, int, int]]:
    """Name who may hold the namespaces: the keeper (True), then the monitors of containers; pid and start time."""
    from labrt.linux import procfs

    boot = procfs.boot_id()
    names = [("namespaces.json", True)]
    with contextlib.suppress(OSError):
        names += [(os.path.join("containers", id, "state.json"), False) for id in os.listdir(where.containers)]
    for name, keeper in names:
        with contextlib.suppress(OSError, ValueError, KeyError), open(os.path.join(where.state, name)) as file:
            about = json.load(file)
            if about["boot"] == boot:
                yield keeper, about["monitor"], about["monitor_starttime"]


def _go_to(pidfd: int) -> None:
    """Enter the user and mount namespaces of a process, and come back to where we are in the directories' tree."""
    from labrt.linux import syscalls
    from labrt.linux.flags import CLONE

    here = None
    with contextlib.suppress(OSError):
        here = os.getcwd()
    syscalls.setns(pidfd, CLONE.NEWUSER | CLONE.NEWNS)
    if here is not None:
        with contextlib.suppress(OSError):
            os.chdir(here)


# Making them ----------------------------------------------------------------------------------------------------------


def _begin(where: Paths) -> int:
    """Make the namespaces, with as many ids as this user has; return their keeper, as a pidfd."""
    from labrt.linux import userns

    single, maps = userns.single_maps(), userns.rootless_maps()
    if maps != single:
        try:
            return _keep(where, maps)
        except NotSupported as error:  # newuidmap is not installed, or refuses
            import warnings

            warnings.warn(LabrtWarning(f"without subordinate ids, for {error}"), stacklevel=4)
    return _keep(where, single)


def _keep(where: Paths, maps: Maps | None = None) -> int:
    """Start a keeper, in new namespaces with these maps (None: in those we are in), and write down who it is."""
    from labrt.image import files
    from labrt.linux import process, procfs, userns

    heard, told = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            child = process.spawn(
                lambda: _be_keeper(where, told, new=maps is not None),
                namespaces="user,mnt" if maps else 0, propagation=None, maps=maps,
            )  # fmt: skip
        finally:
            os.close(told)
        with open(heard, "rb", closefd=False) as pipe:
            failure = pipe.read().decode()
        if failure:
            child.wait()
            raise NotSupported(failure, remedy="; ".join(userns.obstacles()))
    except OSError as error:
        remedy = "; ".join(userns.obstacles()) or "`labrt doctor` looks why"
        raise NotSupported(f"no user namespace can be made: {error.strerror}", remedy=remedy) from error
    finally:
        os.close(heard)
    _strike_dead_keepers(where)
    about = {"boot": procfs.boot_id(), "monitor": child.pid, "monitor_starttime": process.start_time(child.pid)}
    files.replace(os.path.join(where.state, "namespaces.json"), json.dumps(about).encode(), durable=False)
    return child.pidfd


def _strike_dead_keepers(where: Paths) -> None:
    """Take the keepers before this one out of the ledger: nobody else strikes out who was killed."""
    from labrt.linux import ledger, process

    for entry in ledger.entries(where.ledger):
        if entry.detail.get("role") == "keeper":
            pidfd = process.open_pidfd(int(entry.what), int(entry.detail["starttime"]))
            if pidfd is None or process.wait_for(pidfd, 0):
                ledger.strike(entry)
            if pidfd is not None:
                os.close(pidfd)


def _be_keeper(where: Paths, told: int, *, new: bool) -> None:
    """Become a process that sleeps for ever. Never returns; what went wrong is written to `told`."""
    from labrt.linux import ledger, mounts, process, syscalls

    entry = None
    try:
        if new:
            mounts.set_propagation("/", "rslave")  # what is mounted on the machine later shows in here, not vice versa
        # In its own name: whoever looks into the ledger sees that it is in use as long as this process lives.
        began = str(process.start_time())
        entry = ledger.record("process", str(os.getpid()), directory=where.ledger, starttime=began, role="keeper")
        os.setsid()
        os.chdir("/")
        quiet = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for number in (0, 1, 2):
            os.dup2(quiet, number)
        syscalls.close_range(3, (1 << 32) - 1, syscalls.CLOSE_RANGE_CLOEXEC)
        environment = {name: os.environ[name] for name in ("LABRT_ROOT",) if name in os.environ}
        os.execve(SLEEP, ["sleep", "infinity"], environment)
    except BaseException as error:
        os.write(told, str(error).encode())
        if entry is not None:
            ledger.strike(entry)
    finally:
        os._exit(1)
