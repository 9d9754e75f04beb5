"""The course's linter: what can be said of a notebook without running it. It reads the sources, as their authors do.

Cells' length, their openings and closings are looked at in test_notebooks.py.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from labrt import lab
from labrt.cli.group import SECTIONS
from labrt.lab.exercise import EXERCISES, cell_of

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = sorted((PROJECT / "notebooks/src").glob("[0-9][0-9]_*.py"))
ROOMS = sorted(path for path in (PROJECT / "labrt/lab/checks").glob("[a-z]*.py"))
each_notebook = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
COMMANDS = {name for section in SECTIONS.values() for name in section}
FILES = (".io", ".json", ".md", ".py", ".rst", ".sh", ".d")  # what has a dot and is no name of Python's
WORDS = range(350, 1600)  # of prose in a notebook: it is read in an hour, beside all that is tried


class Course:
    """A source, taken apart."""

    def __init__(self, source: Path, build) -> None:
        self.number = source.stem[:2]
        self.text = source.read_text(encoding="utf-8")
        cells = json.loads(build.build(source, "solution"))["cells"]
        self.cells = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
        self.prose = "\n\n".join(text for kind, text in self.cells if kind == "markdown")
        self.code = "\n".join(text for kind, text in self.cells if kind == "code" if not text.startswith("%"))

    @functools.cached_property
    def names(self) -> dict[str, object]:
        """What the notebook imports, under the names that it gives."""
        names: dict[str, object] = {"labrt": importlib.import_module("labrt"), "lab": lab}
        for node in ast.walk(ast.parse(self.code)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                exec(compile(ast.Module([node], []), self.number, "exec"), names)
        return names

    def before_the_recap(self) -> str:
        """All that stands before the table of terms, without marks and line ends."""
        parts = []
        for kind, text in self.cells:
            if kind == "markdown" and "## In short" in text:
                break
            parts.append(text)
        return plain(" ".join(parts))


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"[*`#|]", "", text)).casefold()


@pytest.fixture
def course(source: Path, build) -> Course:
    return Course(source, build)


@each_notebook
def test_one_exercise_under_its_name_and_one_check(course: Course):
    assert re.findall(r'lab\.check\("(\w+)"', course.text) == [course.number]
    exercise = EXERCISES[course.number]
    assert re.search(rf"^(def|class) {exercise.name}\b", cell_of(course.text, exercise.name), re.MULTILINE)


@each_notebook
def test_a_stub_says_what_to_do(course: Course):
    hints = re.findall(r"### BEGIN SOLUTION(.*)", course.text)
    assert hints and all(re.fullmatch(r": .{10,90}", hint) for hint in hints), hints


@each_notebook
def test_terms_of_the_recap_were_used_before_it(course: Course):
    table = course.prose.partition("## In short")[2].partition("## Three questions")[0]
    terms = re.findall(r"^\| (\*\*.+?\*\*|`[^`]+`) \|", table, re.MULTILINE)
    assert len(terms) >= 4 or course.number == "21"  # whose table is of steps
    used = course.before_the_recap()
    each = {one for term in terms for one in re.split(r", | and | / ", plain(term))}
    assert {one for one in each if not _used(one, used)} == set()


def _used(term: str, text: str) -> bool:
    """Whether a term stands in a text, in the plural too, or with one word between its words."""
    words = [re.escape(word.removesuffix("y")) + r"(s|es|y|ies)?" for word in term.split()]
    return bool(re.search(r"\b" * term[0].isalnum() + r"( \S+)?[ _-]".join(words), text))


@each_notebook
def test_what_lab_source_shows_is_there(course: Course):
    last = course.cells[-1][1]
    calls = [node for node in ast.walk(ast.parse(last)) if isinstance(node, ast.Call)
             and ast.unparse(node.func) == "lab.source"]  # fmt: skip
    targets = [one for call in calls for one in call.args if not isinstance(one, ast.Starred)]
    assert len(targets) >= 2
    for target in targets:
        value = eval(ast.unparse(target), dict(course.names))
        assert inspect.getsourcefile(getattr(value, "fget", None) or inspect.unwrap(value)), ast.unparse(target)


@each_notebook
def test_links_lead_somewhere(course: Course):
    for address in re.findall(r"\]\(([^)\s]+)\)", course.prose):
        if not re.match(r"https?://[\w.-]+/", address):
            assert (PROJECT / "notebooks" / address.partition("#")[0]).exists(), address
    for number in re.findall(r"[Nn]otebooks? (\d\d)\b", course.prose):
        assert number in EXERCISES, number
    for page in re.findall(r"\*([\w.-]+\(\w+\))\*", course.prose):
        assert re.fullmatch(r"[\w.-]+\([1-8]\)", page), page


@each_notebook
def test_prose_is_of_a_length_and_nothing_is_said_twice_twice(course: Course):
    text = re.sub(r"```.*?```", "", course.prose, flags=re.DOTALL)
    assert len(text.split()) in WORDS
    assert re.findall(r"\b([a-z]{2,}) \1\b", re.sub(r"`[^`]*`", "x", text)) == []
    assert re.findall(r"\b(LabRT|Labrt|LABRT|labRT)\b", text) == []


@each_notebook
def test_labrt_s_names_are_spelled_as_they_are(course: Course):
    """As code in prose: `labrt ps`; `lab.check`; `cgroups.create(…)`, where the notebook imports cgroups."""
    wrong = []
    for code in re.findall(r"`([^`\n]+)`", course.prose):
        command = re.match(r"(?:sudo )?labrt ([a-z]\w*)", code)
        if command and command[1] not in COMMANDS:
            wrong.append(code)
        dotted = re.match(r"([a-z_]\w*(?:\.[A-Za-z_]\w*)+)", code)
        if dotted and not dotted[1].endswith(FILES) and not _exists(dotted[1].split("."), course.names):
            wrong.append(code)
    assert wrong == []


def _exists(path: list[str], names: dict[str, object]) -> bool:
    """Whether a dotted name that begins with something of labrt's is there; others are none of ours."""
    value = names.get(path[0])
    if not inspect.ismodule(value) or not value.__name__.startswith("labrt"):
        return True
    for part in path[1:]:
        if not hasattr(value, part):
            return False
        value = getattr(value, part)
    return True


