"""Quotes and variables in the words of a Dockerfile."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from labrt.builder import words
from labrt.errors import InvalidInput

KNOWN = {"A": "1", "E": "", "P": "80 81", "F": "a/b/c.tar.gz"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$A/x", "1/x"),
        ('"$A"x', "1x"),
        ("'$A'", "$A"),
        (r"\$A", "$A"),
        (r'"\$A \x"', r"$A \x"),
        ("${A}b", "1b"),
        ("$NO|${NO}", "|"),
        ("${NO:-w$A}", "w1"),
        ("${E:-w}${E-w}", "w"),
        ("${A:+y}${E:+y}${NO+y}", "y"),
        ("${E+y}", "y"),
        ("${A:?gone}", "1"),
        ("${F#*/}", "b/c.tar.gz"),
        ("${F##*/}", "c.tar.gz"),
        ("${F%.*}", "a/b/c.tar"),
        ("${F%%.*}", "a/b/c"),
        ("${F/b/x}", "a/x/c.tar.gz"),
        ("${F//a/x}", "x/b/c.txr.gz"),
        (r"${F//\//_}", "a_b_c.tar.gz"),
        ("${NO:-${E:-${A}}}", "1"),
        ('${NO:-"a b"}', "a b"),
        ("$", "$"),
        ("$1 $@", " "),
    ],
)
def test_a_word(text, expected):
    assert words.expand(text, KNOWN) == expected


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is absent")
@pytest.mark.parametrize("text", [
    "${F#*/}", "${F##*/}", "${F%.*}", "${F%%.*}", "${F/b/x}", "${F//a/x}", "${F#x}", "${F%?}", "${F//./}", "${E:-w}",
    "${E-w}", "${A:+y}", "${NO+y}", "'$A'\"$A\"", "a\\ b", "${F##*}", "${F/a*c/x}",
    "${F#*a*}", "${F##*a*}", "${F#*a*.*}", "${F##a*/}", "${F%/*}", "${F%%/*}", "${F%.*.*}", "${F%%.*g*}", "${F%?z}",
    "${F%a/b}", "${F##*.??r}", "${F/*./x}", "${F/.*z/x}", "${F//\\/?/x}", "${F%$A}", "${F#'*'}", "${F#a/$NO}",
])  # fmt: skip
def test_bash_reads_it_so_too(text):
    said = subprocess.run(["bash", "-c", f"printf %s {text}"], env=KNOWN, capture_output=True, text=True, check=True)
    assert words.expand(text, KNOWN) == said.stdout


def test_words():
    assert words.split('$P "a b"  c', KNOWN) == ["80", "81", "a b", "c"]
    assert words.split('"$P" \'\'', KNOWN) == ["80 81", ""]
    assert words.split("$NO $E", KNOWN) == []
    assert words.cut(r"""A="b c" D=e\ f 'g "h' """) == ['A="b c"', r"D=e\ f", "'g \"h'"]


def test_another_escape():
    assert words.expand("`$A c:\\x", KNOWN, escape="`") == "$A c:\\x"


@pytest.mark.parametrize("text", ["'a", '"a', "${A", "${A:-b", "${}", "${A:=b}", "${NO:?is missing}", "${A#b", "${A/b"])
def test_what_cannot_be(text):
    with pytest.raises(InvalidInput):
        words.expand(text, KNOWN)


def test_what_grows_or_nests_without_end_is_refused():
    big = {"A": "x" * (1 << 19)}
    for text in ("$A$A$A", '"$A$A$A"', "${A//x/$A}", '"' + "$A" * 100_000 + '"'):
        with pytest.raises(InvalidInput, match="more than"):
            words.expand(text, big)
    with pytest.raises(InvalidInput, match="deeper"):
        words.expand("${A:-" * 1000 + "}" * 1000, {})
    for pattern in ("*" * 30 + "b", "*a" * 30 + "b", "b" + "a*" * 30):  # no regular expression runs away
        for operator in ("#", "##", "%", "%%", "/", "//"):
            assert words.expand(f"${{A{operator}{pattern}}}", {"A": "a" * 400}) == "a" * 400
