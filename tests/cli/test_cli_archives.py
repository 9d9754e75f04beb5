"""The commands that save, load, compare and clear, as one types them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile

import pytest

pytestmark = pytest.mark.root


def test_save_and_load(cli, tmp_path):
    path = tmp_path / "busybox.tar"
    assert cli.ok("save", "-o", str(path), "busybox") == ""
    assert path.stat().st_mode & 0o777 == 0o600
    assert cli.ok("load", "-i", str(path)) == "Loaded image: busybox:latest\n"
    assert cli.ok("load", "-q", input=path.read_bytes()) == ""
    done = subprocess.run([cli.python, "-m", "labrt", "save", "busybox"], env=cli.env, capture_output=True, check=True)
    assert done.stdout == path.read_bytes()
    cli.ok("save", "--format", "oci", "-o", str(path), "busybox")
    assert cli.ok("load", "-i", str(path)) == "Loaded image: busybox:latest\n"


def test_what_fails_leaves_no_file_and_keeps_an_old_one(cli, tmp_path):
    path = tmp_path / "old.tar"
    path.write_text("old")
    done = cli("save", "-o", str(path), "busybox", "absent")
    assert (done.code, done.out) == (1, "") and done.err.startswith("labrt: absent:latest is not here")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["old.tar"]
    done = cli("load", "-i", str(tmp_path / "absent.tar"))
    assert done.code == 1 and "No such file" in done.err and len(done.err.splitlines()) == 1
    done = cli("load", input=b"no archive" * 100)
    assert done.code == 1 and len(done.err.splitlines()) == 1


def test_an_archive_is_not_for_a_terminal(cli):
    terminal = cli.terminal("save", "busybox")
    terminal.expect("use -o FILE, or a pipe")
    assert terminal.wait() == 1
    terminal = cli.terminal("load")
    terminal.expect("give a file, or a pipe")
    assert terminal.wait() == 1


def test_to_a_fifo(cli, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    process = cli.start("save", "-o", str(tmp_path / "pipe"), "busybox")
    assert b"manifest.json" in (tmp_path / "pipe").read_bytes()
    assert process.wait() == 0 and os.listdir(tmp_path) == ["pipe"]


def test_diff_commit_export_import(cli, tmp_path):
    cli.ok("run", "--name", "nap", "busybox", "sh", "-c", "echo hi > /etc/motd; rm /bin/cat")
    assert cli.ok("diff", "nap") == "C /bin\nD /bin/cat\nC /etc\nA /etc/motd\n"
    id = cli.ok("commit", "-m", "a greeting", "-c", 'CMD ["busybox", "cat", "/etc/motd"]', "nap", "mine:1").strip()
    assert re.fullmatch("sha256:[0-9a-f]{64}", id)
    assert cli.ok("run", "--rm", "mine:1") == "hi\n"
    history = cli.ok("history", "mine:1").splitlines()
    assert history[0].split() == ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]
    assert history[1].startswith(id[7:19]) and history[1].endswith("a greeting") and "<missing>" in history[2]
    assert cli.ok("history", "-q", "--no-trunc", "mine:1").splitlines() == [id, "<missing>", "<missing>"]
    path = tmp_path / "root.tar"
    cli.ok("export", "-o", str(path), "nap")
    cli.ok("import", "-c", "CMD busybox cat /etc/motd", str(path), "flat:1")
    assert cli.ok("run", "--rm", "flat:1") == "hi\n"
    cli.ok("import", "-", "flat:2", input=path.read_bytes())
    assert "Imported from -" in cli.ok("history", "flat:2")
    cli.ok("rmi", "mine:1", "flat:1", "flat:2")


def test_df_and_prune(cli):
    cli.ok("run", "--name", "nap", "busybox", "true")
    lines = cli.ok("df").splitlines()
    assert lines[0].split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "Images", "Layers", "Containers", "Networks", "Build cache", "Partial downloads",
    ]  # fmt: skip
    done = cli("prune", input=b"n\n")
    assert done.code == 1 and "Are you sure" in done.out and cli.containers() == ["nap"]
    done = cli("prune", input=b"")
    assert done.code == 130 and cli.containers() == ["nap"]
    said = cli.ok("prune", input=b"y\n")
    assert "Deleted Containers:" in said and "Total reclaimed space:" in said and cli.containers() == []
    assert cli.ok("prune", "-f") == "Total reclaimed space: 0B\n"
    assert "busybox" in cli.ok("images")


def test_prune_waits_for_no_pull(cli):
    from labrt.engine.images import Images

    with Images(cli.where).layout.lease():
        done = cli("prune", "-f")
    assert done.code == 1 and "another process" in done.err and len(done.err.splitlines()) == 1


def test_info(cli):
    text = cli.ok("info")
    assert "Storage Driver: " in text and "\n vfs: works here\n" in text and f"Root Dir: {cli.where.state}\n" in text
    about = json.loads(cli.ok("info", "--format", "json"))
    assert about["drivers"]["vfs"] is None and about["images"] == 1


@pytest.mark.oracle
def test_a_pipe_from_us_to_podman_and_back(cli, tmp_path):
    if not shutil.which("podman"):
        pytest.skip("podman is absent")
    ours = f"'{cli.python}' -m labrt"
    with tempfile.TemporaryDirectory(prefix="pod-") as run:  # its runroot may have 50 characters
        podman = f"podman --root '{tmp_path}/podman' --runroot {run} --storage-driver vfs"
        # Back into a house of its own: Podman's layers are not compressed, so it is the same image by another manifest.
        back = f"LABRT_ROOT='{tmp_path}/back' {ours} load"
        pipes = f"set -e; {ours} save busybox | {podman} load -q; {podman} save -q busybox | {back}"
        done = subprocess.run(["bash", "-o", "pipefail", "-c", pipes], env=cli.env, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("\nLoaded image: busybox:latest\n"), done
    assert cli("run", "--rm", "busybox", "echo", "back", LABRT_ROOT=f"{tmp_path}/back").out == "back\n"
    assert cli("reset", "--all", "--force", LABRT_ROOT=f"{tmp_path}/back").code == 0
