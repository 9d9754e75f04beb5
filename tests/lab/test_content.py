"""lab.content and lab.samples: images as blobs that name each other."""

from __future__ import annotations

from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.lab import content, samples

LAYERS = [{"a": "1"}, {"b": "2"}, {"c": "3"}]


def test_the_same_files_are_the_same_image(tmp_path):
    one = samples.image(Layout(tmp_path / "one"), "sample", LAYERS)
    other = samples.image(Layout(tmp_path / "other"), "sample", LAYERS)
    assert one.manifest.digest == other.manifest.digest and len(one.config.diff_ids) == 3


def test_what_two_images_share_is_drawn_once(tmp_path):
    layout = Layout(tmp_path)
    before = samples.image(layout, "sample:before", LAYERS)
    after = samples.image(layout, "sample:after", [LAYERS[0], {"b": "<two>"}, LAYERS[2]])
    picture = content.graph({"before": before, "after": after})
    # Two manifests, two configs, and of three layers one is there twice.
    assert picture.html.count("<rect") == 2 + 2 + 4
    assert picture.html.count(", shared") == 2 and picture.text.count("before and after") == 2
    # An arrow from each name to its manifest, and from each manifest to four blobs.
    assert picture.html.count("<path") == 2 + 2 * 4
    assert all(digest.short in picture.text for digest in (before.manifest.digest, after.manifest.digest))


def test_an_index_of_two_platforms(tmp_path):
    layout = Layout(tmp_path)
    platforms = [Platform("linux", "amd64"), Platform("linux", "arm64")]
    samples.index(layout, "sample", [samples.manifest(layout, LAYERS, platform=one) for one in platforms])
    for platform in platforms:
        assert layout.image("sample", platform).config.architecture == platform.architecture
