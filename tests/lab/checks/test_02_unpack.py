"""Notebook 02's exercise: what passes, and how each likely mistake is answered."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.root


def put(archive, member, place):
    os.makedirs(os.path.dirname(place), exist_ok=True)
    if member.isdir():
        os.makedirs(place, exist_ok=True)
    elif member.issym():
        os.symlink(member.linkname, place)
    elif member.isreg():
        with open(place, "wb") as file:
            file.write(archive.extractfile(member).read())


def right(archive, root):
    top = os.path.realpath(root)
    for member in archive:
        place = os.path.realpath(os.path.join(top, member.name.lstrip("/")))
        if os.path.commonpath([top, place]) == top:
            put(archive, member, place)


def believes_everything(archive, root):
    for member in archive:
        put(archive, member, os.path.join(root, member.name))


def forgets_absolute_paths(archive, root):
    for member in archive:
        if not member.name.startswith("../"):
            put(archive, member, os.path.join(root, member.name))


def looks_at_names_only(archive, root):
    for member in archive:
        place = os.path.normpath(os.path.join(root, member.name.lstrip("/")))
        if os.path.commonpath([root, place]) == root:
            put(archive, member, place)


def compares_letters(archive, root):
    for member in archive:
        place = os.path.realpath(os.path.join(root, member.name.lstrip("/")))
        if place.startswith(root):
            put(archive, member, place)


def fears_dots(archive, root):
    for member in archive:
        place = os.path.realpath(os.path.join(root, member.name.lstrip("/")))
        if ".." not in member.name and os.path.commonpath([root, place]) == root:
            put(archive, member, place)


def stops_at_the_first(archive, root):
    for member in archive:
        place = os.path.realpath(os.path.join(root, member.name.lstrip("/")))
        if os.path.commonpath([root, place]) != root:
            break
        put(archive, member, place)


def raises(archive, root):
    raise ValueError("an evil archive")


def test_unpack(judged):
    judged("02", right, {
        "believes": (believes_everything, "beside the directory"),
        "absolute": (forgets_absolute_paths, "began with /"),
        "names only": (looks_at_names_only, "made a link first"),
        "letters": (compares_letters, "begins with …/box"),
        "dots": (fears_dots, "two dots alone are no crime"),
        "stops": (stops_at_the_first, "honest entries are missing"),
        "raises": (raises, "it raised ValueError"),
    })  # fmt: skip
