"""The daemon itself: _ping, version, info, system df, metrics."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import platform
import time
from typing import Any

from aiohttp import web

import labrt
from labrt.engine.api import context, errors, images, listing, router, volumes
from labrt.engine.images import Images
from labrt.engine.info import by_status
from labrt.engine.inspect import rfc3339
from labrt.errors import NotFound
from labrt.image.platform import Platform


async def ping(request: web.Request) -> web.Response:
    """GET and HEAD /_ping: clients read the API's version off the head."""
    headers = {"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache", "Builder-Version": "1",
               "Swarm": "inactive"}  # fmt: skip
    return web.Response(text="OK" if request.method == "GET" else "", headers=headers)


async def version(request: web.Request) -> web.Response:
    """GET /version."""
    newest, oldest = (".".join(map(str, end)) for end in (router.NEWEST, router.OLDEST))
    architecture = Platform.host().architecture
    kernel, python = os.uname().release, f"python{platform.python_version()}"
    details = {"ApiVersion": newest, "MinAPIVersion": oldest, "Os": "linux", "Arch": architecture,
               "KernelVersion": kernel, "GitCommit": "", "GoVersion": python, "Experimental": "false",
               "BuildTime": ""}  # fmt: skip
    return errors.as_json({
        "Platform": {"Name": "labrt"},
        "Components": [{"Name": "Engine", "Version": labrt.__version__, "Details": details}],
        "Version": labrt.__version__, "ApiVersion": newest, "MinAPIVersion": oldest, "GitCommit": "",
        "GoVersion": python, "Os": "linux", "Arch": architecture, "KernelVersion": kernel,
    })  # fmt: skip


async def info(request: web.Request) -> web.Response:
    """GET /info."""
    return errors.as_json(await context.of(request).call(_info, context.of(request), len(asyncio.all_tasks())))


def _info(shared: context.Context, tasks: int) -> dict[str, Any]:
    from labrt.linux.cgroups.detect import detect

    counts = by_status(shared.containers())
    store, machine = Images(shared.where), os.uname()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "ID": _machine_id(), "Containers": sum(counts.values()),
        "ContainersRunning": counts["running"] + counts["restarting"], "ContainersPaused": counts["paused"],
        "ContainersStopped": counts["exited"] + counts["created"],
        "Images": len({image.id for image in store.all()}), "Driver": store.driver.name, "DriverStatus": [],
        "Plugins": {"Volume": ["local"], "Network": ["bridge", "host", "null"], "Authorization": None,
                    "Log": ["json-file"]},
        "MemoryLimit": True, "SwapLimit": True, "CpuCfsPeriod": True, "CpuCfsQuota": True, "CPUShares": True,
        "CPUSet": True, "PidsLimit": True, "OomKillDisable": detect().mode != "unified", "IPv4Forwarding": _forwards(),
        "BridgeNfIptables": True, "BridgeNfIp6tables": True,
        "Debug": shared.debug, "NFd": len(os.listdir("/proc/self/fd")), "NGoroutines": tasks,
        "SystemTime": rfc3339(time.time()), "LoggingDriver": "json-file", "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2" if detect().mode == "unified" else "1", "NEventsListener": 0,
        "KernelVersion": machine.release, "OperatingSystem": _system(), "OSVersion": "", "OSType": "linux",
        "Architecture": machine.machine, "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {"AllowNondistributableArtifactsCIDRs": None, "AllowNondistributableArtifactsHostnames": None,
                           "InsecureRegistryCIDRs": ["127.0.0.0/8"], "IndexConfigs": {}, "Mirrors": None},
        "NCPU": len(os.sched_getaffinity(0)), "MemTotal": memory, "GenericResources": None,
        "DockerRootDir": shared.where.state, "HttpProxy": "", "HttpsProxy": "", "NoProxy": "", "Name": machine.nodename,
        "Labels": [], "ExperimentalBuild": False, "ServerVersion": labrt.__version__,
        "Runtimes": {"labrt": {"path": "labrt-oci"}}, "DefaultRuntime": "labrt",
        "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False, "Error": "",
                  "RemoteManagers": None},
        "LiveRestoreEnabled": True, "Isolation": "", "InitBinary": "tini", "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": ""}, "InitCommit": {"ID": ""}, "SecurityOptions": ["name=seccomp,profile=builtin"],
        "CDISpecDirs": [], "Warnings": None,
    }  # fmt: skip


def _machine_id() -> str:
    with contextlib.suppress(OSError), open("/etc/machine-id") as file:
        return file.read().strip()
    return ""


def _forwards() -> bool:
    with open("/proc/sys/net/ipv4/ip_forward") as file:
        return file.read().strip() == "1"


def _system() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return "Linux"


async def usage(request: web.Request) -> web.Response:
    """GET /system/df."""
    return errors.as_json(await context.of(request).call(_usage, context.of(request)))


def _usage(shared: context.Context) -> dict[str, Any]:
    from labrt.engine.volumes import Volumes
    from labrt.storage.workshop import disk_usage

    store, known = Images(shared.where), Volumes(shared.where)
    containers = []
    for container in shared.containers().list(all=True):
        with contextlib.suppress(NotFound):  # removed just now
            size = {"SizeRw": store.driver.usage(container.id), "SizeRootFs": 0}
            containers.append(listing.shown(container) | size)
    users = collections.Counter(row["ImageID"] for row in containers)
    rows = images.rows(shared, {})
    for row in rows:
        row |= {"Containers": users[row["Id"]], "SharedSize": 0}
    kept = []
    for volume in known.list():
        size = {"Size": disk_usage(volume.path), "RefCount": len(known.users(volume.name))}
        kept.append(volumes.shape(volume) | {"UsageData": size})
    layers = sum(store.driver.usage(layer) for layer in store.driver.layers())
    return {"LayersSize": layers, "Images": rows, "Containers": containers, "Volumes": kept, "BuildCache": []}


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics, in Prometheus's text format."""
    shared = context.of(request)
    counts = await shared.call(by_status, shared.containers())
    states = {"running": counts["running"] + counts["restarting"], "paused": counts["paused"],
              "stopped": counts["exited"] + counts["created"]}  # fmt: skip
    lines = ["# HELP engine_daemon_container_states_containers The count of containers in various states",
             "# TYPE engine_daemon_container_states_containers gauge"]  # fmt: skip
    lines += [f'engine_daemon_container_states_containers{{state="{name}"}} {count}' for name, count in states.items()]
    lines += ["# HELP labrt_http_requests_total Requests answered, by method and status",
              "# TYPE labrt_http_requests_total counter"]  # fmt: skip
    lines += [f'labrt_http_requests_total{{method="{method}",status="{status}"}} {count}'
              for (method, status), count in sorted(shared.counts.items())]  # fmt: skip
    lines += ["# HELP engine_daemon_engine_info About the engine", "# TYPE engine_daemon_engine_info gauge",
              f'engine_daemon_engine_info{{version="{labrt.__version__}",kernel="{os.uname().release}"}} 1',
              "# HELP process_start_time_seconds When the daemon began", "# TYPE process_start_time_seconds gauge",
              f"process_start_time_seconds {shared.began:.3f}", ""]  # fmt: skip
    return web.Response(text="\n".join(lines), content_type="text/plain", charset="utf-8")


ROUTES: list[router.Route] = [
    ("GET", "/_ping", ping),
    ("HEAD", "/_ping", ping),
    ("GET", "/version", version),
    ("GET", "/info", info),
    ("GET", "/system/df", usage),
    ("GET", "/metrics", metrics),
]
