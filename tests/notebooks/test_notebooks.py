"""The course as its readers meet it: solutions run green and leave nothing, exercises as handed out give a hint."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from labrt.lab import stations

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.root

SOURCES = sorted((PROJECT / "notebooks/src").glob("[0-9][0-9]_*.py"))
each_notebook = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


NETWORKS = ("14", "15")


@pytest.fixture(autouse=True)
def a_kernel_with_networks(request: pytest.FixtureRequest) -> None:
    """Skip, and say why, where a kernel lacks what the notebooks on networks are about."""
    source = request.node.callspec.params.get("source") if hasattr(request.node, "callspec") else None
    wanted = source and source.stem[:2] in NETWORKS and "execute" in request.fixturenames
    if wanted and (lacking := stations.lacking(rules=source.stem[:2] != "14")):
        pytest.skip(lacking)


def outputs(notebook) -> list[dict]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def texts(notebook) -> str:
    """All that a reader sees as text: streams, and of every picture its plain form and its HTML."""
    parts = []
    for output in outputs(notebook):
        parts.append(output.get("text", ""))
        parts += [str(part) for part in output.get("data", {}).values()]
    return "\n".join(parts)


def verdicts(notebook) -> list[str]:
    return re.findall(r"<Check (\w+: [\w ]+)>", texts(notebook))


# What the prose of a notebook builds on, as it came out here; and what came after its predictions, in their order.
SAID = {
    "14": ("carries: False", "carries: True", "who has 10.14.0.3? tell 10.14.0.1"),
    "15": ("ENETUNREACH", "forwarding: False", "Connection refused", "the world was asked by: {'203.0.113.1'}",
           "hello from within", "afterwards: nobody"),
}  # fmt: skip
CAME = {"14": ["silence", "1"], "15": ["silence", "1"]}


@each_notebook
def test_the_solution_runs_twice_and_leaves_nothing(source, build, execute, nothing_left):
    raw = build.build(source, "solution")
    for _ in range(2):
        notebook = execute(raw)
        assert verdicts(notebook) and all(verdict.endswith("passed") for verdict in verdicts(notebook))
        said = texts(notebook)
        assert [word for word in SAID.get(source.stem[:2], ()) if word not in said] == []
        came = re.findall(r"<td[^>]*>it is</td><td[^>]*>([^<]*)</td>", said)
        assert came == CAME.get(source.stem[:2], came)
        # Pictures must show on a page without the internet.
        assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?https?:""", texts(notebook))
        nothing_left()


@each_notebook
def test_as_handed_out_it_runs_and_its_exercise_is_not_passed(source, build, execute, nothing_left):
    notebook = execute(build.build(source))
    assert verdicts(notebook) and all(verdict.endswith("not yet") for verdict in verdicts(notebook))
    assert re.search(r"<td[^>]*>hint</td><td[^>]*>[^<]{20,}</td>", texts(notebook))
    nothing_left()


def test_the_first_notebook_measures_this_machine(build, execute):
    notebook = execute(build.build(SOURCES[0], "solution"))
    said = texts(notebook)
    assert re.search(r"a process in a container.*?[1-9][0-9.]* ms", said, re.DOTALL)
    assert re.search(r"[1-9][0-9]* containers that sleep", said)
    assert "uid=0(root)" in said and "exit code: 0" in said
    assert "2 directory, 2 mount" in said  # the accident, as the ledger shows it


def without(line: str):
    """Take one line out of a solution: what a learner may forget."""

    def change(cells) -> None:
        touched = [cell for cell in cells if "def become():" in cell.source and f"    {line}\n" in cell.source]
        assert len(touched) == 1, line
        touched[0].source = touched[0].source.replace(f"    {line}\n", "")

    return change


@pytest.mark.parametrize(
    ("forgotten", "hint"),
    [
        ("syscalls.unshare(CLONE.NEWCGROUP)", "does not take its own cgroup for the root"),
        ('syscalls.sethostname("capstone")', "another hostname"),
        ("rootfs.execute(plan)", "its root is not the image"),
    ],
)
def test_what_one_may_forget_in_the_capstone(forgotten, hint, build, execute, nothing_left):
    notebook = execute(build.build(SOURCES[-1], "solution"), change=without(forgotten))
    assert verdicts(notebook)[0] == "become: not yet"
    assert hint in texts(notebook)
    nothing_left()


