"""config.json as a file: each property of the specification's schema is known, each wrong value refused by its name.

SCHEMA says of every property what becomes of it: the test that shows it honoured, or that it is refused. A property
that the schema gets tomorrow is in no line of it, and the test that walks the schema says so.
"""

from __future__ import annotations

import ast
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labrt.errors import InvalidConfig, LabrtError, NotFound
from labrt.linux.cgroups import devices
from labrt.runtime import config as oci
from labrt.runtime import fields, program, rules

REFUSED, PASSED_OVER = "refused", "passed over"
HOOKS, CGROUPS = "test_hooks.py", "../linux/cgroups/test_cgroups_resources.py"
PROCESS, NAMESPACES, MOUNTS, DEVICES, SECCOMP = (
    f"config_json/test_config_{name}.py" for name in ("process", "namespaces", "mounts", "devices", "seccomp")
)

# Each property: the file and the test that shows what it does. A line is for all properties below it, too.
SCHEMA: dict[str, Any] = {
    "ociVersion": ("test_config.py", "test_versions"),
    "annotations": (HOOKS, "test_each_has_its_moment_its_namespaces_and_its_state"),
    "hostname": (NAMESPACES, "test_names"),
    "domainname": (NAMESPACES, "test_names"),
    "hooks": (HOOKS, "test_each_has_its_moment_its_namespaces_and_its_state"),
    "hooks.prestart[].path": (HOOKS, "test_one_that_cannot_be_run_says_why"),
    "hooks.prestart[].timeout": (HOOKS, "test_one_that_takes_too_long_is_ended_with_its_children"),
    "mounts": (MOUNTS, "test_mount_options"),
    "mounts[].destination": (MOUNTS, "test_relative_paths_of_mounts"),
    "mounts[].source": (MOUNTS, "test_relative_paths_of_mounts"),
    "mounts[].uidMappings": (MOUNTS, "test_idmapped_mounts"),
    "mounts[].gidMappings": (MOUNTS, "test_idmapped_mounts"),
    "root.path": ("test_lifecycle.py", "test_a_config_that_cannot_be_is_refused_by_name"),
    "root.readonly": (MOUNTS, "test_a_read_only_root"),
    "process.args": (PROCESS, "test_the_program"),
    "process.commandLine": REFUSED,
    "process.consoleSize": (PROCESS, "test_the_terminal_has_its_size"),
    "process.cwd": (PROCESS, "test_the_program"),
    "process.env": (PROCESS, "test_the_program"),
    "process.terminal": (PROCESS, "test_the_terminal_has_its_size"),
    "process.user": (PROCESS, "test_the_program"),
    "process.user.username": REFUSED,
    "process.capabilities": (PROCESS, "test_capabilities"),
    "process.apparmorProfile": (PROCESS, "test_apparmor"),
    "process.oomScoreAdj": (PROCESS, "test_the_program"),
    "process.selinuxLabel": ("test_config.py", "test_labels_need_their_module"),
    "process.ioPriority": (PROCESS, "test_io_priority"),
    "process.noNewPrivileges": (PROCESS, "test_the_program"),
    "process.scheduler": (PROCESS, "test_schedulers"),
    "process.rlimits": (PROCESS, "test_the_program"),
    "process.execCPUAffinity": (PROCESS, "test_cpus_of_exec"),
    "linux.devices": (DEVICES, "test_devices"),
    "linux.netDevices": (DEVICES, "test_interfaces_of_the_host"),
    "linux.uidMappings": (NAMESPACES, "test_a_user_namespace"),
    "linux.gidMappings": (NAMESPACES, "test_a_user_namespace"),
    "linux.namespaces": (NAMESPACES, "test_new_namespaces"),
    "linux.namespaces[].path": (NAMESPACES, "test_joined_namespaces"),
    "linux.resources": (CGROUPS, "test_the_specifications_own_example"),
    "linux.resources.unified": (DEVICES, "test_unified"),
    "linux.resources.devices": (DEVICES, "test_device_rules"),
    "linux.resources.blockIO": (CGROUPS, "test_the_specifications_own_example"),
    "linux.resources.hugepageLimits": (
        CGROUPS,
        "test_huge_pages_are_counted_when_they_are_reserved_where_the_kernel_can",
    ),
    "linux.resources.rdma": (CGROUPS, "test_rdma"),
    "linux.cgroupsPath": (DEVICES, "test_cgroups_path"),
    "linux.rootfsPropagation": (MOUNTS, "test_propagation_of_the_root"),
    "linux.seccomp": (SECCOMP, "test_seccomp"),
    "linux.seccomp.flags": (SECCOMP, "test_seccomp"),
    "linux.seccomp.listenerPath": (SECCOMP, "test_a_seccomp_agent_answers"),
    "linux.seccomp.listenerMetadata": (SECCOMP, "test_a_seccomp_agent_answers"),
    "linux.sysctl": (NAMESPACES, "test_sysctls"),
    "linux.maskedPaths": (MOUNTS, "test_masked_and_read_only_paths"),
    "linux.readonlyPaths": (MOUNTS, "test_masked_and_read_only_paths"),
    "linux.mountLabel": ("test_config.py", "test_labels_need_their_module"),
    "linux.intelRdt": REFUSED,
    "linux.memoryPolicy": (PROCESS, "test_memory_policy"),
    "linux.personality": (PROCESS, "test_personality"),
    "linux.personality.flags": REFUSED,
    "linux.timeOffsets": (NAMESPACES, "test_clocks"),
    "solaris": PASSED_OVER,
    "windows": PASSED_OVER,
    "zos": PASSED_OVER,
    "freebsd": PASSED_OVER,
    "vm": REFUSED,
}

