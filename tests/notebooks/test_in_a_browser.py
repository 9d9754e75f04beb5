"""A notebook as its reader meets it: JupyterLab in a real browser, by keyboard alone, read by axe in light and dark.

Wants Debian's chromium, and of PyPI playwright and axe-playwright-python: `.[browser]`. Notebook 14 stands for all: it
has tables, drawings, predictions and a check; of 09 it is the slider, and of the site two pages. Kept in tmp_path: one
picture for each theme.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labrt.lab import stations

pytestmark = pytest.mark.root
PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
         "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # fmt: skip
NOTEBOOK = "window.jupyterapp.shell.currentWidget"
GUESS = 'guess = lab.predict("14", "One end is off. What comes of a ping?", "silence")'

# Of texts in drawings, which axe leaves out: their contrast with what is behind them, as WCAG 2.2 reckons it (1.4.3).
CONTRAST = """() => {
  const parse = words => (words.match(/[\\d.]+/g) || []).map(Number);
  const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = rgb => { const [r, g, b] = rgb.map(linear);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const behind = node => { for (; node; node = node.parentElement) {
    const colour = parse(getComputedStyle(node).backgroundColor);
    if (colour.length === 3 || colour[3] > 0.99) return colour.slice(0, 3) } return [255, 255, 255] };
  return [...document.querySelectorAll('.jp-OutputArea-output svg text')].map(text => {
    const [a, b] = [light(parse(getComputedStyle(text).fill).slice(0, 3)), light(behind(text))];
    return [text.textContent, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)] }) }"""
# What a notebook writes, and not the desk around it, which is JupyterLab's.
AXE = """() => axe.run({include: [['.jp-OutputArea-output'], ['.jp-RenderedMarkdown']]},
  {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})"""


@pytest.fixture
def tools() -> None:
    """Skip where there is no browser, or nothing to drive it with."""
    for module in ("playwright.sync_api", "axe_playwright_python"):
        pytest.importorskip(module, reason="pip install '.[browser]'")
    if not CHROMIUM:
        pytest.skip("there is no chromium: apt-get install chromium")


@pytest.fixture
def desk(tools: None, house: Path, build, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """JupyterLab on the loopback, with two notebooks in it: the address of 14, and where it lies.

    09.ipynb is short: a container in a busy loop, its group, and the dial.
    """
    root = tmp_path / "desk"
    root.mkdir()
    (root / "14.ipynb").write_bytes(build.build(next((PROJECT / "notebooks/src").glob("14_*.py")), "solution"))
    nine = json.loads(build.build(next((PROJECT / "notebooks/src").glob("09_*.py")), "solution"))
    code = ["".join(cell["source"]).replace("\n\n\nsamples = measure(group)", "")
            for cell in nine["cells"] if cell["cell_type"] == "code"]  # fmt: skip
    chosen = [*code[:2], next(text for text in code if "lab.meters.dial(" in text)]
    cells = [{"cell_type": "code", "id": f"n{number}", "metadata": {}, "execution_count": None, "outputs": [],
              "source": text} for number, text in enumerate(chosen)]  # fmt: skip
    (root / "09.ipynb").write_text(json.dumps(nine | {"cells": cells}))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    token, log = secrets.token_hex(8), tmp_path / "lab.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
             f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}", "--ServerApp.port_retries=0",
             "--expose-app-in-browser"], stdout=output, stderr=output, env=_environment(tmp_path))  # fmt: skip
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}/api/status?token={token}") or server.poll() is not None)
        assert server.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}/doc/tree/14.ipynb?token={token}", tmp_path
    finally:
        with contextlib.suppress(OSError):
            address = f"http://127.0.0.1:{port}/api/shutdown?token={token}"
            _opener().open(urllib.request.Request(address, method="POST"), timeout=5).close()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _environment(tmp_path: Path) -> dict[str, str]:
    """Nobody's settings but ours: no news, and every cell drawn, not only those in sight."""
    for plugin, settings in {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }.items():
        path = tmp_path / "settings/@jupyterlab" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))
    places = {name: str(tmp_path / "jupyter" / name.lower()) for name in
              ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_WORKSPACES_DIR",
               "IPYTHONDIR")}  # fmt: skip
    return {**os.environ, **places, "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings")}


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _answers(address: str) -> bool:
    with contextlib.suppress(OSError), _opener().open(address, timeout=5):
        return True
    return False


def wait_until(met: Callable[[], object]) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)


@contextlib.contextmanager
def browser(**more):
    """Open a page in Debian's chromium; `more` is for Playwright."""
    from playwright.sync_api import sync_playwright

    # A socket of its own lies in its temporary directory, and the path of one has room for 107 bytes: unix(7).
    with tempfile.TemporaryDirectory(prefix="labrt-", dir="/tmp") as short, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            f"{short}/profile", executable_path=CHROMIUM, headless=True, args=FLAGS,
            env={**os.environ, "TMPDIR": short}, viewport={"width": 1200, "height": 1000}, **more)  # fmt: skip
        try:
            yield context.pages[0]
        finally:
            context.close()


def run_by_keyboard(page) -> None:
    """Come to the notebook by Tab, and go through it by Shift+Enter; at the first prediction, type another guess."""
    for _ in range(60):
        if page.evaluate("() => !!document.activeElement.closest('.jp-Notebook')"):
            break
        page.keyboard.press("Tab")
    else:
        pytest.fail("Tab does not lead to the notebook")
    page.keyboard.press("Escape")
    count = page.evaluate(f"() => {NOTEBOOK}.content.widgets.length")
    for number in range(count):
        wait_until(lambda number=number: page.evaluate(f"() => {NOTEBOOK}.content.activeCellIndex") == number)
        text = page.evaluate(f"() => {NOTEBOOK}.content.activeCell.model.sharedModel.getSource()")
        if text.startswith(GUESS.rpartition(",")[0]):
            page.keyboard.press("Enter")
            page.keyboard.press("Control+a")
            page.keyboard.type(GUESS)
        page.keyboard.press("Shift+Enter")
    prompts = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(one => one.textContent)"
    wait_until(lambda: "[*]:" not in page.evaluate(f"() => {prompts}"))


