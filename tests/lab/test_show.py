"""Pictures: right sizes and order, text beside every picture, and nothing that comes in gets out as markup."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import pytest

from labrt.lab import show
from labrt.lab.show import Picture, Sheet, Step

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m\x00"


def every_picture(word: str) -> dict[str, Picture]:
    return {
        "table": show.table([word], [[word]], caption=word),
        "stack": show.stack([Sheet(word, 10, word)], title=word),
        "timeline": show.timeline([Step(word, 1.0)], title=word),
        "compare": show.compare({word: word}, {word: word, f"{word}2": 1}, caption=word),
    }


@pytest.mark.parametrize("kind", ["table", "stack", "timeline", "compare"])
def test_whatever_comes_in_is_escaped(kind: str) -> None:
    picture = every_picture(HOSTILE)[kind]
    tree = ElementTree.fromstring(picture.html)  # well-formed, so no attribute and no element was broken out of
    assert not list(tree.iter("script")) and not list(tree.iter(f"{SVG}script"))
    assert "alert(1)" in "".join(tree.itertext())
    assert "\x1b" not in picture.html and "\x1b" not in picture.text


@pytest.mark.parametrize("kind", ["table", "stack", "timeline", "compare"])
def test_no_picture_asks_a_host_for_anything(kind: str) -> None:
    markup = every_picture("plain")[kind].html
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|url\(|@import|<img|<link|href", markup)


@pytest.mark.parametrize("draw", [show.stack, show.timeline])
def test_a_picture_of_nothing_is_a_picture(draw: Callable[[list[object]], Picture]) -> None:
    picture = draw([])
    assert ElementTree.fromstring(picture.html).find(f"{SVG}title") is not None
    assert "no" in picture.text


def test_an_svg_scales_and_is_read_aloud() -> None:
    root = ElementTree.fromstring(show.timeline([Step("pull", 12.5)], title="One run").html)
    assert root.get("viewBox") and "max-width:100%" in root.get("style", "")
    assert root.get("role") == "img" and root[0].tag == f"{SVG}title" and root[0].text == "One run"
    assert root[1].tag == f"{SVG}desc" and "12.5 ms" in (root[1].text or "")


def test_colours_are_the_labs_with_a_fallback() -> None:
    for picture in every_picture("word").values():
        assert re.search(r"var\(--jp-[a-z0-9-]+, ", picture.html)
        assert not re.search(r"var\(--jp-[a-z0-9-]+\)", picture.html)


def rectangles(picture: Picture) -> list[dict[str, float]]:
    root = ElementTree.fromstring(picture.html)
    return [{key: float(r.get(key, "nan")) for key in ("x", "y", "width", "height")} for r in root.iter(f"{SVG}rect")]


def test_a_stack_has_the_base_at_the_bottom_and_big_layers_thick() -> None:
    picture = show.stack([Sheet("base", 3_000_000), Sheet("middle", 1_000_000), Sheet("top", 0)])
    base, middle, top = rectangles(picture)
    assert base["y"] > middle["y"] > top["y"]
    assert base["height"] > middle["height"] > top["height"] > 0
    assert (base["height"] - top["height"]) == pytest.approx(3 * (middle["height"] - top["height"]), abs=0.3)
    assert [line.split()[1] for line in picture.text.splitlines()[1:]] == ["top", "middle", "base"]


def test_sheets_do_not_overlap_and_stay_in_the_picture() -> None:
    picture = show.stack([Sheet(f"layer {n}", n % 7 * 1000) for n in range(40)])
    height = float((ElementTree.fromstring(picture.html).get("viewBox") or "").split()[3])
    sheets = rectangles(picture)
    for lower, upper in zip(sheets, sheets[1:], strict=False):
        assert upper["y"] + upper["height"] < lower["y"]
    assert sheets[-1]["y"] - 8 >= 0 and sheets[0]["y"] + sheets[0]["height"] <= height


def test_a_timeline_begins_each_step_where_the_last_ended() -> None:
    first, second, third = rectangles(show.timeline([Step("a", 100), Step("b", 300), Step("c", 100, start=0)]))
    assert second["x"] == pytest.approx(first["x"] + first["width"], abs=0.2)
    assert second["width"] == pytest.approx(3 * first["width"], abs=0.3)
    assert third["x"] == first["x"]


def test_compare_says_in_a_word_what_became_of_each() -> None:
    text = show.compare({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 5, "d": 4}).text
    assert dict(line.split()[0::len(line.split()) - 1] for line in text.splitlines()[1:]) == {
        "a": "same", "b": "changed", "c": "gone", "d": "new",
    }  # fmt: skip


def test_a_picture_shows_itself_everywhere() -> None:
    from rich.console import Console

    picture = show.table(["a"], [["[red]not markup[/red]"]])
    assert repr(picture) == "<Picture: a …>"
    assert picture._repr_html_() == picture.html
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(picture)
    console.print(show.rich_table("t", ["a"], [["[red]not markup[/red]"]]))
    console.file.close()
    assert console.export_text().count("[red]not markup[/red]") == 2
