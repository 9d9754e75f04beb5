"""Notebook 20's check: copy(below, source, target). What passes, and what each mistake is told."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile

import pytest

from labrt.lab.checks import copies

pytestmark = pytest.mark.root
KEY = ("below", "target", "name", "mode", "contents")


def make(below, source, target, *, key=KEY, order=sorted, times=False, hashed=None, inside=True):
    said = [[name, value] for name, value in (("below", below), ("target", target)) if name in key]
    buffer = io.BytesIO()
    tar = tarfile.TarFile(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT)
    for name in order(os.listdir(source)):
        path = os.path.join(source, name)
        entry = tar.gettarinfo(path, f"{target}/{name}" if inside else name)
        with open(path, "rb") as file:
            data = file.read()
        about = {"name": name, "mode": entry.mode, "contents": hashlib.sha256(data).hexdigest(), "time": entry.mtime}
        said.append([about[part] for part in ("name", "mode", "contents", "time") if part in key])
        entry.mtime = entry.mtime if times else 0
        tar.addfile(entry, io.BytesIO(data))
    tar.close()
    return hashlib.sha256(json.dumps(hashed(said) if hashed else said).encode()).hexdigest(), buffer.getvalue()


def but(**how):
    return lambda below, source, target: make(below, source, target, **how)


def less(part):
    return but(key=tuple(one for one in KEY if one != part))


def ordered(said):
    return sorted(said, key=str)


WRONG = {
    "no contents": (less("contents"), "a file has other contents"),
    "no name": (less("name"), "a file has another name"),
    "no mode": (less("mode"), "a file may be executed"),
    "no below": (less("below"), "it stands on other layers"),
    "no target": (less("target"), "it copies to another place"),
    "times in the key": (but(key=(*KEY, "time")), "the key hangs on the files' times"),
    "times in the layer": (but(times=True), "the layer's digest hangs on the files' times"),
    "as it comes": (but(order=list), "the key hangs on the order"),
    "as it comes, the layer alone": (but(order=list, hashed=ordered), "the layer hangs on the order"),
    "not below target": (but(inside=False), "below target"),
    "no archive": (lambda *call: (make(*call)[0], b"hello"), "cannot be read"),
    "compressed": (lambda *call: (make(*call)[0], gzip.compress(make(*call)[1])), "the layer is compressed"),
    "the key alone": (lambda *call: make(*call)[0], "a key and the bytes of a layer"),
    "raises": (lambda below, source, target: source.nothing, "AttributeError"),
}


def test_copy(judged):
    judged("20", make, WRONG)


def test_what_it_saw_is_the_registry_s_word(labrt_root):
    check = copies.caches(make)
    digests = [word for word in check.saw.replace(",", "").split() if len(word) == 12 and word.isalnum()]
    assert check.passed and len(digests) == 2 and digests[0] == digests[1], check.saw
    assert check.saw.endswith("with a list, hello, notes")
