"""lab.charts, lab.live and lab.meters: what is drawn is what was given, in SVG and in text."""

from __future__ import annotations

import os
import xml.etree.ElementTree as xml

import pytest

from labrt import lab
from labrt.errors import NotSupported
from labrt.lab import charts, live, meters
from labrt.linux import cgroups, process

SVG = "{http://www.w3.org/2000/svg}"


def parts(picture, kind):
    return list(xml.fromstring(picture.html).iter(SVG + kind))


def test_memory_climbs_to_its_wall():
    picture = charts.climb([(0, 0), (1, 30), (2, 64)], wall=64, end="killed by SIGKILL")
    line = parts(picture, "polyline")[0].get("points").split()
    heights = [float(point.split(",")[1]) for point in line]
    assert len(line) == 3 and heights == sorted(heights, reverse=True)
    wall = next(one for one in parts(picture, "line") if "dasharray" in one.get("style"))
    assert float(wall.get("y1")) == pytest.approx(heights[-1])  # the last point is at the wall
    assert "wall" in picture.text and "64.0 MiB" in picture.text and "killed by SIGKILL" in picture.text
    assert "✕" in picture.html and "✕" not in charts.climb([(0, 1)], end="exit code 0").html


def test_a_chart_of_nothing():
    assert "Memory" in charts.climb([]).text and charts.periods([]).html.startswith("<svg")


def test_intervals_show_what_ran_and_what_was_held():
    picture = charts.periods([charts.Sample(0.5, 0.5, 0.5), charts.Sample(0.2)])
    bars = [float(one.get("height")) for one in parts(picture, "rect")]
    assert bars[0] == pytest.approx(bars[1], abs=0.2)  # ran as long as it was held
    assert bars[2] == pytest.approx(0.4 * bars[0], abs=0.2)
    assert picture.text.splitlines()[-1].split() == ["2", "0.20", "0.00", "none"]
    assert len(charts.periods([charts.Sample(0.1)] * 90).text.splitlines()) == 42  # the last 40


def test_each_measure_has_its_own_scale_and_what_is_missing_says_why():
    groups = {"a": {"time": charts.Bar(2, "2 s"), "disk": charts.Bar(10, "10 MB")}, "b": {"time": "not <here>"}}
    picture = charts.bars(groups, title="T")
    widths = [float(one.get("width")) for one in parts(picture, "rect")]
    assert widths[0] == widths[1] and "not &lt;here&gt;" in picture.html and "not <here>" in picture.text


def test_outside_of_a_notebook_a_live_picture_keeps_the_last_one():
    draw = lab.live()
    assert isinstance(draw, live.Live) and draw.last is None
    draw(charts.climb([(0, 1)]))
    draw(charts.climb([(0, 2)]))
    assert "2.0 MiB" in draw.last.text


@pytest.mark.root
def test_a_meter_reads_what_the_kernel_counts(labrt_root):
    with cgroups.create("metered") as group:
        group.cpu.max = 0.2
        meter = meters.Cpu(group)
        with process.spawn(lambda: _spin(), cgroup=group) as child:
            child.wait(0.5)
            sample = meter()
        assert sample.limit == pytest.approx(0.2) and sample.ran > 0
        assert group.cpu.stat["nr_throttled"] > 0


def _spin():
    while True:
        continue


@pytest.mark.root
def test_a_dial_turns_the_limit_and_its_thread_ends_with_the_group(labrt_root):
    import threading

    def dials():
        return [one for one in threading.enumerate() if one.name == "labrt-dial"]

    with cgroups.create("dialled") as group:
        box = meters.dial(group)
        box.children[0].value = 0.3
        assert group.cpu.max == pytest.approx(0.3) and dials()
    for thread in dials():
        thread.join(5)
    assert dials() == []
    box.children[0].value = 0.5  # harmless


def test_the_disk_of_a_directory():
    try:
        number = meters.disk("/var")
    except NotSupported as error:
        assert error.remedy
    else:
        assert os.path.exists(f"/sys/dev/block/{number}/queue")
    with pytest.raises(NotSupported):
        meters.disk("/proc")