def test_the_capstone_with_a_registry_that_wants_tokens(build, load, execute, nothing_left):
    """As at Docker Hub: a challenge, a token for anybody, blobs by redirect."""
    from labrt import paths
    from labrt.image.layout import Layout

    replica = load("replica_of_docker_hub", PROJECT / "tests/registry/hub.py")
    with replica.Hub(Layout(paths.default().images)) as hub:
        aim = f"from labrt.lab import hub as where\nwhere.HUB = {hub.host!r}\n"

        def change(cells) -> None:
            cells[1].source = aim + cells[1].source

        notebook = execute(build.build(SOURCES[-1], "solution"), change=change)
    said = texts(notebook)
    assert f"{hub.host} answers" in said
    assert "Challenge(scheme='bearer'" in said
    assert "<Token for repository:library/busybox:pull" in said
    assert verdicts(notebook)[0] == "become: passed"
    nothing_left()


def test_the_engine_without_docker(build, execute, nothing_left):
    source = next(path for path in SOURCES if path.name.startswith("19_"))

    def change(cells) -> None:
        cells[1].source = f"from labrt.lab import daemon as where\nwhere.find_docker = str\n{cells[1].source}"

    notebook = execute(build.build(source, "solution"), change=change)
    assert "no docker here" in texts(notebook)
    assert verdicts(notebook) == ["listing: passed"]
    nothing_left()


def test_the_capstone_runs_on_what_its_reader_wrote(build, execute, nothing_left):
    """redis answers PING in a container that is made by the functions of notebooks 04, 06, 12, 13, 16 and 17."""
    import time

    from labrt.lab import exercise, progress, redis

    needs = (
        "import gzip, hashlib, json, os, signal, time\n"
        "from labrt.linux import cgroups, namespaces, process, syscalls\nfrom labrt.linux.flags import MNT, MS\n"
    )
    for number in ("04", "06", "12", "13", "16", "17"):
        text = next(path for path in SOURCES if path.name.startswith(number)).read_text()
        name = exercise.EXERCISES[number].name
        get = exercise.cell_of(text, "get") if number == "13" else ""
        source = f"{needs}{get}\n{exercise.cell_of(text, name)}"
        progress.save(progress.Record(number, attempts=1, passed_at=time.time(), source=source, function=name))
    said = texts(execute(build.build(SOURCES[-1], "solution")))
    nothing_left()
    assert "6 of 6 functions are yours" in said
    if not redis.programs():
        pytest.skip(redis.MISSING)
    assert "the config agrees: True" in said
    assert "PING is answered PONG" in said and "ended with exit code 0" in said
    if shutil.which("runc") or shutil.which("crun"):
        for field in ("answered", "version", "hostname", "uid", "network"):
            assert re.search(rf">{field}</td><td[^>]*>([^<]+)</td><td[^>]*>=</td><td[^>]*>\1</td>", said), field


# The committed files --------------------------------------------------------------------------------------------------


def test_the_committed_notebooks_are_what_the_sources_generate(build):
    assert build.differences() == []


def test_committed_notebooks_hold_no_outputs():
    committed = sorted((PROJECT / "notebooks").glob("*.ipynb"))
    assert [path.stem for path in committed] == [path.stem for path in SOURCES]
    for path in committed:
        for cell in json.loads(path.read_text())["cells"]:
            assert cell.get("outputs", []) == [] and cell.get("execution_count") is None


@each_notebook
def test_cells_are_short(source: Path, build):
    """Prose of at most 120 words, tables apart; code of at most 16 lines. Both editions are read by somebody."""
    for edition in ("student", "solution"):
        for cell in json.loads(build.build(source, edition))["cells"]:
            text = "".join(cell["source"])
            if cell["cell_type"] == "code":
                lines = [line for line in text.splitlines() if line.strip()]
                assert len(lines) <= 16, text
            else:
                prose = " ".join(line for line in text.splitlines() if not line.startswith("|"))
                assert len(prose.split()) <= 120, text


@each_notebook
def test_a_notebook_opens_and_closes_as_all_do(source: Path, build):
    cells = json.loads(build.build(source))["cells"]
    head = "".join(cells[0]["source"])
    assert head.startswith(f"# {source.stem[:2]} · ")
    for promise in ("Afterwards you can", "You need", "It takes"):
        assert f"**{promise}**" in head
    prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert "\n## In short\n" in f"\n{prose}\n"
    questions = prose.partition("## Three questions")[2]
    assert re.findall(r"^(\d)\. ", questions, re.MULTILINE)[:4] == ["1", "2", "3"]
    assert "lab.source(" in "".join(cells[-1]["source"])
