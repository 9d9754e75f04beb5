"""What the README says of containerd and Kubernetes: a Pod of the RuntimeClass labrt, asked for as a kubelet does.

The kubelet speaks CRI to containerd, which is gRPC over a socket. The few messages that a Pod takes are written here by
their field numbers, from the CRI's runtime.v1: https://github.com/kubernetes/cri-api.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import kubernetes_validate
import pytest
import yaml

from labrt.engine import archives
from labrt.engine.commit import commit
from labrt.engine.containers import Containers
from labrt.engine.options import Options
from labrt.linux import ledger

pytestmark = [pytest.mark.root, pytest.mark.oracle]
README = (Path(__file__).parents[3] / "README.md").read_text()
PATIENCE = 60
NODE = 2  # a NamespaceMode: the host's
PAUSE = "docker.io/library/pause:1"  # what holds a Pod's namespaces

# What this machine needs besides: no CNI, no registry, and it may be one that grants nobody a negative OOM score.
MORE = """
root = "{home}/root"
state = "{home}/state"
[grpc]
address = "{home}/s"
[ttrpc]
address = "{home}/s.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
"""


def block(kind: str) -> str:
    (found,) = re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)
    return found


def test_the_class_names_the_handler() -> None:
    document = yaml.safe_load(block("yaml"))
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    runtimes = tomllib.loads(block("toml"))["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]
    assert document["handler"] in runtimes and f"runtimeClassName: {document['metadata']['name']}" in README


# Protocol Buffers: each field is its number and kind, then a number in groups of 7 bits, or a length and as many bytes.


def number(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def encode(fields: Mapping[int, Any]) -> bytes:
    return b"".join(field(tag, value) for tag, value in fields.items())


def field(tag: int, value: Any) -> bytes:
    if isinstance(value, int):
        return number(tag << 3) + number(value)
    if isinstance(value, list):
        return b"".join(field(tag, one) for one in value)
    raw = encode(value) if isinstance(value, dict) else value.encode()
    return number(tag << 3 | 2) + number(len(raw)) + raw


def decode(raw: bytes) -> dict[int, Any]:
    found: dict[int, Any] = {}
    while raw:
        key, raw = take(raw)
        value, raw = take(raw)
        if key & 7 == 2:
            found[key >> 3], raw = raw[:value], raw[value:]
        else:
            found[key >> 3] = value
    return found


def take(raw: bytes) -> tuple[int, bytes]:
    length = next(place for place, byte in enumerate(raw, 1) if byte < 128)
    return sum((byte & 127) << 7 * place for place, byte in enumerate(raw[:length])), raw[length:]


@pytest.fixture
def cri(house: Path) -> Iterator[Callable[..., dict[int, Any]]]:
    """A containerd of its own, configured as the README says, and how to call it."""
    if not shutil.which("containerd") or not shutil.which("ctr"):
        pytest.skip("containerd is not installed")
    made = Containers().create(Options("busybox", name="pause", network="none"))
    commit(made, PAUSE, change=['CMD ["sleep", "1000"]', "STOPSIGNAL KILL"])
    with tempfile.TemporaryDirectory(prefix="cri-", dir="/tmp", ignore_cleanup_errors=True) as name:  # a short one
        home = Path(name)
        script = f'#!/bin/sh\nLABRT_ROOT={house} exec {sys.executable} -m labrt.cli.oci "$@"\n'
        (home / "labrt-oci").write_text(script)
        (home / "labrt-oci").chmod(0o755)
        ours = re.sub('BinaryName = ".*"', f'BinaryName = "{home}/labrt-oci"', block("toml"))
        head, table, rest = ours.partition("[")  # what stands before the first table is the whole file's
        (home / "config.toml").write_text(head + MORE.format(home=home, pause=PAUSE) + table + rest)
        with open(home / "images.tar", "wb") as file:
            archives.save(["busybox", PAUSE], file)
        with open(home / "log", "wb") as log:
            daemon = subprocess.Popen(["containerd", "-c", str(home / "config.toml")], stdout=log, stderr=log)
        try:
            yield ready(home, daemon)
        finally:
            daemon.terminate()
            daemon.wait(PATIENCE)


def ready(home: Path, daemon: subprocess.Popen[bytes]) -> Callable[..., dict[int, Any]]:
    words = ["ctr", "-a", f"{home}/s", "-n", "k8s.io", "image", "import", "--snapshotter", "native"]
    deadline = time.monotonic() + PATIENCE
    while subprocess.run([*words, f"{home}/images.tar"], capture_output=True).returncode:
        if daemon.poll() is not None or time.monotonic() > deadline:
            pytest.skip(f"containerd does not come up here: {(home / 'log').read_text()[-500:]}")
        time.sleep(0.05)
    channel = grpc.insecure_channel(f"unix:{home}/s")

    def call(method: str, fields: Mapping[int, Any]) -> dict[int, Any]:
        rpc = channel.unary_unary(f"/runtime.v1.RuntimeService/{method}")
        return decode(rpc(encode(fields), timeout=PATIENCE, wait_for_ready=True))

    return call


def test_a_pod_of_this_class(cri: Callable[..., dict[int, Any]]) -> None:
    sandbox = {1: {1: "pod", 2: "uid", 3: "default"}, 8: {2: {1: {1: NODE}}}}  # metadata; on the host's network
    pod = cri("RunPodSandbox", {1: sandbox, 2: "labrt"})[1].decode()
    try:
        assert any(pod in str(entry) for entry in ledger.entries()), "it is labrt that runs it"
        image, host = "docker.io/library/busybox:latest", {2: {3: {1: NODE}}}
        config = {1: {1: "nap"}, 2: {1: image}, 3: ["sleep", "1000"], 15: host}
        id = cri("CreateContainer", {1: pod, 2: config, 3: sandbox})[1].decode()
        cri("StartContainer", {1: id})
        assert any(id in str(entry) for entry in ledger.entries())
        done = cri("ExecSync", {1: id, 2: ["sh", "-c", "cat /proc/1/cmdline; exit 3"]})
        assert done == {1: b"sleep\x001000\0", 3: 3}
    finally:
        cri("StopPodSandbox", {1: pod})
        cri("RemovePodSandbox", {1: pod})
    assert not any(pod in str(entry) for entry in ledger.entries())
