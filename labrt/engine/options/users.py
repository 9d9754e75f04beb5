"""Who a container's users are on this machine: --userns, --uidmap, --gidmap.

    --uidmap 0:100000:65536    its 0 is our 100000, and so on for 65536 ids; several are one map
    --gidmap 0:100000:65536    the same for groups; not given, as --uidmap
    --userns auto              65536 ids that no other container has, of those set aside for `containers` in /etc/subuid

Its root is then nobody here: who breaks out finds that every file and every process is somebody else's. Its image, its
own files and its volumes belong inside to whom they belong on the disk, by idmapped mounts (linux/idmap.py), so that
commit, cp and other containers see them as ever. What else of this machine is bound in (-v /path:…) keeps its owners,
and shows as nobody's where they have no name inside; `-v /path:/there:idmap` maps it, too.

Namespaces that it shares with the host, or another, are not its own to mount: of --network host it is shown the host's
/sys. See user_namespaces(7), subuid(5).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from labrt import paths
from labrt.engine.options.model import Options
from labrt.errors import InvalidInput
from labrt.linux import userns
from labrt.linux.userns import IdMap

SIZE = 65536  # ids: what images' /etc/passwd know, nobody (65534) among them
OWNER = "containers"  # whose subordinate ids --userns auto takes; podman's word for it, too
_MAP = re.compile(r"(\d{1,10}):(\d{1,10})(?::(\d{1,10}))?")


def check(options: Options) -> None:
    """Raise InvalidInput for maps that cannot be, and for what cannot be had with any."""
    if options.userns not in ("host", "auto"):
        raise InvalidInput(f"--userns {options.userns!r} is not known", remedy="host, auto, or --uidmap without it")
    uids, gids = maps(options)
    if options.userns == "auto" and uids:
        raise InvalidInput("--userns auto and --uidmap contradict each other", remedy="leave one out")
    if not uids and options.userns != "auto":
        return
    if paths.owner():
        remedy = "an ordinary user's containers are in a user namespace anyhow: runtime/rootless.py"
        raise InvalidInput("--uidmap, --gidmap and --userns auto are root's", remedy=remedy)
    if uids and (userns.to_host(uids, 0) is None or userns.to_host(gids, 0) is None):
        raise InvalidInput("--uidmap, --gidmap: nobody is its root", remedy="map 0, as in 0:100000:65536")
    if options.privileged:
        raise InvalidInput("--privileged with a user namespace: root of one has no such power", remedy="leave one out")
    if options.runtime != "labrt":
        what = f"--runtime {options.runtime} with a user namespace"
        raise InvalidInput(f"{what}: only labrt maps a root's owners", remedy="leave one out")
    for field in ("ipc", "pid", "network"):
        mode = getattr(options, field)
        if mode.startswith("container:"):
            remedy = "share the host's, or have one of its own"
            raise InvalidInput(f"--{field} {mode} with a user namespace: it is not its own to enter", remedy=remedy)


def maps(options: Options) -> tuple[list[IdMap], list[IdMap]]:
    """Read --uidmap and --gidmap; who gives one means both."""
    uids, gids = (_read(flag, given) for flag, given in (("uidmap", options.uidmap), ("gidmap", options.gidmap)))
    return uids or gids, gids or uids


def _read(flag: str, entries: Sequence[str]) -> list[IdMap]:
    found = []
    for text in entries:
        match = _MAP.fullmatch(text)
        if match is None:
            raise InvalidInput(f"--{flag} {text!r}: not understood", remedy="INSIDE:HERE[:COUNT], as in 0:100000:65536")
        found.append(IdMap(int(match[1]), int(match[2]), int(match[3] or 1)))
    if found:
        userns.check(found, f"--{flag}")
    return found


def apply(options: Options, config: dict[str, Any]) -> None:
    """Write the user namespace into config.json. What root of one is granted, and owners: `map_files`, at the end."""
    uids, gids = maps(options)
    if not uids:
        return
    linux = config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"], linux["gidMappings"] = ([_to_json(line) for line in lines] for lines in (uids, gids))


def map_files(options: Options, config: dict[str, Any], directory: str) -> None:
    """Let it have what root of a user namespace may mount; idmap what is its own: /etc, in `directory`, and volumes."""
    from labrt.runtime import unprivileged

    unprivileged.adapt_files(config, has_tty=userns.to_host(maps(options)[1], unprivileged.TTY) is not None)
    for mount in config["mounts"]:
        source = mount["source"]
        if mount["type"] == "bind" and (not source.startswith("/") or source.startswith(f"{directory}/")):
            mount["options"] = [*mount["options"], "idmap"]


def host_config(options: Options) -> dict[str, Any]:
    """Return docker's UsernsMode, and podman's IDMappings."""
    uids, gids = maps(options)
    if not uids:
        return {"UsernsMode": ""}
    lines = {"UidMap": uids, "GidMap": gids}
    shown = {key: [f"{one.container_id}:{one.host_id}:{one.size}" for one in value] for key, value in lines.items()}
    return {"UsernsMode": "private", "IDMappings": shown}


def choose(options: Options, taken: Sequence[IdMap]) -> Options:
    """Settle --userns auto: the first SIZE ids set aside for containers that are not among those `taken`.

    Raises InvalidInput where none are set aside, or all are taken.
    """
    ranges = userns.subordinate_ids(OWNER)
    both = [one for one in ranges[0] if one in ranges[1]]
    for one in both:
        for start in range(one.start, one.start + one.size - SIZE + 1, SIZE):
            if all(start + SIZE <= line.host_id or line.host_id + line.size <= start for line in taken):
                text = f"0:{start}:{SIZE}"
                return options.replace(userns="host", uidmap=[text], gidmap=[text])
    what = "all ids set aside for containers are taken" if both else "no ids are set aside for containers"
    first = userns.first_free()
    line = f"{OWNER}:{first}:{SIZE * 256}"
    raise InvalidInput(f"--userns auto: {what}", remedy=f"echo {line} | sudo tee -a /etc/subuid /etc/subgid")


def _to_json(line: IdMap) -> dict[str, int]:
    return {"containerID": line.container_id, "hostID": line.host_id, "size": line.size}
