"""Volumes: they outlive containers, begin as the image's directory, and nothing leads out of the image on the way."""

from __future__ import annotations

import io
import os
import re
import stat
import tarfile
import tempfile

import pytest

import labrt
from labrt import paths
from labrt.engine import archives
from labrt.engine.containers import Containers
from labrt.engine.options import Options
from labrt.engine.volumes import Volumes
from labrt.errors import CommandNotFound, Conflict, InvalidInput, NotFound

pytestmark = pytest.mark.root


def run(*command: str, image: str = "busybox", **options):
    return labrt.run(image, *command, **options)


def make(*command: str, image: str = "busybox", **options):
    return Containers().create(Options(image, command, **options))


def image_with(*entries: tuple[str, dict[str, object]], config: dict[str, object] | None = None) -> str:
    """An image of busybox's files and a few more."""
    source = make("true")
    with tempfile.TemporaryFile() as buffer:
        archives.export(source, buffer)
        source.remove()
        buffer.seek(0)
        with tarfile.open(fileobj=buffer, mode="a") as archive:
            for name, fields in entries:
                info = tarfile.TarInfo(name)
                data = fields.pop("data", b"")
                info.size = len(data)
                for key, value in fields.items():
                    setattr(info, key, value)
                archive.addfile(info, io.BytesIO(data))
        buffer.seek(0)
        archives.import_root(buffer, "localhost/filled", config=config)
    return "localhost/filled"


DIRECTORY = {"type": tarfile.DIRTYPE, "mode": 0o750, "uid": 7, "gid": 8}


def names() -> list[str]:
    return [volume.name for volume in Volumes().list()]


def test_what_one_container_writes_the_next_one_reads(house):
    run("sh", "-c", "echo stays > /data/file", volumes=["store:/data"])
    assert run("cat", "/there/file", volumes=["store:/there"]).stdout == "stays\n"
    volume = Volumes().get("store")
    assert (volume.name, volume.anonymous) == ("store", False)
    with open(os.path.join(volume.path, "file")) as file:
        assert file.read() == "stays\n"
    assert stat.S_IMODE(os.stat(paths.default().volumes).st_mode) == 0o700
    assert labrt.reset(quiet=True).ok and names() == ["store"]


def test_read_only(house):
    result = run("sh", "-c", "echo x > /data/file || echo no", volumes=["store:/data:ro"])
    assert result.stdout == "no\n"
    assert os.listdir(Volumes().get("store").path) == []


def test_the_images_files_come_into_an_empty_volume_and_into_no_other(house):
    image = image_with(("srv/www", dict(DIRECTORY)), ("srv/www/index", {"data": b"hello", "uid": 7, "mode": 0o640}))
    seen = run("sh", "-c", "cat /srv/www/index; stat -c %u:%g:%a /srv/www /srv/www/index", image=image,
               volumes=["www:/srv/www"]).stdout  # fmt: skip
    assert seen == "hello7:8:750\n7:0:640\n"
    run("sh", "-c", "echo changed > /srv/www/index", image=image, volumes=["www:/srv/www"])
    assert run("cat", "/srv/www/index", image=image, volumes=["www:/srv/www"]).stdout == "changed\n"
    assert sorted(os.listdir(os.path.dirname(Volumes().get("www").path))) == ["_data", "volume.json"]


def test_one_volume_in_two_places(house):
    image = image_with(("srv", dict(DIRECTORY)), ("srv/file", {"data": b"one"}))
    script = "ls /srv /two; echo two > /two/more; cat /srv/more"
    result = run("sh", "-c", script, image=image, volumes=["both:/srv", "both:/two"])
    assert result.stdout == "/srv:\nfile\n\n/two:\nfile\ntwo\n"


def test_an_empty_volume_that_another_container_has_is_left_empty(house):
    image = image_with(("srv", dict(DIRECTORY)), ("srv/file", {"data": b"one"}))
    first = make("true", volumes=["shared:/elsewhere"])
    assert run("ls", "/srv", image=image, volumes=["shared:/srv"]).stdout == ""
    first.remove()
    assert run("ls", "/srv", image=image, volumes=["shared:/srv"]).stdout == "file\n"


