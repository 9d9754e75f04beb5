"""`labrt generate`: what is written is valid by their own schemas, and others make the same container of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import compose_spec
import kubernetes_validate
import pytest
import yaml

from labrt.engine import archives, generate
from labrt.engine.commit import commit
from labrt.engine.containers import Containers
from labrt.engine.generate import text
from labrt.engine.networks import Networks
from labrt.engine.options import Options
from labrt.engine.volumes import Volumes
from labrt.errors import ContainerNotFound, InvalidInput

pytestmark = pytest.mark.root
PATIENCE = 60


def make(name: str, *command: str, **options: Any) -> str:
    return Containers().create(Options("busybox", command, name=name, **{"network": "none", **options})).name


def pod_of(*names: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The Pod, valid for Kubernetes old and new; and what was left out."""
    written = generate.kube(names)
    documents = list(yaml.safe_load_all(written.text))
    for document in documents:
        for version in ("1.30", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(document, version, strict=True)
    return documents[-1], written.left_out


def services_of(*names: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The document, valid by the compose-spec; and what was left out."""
    written = generate.compose(names)
    compose_spec.PyCompose.from_yaml(written.text).validate()
    found: dict[str, Any] = yaml.safe_load(written.text)
    return found, written.left_out


@pytest.fixture
def everything(house: Path, tmp_path: Path) -> str:
    """A container with most of the options that there are."""
    Networks().create("front")
    (tmp_path / "src").mkdir()
    return make(
        "web", "-c", "sleep 1000", entrypoint="sh", network="front", network_alias=["www"], hostname="webhost",
        memory="64m", memory_reservation="32m", cpus=0.5, cpu_shares=256, pids_limit=50, env=["A=1", "B=x $HOME"],
        workdir="/tmp", user="1000:1000", cap_add=["NET_ADMIN"], cap_drop=["MKNOD"], read_only=True,
        tmpfs=["/run:size=16m"], volumes=["data:/data", f"{tmp_path}/src:/src:ro", "/anon"], init=True,
        publish=["127.0.0.1:18080:80", "53/udp"], restart="on-failure", health_cmd="test -d /data",
        health_interval="5s", dns=["10.0.0.1"], dns_search=["ex.org"], dns_option=["ndots:2"], stop_timeout=3,
        add_host=["db:10.0.0.7"], label=["a=b", "com.example/what=no label's value"],
        security_opt=["no-new-privileges"], ulimit=["nofile=100:200"], shm_size="32m", group_add=["44"],
        sysctl=["net.ipv4.ip_unprivileged_port_start=0"], stop_signal="INT", log_opt=["max-size=1m"],
        device=["/dev/null:/dev/nil"],
    )  # fmt: skip


def test_a_pod_says_what_it_can_and_names_the_rest(everything: str, tmp_path: Path) -> None:
    pod, left_out = pod_of("web", "data")
    spec, (one,) = pod["spec"], pod["spec"]["containers"]
    assert (pod["metadata"]["name"], pod["metadata"]["labels"]) == ("web-pod", {"app": "web-pod", "a": "b"})
    assert pod["metadata"]["annotations"] == {"com.example/what": "no label's value"}
    assert (one["image"], one["command"], one["args"]) == (
        "docker.io/library/busybox:latest", ["sh"], ["-c", "sleep 1000"])  # fmt: skip
    assert one["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "x $HOME"}], "and none of the image's"
    assert one["resources"] == {"limits": {"memory": "64Mi", "cpu": "500m"},
                                "requests": {"memory": "32Mi", "cpu": "250m"}}  # fmt: skip
    assert one["securityContext"] == {
        "capabilities": {"add": ["NET_ADMIN"], "drop": ["MKNOD"]}, "readOnlyRootFilesystem": True, "runAsUser": 1000,
        "runAsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}, "allowPrivilegeEscalation": False,
    }  # fmt: skip
    assert one["ports"][0] == {"containerPort": 80, "hostPort": 18080, "hostIP": "127.0.0.1"}
    assert one["livenessProbe"] == {"exec": {"command": ["/bin/sh", "-c", "test -d /data"]}, "periodSeconds": 5,
                                    "timeoutSeconds": 30, "failureThreshold": 3}  # fmt: skip
    volumes = {volume.pop("name"): volume for volume in spec["volumes"]}
    where = {mount["mountPath"]: volumes[mount["name"]] for mount in one["volumeMounts"]}
    assert where == {
        "/data": {"persistentVolumeClaim": {"claimName": "data"}}, "/anon": {"emptyDir": {}},
        "/src": {"hostPath": {"path": f"{tmp_path}/src", "type": "Directory"}},
        "/run": {"emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        "/dev/shm": {"emptyDir": {"medium": "Memory", "sizeLimit": "32Mi"}},
    }  # fmt: skip
    assert (spec["hostname"], spec["restartPolicy"], spec["dnsPolicy"]) == ("webhost", "OnFailure", "None")
    assert spec["terminationGracePeriodSeconds"] == 3 and spec["hostAliases"] == [
        {"ip": "10.0.0.7", "hostnames": ["db"]}]  # fmt: skip
    said = {line.split(": ")[1].split(" ")[0] for line in left_out}
    assert said == {"--pids-limit", "--stop-signal", "--log-opt", "--device", "--ulimit", "--network", "--init", "-p"}
    assert any("claim of volume data" in line for line in generate.kube(["web"]).left_out)


def test_a_compose_file_says_it_all(everything: str) -> None:
    document, left_out = services_of("web")
    assert left_out == ()
    web = document["services"]["web"]
    assert web["ports"] == ["127.0.0.1:18080:80/tcp", "53/udp"] and web["environment"]["B"] == "x $$HOME"
    assert web["networks"] == {"front": {"aliases": ["www"]}} and document["networks"] == {"front": None}
    assert document["volumes"] == {"data": {"name": "data"}} and web["tmpfs"] == ["/run:size=16m"]


def test_containers_of_one_pod(house: Path) -> None:
    make("one", "sleep", "1", network="host", pid="host", privileged=True, restart="always", user="daemon")
    make("two", network="host", restart="no", env=["DB_PASSWORD=x", "N=1", "M=$(N) $$ $(hostname)"])
    pod, left_out = pod_of("one", "two", "one")
    first, second = pod["spec"]["containers"]
    assert pod["spec"]["hostNetwork"] and pod["spec"]["hostPID"] and pod["spec"]["restartPolicy"] == "Always"
    assert first["securityContext"] == {"privileged": True, "runAsUser": 1, "runAsGroup": 1,
                                        "seccompProfile": {"type": "Unconfined"}}  # fmt: skip
    assert "args" not in second and "command" not in second, "what the image says anyhow"
    assert second["env"][2]["value"] == "$$(N) $$$$ $(hostname)", "Kubernetes looks for its own $(…) there"
    assert "restart policies" in " ".join(left_out) and "two: secrecy" in " ".join(left_out)
    assert services_of("one", "two")[0]["services"]["one"]["pid"] == "host"
    for names, error in ((["nobody"], ContainerNotFound), ([Volumes().create("lone").name], InvalidInput)):
        with pytest.raises(error):
            generate.kube(names)
    make("raw", env=["A=\udcff"])  # bytes that are no text
    with pytest.raises(InvalidInput, match="not UTF-8"):
        generate.compose(["raw"])


HOSTILE = ["1e3", "0o17", "yes", "y", "12:30", "~", "", " ", "a: b", "#", "'\"\\", "\n---\nkind: Secret\n", "\x1b[31m",
           "ü"]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
def test_every_string_stays_one(value: str) -> None:
    written = text.write([{"key": value, value or "empty": "key"}], "nobody", [f"left {value}"])
    (read,) = yaml.safe_load_all(written)
    assert read["key"] == value and read[value or "empty"] == "key"
    assert all(line.startswith("#") for line in written.split("---\n")[0].splitlines()) and "\x1b" not in written
    if value not in ("ü",):
        assert f"key: {value}\n" not in written, "what readers of YAML disagree about is in quotes"


# Others read it -------------------------------------------------------------------------------------------------------


@pytest.fixture
def daemon(house: Path, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Debian's docker-compose on a `labrt daemon`."""
    if not shutil.which("docker-compose"):
        pytest.skip("docker-compose is absent")
    socket = tmp_path / "s"
    process = subprocess.Popen([sys.executable, "-m", "labrt", "daemon", "-H", f"unix://{socket}"])
    while not socket.exists() and process.poll() is None:
        time.sleep(0.05)

    def compose(*words: str) -> str:
        where = ["-H", f"unix://{socket}", "-p", "gen", "-f", str(tmp_path / "compose.yaml")]
        command = ["docker-compose", *where, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield compose
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0


@pytest.mark.oracle
def test_compose_makes_the_same_container(daemon: Callable[..., str], everything: str, tmp_path: Path) -> None:
    before = Containers().get("web").inspect()
    (tmp_path / "compose.yaml").write_text(generate.compose(["web"]).text)
    Containers().get("web").remove()
    daemon("up", "--no-start")
    after = Containers().get("web").inspect()
    for key in ("Env", "User", "WorkingDir", "Hostname", "Entrypoint", "Cmd", "StopSignal", "StopTimeout",
                "Healthcheck", "ExposedPorts"):  # fmt: skip
        assert after["Config"][key] == before["Config"][key], key
    same = set(before["HostConfig"]) - {"Binds", "Mounts", "NetworkMode", "VolumesFrom"}  # otherwise said
    differing = {key: (before["HostConfig"][key], after["HostConfig"].get(key)) for key in same
                 if before["HostConfig"][key] != after["HostConfig"].get(key)}  # fmt: skip
    assert differing == {}
    assert {*map(mounted, after["Mounts"])} == {*map(mounted, before["Mounts"])}
    daemon("down", "-v")


def mounted(mount: dict[str, Any]) -> tuple[Any, ...]:
    anonymous = len(mount.get("Name", "")) == 64
    return mount["Type"], mount["Destination"], mount["RW"], "" if anonymous else mount["Source"]


@pytest.fixture
def podman(house: Path) -> Iterator[Callable[..., str]]:
    """A podman of its own, with our busybox, and labrt-oci to run it; what holds its pods is of busybox, too."""
    if not shutil.which("podman"):
        pytest.skip("podman is absent")
    commit(Containers().get(make("pause")), "localhost/pause:1", change=['CMD ["sleep", "1000"]', "STOPSIGNAL KILL"])
    with tempfile.TemporaryDirectory(prefix="gen-", dir="/tmp", ignore_cleanup_errors=True) as name:  # a short one
        home = Path(name)
        with open(home / "images.tar", "wb") as file:
            archives.save(["busybox", "localhost/pause:1"], file)
        (home / "conf").write_text('[engine]\ninfra_image = "localhost/pause:1"\n')
        (home / "oci").write_text(f'#!/bin/sh\nLABRT_ROOT={house} exec {sys.executable} -m labrt.cli.oci "$@"\n')
        (home / "oci").chmod(0o755)
        words = ["podman", "--root", f"{home}/root", "--runroot", f"{home}/run", "--tmpdir", f"{home}/tmp",
                 "--storage-driver", "vfs", "--events-backend", "file", "--cgroup-manager", "cgroupfs",
                 "--runtime", f"{home}/oci"]  # fmt: skip
        env = {**os.environ, "CONTAINERS_CONF": f"{home}/conf"}
        env.pop("DOCKER_CONFIG")

        def podman(*arguments: str) -> str:
            done = subprocess.run([*words, *arguments], capture_output=True, text=True, timeout=PATIENCE, env=env,
                                  stdin=subprocess.DEVNULL)  # fmt: skip
            assert done.returncode == 0, done.stderr
            return done.stdout

        podman("load", "-i", f"{home}/images.tar")
        podman("tag", "localhost/busybox:latest", "docker.io/library/busybox:latest")
        yield podman
        podman("pod", "rm", "--all", "--force", "--time", "0")


@pytest.mark.oracle
@pytest.mark.slow
def test_podman_makes_the_same_container(podman: Callable[..., str], tmp_path: Path) -> None:
    script = 'id -u; pwd; echo "$A"; hostname; grep -e CapBnd -e NoNew /proc/1/status; ls -d /dat*; touch /x || echo ro'
    make("kk", "sh", "-c", script, env=["A=1e3"], memory="64m", user="1000:1000", cap_add=["NET_ADMIN"],
         cap_drop=["MKNOD", "NET_RAW", "AUDIT_WRITE"],  # of the last two podman's usual containers have none
         read_only=True, volumes=["data:/data"], workdir="/tmp", hostname="khost", restart="on-failure",
         security_opt=["no-new-privileges"])  # fmt: skip
    file = tmp_path / "pod.yaml"
    file.write_text(generate.kube(["kk"]).text)
    podman("play", "kube", "--network", "none", str(file))
    podman("wait", "kk-pod-kk")
    assert podman("logs", "kk-pod-kk") == Containers().get("kk").run_to_end().stdout
    (made,) = json.loads(podman("inspect", "kk-pod-kk"))
    assert made["HostConfig"]["Memory"] == 64 << 20 and made["HostConfig"]["RestartPolicy"]["Name"] == "on-failure"
