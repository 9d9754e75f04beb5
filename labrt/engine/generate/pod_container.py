"""One container of a Pod: what runs in it, with which power, and how one sees that it is well."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from labrt.engine.generate import pod_limits, pod_volumes
from labrt.engine.generate.description import Description, Port
from labrt.engine.generate.pod_words import Json, Leave, dns_label, without_nothing
from labrt.engine.generate.text import looks_secret


def write(one: Description, volumes: dict[str, Json], leave: Leave) -> Json:
    """Return the container, and add to `volumes`, by name, those of the pod that it mounts."""
    if not one.reference:
        leave(f"its image has no name, only the id {one.image}: tag it, push it, and write that name here")
    if any(map(looks_secret, one.env)):
        leave("secrecy: variables stand below as they are, and by their names some are secrets; a Secret keeps them")
    pod_limits.leave_out(one, leave)
    return without_nothing({
        "name": dns_label(one.name),
        "image": one.reference or one.image,
        "imagePullPolicy": "IfNotPresent",  # as `labrt run`; with :latest Kubernetes else asks the registry each time
        "command": [_literal(word, one.env) for word in one.entrypoint or ()],
        "args": [_literal(word, one.env) for word in one.command or ()],
        "env": [{"name": name, "value": _literal(value, one.env)} for name, value in one.env.items()],
        "workingDir": one.workdir,
        "stdin": bool(one.config["OpenStdin"]) or None,
        "tty": bool(one.config["Tty"]) or None,
        "ports": [_port(port, leave) for port in one.ports],
        "resources": pod_limits.resources(one.host, leave),
        "securityContext": _security(one, leave),
        "livenessProbe": _probe(one.healthcheck, leave),
        "volumeMounts": [*pod_volumes.mounts(one, volumes, leave)],
    })  # fmt: skip


def _literal(text: str, names: Collection[str]) -> str:
    """Write a word so that Kubernetes makes of it what it is: $$ is one $ there, and $(NAME) what is in a variable.

    Other $(…) it leaves alone, and so do we: podman knows none of this.
    """
    ours = "|".join(map(re.escape, names)) or "(?!)"
    return re.sub(rf"\$\$|\$(?=\((?:{ours})\))", lambda found: found[0] * 2, text)


def _port(port: Port, leave: Leave) -> Json:
    found: Json = {"containerPort": port.inner}
    if port.protocol != "tcp":
        found["protocol"] = port.protocol.upper()
    if port.outer.isdecimal() and port.outer != "0":
        found["hostPort"] = int(port.outer)
    elif port.outer:
        typed = f"{port.outer}:{port.inner}" if port.outer != "0" else str(port.inner)
        leave(f"-p {typed}: no port of the node that happens to be free; a Service of type NodePort finds one")
    if port.address and "hostPort" in found:
        found["hostIP"] = port.address
    return found


def _security(one: Description, leave: Leave) -> Json:
    host = one.host
    found: Json = {"privileged": True} if host["Privileged"] else {}
    caps = {"add": host["CapAdd"], "drop": host["CapDrop"]}
    found["capabilities"] = without_nothing(
        {key: [name.removeprefix("CAP_") for name in names or ()] for key, names in caps.items()}
    )
    if host["ReadonlyRootfs"]:
        found["readOnlyRootFilesystem"] = True
    uid, gid = pod_limits.user(one, leave)
    found |= {"runAsUser": uid, "runAsGroup": gid}
    return without_nothing(found | _options(host, leave))


def _options(host: Mapping[str, Any], leave: Leave) -> Json:
    """Read --security-opt. The usual filter of system calls is the runtime's own there, too, but must be asked for."""
    found: Json = {"seccompProfile": {"type": "Unconfined" if host["Privileged"] else "RuntimeDefault"}}
    for text in host["SecurityOpt"] or ():
        key, _, value = text.replace("=", ":", 1).partition(":")
        if key == "no-new-privileges":
            found["allowPrivilegeEscalation"] = value == "false"
        elif key == "seccomp" and value in ("unconfined", "builtin"):
            found["seccompProfile"] = {"type": "Unconfined" if value == "unconfined" else "RuntimeDefault"}
        elif key == "apparmor":
            kind = {"type": "Unconfined"} if value == "unconfined" else {"type": "Localhost", "localhostProfile": value}
            found["appArmorProfile"] = kind
        elif key == "systempaths":
            found["procMount"] = "Unmasked"
        elif key == "seccomp":
            leave(f"--security-opt seccomp={value:.60}: a profile lies on the node, localhostProfile names it")
        elif text != "label=disable":  # labrt gives no labels, so there is nothing to say
            leave(f"--security-opt {text}")
    return found


def _probe(check: Mapping[str, Any] | None, leave: Leave) -> Json:
    """A health check: there what fails it is not only shown as unhealthy, but started anew."""
    if not check:
        return {}
    kind, *words = check["Test"]
    command = words if kind == "CMD" else ["/bin/sh", "-c", *words]
    if check.get("StartInterval"):
        leave("--health-start-interval")
    return without_nothing({
        "exec": {"command": command},
        "initialDelaySeconds": math.ceil(check.get("StartPeriod", 0) / 1e9) or None,
        "periodSeconds": math.ceil((check.get("Interval") or 30e9) / 1e9),
        "timeoutSeconds": math.ceil((check.get("Timeout") or 30e9) / 1e9),
        "failureThreshold": check.get("Retries") or 3,
    })  # fmt: skip
