"""`labrt spec`, as it is typed."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.root


def test_the_plan_of_a_container(cli):
    cli.ok("create", "--name", "web", "-m", "64m", "--hostname", "web", "busybox", "sleep", "60")
    config = json.loads(cli.ok("spec", "web"))
    assert config["process"]["args"] == ["sleep", "60"] and "linux" in config
    assert json.loads(cli.ok("spec", "--as", "jail", "web"))["freebsd"]["jail"]["vnet"] == "new"
    assert json.loads(cli.ok("spec", "--as", "zone", "web"))["solaris"]["cappedMemory"]["physical"] == str(64 << 20)
    assert cli.ok("spec", "--as", "jail.conf", "web").startswith("web {\n    path = \"/")
    assert "add capped-memory" in cli.ok("spec", "--as", "zonecfg", "web")
    assert json.loads(cli.ok("spec", "busybox"))["process"]["args"] == ["sh"]
    assert cli.ok("spec", "--as", "zonecfg", "busybox").startswith("# zonecfg -z new")
    assert cli("spec", "nobody").code == 1
    assert cli("spec", "--as", "lxc", "web").code == 125
