"""labrt/lima.yaml and the service: what can be known of them without Lima."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LIMA = PROJECT / "labrt" / "lima.yaml"


def test_lima_forwards_to_its_host_only_and_uses_the_same_setup() -> None:
    yaml = pytest.importorskip("yaml")
    read = yaml.safe_load(LIMA.read_text())
    fields = {"images", "cpus", "memory", "mounts", "portForwards", "provision", "containerd", "minimumLimaVersion"}
    assert set(read) == fields
    assert {image["arch"] for image in read["images"]} == {"x86_64", "aarch64"}
    assert [forward["hostIP"] for forward in read["portForwards"]] == ["127.0.0.1"]
    assert all("sh /vagrant/labrt/setup.sh service" in step["script"] for step in read["provision"])


def test_the_service_leaves_containers_alone_and_has_its_token_from_a_file() -> None:
    unit = (PROJECT / "labrt" / "labrt-lab.service").read_text()
    assert re.findall(r"^KillMode=(.*)$", unit, re.MULTILINE) == ["process"]
    assert "JUPYTER_TOKEN_FILE=/var/lib/labrt/lab/token" in unit
    assert "0.0.0.0" not in unit


def test_vagrant_accepts_the_vagrantfile(tmp_path: Path) -> None:
    if not shutil.which("vagrant"):
        pytest.skip("no vagrant here")
    shutil.copy(PROJECT / "Vagrantfile", tmp_path)
    done = subprocess.run(["vagrant", "validate", "--ignore-provider"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