# What is put in place of a refused property: well-formed, all the same.
WELL_FORMED = {
    "process.commandLine": "cmd.exe", "process.user.username": "bob", "linux.intelRdt": {"closID": "x"},
    "linux.personality.flags": ["X"], "vm": {"kernel": {"path": "/vmlinuz"}},
}  # fmt: skip


# The schema, walked ---------------------------------------------------------------------------------------------------


class Walk:
    """Go through the schema's files, and follow what they refer to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def resolve(self, node: dict[str, Any], file: str) -> tuple[dict[str, Any], str]:
        while "$ref" in node:
            where, _, path = node["$ref"].partition("#")
            file = where or file
            found = json.loads((self.directory / file).read_text())
            for part in filter(None, path.split("/")):
                found = found[part]
            node = found
        return node, file

    def properties(self, node: dict[str, Any], file: str, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield every property as (path, its schema): `linux.devices[].type`, `linux.sysctl.*`."""
        node, file = self.resolve(node, file)
        for part in [*node.get("allOf", ()), *node.get("anyOf", ())]:
            yield from self.properties(part, file, path)
        children = [(f"{path}.{name}" if path else name, child) for name, child in node.get("properties", {}).items()]
        children += [(f"{path}.*", child) for child in node.get("patternProperties", {}).values()]
        if isinstance(node.get("additionalProperties"), dict):
            children.append((f"{path}.*", node["additionalProperties"]))
        if "items" in node:
            children.append((f"{path}[]", node["items"]))
        for where, child in children:
            yield where, self.resolve(child, file)[0]
            yield from self.properties(child, file, where)


@pytest.fixture(scope="session")
def schema() -> Path:
    directory = Path(__file__).resolve().parents[3] / "shared/specs/runtime-spec/schema"
    if not directory.is_dir():
        pytest.skip(f"{directory} is absent: no specification to test against")
    return directory


@pytest.fixture(scope="session")
def properties(schema: Path) -> dict[str, dict[str, Any]]:
    """Every property of config-schema.json by its path."""
    return dict(Walk(schema).properties({"$ref": "config-schema.json#"}, "config-schema.json"))


def fate(path: str) -> Any:
    """What SCHEMA says of a property, or of the nearest one above it."""
    while path:
        if path in SCHEMA:
            return SCHEMA[path]
        path = path[:-2] if path.endswith("[]") else path.rpartition(".")[0]
    return None


