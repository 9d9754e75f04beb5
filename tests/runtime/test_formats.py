"""One plan in several formats: valid by the specification's schema, and nothing in it leads out of its quotes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from labrt.runtime import config as oci
from labrt.runtime import fields, formats


@pytest.fixture
def plan() -> dict:
    config = oci.default(["sh", "-c", "echo 'it is'"], rootfs_path="/containers/web/rootfs")
    config["hostname"] = "web"
    config["linux"]["resources"] |= {"memory": {"limit": 64 << 20, "swap": 128 << 20},
                                     "cpu": {"quota": 150_000, "period": 100_000}}  # fmt: skip
    volume = {"destination": "/data", "type": "bind", "source": "/srv/data", "options": ["rbind", "rro"]}
    config["mounts"].append(volume)
    config["linux"]["devices"] = [{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 0o600}]
    return config


@pytest.fixture
def valid(shared: Path):
    jsonschema, referencing = pytest.importorskip("jsonschema"), pytest.importorskip("referencing")
    schema = shared / "specs/runtime-spec/schema"

    def retrieve(uri: str):
        return referencing.Resource.from_contents(
            json.loads((schema / Path(uri).name).read_text()), default_specification=referencing.jsonschema.DRAFT4
        )

    registry = referencing.Registry(retrieve=retrieve)
    validator = jsonschema.Draft4Validator({"$ref": "config-schema.json"}, registry=registry)
    return validator.validate


@pytest.mark.parametrize("format", ["oci", "jail", "zone"])
def test_it_is_valid_by_the_schema(plan, valid, format):
    made = json.loads(formats.write(plan, format, "web"))
    valid(made)
    fields.check(made)
    assert ("linux" in made, "freebsd" in made, "solaris" in made) == (format == "oci", format == "jail",
                                                                       format == "zone")  # fmt: skip


def test_the_schema_is_asked(valid):
    with pytest.raises(Exception, match="sideways"):
        valid({"ociVersion": "1.1.0", "freebsd": {"jail": {"host": "sideways"}}})


def test_a_jail(plan):
    section = formats.jail(plan)["freebsd"]
    assert section["devices"] == [{"path": "fuse", "mode": 0o600}]
    jail = section["jail"]
    assert (jail["host"], jail["vnet"], jail["sysvshm"], jail["enforceStatfs"]) == ("new", "new", "new", 1)
    assert "ip4" not in jail  # vnet has addresses of its own
    allow = jail["allow"]
    assert allow["rawSockets"] and allow["reservedPorts"] and allow["suser"]
    assert not (allow["setHostname"] or allow["mlock"] or allow["mount"])
    kinds = {mount["destination"]: (mount["type"], mount["options"]) for mount in formats.jail(plan)["mounts"]}
    assert kinds["/data"] == ("nullfs", ["ro"]) and kinds["/dev"] == ("devfs", ["ruleset=4"])
    assert "/sys" not in kinds and "/sys/fs/cgroup" not in kinds
    assert "capabilities" not in formats.jail(plan)["process"]


def test_a_jail_on_the_hosts_network(plan):
    plan["linux"]["namespaces"] = [{"type": "mount"}]
    jail = formats.jail(plan)["freebsd"]["jail"]
    assert (jail["host"], jail["ip4"], jail["ip6"], jail["sysvsem"]) == ("inherit",) * 4 and "vnet" not in jail


def test_jail_conf(plan):
    text = formats.write(plan, "jail.conf", "web.1")
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "web_1 {" and lines[-1] == "}" and all(line.endswith(";") for line in lines[1:-1])
    assert {'path = "/containers/web/rootfs";', 'host.hostname = "web";', "vnet;", 'enforce_statfs = "1";',
            "allow.raw_sockets;", "allow.noset_hostname;", "exec.clean;"} <= set(lines)  # fmt: skip
    assert 'mount += "/srv/data /containers/web/rootfs/data nullfs ro 0 0";' in lines
    start = next(line for line in lines if line.startswith("exec.start"))
    command = re.sub(r'^exec.start = "(.*)";$', r"\1", start).replace('\\"', '"')
    assert shlex.split(command) == ["sh", "-c", "echo 'it is'"]


def test_a_zone(plan):
    zone = formats.zone(plan)["solaris"]
    assert zone["cappedCPU"] == {"ncpus": "1.5"}
    assert zone["cappedMemory"] == {"physical": str(64 << 20), "swap": str(128 << 20)}
    assert zone["limitpriv"] == "default,net_rawaccess" and zone["maxShmMemory"] == "65536k"
    assert zone["anet"][0]["linkname"] == "net0"


def test_zonecfg(plan):
    lines = formats.write(plan, "zonecfg", "web").splitlines()
    assert lines[:2] == ["# zonecfg -z web -f FILE", "create -b"] and lines[-2:] == ["verify", "commit"]
    opened = [line for line in lines if line.startswith("add ")]
    assert opened == ["add capped-cpu", "add capped-memory", "add anet", "add fs"]
    assert lines.count("end") == len(opened) and '    set special="/srv/data"' in lines
    assert "    set lower-link=\"auto\"" in lines


def test_less_of_it(plan):
    """A config that is nearly empty."""
    least = {"ociVersion": "1.1.0", "root": {"path": "r"}}
    assert "anet" not in formats.zone(least)["solaris"] and "cappedCPU" not in formats.zone(least)["solaris"]
    assert formats.jail(least)["freebsd"]["jail"]["allow"]["suser"] is False
    assert formats.jail_conf(least, "x").startswith("x {\n") and "commit" in formats.zonecfg(least, "x")


@pytest.mark.parametrize("hostile", ['x"; exec.prestart = "rm -rf /', "a\nexec.prestart=b", "${path}", "back\\"])
def test_nothing_leads_out_of_its_quotes(plan, hostile):
    """Both files are read by programs of root's, and a name or a path may be an image's."""
    plan["hostname"], plan["process"]["args"] = hostile, [hostile]
    plan["mounts"][-1]["destination"] = f"/{hostile}"
    for text in (formats.jail_conf(plan, hostile), formats.zonecfg(plan, hostile)):
        for line in text.splitlines():
            outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", line)
            assert "exec.prestart" not in outside and "rm -rf" not in outside and '"' not in outside
            assert not re.search(r'(?<!\\)\$\{', line)
