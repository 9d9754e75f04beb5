"""The options of `labrt-oci` and of each of its commands, as runc has them, and what --help prints."""

from __future__ import annotations

from labrt.cli.oci.arguments import Option

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from collections.abc import Sequence


def global_options() -> list[Option]:
    """Those before the command."""
    return [
        Option("--root", "text", "where the state of containers is kept (default: /run/labrt/oci)"),
        Option("--log", "text", "the file to write errors and warnings to (default: standard error)"),
        Option("--log-format", "text", "text, or json", "text"),
        Option("--debug", "flag", "taken for runc's sake; LABRT_DEBUG=1 says where in labrt an error arose"),
        Option("--systemd-cgroup", "flag", 'ask systemd for cgroups; cgroupsPath is "slice:prefix:name"'),
        Option("--rootless", "text", "go on without a cgroup that one may not make: true, false or auto", "auto"),
        Option("--criu", "text", "taken for runc's sake; labrt makes no checkpoints"),
        Option("--help, -h", "flag", "show this"),
        Option("--version, -v", "flag", "show the version"),
    ]


_PIDFILE = ("--pid-file", "text", "the file to write the process's pid to")
_CONSOLE = ("--console-socket", "text", "a unix socket that gets the terminal's master descriptor")
_PRESERVE = ("--preserve-fds", "number", "hand on so many descriptors after stdin, stdout and stderr", 0)
_CREATE = (
    ("--bundle, -b", "text", "the bundle's directory (default: this one)", "."),
    _CONSOLE, _PIDFILE,
    ("--no-pivot", "flag", "chroot instead of pivot_root, for a root on the initial ramdisk"),
    ("--no-new-keyring", "flag", "let the container have our session keyring"),
    _PRESERVE,
)  # fmt: skip
_FORMAT = ("--format, -f", "text", "table, or json", "table")

# name: (what follows it, what it does, its options)
COMMANDS: dict[str, tuple[str, str, tuple[tuple[object, ...], ...]]] = {
    "create": ("ID", "create a container, which waits for `start`", _CREATE),
    "start": ("ID", "let a created container's program begin", ()),
    "run": ("ID", "create a container, start it, wait for its end and delete it", (
        *_CREATE,
        ("--detach, -d", "flag", "return when it runs"),
        ("--keep", "flag", "do not delete it at the end"),
        ("--no-subreaper", "flag", "do not reap what its program leaves behind"),
    )),
    "state": ("ID", "print a container's state as JSON", ()),
    "kill": ("ID [SIGNAL]", "signal a container's init (default: SIGTERM)", (
        ("--all, -a", "flag", "signal every process in the container"),
    )),
    "delete": ("ID", "remove a stopped container", (
        ("--force, -f", "flag", "kill it first; no error if it does not exist"),
    )),
    "exec": ("ID COMMAND [ARGUMENT…]", "run one more program in a container", (
        _CONSOLE,
        ("--cwd", "text", "its working directory in the container"),
        ("--env, -e", "list", "NAME=value, one more variable; can be repeated"),
        ("--tty, -t", "flag", "give it a terminal"),
        ("--user, -u", "text", "UID or UID:GID"),
        ("--additional-gids, -g", "list", "one more group; can be repeated"),
        ("--process, -p", "text", "a file with the process section of a config.json, in place of all these"),
        ("--detach, -d", "flag", "return when it runs"),
        _PIDFILE,
        ("--process-label", "text", "its SELinux label: refused, a --process may have one"),
        ("--apparmor", "text", "its AppArmor profile"),
        ("--no-new-privs", "flag", "set no_new_privs"),
        ("--cap, -c", "list", "one more capability; can be repeated"),
        _PRESERVE,
        ("--ignore-paused", "flag", "also in a paused container"),
    )),
    "ps": ("ID [ps's options]", "list a container's processes", (_FORMAT,)),
    "pause": ("ID", "freeze a container's processes", ()),
    "resume": ("ID", "let them go on", ()),
    "update": ("ID", "change a container's limits", (
        ("--resources, -r", "text", "a file with linux.resources as JSON, or -; then no other option counts"),
        ("--blkio-weight", "number", "10 to 1000"),
        ("--cpu-period", "number", "microseconds"),
        ("--cpu-quota", "number", "microseconds of CPU time in a period"),
        ("--cpu-share", "number", "weight against others"),
        ("--cpu-rt-period", "number", "microseconds"),
        ("--cpu-rt-runtime", "number", "microseconds"),
        ("--cpuset-cpus", "text", "CPUs, as 0-3,7"),
        ("--cpuset-mems", "text", "memory nodes, as 0-3,7"),
        ("--memory", "number", "bytes"),
        ("--memory-reservation", "number", "bytes"),
        ("--memory-swap", "number", "bytes of memory and swap together; -1: no limit"),
        ("--pids-limit", "number", "processes and threads"),
        ("--cpu-idle", "number", "1: run only when nobody else wants to"),
        ("--cpu-burst", "number", "microseconds that may be saved up"),
    )),
    "list": ("", "list the containers below --root", (
        _FORMAT,
        ("--quiet, -q", "flag", "only ids"),
    )),
    "spec": ("", "write a config.json to begin with", (
        ("--bundle, -b", "text", "the directory to write it to (default: this one)", "."),
        ("--rootless", "flag", "one for an ordinary user"),
    )),
    "features": ("", "print what this runtime recognizes, as JSON", ()),
    "events": ("ID", "print a container's statistics, one JSON object a line, until its end", (
        ("--interval", "text", "how often, as 5s or 500ms", "5s"),
        ("--stats", "flag", "once"),
    )),
}  # fmt: skip


def options_of(command: str) -> list[Option]:
    """Those of one command."""
    help = Option("--help, -h", "flag", "show this")
    return [*(Option(*entry) for entry in COMMANDS[command][2]), help]  # type: ignore[arg-type]


def of_program() -> str:
    """What `labrt-oci --help` prints."""
    lines = ["Usage: labrt-oci [OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]", "",
             "labrt's OCI runtime: creates and runs containers from bundles.", "", "Commands:"]  # fmt: skip
    lines += [f"  {name:<10}{what}" for name, (_, what, _) in COMMANDS.items()]
    return "\n".join([*lines, "", "Options:", *_table(global_options())])


def of_command(name: str) -> str:
    """What `labrt-oci COMMAND --help` prints."""
    arguments, what, _ = COMMANDS[name]
    usage = f"Usage: labrt-oci {name} [OPTIONS] {arguments}".rstrip()
    return "\n".join([usage, "", f"{what[0].upper()}{what[1:]}.", "", "Options:", *_table(options_of(name))])


def _table(options: Sequence[Option]) -> list[str]:
    rows = [(", ".join(option.names) + ("" if option.kind == "flag" else " value"), option.help) for option in options]
    width = max(len(names) for names, _ in rows) + 2
    return [f"  {names:<{width}}{help}" for names, help in rows]
