"""The course's machinery: attempts are counted and kept, hints grow plainer, a solution comes after an attempt."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from labrt import lab, paths
from labrt.errors import Conflict, NotFound
from labrt.lab import exercise, progress
from labrt.lab.checks.verdict import Check, not_yet, passed
from labrt.lab.exercise import Exercise

HINTS = ("think", "look", "type 42")


@pytest.fixture
def answer(labrt_root, monkeypatch):
    """An exercise of our own: say 42."""

    def judge(function):
        try:
            said = function()
        except NotImplementedError:
            return not_yet("answer", "it is not written yet", "42", HINTS)
        return passed("answer", "42", "42") if said == 42 else not_yet("answer", str(said), "42", HINTS)

    from labrt.lab.checks import verdict

    monkeypatch.setattr(verdict, "says_42", judge, raising=False)
    monkeypatch.setattr(exercise, "_shown", {})
    monkeypatch.setitem(exercise.EXERCISES, "99", Exercise("answer", "a number", "verdict:says_42"))
    return "99"


def test_each_failure_of_the_same_kind_gives_a_plainer_hint_and_then_the_way_to_the_solution(answer):
    shown = [lab.check(answer, lambda: 1) for _ in range(4)]
    assert [check.hint(check.given) for check in shown] == ["think", "look", "type 42", "type 42"]
    assert [check.solution for check in shown] == ["", "", 'lab.solution("99")', 'lab.solution("99")']
    assert "check.hint(2) says more" in str(shown[0]) and "lab.solution" in str(shown[3])
    assert progress.load(answer).attempts == 4


def test_a_hint_may_be_asked_for(answer):
    with pytest.raises(Conflict, match="not tried yet"):
        lab.hint(answer)
    lab.check(answer, lambda: 1)
    assert [lab.hint(answer).given for _ in range(3)] == [2, 3, 3]


def test_what_is_not_written_is_no_attempt_and_gets_no_solution(answer):
    def unwritten():
        raise NotImplementedError

    for _ in range(4):
        assert lab.check(answer, unwritten).solution == ""
    assert progress.load(answer).attempts == 0
    with pytest.raises(Conflict, match="not attempted yet"):
        lab.solution(answer)


def test_a_solution_is_the_notebook_s_own(labrt_root):
    lab.check("00", lambda entries: None) if os.geteuid() == 0 else progress.save(progress.Record("00", attempts=1))
    shown = lab.solution("00")
    assert shown.text.startswith("def clean_up(entries):") and "ledger.strike(entry)" in shown.text
    assert "SOLUTION" not in shown.text
    assert "ledger.strike(entry)" in shown.html and "&quot;mount&quot;" in shown.html


def test_the_cell_of_a_solution_is_found_by_its_name():
    begin, end = "    ### BEGIN SOLUTION: x\n", "    ### END SOLUTION\n"
    one, two = (f"# %%\ndef {name}():\n{begin}    return {n}\n{end}\n" for n, name in enumerate(("one", "two"), 1))
    text = f"{one}\n# %% [markdown]\n# x\n\n{two}"
    assert exercise.cell_of(text, "two") == "def two():\n    return 2"


def test_to_pass_is_kept_when_a_later_attempt_fails(answer):
    lab.check(answer, lambda: 42)
    assert progress.load(answer).passed
    lab.check(answer, lambda: 1)
    record = progress.load(answer)
    assert record.passed and record.attempts == 2


def test_an_exercise_can_begin_anew(answer):
    lab.check(answer, lambda: 42)
    assert "first day" in lab.reset_exercise(answer)
    assert not progress.load(answer).passed and progress.load(answer).attempts == 0
    assert "never tried" in lab.reset_exercise(answer)


def test_progress_is_a_table_and_lies_in_the_home(answer):
    lab.check(answer, lambda: 1)
    table = lab.progress().text
    assert "99" in table and "a number" in table and "tried" in table and paths.progress() in table
    lab.check(answer, lambda: 42)
    assert "1 of" in lab.progress().text


def test_without_labrt_root_it_is_kept_in_the_home(monkeypatch, tmp_path):
    monkeypatch.delenv("LABRT_ROOT", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.progress() == str(tmp_path / ".local/share/labrt/progress")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert paths.progress() == "/data/labrt/progress"


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"number": "99", "of_another_release": 1}'])
def test_a_damaged_record_is_as_none(answer, damage):
    lab.check(answer, lambda: 42)
    with open(os.path.join(paths.progress(), "99.json"), "w") as file:
        file.write(damage)
    assert not progress.load(answer).passed
    lab.check(answer, lambda: 42)
    assert progress.load(answer).passed


def test_a_number_is_no_path(labrt_root):
    for number in ("../00", "", "a/b"):
        with pytest.raises(NotFound):
            progress.load(number)
    with pytest.raises(NotFound, match="there is no exercise '77'"):
        lab.check("77", print)


def test_a_guess_is_kept_and_shown_beside_the_answer(labrt_root):
    guess = lab.predict("01", "Which exit code?", 9)
    assert progress.load("01").guesses == {"Which exit code?": "9"}
    assert "you said  9" in guess.saw(137).text and "137  not this time" in guess.saw(137).text
    assert "ok" in guess.saw(9).text


SESSION = """
import os, json as j
from labrt import lab
from labrt.linux import procfs
from labrt.linux.flags import CLONE
from labrt.lab import exercise, progress
from labrt.lab.checks import verdict

LIMIT = {"a": 40}
def helper(n):
    return n + 2 if n else helper(1)
def answer():
    ok = procfs.alive(os.getpid(), procfs.stat().starttime) and int(CLONE.NEWPID) and j.dumps([1])
    return (lambda: helper(LIMIT["a"]))() if ok else 0

verdict.says = lambda function: verdict.passed("answer", str(function()), "42")
exercise.EXERCISES["99"] = exercise.Exercise("answer", "a number", "verdict:says")
lab.check("99", answer)
"""


def test_what_passed_is_made_anew_in_another_session_with_all_that_it_uses(labrt_root, tmp_path):
    script = tmp_path / "session.py"
    script.write_text(SESSION)
    subprocess.run([sys.executable, script], check=True)
    assert json.loads((labrt_root / "lib/progress/99.json").read_text())["function"] == "answer"
    function = progress.learned("99")
    assert function is not None and function() == 42
    assert "LIMIT" in lab.source(function).text
    assert progress.learned("98") is None


def test_a_check_shows_itself_everywhere():
    check = Check("answer", False, "<41>", "42", HINTS)
    assert repr(check) == "<Check answer: not yet>"
    assert "&lt;41&gt;" in check._repr_html_() and "think" in str(check)
    assert check.hint(99) == "type 42" and passed("a", "b", "c").hint() == "no hint needed: it passed"


def test_there_is_no_way_to_a_notebook_that_is_not_there(labrt_root):
    with pytest.raises(NotFound, match="no notebook '77'"):
        lab.goto("77")


@pytest.mark.root
def test_one_may_begin_anywhere(labrt_root):
    progress.save(progress.Record("00", attempts=1, passed_at=1.0))
    words = lab.goto("21").text
    assert "21_capstone_docker_run.ipynb" in words and "from 00" in words and "pulled" in words
    assert "is here" in lab.goto("21").text