def test_the_walk_finds_what_is_there(properties):
    assert len(properties) > 350
    expected = {"linux.resources.blockIO.weightDevice[].major", "linux.netDevices.*.name", "hooks.poststop[].env[]",
                "linux.sysctl.*", "windows.devices[].idType", "process.scheduler.flags[]"}  # fmt: skip
    assert expected <= set(properties)


def test_no_property_of_the_schema_is_forgotten(properties):
    assert [path for path in properties if fate(path) is None and path not in ("root", "process", "linux")] == []
    assert [path for path in SCHEMA if path not in properties] == []


def test_who_shows_it_is_there():
    """Each test that SCHEMA names exists."""
    here = Path(__file__).parent
    for file, name in {entry for entry in SCHEMA.values() if isinstance(entry, tuple)}:
        tree = ast.parse((here / file).read_text())
        names = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        assert any(known.startswith(name) for known in names), f"{file} has no {name}"


def wrong_for(node: dict[str, Any]) -> Any:
    """A value that a property's schema does not allow."""
    kind = node.get("type")
    return 7 if kind in ("string", "array", "object", "boolean") else "x" if kind in ("integer", "number") else object


def put(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Put a value at a path of the walk's kind, with what it takes to get there."""
    config = copy.deepcopy(config)
    *parts, last = path.replace("[]", ".[]").split(".")
    node: Any = config
    for part, following in zip(parts, [*parts, last][1:], strict=True):
        empty: Any = [] if following == "[]" else {}
        if part == "[]":
            node.append(empty)
            node = node[-1]
        else:
            part = "x" if part == "*" else part
            if not isinstance(node.get(part), type(empty)):
                node[part] = empty
            node = node[part]
    if last == "[]":
        node.append(value)
    else:
        node["x" if last == "*" else last] = value
    return config


def test_a_wrong_value_is_refused_by_name_whichever_property_it_is_of(properties):
    minimal = {"ociVersion": "1.0.0"}
    tried = 0
    for path, node in properties.items():
        wrong = wrong_for(node)
        if wrong is object:
            continue
        name = path.replace("[]", "[0]").replace(".*", ".x")
        section, where = ("", name)
        if "[]" in path or "." in path:  # what else its object requires comes first otherwise
            with pytest.raises(InvalidConfig) as caught:
                fields.check(put(minimal, path, wrong))
            message = str(caught.value)
            missing = "is missing" in message and message.split(":")[0].rpartition(".")[0] in name
            assert message.startswith(f"{where}: ") or missing, (path, message)
        else:
            with pytest.raises(InvalidConfig, match=rf"^{section}{where}: "):
                fields.check(put(minimal, path, wrong))
        tried += 1
    assert tried > 300


def test_refused_properties_are_refused_by_name_and_well_formed_all_the_same():
    refused = [path for path, what in SCHEMA.items() if what == REFUSED]
    assert set(refused) == set(WELL_FORMED)
    for path in refused:
        config = put(usual(), path, WELL_FORMED[path])
        if path.startswith("linux.personality"):
            config["linux"]["personality"]["domain"] = "LINUX"
        fields.check(config)
        with pytest.raises(LabrtError) as caught:
            oci.validate(config)
        assert str(caught.value).startswith(f"{path}: "), path
        assert caught.value.remedy


# The schema's own examples --------------------------------------------------------------------------------------------


def usual() -> dict[str, Any]:
    return json.loads(json.dumps(oci.default(["true"])))


def test_good_examples_are_accepted(schema):
    examples = sorted((schema / "test/config/good").glob("*.json"))
    assert len(examples) >= 9
    for example in examples:
        fields.check(json.loads(example.read_text()))


@pytest.mark.parametrize("name", ["minimal", "minimal-for-start", "linux-rdma"])
def test_examples_that_ask_for_no_namespace_can_be_containers(schema, name):
    oci.validate(json.loads((schema / f"test/config/good/{name}.json").read_text()))


def test_bad_examples_are_refused(schema, tmp_path):
    names = {"linux-hugepage": r"linux\.resources\.hugepageLimits\[0\]\.pageSize: '64kB'",
             "linux-netdevice": r"linux\.netDevices\.eth0\.name: 23", "invalid-json": "config.json",
             "linux-rdma": r"linux\.resources\.rdma\.mlx5_1\.hcaHandles: 'not a uint32'",
             "freebsd-vnet-disable": r"freebsd\.jail\.vnet: 'disable'"}  # fmt: skip
    examples = sorted((schema / "test/config/bad").glob("*.json"))
    assert {example.stem for example in examples} == set(names)
    for example in examples:
        (tmp_path / "config.json").write_text(example.read_text())
        with pytest.raises(InvalidConfig, match=names[example.stem]):
            oci.load(str(tmp_path))


def test_our_own_default_is_valid_by_the_schema(schema):
    jsonschema, referencing = pytest.importorskip("jsonschema"), pytest.importorskip("referencing")
    registry = referencing.Registry(retrieve=lambda uri: referencing.Resource.from_contents(
        json.loads((schema / uri).read_text()), default_specification=referencing.jsonschema.DRAFT4))  # fmt: skip
    main = json.loads((schema / "config-schema.json").read_text())
    jsonschema.Draft4Validator(main, registry=registry).validate(usual())
    oci.validate(usual())


# Reading --------------------------------------------------------------------------------------------------------------


def load(tmp_path: Path, config: Any) -> dict[str, Any]:
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return oci.load(str(tmp_path))


def test_what_may_be_left_out_is_filled_in(tmp_path):
    config = usual()
    del config["mounts"]
    assert load(tmp_path, config)["mounts"] == []
    config["mounts"] = [
        {"destination": "data", "source": "files", "options": ["bind"]},
        {"destination": "/p", "type": "proc"},
    ]
    bind, proc = load(tmp_path, config)["mounts"]
    assert (bind["destination"], bind["source"]) == ("/data", f"{tmp_path}/files")
    assert proc["source"] == "none"


def test_a_process_is_only_wanted_at_the_start(tmp_path):
    config = usual()
    del config["process"]
    assert "process" not in load(tmp_path, config)


@pytest.mark.parametrize("text", ["", "[]", "{]", '"x"', "\udcff", "[" * 100_000])
def test_what_is_no_config_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidConfig, match="config.json"):
        oci.load(str(tmp_path))
    with pytest.raises(NotFound, match="config.json is not there"):
        oci.load(str(tmp_path / "absent"))


