"""The course as a static site, for those who only read: `build.py --edition site --out DIR`.

One page for each notebook, and index.html, the table of contents. A page has all in it: no script, no font, no picture
comes from elsewhere, and its Content-Security-Policy forbids that. So it can be read from a disk, from a stick, or from
any web server. What cells said is what record.py has recorded. Exercises stand as they are handed out, with one way to
do them folded away below. Light and dark follow the reader's system. It takes jupytext, mistune and Pygments; the last
two come with JupyterLab.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import build

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = (Path(__file__).parent / "pages.css").read_text(encoding="utf-8")


class Page(NamedTuple):
    """One notebook's page: where it lies, what the table of contents says of it, and what is in it."""

    name: str
    title: str
    outcome: str
    minutes: str
    body: str


def write(out: Path, sources: Sequence[Path] = ()) -> Path:
    """Write the site of these sources, or of all, and return its first page."""
    out.mkdir(parents=True, exist_ok=True)
    pages = [page(source) for source in sources or build.sources()]
    for before, this, after in zip([None, *pages], pages, [*pages[1:], None], strict=False):
        way = _way(before, after)
        text = _document(this.title, f"<header>{way}</header><main>{this.body}</main><footer>{way}</footer>")
        (out / this.name).write_text(text, encoding="utf-8")
    index = out / "index.html"
    index.write_text(_document("A container lab you can read", _contents(pages)), encoding="utf-8")
    return index


def page(source: Path) -> Page:
    """Make one notebook's page."""
    handed_out, solved = (json.loads(build.build(source, edition))["cells"] for edition in ("student", "solution"))
    recorded = build.recorded(source.stem[:2])
    first = "".join(handed_out[0]["source"])
    parts = []
    for student, solution in zip(handed_out, solved, strict=True):
        text = "".join(student["source"])
        if student["cell_type"] == "markdown":
            parts.append(_prose(text))
        else:
            parts.append(_cell(text, "".join(solution["source"]), recorded["cells"].get(solution["id"], {})))
    if recorded["where"]:
        parts.append(f'<p class="where">What the cells said was recorded on {html.escape(recorded["where"])}.</p>')
    return Page(f"{source.stem}.html", first.partition("\n")[0].lstrip("# "), *_about(first), "".join(parts))


def _about(first: str) -> tuple[str, str]:
    """Take from a notebook's first cell what one can do afterwards, in Markdown, and how many minutes it takes."""
    text = " ".join(first.split())
    outcome = re.search(r"\*\*Afterwards you can\*\* (.+?)\.? \*\*You need\*\*", text)
    minutes = re.search(r"\*\*It takes\*\* about (\w+) minutes", text)
    if not outcome or not minutes:
        raise build.BadSource(f"a notebook that does not open with its outcome and time: {text[:60]}")
    return outcome[1], minutes[1]


def _prose(text: str) -> str:
    """Markdown as HTML; links between notebooks lead to their pages, headings can be linked to."""
    import mistune

    text = re.sub(r"\]\(([\w./-]+)\.ipynb(#[\w-]+)?\)", r"](\1.html\2)", text)
    made = str(mistune.create_markdown(plugins=["table"])(text))

    def anchored(match: re.Match[str]) -> str:
        name = re.sub(r"\W+", "-", html.unescape(re.sub("<[^>]+>", "", match[2]))).strip("-").lower()
        return f'<h{match[1]} id="{name}">{match[2]}</h{match[1]}>'

    made = re.sub(r"<h([1-6])>(.*?)</h\1>", anchored, made)
    made = re.sub(r"<th(?=[ >])", '<th scope="col"', made)
    return made.replace("<table>", '<div class="wide" tabindex="0"><table>').replace("</table>", "</table></div>")


def _cell(text: str, solution: str, recorded: dict[str, Any]) -> str:
    """A code cell, with one way to solve it where it is an exercise, and what it said."""
    made = _code(text)
    if text != solution:
        made += f"<details><summary>One way to do it</summary>{_code(solution)}</details>"
    if said := "".join(map(_said, recorded.get("outputs", ()))):
        where = f'<p class="where">Recorded on {html.escape(recorded["where"])}:</p>' if "where" in recorded else ""
        made += f'<div class="said">{where}{said}</div>'
    return f'<div class="cell">{made}</div>'


def _said(output: dict[str, str]) -> str:
    if "html" in output:
        return f'<div class="wide" tabindex="0">{output["html"]}</div>'
    return f"<pre>{html.escape(output['text'])}</pre>"


def _code(text: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return f'<pre class="code" tabindex="0">{highlight(text, PythonLexer(), HtmlFormatter(nowrap=True))}</pre>'


def _way(before: Page | None, after: Page | None) -> str:
    """Links to the page before, to the contents, and to the page after."""
    links = [_link(before, "← ") if before else "", '<a href="index.html">Contents</a>']
    links.append(_link(after, "", " →") if after else "")
    return f"<nav>{''.join(f'<span>{link}</span>' for link in links)}</nav>"


def _link(page: Page, left: str = "", right: str = "") -> str:
    return f'<a href="{page.name}">{left}{html.escape(page.title)}{right}</a>'


def _contents(pages: Iterable[Page]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{_link(page)}</th><td>{_inline(page.outcome)}</td><td>{page.minutes} min</td></tr>'
        for page in pages
    )
    head = '<tr><th scope="col">Notebook</th><th scope="col">Afterwards you can</th><th scope="col">Time</th></tr>'
    return f"""<main><h1>A container lab you can read</h1>
<p>The course of <strong>labrt</strong>, from <code>fork</code> to <code>docker run redis</code>, as it ran. These pages
are for reading; to run the cells, and to have your own answers checked, take a Linux machine and
<code>sudo sh labrt/setup.sh lab</code>.</p>
<div class="wide" tabindex="0">
<table class="contents"><thead>{head}</thead><tbody>{rows}</tbody></table></div></main>"""


def _inline(text: str) -> str:
    return _prose(text).strip().removeprefix("<p>").removesuffix("</p>")


def _document(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{html.escape(title)} · labrt</title>
<style>
{STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""
