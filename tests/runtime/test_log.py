"""The log: lines, rotation, and a reader that misses nothing while files are renamed under its hands."""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading

import pytest

from labrt.runtime.log import LONGEST, Writer, numbered
from labrt.runtime.log_reader import Reader, read


def lines(path, **how):
    return [entry.text for entry in read(str(path), **how)]


def test_lines_and_what_is_held_back(tmp_path):
    writer = Writer(str(tmp_path / "log"))
    writer.write("stdout", b"one\ntw")
    writer.write("stderr", b"other\n")
    writer.write("stdout", b"o\nthree")
    assert lines(tmp_path / "log") == ["one\n", "other\n", "two\n"]
    writer.close()
    assert lines(tmp_path / "log") == ["one\n", "other\n", "two\n", "three"]
    entry = read(str(tmp_path / "log"))[1]
    assert entry.stream == "stderr" and entry.time.endswith("Z") and len(entry.time) == 30


def test_a_long_line_is_cut(tmp_path):
    writer = Writer(str(tmp_path / "log"))
    writer.write("stdout", b"x" * (2 * LONGEST + 5) + b"\n")
    writer.close()
    found = lines(tmp_path / "log")
    assert [len(text) for text in found] == [LONGEST, LONGEST, 6]


@pytest.mark.parametrize("files", [1, 2, 5])
def test_full_files_are_renamed_and_the_oldest_go(tmp_path, files):
    path = str(tmp_path / "log")
    writer = Writer(path, max_size=2000, max_files=files)
    for number in range(500):
        writer.write("stdout", f"line {number}\n".encode())
    writer.close()
    assert sorted(os.listdir(tmp_path)) == sorted(os.path.basename(numbered(path, index)) for index in range(files))
    assert all(os.path.getsize(tmp_path / name) <= 2000 for name in os.listdir(tmp_path))
    found = lines(path)
    assert found == [f"line {number}\n" for number in range(500 - len(found), 500)]
    assert len(found) > 15 * (files - 1)


def test_a_burst_is_cut_at_lines_and_a_line_longer_than_a_file_is_kept(tmp_path):
    path = str(tmp_path / "log")
    writer = Writer(path, max_size=1000, max_files=100)
    writer.write("stdout", b"".join(b"%04d\n" % number for number in range(300)) + b"y" * 3000 + b"\nlast\n")
    writer.close()
    assert lines(path) == [f"{number:04}\n" for number in range(300)] + ["y" * 3000 + "\n", "last\n"]


def test_tail_reaches_back_over_files(tmp_path):
    path = str(tmp_path / "log")
    writer = Writer(path, max_size=1000, max_files=50)
    for number in range(200):
        writer.write("stdout", b"%d\n" % number)
    writer.close()
    for tail in (0, 1, 7, 50, 199, 200, 1000):
        assert lines(path, tail=tail) == [f"{number}\n" for number in range(max(0, 200 - tail), 200)]


def test_half_a_line_of_a_killed_writer_spoils_no_other(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b'{"log":"whole\\n","stream":"stdout","time":"t"}\n{"log":"ha')
    writer = Writer(str(path))
    writer.write("stdout", b"next\n")
    writer.close()
    assert lines(path) == ["whole\n", "next\n"]


def test_a_gap_that_a_kill_left_between_files_is_read_over(tmp_path):
    path = str(tmp_path / "log")
    for number in (3, 1, 0):  # killed after .1 had become .2 and .2 .3, say
        entry = {"log": f"{number}\n", "stream": "stdout", "time": "t"}
        (tmp_path / os.path.basename(numbered(path, number))).write_text(json.dumps(entry) + "\n")
    assert lines(path) == ["3\n", "1\n", "0\n"]


def test_a_follower_that_keeps_up_misses_no_line_over_many_rotations(tmp_path):
    path = str(tmp_path / "log")
    total, found, done = 1000, [], threading.Event()
    step = threading.Semaphore(0)

    def write() -> None:
        writer = Writer(path, max_size=1500, max_files=4)
        for number in range(total):
            writer.write("stdout", b"%d\n" % number)
            if number % 50 == 49:  # four files hold more than so many lines: what is then unread is still there
                step.acquire()
        writer.close()
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    released = 0
    with contextlib.closing(Reader(path)) as reader:
        while True:
            ended = done.is_set()
            while entries := reader.read():
                found += [int(entry.text) for entry in entries]
            while released < len(found) // 50:
                step.release()
                released += 1
            if ended:
                break
    thread.join()
    assert found == list(range(total))


def test_what_was_open_is_read_after_it_was_removed(tmp_path):
    path = str(tmp_path / "log")
    writer = Writer(path, max_size=200, max_files=1)
    writer.write("stdout", b"first\n")
    with contextlib.closing(Reader(path)) as reader:
        writer.write("stdout", b"second\n")
        for _ in range(4):
            writer.write("stdout", b"x" * 60 + b"\n")  # by now another file has its name
        texts = []
        while entries := reader.read():
            texts += [entry.text for entry in entries]
    assert texts[:2] == ["first\n", "second\n"]
    writer.close()


def test_random_sizes_and_streams_come_back_as_they_were(tmp_path):
    luck = random.Random(7)
    path = str(tmp_path / "log")
    writer = Writer(path, max_size=4096, max_files=10_000)
    sent = {"stdout": "", "stderr": ""}
    for _ in range(400):
        stream = luck.choice(("stdout", "stderr"))
        data = "".join(luck.choice("ab\n") for _ in range(luck.randrange(200)))
        sent[stream] += data
        writer.write(stream, data.encode())
    writer.close()
    came = {"stdout": "", "stderr": ""}
    for entry in read(path):
        came[entry.stream] += entry.text
    assert came == sent