def test_versions():
    for version in ("0.5.0-dev", "1.0.2", "1.1.0+dev", "1.3.0"):
        oci.validate(usual() | {"ociVersion": version})
    with pytest.raises(InvalidConfig, match="ociVersion: '2.0.0'"):
        oci.validate(usual() | {"ociVersion": "2.0.0"})
    with pytest.raises(InvalidConfig, match="ociVersion: is missing"):
        oci.validate({"root": {"path": "rootfs"}})


def test_unknown_properties_are_passed_over_wherever_they_are():
    config = usual() | {"tomorrow": {"x": 1}, "freebsd": {"jail": {"vnet": "new"}}, "zos": {}}
    config["process"]["tomorrow"] = config["linux"]["tomorrow"] = config["linux"]["resources"]["tomorrow"] = 1
    config["mounts"][0]["tomorrow"] = "x"
    oci.validate(config)


def test_null_is_as_good_as_absent():
    config = usual()
    for section in (
        config,
        config["process"],
        config["linux"],
        config["linux"]["seccomp"],
        config["linux"]["resources"],
    ):
        for path in ("hooks", "rlimits", "sysctl", "flags", "memory", "apparmorProfile", "intelRdt"):
            section.setdefault(path, None)
    oci.validate(config)


@pytest.mark.parametrize("user", [None, {}, {"uid": None, "gid": None, "umask": None, "additionalGids": None}])
def test_a_program_that_says_nothing_of_its_user_is_roots(user):
    prepared = program.prepare(usual()["process"] | {"user": user}, None)
    assert (prepared.user, prepared.umask) == (program.User(), 0o022)


# Rules ----------------------------------------------------------------------------------------------------------------


def change(path: str, value: Any):
    def apply(config: dict[str, Any]) -> None:
        node = config
        *parts, last = path.split(".")
        for part in parts:
            node = node.setdefault(part, {})
        node[last] = value

    return apply