def test_links_in_an_image_lead_nowhere_out_of_it(house, tmp_path):
    (tmp_path / "secret").write_text("the host's")
    image = image_with(
        ("away", {"type": tarfile.SYMTYPE, "linkname": str(tmp_path)}),
        ("up", {"type": tarfile.SYMTYPE, "linkname": "../../../../../../.." + str(tmp_path)}),
        ("loop", {"type": tarfile.SYMTYPE, "linkname": "loop"}),
        ("in", dict(DIRECTORY)),
        ("in/link", {"type": tarfile.SYMTYPE, "linkname": str(tmp_path / "secret")}),
    )
    for number, place in enumerate(("/away", "/up", "/loop", "/away/deeper", "/in")):
        container = make("true", image=image, volumes=[f"v{number}:{place}"])
        volume = Volumes().get(f"v{number}").path
        assert os.listdir(volume) == (["link"] if place == "/in" else []), place
        container.remove()
    assert os.path.islink(os.path.join(volume, "link"))
    assert set(os.listdir(tmp_path)) == {"secret", house.name}


def test_an_anonymous_volume_goes_with_its_container(house):
    container = make("touch", "/data/x", volumes=["/data"])
    (name,) = names()
    assert re.fullmatch("[0-9a-f]{64}", name) and Volumes().get(name).anonymous
    assert container.inspect()["Mounts"] == [{
        "Type": "volume", "Name": name, "Driver": "local", "Source": Volumes().get(name).path, "Destination": "/data",
        "Mode": "", "RW": True, "Propagation": "",
    }]  # fmt: skip
    container.remove()
    assert names() == [name]  # docker's way, too: only with `volumes`
    assert Volumes().prune()[0] == [name]
    make("true", volumes=["/data", "named:/n"]).remove(volumes=True)
    assert names() == ["named"]
    run("touch", "/data/x", volumes=["/data"])  # created to be removed at its end
    assert names() == ["named"]


def test_an_images_volume_becomes_an_anonymous_one(house):
    image = image_with(
        ("srv", dict(DIRECTORY)), ("srv/file", {"data": b"one"}),
        config={"Volumes": {"/srv": {}, "/srv/deep/er": {}, "srv/": {}, "/named": {}}},
    )  # fmt: skip
    container = make("sh", "-c", "cat /srv/file; touch /srv/deep/er/x /named/y", image=image, volumes=["mine:/named/"])
    assert {use["destination"]: use["anonymous"] for use in container.record()["volumes"]} == {
        "/srv": True, "/srv/deep/er": True, "/named/": False,
    }  # fmt: skip
    assert container.run_to_end().stdout == "one"
    found = {use["destination"]: os.listdir(Volumes().get(use["name"]).path) for use in container.record()["volumes"]}
    assert sorted(found.pop("/srv")) == ["deep", "file"]
    assert found == {"/srv/deep/er": ["x"], "/named/": ["y"]}
    container.remove(volumes=True)
    assert names() == ["mine"]
    assert run("cat", "/srv/file", image=image).stdout == "one" and names() == ["mine"]


@pytest.mark.parametrize("place", ["/", "", "/proc", "/x/../proc/sys", "//sys/fs", "../..", "/a\0b"])
def test_an_images_volume_where_none_can_be(house, place):
    image = image_with(config={"Volumes": {place: {}}})
    with pytest.raises(InvalidInput, match="the image wants a volume"):
        make("true", image=image)
    assert names() == [] and Containers().list(all=True) == []


def test_a_volume_in_use_stays(house):
    container = make("true", name="holder", volumes=["kept:/data"])
    with pytest.raises(Conflict, match="in use by container holder"):
        Volumes().remove("kept")
    assert Volumes().prune(all=True) == ([], 0)
    container.remove(volumes=True)
    Volumes().create("other")
    assert sorted(Volumes().prune(all=True)[0]) == ["kept", "other"]
    with pytest.raises(NotFound, match="kept"):
        Volumes().remove("kept")


def test_a_container_that_cannot_be_made_leaves_no_volume(house):
    make("true", name="taken")
    Volumes().create("before")
    with pytest.raises(Conflict):
        make("true", name="taken", volumes=["before:/b", "after:/a", "/anonymous"])
    assert names() == ["before"]
    with pytest.raises(CommandNotFound):
        run("no-such-program", volumes=["/anonymous"])
    assert names() == ["before"]


def test_names(house):
    volumes = Volumes()
    assert volumes.create("twice") == volumes.create("twice")
    for name in ("..", "a/b", "x", "-x", "n" * 256, "a\0b"):
        with pytest.raises(InvalidInput):
            volumes.create(name)
        with pytest.raises(InvalidInput):
            volumes.remove(name)
    assert names() == ["twice"] and "1" in repr(volumes)