ALIKE = {"least", "alike", "neither", "though", "setns", "amount", "seven", "hours"}


def test_no_word_is_nearly_another():
    """No dictionary: a word that stands once in the course, one slip of the finger from one that stands often."""
    lines = [line for source in SOURCES for line in source.read_text(encoding="utf-8").splitlines()]
    text = "\n".join(line[2:] for line in lines if line.startswith("# "))
    words = Counter(re.findall(r"\b[a-z]{4,}\b", re.sub(r"`[^`]*`|\*[\w.]+\(\d\)\*|https?://\S+", "", text)))
    often = [word for word, times in words.items() if times >= 3]
    rare = [word for word, times in words.items() if times == 1 and len(word) >= 5 and word not in ALIKE]
    assert [(word, other) for word in rare for other in often if _slip(word, other)] == []


def _slip(one: str, other: str) -> bool:
    """Two letters exchanged, or one left out, or one too many; not at the end, where plurals are."""
    if len(one) == len(other):
        apart = [at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
        first, last = apart[0], apart[-1]
        return last == first + 1 and one[first : last + 1] == other[last] + other[first]
    short, long = sorted((one, other), key=len)
    return len(long) == len(short) + 1 and any(long[:at] + long[at + 1 :] == short for at in range(len(long) - 1))


def test_the_slip_of_a_finger_is_found():
    assert _slip("namepsace", "namespace") and _slip("contaner", "container") and _slip("proccess", "process")
    assert not _slip("mounts", "mount") and not _slip("layer", "lawyers")


# Hints ----------------------------------------------------------------------------------------------------------------


def hints_in(room: Path) -> list[ast.Tuple]:
    """Every tuple of hints that a function of a room returns, where it is written out."""
    tree = ast.parse(room.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and "_hints" in node.name]
    values = [node.value for function in functions for node in ast.walk(function) if isinstance(node, ast.Return)]
    written = [value for value in values if isinstance(value, ast.Tuple) and value.elts]
    return [value for value in written if not any(isinstance(one, ast.Starred) for one in value.elts)]


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: path.stem)
def test_a_mistake_is_given_three_hints(room: Path):
    few = {hints.lineno: len(hints.elts) for hints in hints_in(room) if len(hints.elts) != 3}
    assert few == {}


def test_every_exercise_has_its_room():
    judges = {exercise.judge.partition(":")[0] for exercise in EXERCISES.values()}
    assert judges <= {room.stem for room in ROOMS} and [*EXERCISES] == [source.stem[:2] for source in SOURCES]