def show_all(page) -> None:
    """Make the window as high as the notebook, and <body>, in which JupyterLab floats, as high as the window.

    What lies outside is hidden for axe, and it would look at nothing.
    """
    last = "[...document.querySelectorAll('.jp-Cell')].at(-1)"
    page.set_viewport_size({"width": 1200, "height": 1000})
    height = page.evaluate(f"() => {{ const top = document.querySelector('.jp-Cell').getBoundingClientRect().top;"
                           f" return {last}.getBoundingClientRect().bottom - top }}")  # fmt: skip
    page.set_viewport_size({"width": 1200, "height": int(height) + 400})
    page.add_style_tag(content="html, body { height: 100vh }")
    outer = "document.querySelector('.jp-WindowedPanel-outer')"
    page.wait_for_function(f"() => {{ {outer}.scrollTop = 0; return {outer}.clientHeight >= {int(height)} }}")


def read_by_axe(page) -> list[str]:
    """What axe finds: the rule, what it says, and the first piece of HTML that it is about."""
    found = page.evaluate(AXE)
    assert "color-contrast" in {one["id"] for one in found["passes"]}, "axe has not looked at colours"
    return [f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}" for one in found["violations"]]


def test_a_notebook_can_be_read_and_run_by_everybody(desk, nothing_left):
    if lacking := stations.lacking(rules=False):
        pytest.skip(lacking)
    address, tmp_path = desk
    axe = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    with browser() as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.wait_for_function(f"() => {NOTEBOOK}?.sessionContext?.session?.kernel?.status === 'idle'")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        run_by_keyboard(page)
        said = page.inner_text(".jp-Notebook")
        assert "join: passed" in said and "you said\tsilence" in said
        assert page.query_selector("[data-mime-type='application/vnd.jupyter.error']") is None
        page.evaluate(f"{axe}; 0")
        show_all(page)
        for theme in ("JupyterLab Light", "JupyterLab Dark"):
            page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
            page.wait_for_selector(f"body[data-jp-theme-name='{theme}']", state="attached")
            page.wait_for_selector("#jupyterlab-splash", state="detached")  # it lies over all while a theme is loaded
            assert read_by_axe(page) == [], theme
            words = page.evaluate(CONTRAST)
            assert len(words) > 5 and [word for word in words if word[1] < 4.5] == [], theme
            page.screenshot(path=tmp_path / f"{theme.split()[1].lower()}.png")
        foreign = [url for url in asked if url.startswith(("http", "ws")) and "//127.0.0.1:" not in url]
        assert foreign == []


def test_a_slider_has_a_name_and_is_turned_by_keyboard(desk):
    from labrt.linux import cgroups, ledger

    address, _ = desk
    with browser() as page:
        page.goto(address.replace("14.ipynb", "09.ipynb"))
        page.wait_for_function(f"() => {NOTEBOOK}?.sessionContext?.session?.kernel?.status === 'idle'")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        run_by_keyboard(page)
        slider = page.get_by_role("slider", name="cpu.max, in CPUs")
        slider.wait_for()
        lines = "() => document.querySelector('.widget-html svg desc')?.textContent"
        page.wait_for_function(lines)
        slider.focus()
        before, at = page.evaluate(lines), slider.get_attribute("aria-valuenow")
        for _ in range(10):
            page.keyboard.press("ArrowLeft")
        assert slider.get_attribute("aria-valuenow") != at
        (path,) = {entry.what for entry in ledger.entries() if entry.kind == "cgroup"} or {""}
        wait_until(lambda: cgroups.load(path).cpu.max == 0.5)
        wait_until(lambda: page.evaluate(lines) != before)
        wait_until(lambda: "0.5" in page.evaluate(lines))  # the limit, as the picture says it
        assert read_widgets(page) == []
    subprocess.run([sys.executable, "-m", "labrt", "reset", "--force"], check=True, capture_output=True)


def read_widgets(page) -> list[str]:
    """What axe finds in widgets."""
    axe = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    page.evaluate(f"{axe}; 0")
    found = page.evaluate("() => axe.run({include: ['.jupyter-widgets']}, {runOnly: ['wcag2a', 'wcag2aa']})")
    assert "aria-input-field-name" in {one["id"] for one in found["passes"]}
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found["violations"]]


def test_the_site_is_read_by_axe(tools, load, build, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "build", build)
    site = load("site_pages", PROJECT / "notebooks/src/pages.py")
    index = site.write(tmp_path / "site", sorted((PROJECT / "notebooks/src").glob("09_*.py")))
    axe = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    with browser(bypass_csp=True) as page:  # axe is no part of the page, and its policy forbids it
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for one in (index, *tmp_path.glob("site/09_*.html")):
            page.goto(one.as_uri())
            page.evaluate(f"{axe}; 0")
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                found = page.evaluate("() => axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})")
                assert "color-contrast" in {rule["id"] for rule in found["passes"]}
                assert [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in found["violations"]] == []
                words = page.evaluate(CONTRAST.replace(".jp-OutputArea-output", ".said"))
                assert len(words) > 5 or one == index
                assert [word for word in words if word[1] < 4.5] == [], scheme
        assert [url for url in asked if not url.startswith("file:")] == []