def without(kind: str):
    def apply(config: dict[str, Any]) -> None:
        config["linux"]["namespaces"] = [entry for entry in config["linux"]["namespaces"] if entry["type"] != kind]

    return apply


def with_namespace(**entry: str):
    return lambda config: config["linux"]["namespaces"].append(entry)


def mount(**entry: Any):
    return lambda config: config["mounts"].append({"destination": "/x", **entry})


MAP = [{"containerID": 0, "hostID": 1000, "size": 1}]
NOTIFY = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
BROKEN: list[tuple[list[Any], str]] = [
    ([change("root", None)], "root: is missing"),
    ([change("process.args", [])], r"process\.args: \[\] has no entry"),
    ([change("process.args", None)], r"process\.args: None has no entry"),
    ([change("process.args", ["a\0b"])], r"process\.args\[0\]: .* NUL"),
    ([change("process.cwd", "tmp")], r"process\.cwd: 'tmp' is no absolute path"),
    ([change("process.env", ["A"])], r"process\.env\[0\]: 'A'"),
    ([change("process.env", ["=A"])], r"process\.env\[0\]: '=A'"),
    ([change("process.oomScoreAdj", 1001)], r"process\.oomScoreAdj: 1001"),
    ([change("process.user.umask", 0o1000)], r"process\.user\.umask: 512"),
    ([change("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2)], "'RLIMIT_CPU' is there twice"),
    ([change("process.rlimits", [{"type": "NOFILE", "soft": 1, "hard": 1}])], r"process\.rlimits\[0\]\.type: 'NOFILE'"),
    ([change("process.rlimits", [{"type": "RLIMIT_CPU", "soft": -1, "hard": 1}])], r"process\.rlimits\[0\]\.soft: -1"),
    ([change("process.ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 8})], r"process\.ioPriority\.priority: 8"),
    ([change("process.ioPriority", {"class": "BE"})], r"process\.ioPriority\.class: 'BE' is unknown"),
    ([change("process.scheduler", {"policy": "SCHED_ISO"})], r"scheduler\.policy: 'SCHED_ISO' is in no kernel"),
    ([change("process.scheduler", {"policy": "SCHED_FIFO"})], r"process\.scheduler\.priority: 0"),
    ([change("process.scheduler", {"policy": "SCHED_OTHER", "priority": 1})], r"process\.scheduler\.priority: 1"),
    ([change("process.scheduler", {"policy": "SCHED_OTHER", "nice": 20})], r"process\.scheduler\.nice: 20"),
    ([change("process.scheduler", {"policy": "SCHED_BATCH", "runtime": 1})], r"process\.scheduler\.runtime: 1"),
    ([change("process.scheduler", {"policy": "SCHED_DEADLINE", "runtime": 9, "deadline": 8})], r"scheduler: 9 of"),
    ([change("process.scheduler", {"policy": "SCHED_IDLE", "flags": ["SCHED_FLAG_UTIL_CLAMP_MAX"]})], r"r\.flags: 'S"),
    ([change("process.execCPUAffinity", {"initial": "3-1"})], r"process\.execCPUAffinity\.initial: '3-1'"),
    ([change("process.execCPUAffinity", {"final": "x"})], r"process\.execCPUAffinity\.final: 'x'"),
    ([change("process.execCPUAffinity", {"final": "0-99999999999"})], r"execCPUAffinity\.final: .*any machine"),
    ([without("mount")], r"mounts: .* wants a mount namespace"),
    ([without("mount"), change("mounts", []), change("root.readonly", True)], r"root\.readonly: True wants a mount"),
    ([without("mount"), change("mounts", [])], r"linux\.maskedPaths: .* wants a mount namespace"),
    ([with_namespace(type="pid")], r"linux\.namespaces\[0-9\]*|'pid' is there twice"),
    ([with_namespace(type="time", path="proc/1/ns/time")], "is no absolute path"),
    ([with_namespace(type="disk")], r"linux\.namespaces\[6\]\.type: 'disk' is unknown"),
    ([without("uts")], r"hostname: 'labrt' would rename the host"),
    ([without("uts"), change("hostname", ""), change("domainname", "x")], "domainname: 'x' would rename the host"),
    ([change("hostname", "x" * 65)], "hostname: .*64 bytes"),
    ([with_namespace(type="user")], r"linux\.uidMappings: is missing"),
    ([with_namespace(type="user"), change("linux.uidMappings", MAP)], r"linux\.gidMappings: is missing"),
    ([change("linux.uidMappings", MAP)], r"linux\.uidMappings: .* wants a user namespace"),
    ([change("linux.timeOffsets", {"boottime": {"secs": 1}})], r"linux\.timeOffsets: .* wants a new time namespace"),
    ([with_namespace(type="time"), change("linux.timeOffsets", {"realtime": {}})], r"'realtime' is no clock"),
    ([change("linux.timeOffsets", {"boottime": {"nanosecs": 10**9}})], r"linux\.timeOffsets\.boottime\.nanosecs"),
    ([mount(options=["bind"])], r"mounts\[7\]\.source: None"),
    ([mount(source="/", options=["bind", "roo"])], r"mounts\[7\]\.options: 'roo' is no option of a bind mount"),
    ([mount(source="/", options=["bind"], uidMappings=MAP)], r"mounts\[7\]\.uidMappings: .* goes with the other"),
    ([mount(source="/", options=["bind", "idmap"])], r"mounts\[7\]\.options: 'idmap' has no mapping to use"),
    ([mount(type="tmpfs", options=["idmap"], uidMappings=MAP, gidMappings=MAP)], "'idmap' is for bind mounts"),
    ([mount(type="proc", options=["tmpcopyup"])], r"mounts\[7\]\.options: 'tmpcopyup' is for a tmpfs"),
    ([mount(destination="")], r"mounts\[7\]\.destination"),
    ([change("linux.sysctl", {"kernel.hostname": "x"})], r"linux\.sysctl: kernel\.hostname is not"),
    ([change("linux.sysctl", {"vm.swappiness": "1"})], r"linux\.sysctl: vm\.swappiness"),
    ([change("linux.sysctl", {"net/../kernel/core_pattern": "x"})], r"linux\.sysctl: net/\.\./kernel"),
    ([change("linux.sysctl", {"net.ipv4.ip_forward": 1})], r"linux\.sysctl\.net\.ipv4\.ip_forward: 1 is no string"),
    ([without("network"), change("linux.sysctl", {"net.ipv4.ip_forward": "1"})], r"net\.ipv4\.ip_forward is not"),
    ([without("ipc"), change("linux.sysctl", {"kernel.shmmax": "1"})], r"kernel\.shmmax is not"),
    ([change("linux.devices", [{"path": "/dev/x", "type": "c", "major": 1}])], r"linux\.devices\[0\]\.minor: None"),
    ([change("linux.devices", [{"path": "dev/x", "type": "p"}])], r"linux\.devices\[0\]\.path: 'dev/x'"),
    ([change("linux.devices", [{"path": "/dev/x", "type": "d"}])], r"linux\.devices\[0\]\.type: 'd'"),
    ([change("linux.maskedPaths", ["proc/kcore"])], r"linux\.maskedPaths\[0\]: 'proc/kcore' is no absolute path"),
    ([change("linux.readonlyPaths", ["sys"])], r"linux\.readonlyPaths\[0\]: 'sys'"),
    ([change("linux.rootfsPropagation", "rshare")], r"linux\.rootfsPropagation: 'rshare' is unknown"),
    ([change("linux.personality", {"domain": "LINUX64"})], r"linux\.personality\.domain: 'LINUX64'"),
    ([change("linux.memoryPolicy", {"mode": "MPOL_BIND"})], r"linux\.memoryPolicy\.nodes: '': MPOL_BIND wants"),
    ([change("linux.memoryPolicy", {"mode": "MPOL_LOCAL", "nodes": "0"})], r"linux\.memoryPolicy\.nodes: '0'"),
    ([change("linux.memoryPolicy", {"mode": "BIND"})], r"linux\.memoryPolicy\.mode: 'BIND' is unknown"),
    ([change("linux.seccomp.listenerMetadata", "x")], r"linux\.seccomp\.listenerMetadata: 'x'"),
    ([change("linux.seccomp.syscalls", [NOTIFY])], r"linux\.seccomp\.listenerPath: None is missing"),
    ([change("linux.seccomp", {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x"})], r"seccomp\.defaultAction"),
    ([change("linux.seccomp.flags", ["SECCOMP_FILTER_FLAG_X"])], r"linux\.seccomp\.flags\[0\]: .* is unknown"),
    ([change("linux.seccomp.architectures", ["X86"])], r"linux\.seccomp\.architectures\[0\]: 'X86' is unknown"),
    ([without("network"), change("linux.netDevices", {"eth0": {}})], r"linux\.netDevices: .* want a network namespace"),
    ([change("linux.netDevices", {"eth0": {"name": "x/y"}})], r"linux\.netDevices\.eth0\.name: 'x/y'"),
    ([change("linux.netDevices", {"a": {"name": "c"}, "b": {"name": "c"}})], r"linux\.netDevices: 'c' would be"),
    ([change("hooks", {"poststop": [{"path": "x"}]})], r"hooks\.poststop\[0\]\.path: 'x' is no absolute path"),
    ([change("hooks", {"poststop": [{"path": "/x", "timeout": 0}]})], r"hooks\.poststop\[0\]\.timeout: 0"),
    ([change("hooks", {"poststop": [{"path": "/x", "env": ["A"]}]})], r"hooks\.poststop\[0\]\.env\[0\]: 'A'"),
    ([change("hooks", {"poststop": [{"path": "/x", "args": []}]})], r"hooks\.poststop\[0\]\.args"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), BROKEN, ids=[words for _, words in BROKEN])
def test_what_cannot_be_is_refused_by_name_with_its_value(changes, words):
    config = usual()
    for apply in changes:
        apply(config)
    with pytest.raises(InvalidConfig, match=words):
        oci.validate(config)


def test_labels_need_their_module():
    from labrt.linux import labels

    selinux = labels.has_selinux()
    for path, there in (("process.apparmorProfile", labels.has_apparmor()), ("process.selinuxLabel", selinux),
                        ("linux.mountLabel", selinux)):  # fmt: skip
        config = usual()
        change(path, "acme")(config)
        if not there:
            with pytest.raises(LabrtError, match=rf"^{path}: 'acme': this kernel has no"):
                oci.validate(config)
    config = usual()
    config["process"]["apparmorProfile"] = "unconfined"  # it is, where there is no AppArmor
    oci.validate(config)


def test_names_of_sysctls():
    assert oci.sysctl_path("net.ipv4.ip_forward") == "net/ipv4/ip_forward"
    assert oci.sysctl_path("net.ipv4.conf.eth0/1.forwarding") == "net/ipv4/conf/eth0.1/forwarding"
    assert oci.sysctl_path("net/ipv4/conf/eth0.1/forwarding") == "net/ipv4/conf/eth0.1/forwarding"


def test_a_namespace_of_ours_by_its_path_is_not_the_containers_own():
    config = usual()
    without("uts")(config)
    with_namespace(type="uts", path="/proc/self/ns/uts")(config)
    assert not rules.own(config, "uts")
    with pytest.raises(InvalidConfig, match="hostname"):
        oci.validate(config)


def test_device_rules_end_with_those_that_all_have():
    config = usual()
    config["linux"]["resources"]["devices"] = [{"allow": False, "access": "rwm"}]
    found = oci.resources(config)["devices"]
    assert found[0] == {"allow": False, "access": "rwm"}
    assert {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"} in found
    config["linux"]["resources"] = {}
    assert "devices" not in oci.resources(config)


def test_where_all_devices_are_allowed_nothing_is_added():
    """It would cut a hole into what is forbidden in particular, which the kernel cannot have."""
    for given in (
        [{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "major": 1, "access": "rw"}],
        [{"allow": False, "type": "c", "major": 1, "access": "rw"}],
        [{"allow": False}, {"allow": True, "type": "a", "major": -1, "minor": -1}],
    ):
        config = usual()
        config["linux"]["resources"]["devices"] = given
        assert oci.resources(config)["devices"] == given
        devices.evaluate(oci.resources(config)["devices"])
