"""docker's long forms: the same commands, and what they add of their own."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from labrt.cli.group import LazyGroup, cli
from labrt.engine import prune
from labrt.engine.commit import commit
from labrt.engine.containers import Containers
from labrt.engine.images import Images
from labrt.engine.options import Options
from labrt.engine.volumes import Volumes

# What `docker NOUN --help` of docker 28 lists, but for what labrt has not: trust, dial-stdio.
DOCKERS = {
    "container": "attach commit cp create diff exec export inspect kill logs ls pause port prune rename restart rm run "
                 "start stats stop top unpause update wait",
    "image": "build history import inspect load ls prune pull push rm save tag",
    "system": "df events info prune",
}  # fmt: skip


def typed(*words: str) -> str:
    done = CliRunner().invoke(cli, words)
    assert not done.exception, done.output
    return done.output


@pytest.mark.parametrize("noun", DOCKERS)
def test_every_word_of_docker_s_is_there_and_explains_itself(noun: str) -> None:
    listed = typed(noun, "--help")
    for word in DOCKERS[noun].split():
        assert f"\n  {word} " in listed and "Usage: " in typed(noun, word, "--help")


def test_they_are_the_same_commands(house) -> None:
    group = cli
    assert isinstance(group, LazyGroup)
    for long, short in ((("image", "ls"), "images"), (("container", "rm"), "rm"), (("system", "df"), "df")):
        found = group.get_command(None, long[0]).get_command(None, long[1])
        assert found is group.get_command(None, short)
    assert typed("image", "ls") == typed("images") and "busybox" in typed("image", "ls", "-a")


@pytest.mark.root
def test_each_prune_takes_its_own(house, monkeypatch) -> None:
    container = Containers().create(Options("busybox", ("true",), volumes=("/data",)))
    named, unnamed = commit(container, "mine:1", message="one"), commit(container, message="two")
    monkeypatch.setattr(prune, "_FRESH", -1)
    assert f"untagged: {unnamed.reference.familiar}" in typed("image", "prune", "-f")
    assert {image.id for image in Images().all()} >= {named.id} and unnamed.id not in {i.id for i in Images().all()}
    assert len(Containers().list(all=True)) == 1
    assert container.id in typed("container", "prune", "-f") and Containers().list(all=True) == []
    assert len(Volumes().list()) == 1 and named.id in {image.id for image in Images().all()}
    typed("system", "prune", "-f", "--volumes")
    assert Volumes().list() == [] and named.id in {image.id for image in Images().all()}
    assert "untagged: mine:1" in typed("image", "prune", "-a", "-f")


def test_prune_takes_what_has_no_name(house) -> None:
    made = Containers().create(Options("busybox", ("true",)))
    unnamed = commit(made)
    made.remove()
    assert prune.prune().images == [unnamed.reference.familiar]
    assert [image.reference.familiar for image in Images().all()] == ["busybox:latest"]
