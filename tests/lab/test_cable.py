"""Pictures of packets and of rules: what is drawn is what was seen, and said in text, too."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from labrt.lab import cable, rules, stations
from labrt.linux.network import nft
from labrt.linux.network.packets import EVERYBODY, Frame

A, B, C = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"
FRAMES = [
    Frame("p1", False, 10.0, A, EVERYBODY, "ARP", "10.0.0.1", "10.0.0.2", "who has 10.0.0.2? tell 10.0.0.1"),
    Frame("p2", True, 10.000_012, A, EVERYBODY, "ARP", "10.0.0.1", "10.0.0.2", "who has 10.0.0.2? tell 10.0.0.1"),
    Frame("p2", False, 10.000_02, B, A, "ARP", "10.0.0.2", "10.0.0.1", f"10.0.0.2 is at {B}"),
    Frame("p1", False, 10.000_03, A, B, "ICMP", "10.0.0.1", "10.0.0.2", "echo request, 10.0.0.1 → 10.0.0.2"),
]


RULES = """table ip lesson {
    chain c {
        type filter hook input priority 0
        tcp dport 80 counter comment "<web>"
        tcp dport 81 counter
    }
}"""


def texts_of(picture) -> list[str]:
    drawing = ElementTree.fromstring(picture.html)
    return [one.text or "" for one in drawing.iter("{http://www.w3.org/2000/svg}text")]


def test_a_frame_to_everybody_is_an_arrow_to_each_other_station() -> None:
    picture = cable.sequence(FRAMES[:1], {A: "ada", B: "<ben>", C: "cy"})
    assert picture.html.count("<polygon") == 2
    assert "<ben>" in texts_of(picture) and "everybody" in picture.text
    assert "ARP: who has 10.0.0.2? tell 10.0.0.1" in texts_of(picture)


def test_frames_are_told_by_microseconds_from_the_first_and_strangers_by_their_mac() -> None:
    picture = cable.sequence(FRAMES, {A: "ada"})
    last = picture.text.splitlines()[-1].split()
    assert last[:4] == ["30", "ada", B, "ICMP"]
    assert "no frame came by" in cable.sequence([], {A: "ada"}).text


def test_a_switch_is_told_port_by_port() -> None:
    lines = cable.ports(FRAMES, {"p1": "ada", "p2": "ben", "p3": "cy"}, title="").text.splitlines()
    assert lines[0].split("  ")[0] == "what"
    assert lines[1].startswith("ARP: who has 10.0.0.2?") and lines[1].endswith("nothing")
    assert "1 came in" in lines[1] and "1 went out" in lines[1]
    assert lines[3].startswith("ICMP: echo request")


@pytest.mark.root
def test_rules_are_read_where_they_are_and_subtracted(labrt_root) -> None:
    if lacking := stations.lacking():
        pytest.skip(lacking)
    with stations.stations("left", "right") as (left, right):
        left.plug("eth0", "10.14.0.1/24", right, "eth0", "10.14.0.2/24")
        right.serve_web("hello")
        with right.inside():
            with pytest.raises(FileNotFoundError):
                rules.rules("ip", "lesson")
            nft.run(RULES)
        assert left.fetch("http://10.14.0.2/") == "hello"
        with right.inside():
            before = rules.rules("ip", "lesson")
            nothing = rules.rules("ip", "lesson") - before
        assert left.fetch("http://10.14.0.2:81/") == ""
        with right.inside():
            after = rules.rules("ip", "lesson") - before
    web, every = before.rules
    assert (web.hook, web.words) == ("input", "<web>") and web.packets >= 4 and web.bytes > 160
    assert {rule.packets for rule in nothing.rules} == {0}
    assert [rule.packets for rule in after.rules] == [0, 1]
    assert "nothing" in texts_of(after.picture()) and "<web>" in texts_of(after.picture())
    assert "input" in before.picture().text and every.words == "c: counter"
