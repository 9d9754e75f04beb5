"""Who has come how far: one learner's file, a class's table, and an answer that was handed on."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from labrt import lab, paths
from labrt.errors import InvalidInput, NotFound
from labrt.lab import exercise, given, progress, roster
from labrt.lab.checks import verdict

HANDED_ON = "def hide():\n    return {!r}\n"


def written(source: str, name: str, tmp_path: Path):
    """Make a function of a source, as a notebook's cell does."""
    import linecache

    file = f"<cell {source!r}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope = {"__name__": "__main__"}
    exec(compile(source, file, "exec"), scope)
    return scope[name]


@pytest.fixture
def judge(labrt_root, monkeypatch):
    """In place of 05's judge: no kernel is needed to compare two texts."""

    def says(function):
        right = function() == given.hide().hostname
        return verdict.passed("hide", "", "") if right else verdict.not_yet("hide", "", "", ("no", "not so", "this"))

    monkeypatch.setattr(verdict, "says", says, raising=False)
    monkeypatch.setitem(exercise.EXERCISES, "05", exercise.Exercise("hide", "a name", "verdict:says"))


@pytest.fixture
def seat(judge, tmp_path, monkeypatch):
    """Let a learner sit down at a machine of their own, do something, and hand in a file."""
    place = tmp_path / "handed in"
    place.mkdir()

    def sit(name: str, *attempts: str, last_is_right: bool = True) -> Path:
        monkeypatch.setenv("LABRT_ROOT", str(tmp_path / name))
        given.learner(name)
        right = HANDED_ON.format(given.hide().hostname)
        for source in (*attempts, *([right] if last_is_right else [])):
            lab.check("05", written(source, "hide", tmp_path))
        roster.export(str(place / f"{name}.json"))
        return place

    return sit


def test_a_learner_s_file_says_all_that_is_known(seat):
    place = seat("Ada", HANDED_ON.format("vault"))
    about = json.loads((place / "Ada.json").read_text())
    (one,) = about["exercises"]
    assert about["learner"]["name"] == "Ada" and len(about["learner"]["id"]) == 8
    assert one["attempts"] == 2 and one["passed_at"] and sum(one["told"].values()) == 1
    assert one["source"] == HANDED_ON.format(one["given"]["hostname"])
    assert given.learner().seed not in (place / "Ada.json").read_text()
    assert not (place / "Ada.json").stat().st_mode & 0o111 and os.listdir(place) == ["Ada.json"]


def test_who_took_another_s_answer_is_seen_also_when_it_was_mended(seat):
    place = seat("Ada")
    handed_on = HANDED_ON.format(given.hide().hostname)
    seat("Bob", handed_on)
    seat("Cyd", HANDED_ON.format("vault"))
    rows = {row["learner"]: row for row in roster.gather(str(place)).rows}
    assert rows["Bob"]["numbers of"] == "Ada" and rows["Bob"]["passed"]
    assert rows["Ada"]["numbers of"] == rows["Cyd"]["numbers of"] == ""
    assert rows["Cyd"]["attempts"] == 2 and rows["Cyd"]["hints"] == 1


def test_numbers_are_found_within_texts_too():
    ada = progress.Record("08", given={"mib": 53, "pids": 27})
    bob = progress.Record("08", given={"mib": 70, "pids": 22}, literals=["53M", 27])
    assert roster._borrowed(bob, ada) and not roster._borrowed(ada, bob)
    assert not roster._borrowed(progress.Record("08", given=bob.given, literals=["530M", 27]), ada)


def test_the_same_program_is_seen_whatever_its_comments_unless_it_is_short():
    long = "def f():\n" + "".join(f"    x{n} = g(h({n}))\n" for n in range(12))
    one = progress.Record("06", source=long)
    assert roster._same(progress.Record("06", source=long.replace("\n", "  # mine\n", 3).replace(
        "f():  # mine\n", "f():\n    '''Mine.'''\n")), one)  # fmt: skip
    assert not roster._same(progress.Record("06", source=long.replace("x3", "y3")), one)
    assert not roster._same(progress.Record("06", source="x = 1"), progress.Record("06", source="x = 1"))


