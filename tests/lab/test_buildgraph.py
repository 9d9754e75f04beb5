"""lab.buildgraph: what a real build did, stage by stage; its arrows; drawn and said."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

import labrt
from labrt.lab import buildgraph
from labrt.lab.ledger import reset

TEXT = """FROM scratch AS one
COPY a /a
FROM scratch AS two
COPY b /b
FROM one
COPY --from=two /b /b
ENV NAME=<&>
"""


@pytest.fixture
def place(labrt_root, tmp_path):
    context = tmp_path / "context"
    context.mkdir()
    for name in "ab":
        (context / name).write_text(name)
    yield context
    reset(quiet=True)


@pytest.mark.root
def test_a_watch_tells_hits_from_what_was_made(place):
    watch = buildgraph.Watch(TEXT, title="First")
    labrt.build(str(place), text=TEXT, progress=watch)
    assert repr(watch) == "<Watch: 0 hits, 4 made>"
    labrt.build(str(place), text=TEXT, progress=watch)
    assert repr(watch) == "<Watch: 4 hits, 0 made>"  # of the last build alone
    (place / "b").write_text("changed")
    labrt.build(str(place), text=TEXT, progress=watch)
    assert watch.hits == ["COPY a /a"]
    assert watch.made == ["COPY b /b", "COPY --from=two /b /b", "ENV NAME=<&>"]
    said = watch.picture().text
    assert "hit, 10.2kB" in said  # a tar archive has blocks of 10240 bytes
    assert "made, no layer" in said and "one → stage-2, step 1" in said and "two → stage-2, step 2" in said


@pytest.mark.root
def test_a_watch_of_another_dockerfile_does_not_stop_the_build(place):
    watch = buildgraph.Watch("FROM scratch AS other")
    assert labrt.build(str(place), text=TEXT, progress=watch).manifest.layers
    assert watch.made == []


@pytest.mark.root
def test_only_what_was_needed_has_a_verdict(place):
    watch = buildgraph.Watch(TEXT)
    labrt.build(str(place), text=TEXT, target="one", progress=watch)
    assert watch.made == ["COPY a /a"]
    assert [step.word for step in watch.steps["two"]] == ["", ""]


def test_it_is_drawn_before_anything_was_built_and_asks_nobody():
    watch = buildgraph.Watch(TEXT, title="<Plan>")
    root = ET.fromstring(watch.picture().html)
    words = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words[:3] == ["<Plan>", "one", "FROM scratch AS one"] and "ENV NAME=<&>" in words
    assert len([*root.iter("{http://www.w3.org/2000/svg}polygon")]) == 2
    assert "http" not in watch.picture().html.replace("http://www.w3.org/2000/svg", "")


def test_arrows_say_from_where_to_which_step():
    assert buildgraph.edges(buildgraph.Watch(TEXT).stages) == [(0, 2, 0), (1, 2, 1)]
