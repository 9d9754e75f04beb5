"""Dockerfiles read: lines, flags, heredocs, directives; what is wrong is said with file and line."""

from __future__ import annotations

import pytest

from labrt.builder.dockerfile import parse
from labrt.errors import InvalidInput


def test_lines():
    text = """# a comment
FROM busybox \\
  # between the halves

  AS one
\tRUN   a && \\
      b
cmd ["a", "b \\"c\\""]
LABEL x="y # no comment"
"""
    found = parse(text)
    assert [(one.keyword, one.line) for one in found] == [("FROM", 2), ("RUN", 6), ("CMD", 8), ("LABEL", 9)]
    assert found[0].rest.split() == ["busybox", "AS", "one"]
    assert found[1].rest.split() == ["a", "&&", "b"]
    assert found[2].json == ("a", 'b "c"')
    assert found[3].rest == 'x="y # no comment"'


def test_blanks_behind_the_keyword_only():
    """Those in the words themselves are the shell's: a tab stays one."""
    found = parse("FROM  a\nRUN printf 'a\tb'\nENV\t \tA=1\nCMD")
    assert [one.rest for one in found] == ["a", "printf 'a\tb'", "A=1", ""]


def test_carriage_returns_and_a_byte_order_mark():
    assert [one.rest for one in parse("\ufeffFROM a\r\nRUN b \\\r\n c\r\n")] == ["a", "b  c"]


def test_flags():
    (one,) = parse('RUN --mount=type=cache,target="/a b" --network=none -- --not-a-flag\n')
    assert one.flags == (("mount", 'type=cache,target="/a b"'), ("network", "none")) and one.rest == "--not-a-flag"
    (one,) = parse("COPY --link --chown=1:2 a b")
    assert one.switch("link") is True and one.flag("chown") == "1:2" and one.switch("parents") is None


def test_directives():
    text = "# syntax=docker/dockerfile:1\n# escape=`\n# check=skip=all\nFROM a`\nb\nRUN dir c:\\\n"
    assert [one.rest for one in parse(text)] == ["ab", "dir c:\\"]
    assert parse("#\n# escape=`\nFROM a\\\nb")[0].rest == "ab"  # after a comment it is one itself
    with pytest.raises(InvalidInput, match="Dockerfile:2: a second # escape"):
        parse("# escape=`\n# escape=\\\nFROM a")
    with pytest.raises(InvalidInput, match="escape=x"):
        parse("# escape=x\nFROM a")


def test_heredocs():
    text = """RUN <<EOF cat && sh <<-'END'
one
EOF
\ttwo $A
\tEND
RUN next
COPY <<"a" <<b /x/
$A
a
b
"""
    run, after, copy = parse(text)
    found = [(one.name, one.text, one.literal, one.strip) for one in run.heredocs]
    assert found == [("EOF", "one\n", False, False), ("END", "\ttwo $A\n", True, True)]
    assert run.heredocs[1].content == "two $A\n" and (after.line, after.rest) == (6, "next")
    assert [(one.text, one.literal) for one in copy.heredocs] == [("$A\n", True), ("", False)]


def test_an_arithmetic_shift_is_no_heredoc():
    assert parse('RUN echo $((1<<2)) "<<EOF"\nRUN x')[0].heredocs == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("FROM a\nRNU b", "f:2: no instruction is called RNU: `RNU b`.*did you mean RUN"),
        ("FROM a\n\nCOPY --form=b c d", "f:3: COPY has no flag --form"),
        ("FROM a\nCOPY --from=b --from=c d e", "f:2: --from twice"),
        ("FROM a\nCOPY --from b c", "--from without a value"),
        ("FROM a\nRUN <<EOF\nx", "f:2: the text of <<EOF has no end"),
        ("FROM a\nENV", "f:2: ENV of nothing"),
        ("FROM a\0", "f is no text"),
    ],
)
def test_what_cannot_be_says_where(text, says):
    with pytest.raises(InvalidInput, match=says):
        parse(text, "f")