def test_of_two_files_of_one_learner_the_newer_counts(seat):
    place = seat("Ada", last_is_right=False)
    os.rename(place / "Ada.json", place / "old.json")
    os.utime(place / "old.json", (1, 1))
    seat("Ada")
    gathered = roster.gather(str(place))
    assert [(row["learner"], bool(row["passed"])) for row in gathered.rows] == [("Ada", True)]


@pytest.mark.parametrize("text", [
    "", "[]", "{", '{"format": "labrt progress 1"}', '{"format": "other"}', "[" * 100_000,
    '{"format": "labrt progress 1", "learner": {"name": 1, "id": "x"}, "exercises": []}',
    '{"format": "labrt progress 1", "learner": {"name": "x", "id": "x"}, "exercises": [{"number": "05", "told": []}]}',
    '{"format": "labrt progress 1", "learner": {"name": "x", "id": "x"}, "exercises": [{"number": 5}]}',
])  # fmt: skip
def test_what_is_no_progress_is_left_out_and_said(tmp_path, text, seat):
    place = seat("Ada")
    (place / "x.json").write_text(text)
    with pytest.raises(InvalidInput, match=r"x\.json"):
        roster.read(str(place / "x.json"))
    gathered = roster.gather(str(place))
    assert [str(one) for one in gathered.learners] == ["Ada"] and list(gathered.unreadable) == [str(place / "x.json")]


def test_a_spreadsheet_is_given_no_formula(seat, tmp_path):
    place = seat("=1+1")
    roster.write_class(roster.gather(str(place)), str(tmp_path / "out.csv"))
    with open(tmp_path / "out.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["learner"] == "'=1+1" and row["exercise"] == "05"
    with pytest.raises(NotFound, match=r"no \*\.json"):
        roster.gather(str(tmp_path / "nowhere"))


def test_on_the_command_line(seat, tmp_path):
    def labrt(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "labrt", "lab", *words], capture_output=True, text=True)

    place = seat("Ada")
    assert labrt("learner").stdout == f"Ada ({given.learner().id})\n"
    assert labrt("export", str(place / "again.json")).returncode == 0
    done = labrt("export", "--class", str(place), str(tmp_path / "class.json"))
    assert (done.returncode, done.stdout.split(",")[0]) == (0, "1 learners")
    about = json.loads((tmp_path / "class.json").read_text())
    assert about["learners"][0]["exercises"][0]["function"] == "hide" and len(about["rows"]) == 1
    (place / "broken.json").write_text("{")
    done = labrt("export", "--class", str(place), str(tmp_path / "class.csv"))
    assert done.returncode == 1 and "left out" in done.stderr and "Ada" in (tmp_path / "class.csv").read_text()
    assert labrt("learner", "two\nlines").stdout.startswith("two lines (")
    assert labrt("export", str(tmp_path / "no" / "x.json")).returncode == 1


def test_the_table_of_progress_and_the_seed_agree_after_all_is_lost(labrt_root):
    given.learner("Ada  Lovelace ")
    before = given.hide(), given.id_map(), given.hold()
    os.unlink(os.path.join(paths.progress(), "learner"))
    chance = given.learner()
    assert chance.name == "" and given.learner() == chance and given.hide() == given.hide()
    given.learner("ada lovelace")
    assert (given.hide(), given.id_map(), given.hold()) == before
    for number in given.NUMBERS:
        assert len({given.of(str(seed), number) for seed in range(50)}) >= 40
    with pytest.raises(NotFound, match="the same of everybody"):
        given.given("01")
    for name in ("", " ", "x" * 100, "a\x1bb"):
        with pytest.raises(InvalidInput):
            given.learner(name)
