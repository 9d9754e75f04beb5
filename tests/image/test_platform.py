import os

import pytest

from labrt.errors import InvalidInput
from labrt.image.platform import Platform


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("linux/amd64", "linux/amd64"),
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("arm64", "linux/arm64/v8"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/arm64/8", "linux/arm64/v8"),
        ("aarch64", "linux/arm64/v8"),
        ("arm", "linux/arm/v7"),
        ("armhf", "linux/arm/v7"),
        ("armel", "linux/arm/v6"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("i686", "linux/386"),
        ("riscv64", "linux/riscv64"),
        ("Linux/AMD64", "linux/amd64"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_spelling(text, canonical):
    assert str(Platform.parse(text)) == canonical


def test_one_word_may_be_a_system():
    assert Platform.parse("linux") == Platform.host()


@pytest.mark.parametrize("text", ["", "a/b/c/d", "linux/", "/amd64", "linux/amd 64", "linux\n"])
def test_what_is_no_platform(text):
    with pytest.raises(InvalidInput):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64/v8"),
        ("armv7l", "linux/arm/v7"),
        ("ppc64le", "linux/ppc64le"),
    ],
)
def test_the_host_by_its_uname(monkeypatch, machine, expected):
    name = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*name[:4], machine)))
    assert str(Platform.host()) == expected


@pytest.mark.parametrize(
    ("have", "wanted", "fits"),
    [
        (Platform("linux", "arm64"), Platform("linux", "arm64", "v8"), True),
        (Platform("linux", "arm64", "v8"), Platform("linux", "arm64"), True),
        (Platform("linux", "arm", "v6"), Platform("linux", "arm", "v7"), True),
        (Platform("linux", "arm", "v7"), Platform("linux", "arm", "v6"), False),
        (Platform("linux", "amd64", "v3"), Platform("linux", "amd64"), False),
        (Platform("linux", "amd64"), Platform("linux", "amd64", "v3"), True),
        (Platform("linux", "amd64"), Platform("linux", "arm64"), False),
        (Platform("windows", "amd64"), Platform("linux", "amd64"), False),
        (Platform("unknown", "unknown"), Platform("linux", "amd64"), False),
    ],
)
def test_what_runs_where(have, wanted, fits):
    assert have.matches(wanted) is fits
