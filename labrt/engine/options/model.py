"""Every option of `docker run`, as Python spells it: `--cap-add NET_ADMIN` is `cap_add=["NET_ADMIN"]`.

An option that may be given several times is a list of what one would type; only -v is called `volumes`. The default is
Docker's. Beside each stands what the kernel makes of it. What cannot be raises InvalidInput here, before anything is
made; what only this machine cannot do is found out when the container is made or started.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence

from labrt.errors import InvalidInput

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from labrt.image.config import ImageConfig

TAPS = ("pasta", "slirp4netns")  # an ordinary user's
NETWORKS = ("none", "host", "bridge", *TAPS)  # those that are always there
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}")
_HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?")
SMALLEST_MEMORY = 6 << 20  # bytes; with less, a container's init is killed before it can say why. Docker's limit, too.
Size = int | str | None  # bytes, or "64m"
Words = Sequence[str]


class Options:
    """What a container shall be; a value. Every field but the image has a default, and the default is Docker's.

    Not a dataclass: with so many fields that takes 3 ms to make, at each start of each command.
    """

    image: str
    command: Words = ()
    name: str | None = None
    env: Words = ()  # "A=1", or "A" for the caller's own value
    workdir: str | None = None
    user: str | None = None  # name or uid, then perhaps ":" and a group
    hostname: str | None = None  # sethostname(2), in a UTS namespace of its own
    volumes: Words = ()  # "/host:/container[:ro]", "NAME:/container[:ro]", "/container" for an anonymous one
    read_only: bool = False  # the root's mount is read-only; what is mounted on it is not
    memory: Size = None  # memory.max: what is over it is swapped out, or somebody inside is killed
    memory_swap: Size = None  # memory and swap together; None and 0: twice the memory; -1: no limit
    cpus: float | None = None  # cpu.max: so much time in each tenth of a second, then all stand still until the next
    pids_limit: int | None = None  # pids.max: fork(2) fails with EAGAIN. None, 0 and -1: no limit
    entrypoint: str | Words | None = None
    # "none", "host", "bridge", one of TAPS, "container:NAME", one of `labrt network create`: networking.py. "default"
    # is the bridge of who asks for nothing, of an ordinary user one of TAPS: network_wishes.py
    network: str = "default"
    platform: str | None = None
    pull: str = "missing"
    interactive: bool = False
    tty: bool = False
    remove: bool = False
    console_size: tuple[int, int] | None = None  # rows, columns

    # Environment and what is only remembered (records.py)
    env_file: Words = ()  # files of NAME=value lines; `env` wins over them
    label: Words = ()  # "KEY=value"; over those of the image
    label_file: Words = ()
    annotation: Words = ()  # "KEY=value", into config.json
    expose: Words = ()  # "80", "53/udp", "8000-8010": recorded, for who reads `inspect`
    stop_signal: str | None = None  # what `stop` sends; else the image's, else TERM
    stop_timeout: int | None = None  # seconds that `stop` waits before it kills; None: 10; -1: for ever
    restart: str = "no"  # or "always", "unless-stopped", "on-failure[:most]": by the monitor, at its end
    log_driver: str = "json-file"
    log_opt: Words = ()  # "max-size=10m", "max-file=3": the log is rotated
    no_healthcheck: bool = False  # forget the image's HEALTHCHECK
    health_cmd: str | Words | None = None  # run again and again, by the container's sh or as words; 0 is healthy
    health_interval: str | None = None  # a duration: "30s", "1m30s"
    health_timeout: str | None = None
    health_retries: int | None = None
    health_start_period: str | None = None
    health_start_interval: str | None = None
    runtime: str = "labrt"  # or "runc", "crun", a path: which program creates and starts it; the monitor stays ours

    # Power (security.py)
    privileged: bool = False  # all capabilities and devices, no filter, nothing masked: root on the host, in effect
    cap_add: Words = ()  # capabilities(7): "NET_ADMIN", "ALL"; also what the filter allows follows from them
    cap_drop: Words = ()  # from all five sets, so that no set-user-ID program gets them back
    security_opt: Words = ()  # "no-new-privileges", "seccomp=FILE", … : see security.py
    group_add: Words = ()  # setgroups(2): names of the image's /etc/group, or numbers

    # Namespaces (namespaces.py): "host" is the host's own, "container:NAME" another container's
    ipc: str = "private"  # System V IPC, message queues, /dev/shm. Also "shareable", "none" (without /dev/shm)
    pid: str = "private"  # with "host" it sees, and may signal, every process
    uts: str = "private"  # hostname
    cgroupns: str = "private"  # which part of the cgroup tree is its /
    userns: str = "host"  # or "auto"; users.py
    uidmap: Words = ()  # "0:100000:65536": uid_map, its ids and the machine's, in a user namespace of its own
    gidmap: Words = ()  # gid_map; as uidmap if nobody says

    # Files (mounts.py, devices.py, etc.py)
    mount: Words = ()  # "type=bind,source=/srv,target=/data,readonly"; type volume and tmpfs, too
    tmpfs: Words = ()  # "/run:size=64m,mode=1777": in memory, gone with the container
    volumes_from: Words = ()  # "NAME[:ro]": another container's volumes and binds
    shm_size: Size = None  # of /dev/shm; None: 64m
    device: Words = ()  # "/dev/fuse[:/dev/there][:rwm]": mknod(2), and the cgroup lets it be opened
    device_cgroup_rule: Words = ()  # "c 13:* rwm": may be opened, if a node is there
    add_host: Words = ()  # "NAME:ADDRESS" in /etc/hosts
    dns: Words = ()  # resolv.conf(5): nameserver, in place of the host's
    dns_search: Words = ()
    dns_option: Words = ()
    domainname: str | None = None  # setdomainname(2)
    further_networks: Words = ()  # more of --network
    publish: Words = ()  # "[[ADDRESS:]PORT:]PORT[/udp]": a port of this machine that leads to one of its
    publish_all: bool = False  # each exposed port, from any port that is free
    ip: str | None = None  # an address in its network; None: one that is free
    ip6: str | None = None
    mac_address: str | None = None
    network_alias: Words = ()  # more names for its neighbours to find it by
    init: bool = False  # PID 1 is a small program that reaps orphans and hands signals on: init.py

    # Limits (resources.py, disks.py, processes.py)
    memory_reservation: Size = None  # memory.low: what is under it is reclaimed last
    memory_swappiness: int | None = None  # 0 to 100, v1 only: how readily its memory goes to swap
    oom_kill_disable: bool = False  # v1 only: who is over the limit waits, and is not killed
    oom_score_adj: int = 0  # -1000 to 1000: who is killed first when the whole machine is out of memory
    cpu_shares: int = 0  # cpu.weight: its part when others want the CPU, too. 1024 is usual; 0: that
    cpu_period: int = 0  # microseconds, with cpu_quota in place of cpus
    cpu_quota: int = 0
    cpuset_cpus: str = ""  # "0-3,7": where it may run
    cpuset_mems: str = ""  # NUMA nodes that its memory may come from
    blkio_weight: int = 0  # 10 to 1000: its part of a busy disk, where the scheduler is BFQ
    blkio_weight_device: Words = ()  # "/dev/sda:500"
    device_read_bps: Words = ()  # "/dev/sda:1m": io.max; who is faster waits
    device_write_bps: Words = ()
    device_read_iops: Words = ()  # "/dev/sda:100"
    device_write_iops: Words = ()
    cgroup_parent: str | None = None  # where its cgroup is made, in place of /labrt
    ulimit: Words = ()  # "nofile=1024:2048": setrlimit(2), soft and hard
    sysctl: Words = ()  # "net.ipv4.ip_forward=1": those that belong to a namespace of its own

    def __init__(self, image: str, command: Words = (), **given: Any) -> None:
        """Take fields by their names. Raises InvalidInput for one that there is not, and for a value that cannot be."""
        for field, value in given.items():
            if field not in FIELDS:
                import difflib

                close = difflib.get_close_matches(field, FIELDS, 1)
                remedy = f"did you mean {close[0]}?" if close else "options/model.py lists them"
                raise InvalidInput(f"there is no option {field}", remedy=remedy)
            if isinstance(value, str) and getattr(Options, field) == ():  # its letters are not what was meant
                raise InvalidInput(f"{field}={value!r} is no list", remedy="put it in [ ]")
        self.__dict__.update(given, image=image, command=command)
        self._check()

    def __setattr__(self, field: str, value: object) -> NoReturn:
        raise AttributeError(f"options do not change: replace({field}=…) makes others")

    def replace(self, **changes: Any) -> Options:
        """Return the same options but for these."""
        return Options(**{**self.__dict__, **changes})

    def __repr__(self) -> str:
        given = (f"{field}={value!r}" for field, value in self.__dict__.items() if self.given(field))
        return f"Options({', '.join(given)})"

    def _check(self) -> None:
        if self.name is not None and not NAME.fullmatch(self.name):
            remedy = "letters, digits, _ . -; two or more"
            raise InvalidInput(f"--name {self.name!r}: not a container's name", remedy=remedy)
        if self.hostname is not None and not _HOSTNAME.fullmatch(self.hostname):
            remedy = "letters, digits, - and .; up to 63"
            raise InvalidInput(f"--hostname {self.hostname!r}: not a hostname", remedy=remedy)
        if self.workdir is not None and not self.workdir.startswith("/"):
            raise InvalidInput(f"--workdir {self.workdir!r} is not absolute", remedy="begin it with /")
        for subject in self.subjects():
            subject.check(self)

    def subjects(self) -> Iterator[Any]:
        """Yield the modules of this directory that have something to do for these options."""
        for name, fields in SUBJECTS.items():
            if self.given(*fields):
                yield importlib.import_module(f"labrt.engine.options.{name}")

    def given(self, *fields: str) -> bool:
        """Whether one of these options is not as it is when nobody says anything. No network is none that is given."""
        mine = self.__dict__
        return any(
            field in mine and mine[field] != getattr(Options, field, None) and (field, mine[field]) != _NO_NETWORK
            for field in fields
        )

    @property
    def network_mode(self) -> str:
        """What docker calls its NetworkMode: the first network, or what it has in place of one."""
        return "bridge" if self.network == "default" else self.network.partition(",")[0].removeprefix("name=")

    @property
    def entrypoint_words(self) -> Words | None:
        """The entrypoint as a list; a string is one word, as `docker run --entrypoint` has it."""
        return (self.entrypoint,) if isinstance(self.entrypoint, str) else self.entrypoint


FIELDS = tuple(Options.__annotations__)
_NO_NETWORK = ("network", "none")  # for which there is nothing to do

# Which options each module looks at, in the order in which they change the config. A module has
#     check(options)                   raises InvalidInput
#     apply(options, config)           writes into config.json
#     host_config(options)             its part of docker's HostConfig
SUBJECTS: Mapping[str, Words] = {
    "namespaces": ("ipc", "pid", "uts", "cgroupns"),
    "users": ("userns", "uidmap", "gidmap"),
    "security": ("privileged", "cap_add", "cap_drop", "security_opt", "group_add"),
    "mounts": ("volumes", "mount", "tmpfs", "volumes_from", "shm_size"),
    "devices": ("privileged", "device", "device_cgroup_rule"),
    "resources": (
        "memory", "memory_swap", "memory_reservation", "memory_swappiness", "oom_kill_disable", "cpus", "cpu_shares",
        "cpu_period", "cpu_quota", "cpuset_cpus", "cpuset_mems", "pids_limit", "cgroup_parent",
    ),
    "disks": (
        "blkio_weight", "blkio_weight_device", "device_read_bps", "device_write_bps", "device_read_iops",
        "device_write_iops",
    ),
    "processes": ("ulimit", "sysctl", "oom_score_adj"),
    "etc": ("add_host", "dns", "dns_search", "dns_option", "domainname"),
    "records": (
        "env_file", "label", "label_file", "annotation", "expose", "stop_signal", "stop_timeout", "restart",
        "log_driver", "log_opt", "no_healthcheck", "health_cmd", "health_interval", "health_timeout", "health_retries",
        "health_start_period", "health_start_interval", "runtime",
    ),
    "networking": (
        "network", "further_networks", "publish", "publish_all", "ip", "ip6", "mac_address", "network_alias",
    ),
    "init": ("init",),
}  # fmt: skip


def to_record(options: Options, image: ImageConfig) -> dict[str, Any]:
    """Return what the Engine API knows of it and config.json does not say: its `HostConfig` and its `Config`.

    Both with the API's names and units. In HostConfig are, among others, RestartPolicy {Name, MaximumRetryCount} and
    LogConfig {Type, Config}; in Config are Labels, Healthcheck (None, or {Test, Interval, Timeout, StartPeriod,
    StartInterval} in nanoseconds, and Retries), StopSignal, StopTimeout (seconds, None: 10) and ExposedPorts.
    """
    host = {
        "AutoRemove": options.remove,
        "NetworkMode": options.network_mode,
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "LogConfig": {"Type": "json-file", "Config": {}},
        "Runtime": "labrt",
        "Privileged": False,
        "IpcMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "UsernsMode": "",
        "CgroupnsMode": "private",
        "ShmSize": 64 << 20,
    }
    config: dict[str, Any] = {
        "Labels": dict(image.labels),
        "Healthcheck": dict(image.healthcheck) if image.healthcheck else None,
        "StopSignal": image.stop_signal or "SIGTERM",
        "StopTimeout": None,
        "ExposedPorts": {port: {} for port in image.exposed_ports},
        "Domainname": options.domainname or "",
        "Entrypoint": list(image.entrypoint if (words := options.entrypoint_words) is None else words) or None,
    }
    for subject in options.subjects():
        host |= subject.host_config(options)
        if hasattr(subject, "container_config"):
            config |= subject.container_config(options, image)
    return {"HostConfig": host, "Config": config}
