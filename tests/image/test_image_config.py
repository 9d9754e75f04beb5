import json

import pytest

from labrt.errors import InvalidInput, InvalidManifest
from labrt.image.config import ImageConfig, chain_ids
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.platform import Platform

A, B, C = (Digest.of(letter) for letter in (b"a", b"b", b"c"))


def config(run: object = None, **changes: object) -> bytes:
    whole = {"architecture": "amd64", "os": "linux", "config": run, "rootfs": {"type": "layers", "diff_ids": [str(A)]}}
    return json.dumps({**whole, **changes}).encode()


def test_everything_a_config_says():
    run = {
        "Env": ["A=1", "A=2"],
        "Cmd": ["c"],
        "Entrypoint": ["e"],
        "WorkingDir": "/w",
        "User": "1:2",
        "Labels": {"l": "v"},
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Volumes": {"/data": {}},
        "StopSignal": "SIGQUIT",
        "Shell": ["/bin/bash", "-c"],
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1},
    }
    history = [
        {"created": "2024-01-01T00:00:00Z", "created_by": "ADD x /", "comment": "c", "author": "me"},
        {"empty_layer": True},
    ]
    raw = config(run, variant="v2", created="2024-01-01T00:00:00Z", author="me", history=history)
    parsed = ImageConfig.parse(raw)
    assert parsed.env == ("A=1", "A=2")
    assert (parsed.cmd, parsed.entrypoint, parsed.working_dir, parsed.user) == (("c",), ("e",), "/w", "1:2")
    assert parsed.exposed_ports == ("80/tcp", "53/udp")
    assert (parsed.volumes, parsed.labels, parsed.stop_signal) == (("/data",), {"l": "v"}, "SIGQUIT")
    assert parsed.shell == ("/bin/bash", "-c")
    assert parsed.healthcheck == run["Healthcheck"]
    assert (parsed.created, parsed.author, parsed.variant) == ("2024-01-01T00:00:00Z", "me", "v2")
    assert [line.empty_layer for line in parsed.history] == [False, True]
    assert parsed.history[0].created_by == "ADD x /"
    assert (parsed.raw, parsed.digest) == (raw, Digest.of(raw))
    assert parsed.platform == Platform("linux", "amd64", "v2")


def test_null_is_absent_as_go_writes_it():
    parsed = ImageConfig.parse(config({"Env": None, "Cmd": None, "Entrypoint": None, "Labels": None, "Volumes": None}))
    assert (parsed.env, parsed.cmd, parsed.entrypoint, dict(parsed.labels), parsed.volumes) == ((), (), (), {}, ())
    assert ImageConfig.parse(config(None, history=None)).healthcheck is None


def test_chain_ids_as_the_specification_defines_them():
    first = A
    second = Digest.of(f"{first} {B}".encode())
    third = Digest.of(f"{second} {C}".encode())
    assert chain_ids([A, B, C]) == (first, second, third)
    assert chain_ids([A]) == (A,)
    assert chain_ids([]) == ()
    assert ImageConfig.parse(config()).chain_ids == (A,)


def test_the_real_busybox(shared):
    image = Layout(shared / "images/busybox").image("busybox:1.38.0-glibc", Platform.parse("amd64"))
    assert image.config.command() == ("sh",)
    assert image.config.chain_ids == image.config.diff_ids
    assert image.id.short == "c6348fa86ba0"


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "given", "args", "expected"),
    [
        ([], ["sh"], None, (), ("sh",)),
        ([], ["sh"], None, ("ls", "-l"), ("ls", "-l")),
        (["e"], ["c"], None, (), ("e", "c")),
        (["e"], ["c"], None, ("x",), ("e", "x")),
        (["e"], ["c"], ["n"], (), ("n",)),
        (["e"], ["c"], ["n"], ("x",), ("n", "x")),
        (["e"], ["c"], [""], ("x",), ("x",)),
        (["e"], ["c"], [], ("x",), ("x",)),
        (["e"], ["c"], [], (), ("c",)),
        (["e"], [], None, (), ("e",)),
    ],
)
def test_entrypoint_and_cmd(entrypoint, cmd, given, args, expected):
    assert ImageConfig.parse(config({"Entrypoint": entrypoint, "Cmd": cmd})).command(args, given) == expected


def test_nothing_to_run_is_an_error():
    for run, given in (({}, None), ({"Entrypoint": ["e"], "Cmd": ["c"]}, [""])):
        with pytest.raises(InvalidInput, match="no command"):
            ImageConfig.parse(config(run)).command((), given)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        config(architecture=None),
        config(os=7),
        config(rootfs=[]),
        config(rootfs={"diff_ids": ["x"]}),
        config(rootfs={"diff_ids": "x"}),
        config(rootfs={"type": "btrfs"}),
        config([]),
        config({"Env": "A=1"}),
        config({"Env": [1]}),
        config({"Cmd": {"a": 1}}),
        config({"Labels": {"a": 1}}),
        config({"ExposedPorts": []}),
        config({"Healthcheck": 7}),
        config(history=[7]),
        config(history={}),
        config(history=[{"empty_layer": "yes"}]),
        config(created=7),
        config({"User": 0}),
    ],
)
def test_a_broken_config_gives_one_kind_of_error(raw):
    with pytest.raises(InvalidManifest):
        ImageConfig.parse(raw)
