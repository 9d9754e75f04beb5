"""Containers as a Pod of Kubernetes, v1: what `podman generate kube` writes, and `kubectl apply` and podman read.

    documents, left_out = write([Description.of(container), …], ["data"])

A pod is containers that share a network, a hostname and an IPC namespace; what belongs to all of it is the first
container's. A volume becomes a PersistentVolumeClaim, an anonymous one an emptyDir, a health check a livenessProbe. A
node's own configuration, swap, numbers of processes and ulimits among it, is not a pod's: that is left out, and said.
See https://kubernetes.io/docs/reference/kubernetes-api, Pod v1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from labrt.engine.generate import pod_container, pod_volumes
from labrt.engine.generate.description import Description
from labrt.engine.generate.pod_words import Json, Leave, dns_label, without_nothing
from labrt.errors import InvalidInput

_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")  # a label's value; not empty, its key's name
_PREFIX = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_RESTART = {"no": "Never", "on-failure": "OnFailure", "always": "Always", "unless-stopped": "Always"}
_NAMES = ("Dns", "DnsSearch", "DnsOptions", "ExtraHosts")  # docker's, of what stands in /etc


def write(containers: Sequence[Description], claimed: Sequence[str] = ()) -> tuple[list[Json], list[str]]:
    """Return claims for the volumes of these names, and the Pod; and a line for each thing that none of them says."""
    _check_names(containers)
    left_out: list[str] = []
    volumes: dict[str, Json] = {}
    inside = [pod_container.write(one, volumes, _of(one, left_out)) for one in containers]
    first, name = containers[0], dns_label(containers[0].name)
    spec = {
        **({"hostUsers": False} if any(one.host["UsernsMode"] for one in containers) else {}),
        "automountServiceAccountToken": False,  # a container has neither been given one here, nor variables of services
        "enableServiceLinks": False,
        **_shared(containers, left_out.append),
        **without_nothing({
            "hostname": _hostname(containers, left_out.append), **_names(first, left_out.append),
            "securityContext": _of_the_pod(containers, left_out.append),
            "terminationGracePeriodSeconds": _grace(containers, left_out.append),
        }),
        "restartPolicy": _restart(containers, left_out.append),
        "containers": inside,
        **({"volumes": [*volumes.values()]} if volumes else {}),
    }  # fmt: skip
    about = {"name": f"{name}-pod", **_labels(containers, name, left_out.append)}
    wanted = {mount.source for one in containers for mount in one.mounts if mount.kind == "volume" and mount.source}
    for volume in sorted(wanted.difference(claimed)):
        left_out.append(f"the claim of volume {volume}: podman needs none, Kubernetes does; name the volume as well")
    claims = [pod_volumes.claim(volume) for volume in claimed]
    return [*claims, {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}], left_out


def _of(one: Description, left_out: list[str]) -> Leave:
    return lambda what: left_out.append(f"{one.name}: {what}")


def _check_names(containers: Sequence[Description]) -> None:
    seen: dict[str, str] = {}
    for one in containers:
        other = seen.setdefault(dns_label(one.name), one.name)
        if other != one.name:
            raise InvalidInput(f"{other} and {one.name} would both be called {dns_label(one.name)} in the pod",
                               remedy="`labrt rename` one of them")  # fmt: skip


def _shared(containers: Sequence[Description], leave: Leave) -> Json:
    """Which namespaces the pod has of the node, or among its containers."""
    found: Json = {}
    ids = {one.id for one in containers}
    for one in containers:
        host = one.host
        for key, mode in (("hostNetwork", "NetworkMode"), ("hostPID", "PidMode"), ("hostIPC", "IpcMode")):
            if host[mode] == "host":
                found[key] = True
            elif host[mode].startswith("container:"):
                if host[mode].removeprefix("container:") not in ids:
                    leave(f"{one.name}: --{mode[:-4].lower()} {host[mode][:22]}: that one is not in this pod")
                elif mode == "PidMode":
                    found["shareProcessNamespace"] = True
        if host["NetworkMode"] == "none":
            leave(f"{one.name}: --network none: a pod has a network; a NetworkPolicy closes it")
        for wish in one.networks:
            if wish["network"] != "bridge":
                why = "all pods are on one network; a Service gives others a name for it"
                leave(f"{one.name}: --network {wish['network']}: {why}")
    modes = {one.host["NetworkMode"] == "host" for one in containers}
    if len(modes) > 1:
        leave("a network of each container's own: with one on the host's network, all of the pod are")
    return found


def _hostname(containers: Sequence[Description], leave: Leave) -> str:
    first, *others = containers
    label = dns_label(first.hostname.partition(".")[0]) if first.hostname else ""
    if first.hostname != label:
        leave(f"{first.name}: --hostname {first.hostname}: a pod's is one label")
    for one in others:
        if one.hostname:
            leave(f"{one.name}: --hostname {one.hostname}: a pod has one, the first container's")
        if any(one.host[key] and one.host[key] != first.host[key] for key in _NAMES):
            leave(f"{one.name}: --dns…, --add-host: a pod has them once, the first container's")
    return label


def _grace(containers: Sequence[Description], leave: Leave) -> int | None:
    """Return the longest that one of them is given to stop; None where nobody says."""
    given = {one.name: one.config["StopTimeout"] for one in containers if one.config["StopTimeout"] is not None}
    for name, seconds in given.items():
        if seconds < 0:
            leave(f"{name}: --stop-timeout {seconds}: there is no waiting for ever")
    return max((seconds for seconds in given.values() if seconds >= 0), default=None)


def _names(first: Description, leave: Leave) -> Json:
    """What stands in resolv.conf and hosts. Servers that were given replace the cluster's, as here the host's."""
    host = first.host
    options: list[Json] = []
    for text in host["DnsOptions"] or ():
        name, colon, value = text.partition(":")
        options.append({"name": name, "value": value} if colon else {"name": name})
    dns = without_nothing({"nameservers": host["Dns"], "searches": host["DnsSearch"], "options": options})
    hosts: dict[str, list[str]] = {}
    for text in host["ExtraHosts"] or ():
        name, _, address = text.partition("=" if "=" in text else ":")
        if address == "host-gateway":
            leave(f"{first.name}: --add-host {text}")
        else:
            hosts.setdefault(address, []).append(name)
    return {
        "dnsPolicy": "None" if host["Dns"] else None, "dnsConfig": dns,
        "hostAliases": [{"ip": address, "hostnames": names} for address, names in hosts.items()],
    }  # fmt: skip


def _of_the_pod(containers: Sequence[Description], leave: Leave) -> Json:
    groups: dict[int, None] = {}
    sysctls: dict[str, str] = {}
    for one in containers:
        sysctls |= one.host.get("Sysctls") or {}
        for name in one.host["GroupAdd"] or ():
            if name.isdecimal():
                groups[int(name)] = None
            else:
                leave(f"{one.name}: --group-add {name}: Kubernetes wants its number")
    listed = [{"name": name, "value": value} for name, value in sysctls.items()]
    return without_nothing({"supplementalGroups": [*groups], "sysctls": listed})


def _restart(containers: Sequence[Description], leave: Leave) -> str:
    policies = {one.name: one.host["RestartPolicy"] for one in containers}
    for name, policy in policies.items():
        if policy.get("MaximumRetryCount"):
            leave(f"{name}: --restart on-failure:{policy['MaximumRetryCount']}: tries have no end there")
    words = {_RESTART[policy.get("Name") or "no"] for policy in policies.values()}
    if len(words) > 1:
        leave("restart policies of the containers' own: a pod has one")
    return next(word for word in ("Always", "OnFailure", "Never") if word in words)


def _labels(containers: Sequence[Description], name: str, leave: Leave) -> Json:
    """Labels, and as annotations those whose values are no labels there."""
    labels = {"app": f"{name}-pod"}
    annotations: dict[str, str] = {}
    for one in containers:
        for key, value in {**one.labels, **(one.host.get("Annotations") or {})}.items():
            prefix, slash, bare = key.rpartition("/")
            if not bare or not _LABEL.fullmatch(bare) or (slash and not _PREFIX.fullmatch(prefix)):
                leave(f"{one.name}: label {key}: no key of Kubernetes'")
            elif key in one.labels and _LABEL.fullmatch(value):
                labels.setdefault(key, value)
            else:
                annotations.setdefault(key, value)
    return without_nothing({"labels": labels, "annotations": annotations})
