from __future__ import annotations

import os
from pathlib import Path

import pytest

from labrt.errors import InvalidInput
from labrt.linux.cgroups import units


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        (0, 0), (67108864, 67108864), ("67108864", 67108864), ("64M", 64 << 20), ("64m", 64 << 20), ("64MiB", 64 << 20),
        ("64mb", 64 << 20), ("1.5g", 3 << 29), ("10k", 10240), ("2T", 2 << 40), ("100b", 100), (" 1 G ", 1 << 30),
        ("max", None), (None, None), (-1, None), ("-1", None),
    ],
)  # fmt: skip
def test_sizes(typed, number):
    assert units.parse_size(typed) == number


@pytest.mark.parametrize("typed", ["", "much", "64X", "-5", -5, 1.5, True, "M", "1..5M", "64 M B"])
def test_no_sizes(typed):
    with pytest.raises(InvalidInput, match="no size"):
        units.parse_size(typed)


@pytest.mark.parametrize(("typed", "number"), [(20, 20), ("20", 20), (0, 0), ("max", None), (None, None), (-1, None)])
def test_counts(typed, number):
    assert units.parse_count(typed) == number


@pytest.mark.parametrize("typed", ["many", "2k", 1.5, True, -2])
def test_no_counts(typed):
    with pytest.raises(InvalidInput):
        units.parse_count(typed)


@pytest.mark.parametrize(
    ("typed", "pair"),
    [
        (0.5, (50_000, 100_000)), (2, (200_000, 100_000)), ("1.5", (150_000, 100_000)),
        ("20000 50000", (20_000, 50_000)),
        ("max 50000", (None, 50_000)), ("max", (None, 100_000)), (None, (None, 100_000)), (0.01, (1000, 100_000)),
    ],
)  # fmt: skip
def test_bandwidth(typed, pair):
    assert units.parse_bandwidth(typed) == pair


@pytest.mark.parametrize("typed", [0, -1, 0.001, "half", "1 2 3", "x 100000", float("inf"), float("nan")])
def test_no_bandwidth(typed):
    with pytest.raises(InvalidInput, match="no CPU bandwidth"):
        units.parse_bandwidth(typed)


def test_lists():
    assert units.parse_list("0-3,7") == "0-3,7"
    assert units.parse_list([0, 2]) == "0,2"
    assert units.parse_list({5}) == units.parse_list(5) == "5"
    assert units.parse_list("") == ""
    for wrong in ("0-", "a", "1,,2", "0-3 7"):
        with pytest.raises(InvalidInput, match="no list"):
            units.parse_list(wrong)


def test_devices(tmp_path: Path):
    assert units.parse_device("8:16") == "8:16"
    with pytest.raises(InvalidInput, match="no device"):
        units.parse_device(str(tmp_path / "sda"))
    number = os.stat(tmp_path).st_dev
    node = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    disk = (node.resolve().parent if (node / "partition").exists() else node) / "dev"
    expected = disk.read_text().strip() if disk.exists() else f"{os.major(number)}:{os.minor(number)}"
    assert units.parse_device(str(tmp_path)) == expected


def test_shares_and_weights_meet_at_ends_and_defaults():
    assert [units.weight_from_shares(shares) for shares in (0, 2, 1024, 262_144)] == [0, 1, 100, 10_000]
    assert [units.weight_from_shares(shares) for shares in (1, 1 << 30)] == [1, 10_000]
    weights = [units.weight_from_shares(shares) for shares in range(2, 262_144, 97)]
    assert weights == sorted(weights)


def test_weights_keep_their_ratio_on_v1():
    assert [units.shares_from_weight(weight) for weight in (100, 300, 1, 10_000)] == [1024, 3072, 10, 102_400]
    for weight in (1, 50, 100, 300, 9999):
        assert units.weight_to_show(units.shares_from_weight(weight)) == weight


def test_io_weights():
    assert [units.io_weight_from_blkio(weight) for weight in (0, 10, 500, 1000)] == [0, 1, 4950, 10_000]
    assert [units.blkio_from_io_weight(weight) for weight in (1, 100, 10_000)] == [1, 100, 1000]
