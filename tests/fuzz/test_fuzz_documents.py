"""References, manifests, configs, headers out of dice: a value that is right, or the one error that belongs to it."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from labrt.engine import changes
from labrt.errors import InvalidDigest, InvalidInput, InvalidManifest, InvalidReference, LabrtError
from labrt.image import descriptor as types
from labrt.image import manifest
from labrt.image.config import ImageConfig
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.load import load
from labrt.image.platform import Platform
from labrt.image.reference import Reference
from labrt.registry.auth import Challenge
from labrt.registry.transport import retry_after


def words(text: str) -> list[str]:
    return text.split()


DIGEST = str(Digest.of(b"x"))
PIECES = st.sampled_from(
    [*words("a busybox docker.io localhost 127.0.0.1 [::1] : / @ . - _ __ 5000 A latest sha256: sha512: é %2e .."),
     DIGEST, " ", "\n", "x" * 128]
)  # fmt: skip


@given(st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=40))
def test_references(text: str) -> None:
    try:
        found = Reference.parse(text)
    except InvalidReference as error:
        assert len(str(error)) < 1500 and error.remedy
        return
    assert Reference.parse(str(found)) == found
    assert Reference.parse(found.familiar) == found
    assert found.tag or found.digest
    assert ".." not in found.repository.split("/") and "\n" not in str(found)


@given(st.lists(st.sampled_from([*words("sha256 sha512 md5 : a G / .."), "0" * 64, "f" * 128])).map("".join))
def test_digests(text: str) -> None:
    try:
        found = Digest.parse(text)
    except InvalidDigest:
        return
    assert str(found) == text and "/" not in text


@given(st.text("linuxarm64v/78.-W", max_size=20))
def test_platforms(text: str) -> None:
    try:
        assert str(Platform.parse(text))
    except InvalidInput:
        return


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([
    "", DIGEST, "sha256:x", types.OCI_MANIFEST, types.OCI_INDEX, types.OCI_CONFIG, types.DOCKER_MANIFEST,
    types.OCI_LAYER_GZIP, "linux", "amd64", "layers", "\ud800", "2024-01-01T00:00:00Z", "x" * 300,
])  # fmt: skip
KEYS = st.sampled_from(words(
    "schemaVersion mediaType config layers manifests digest size urls subject annotations platform os architecture"
    " variant artifactType rootfs type data diff_ids history created Env Cmd Entrypoint Labels ExposedPorts Volumes"
    " empty_layer Healthcheck User WorkingDir os.version os.features author"
))  # fmt: skip
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=30
)
POINTER = {"mediaType": types.OCI_CONFIG, "digest": DIGEST, "size": 7}
RIGHT = (
    {"schemaVersion": 2, "mediaType": types.OCI_MANIFEST, "config": POINTER, "layers": [POINTER, POINTER]},
    {"schemaVersion": 2, "mediaType": types.OCI_INDEX,
     "manifests": [{**POINTER, "mediaType": types.OCI_MANIFEST, "platform": {"os": "linux", "architecture": "amd64"}}]},
    {"os": "linux", "architecture": "amd64", "config": {"Env": ["A=b"], "Cmd": ["sh"], "Labels": {"a": "b"}},
     "rootfs": {"type": "layers", "diff_ids": [DIGEST]}, "history": [{"created": "2024-01-01T00:00:00Z"}]},
)  # fmt: skip


@st.composite
def nearly_right(draw: st.DrawFn) -> bytes:
    """A document that is right but for one or two places."""
    value = json.loads(json.dumps(draw(st.sampled_from(RIGHT))))
    for _ in range(draw(st.integers(1, 2))):
        here = value
        while isinstance(here, (dict, list)) and here:
            key = draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
            if draw(st.booleans()) or not isinstance(here[key], (dict, list)):
                here[key] = draw(JSON)
                break
            here = here[key]
    return json.dumps(value).encode()


@given(nearly_right() | JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60), st.booleans())
def test_documents(raw: bytes, typed: bool) -> None:
    try:
        found = manifest.parse(raw, types.OCI_MANIFEST if typed else None)
    except InvalidManifest as error:
        assert len(str(error)) < 1500
    else:
        assert found.raw == raw and repr(found) and found.digest == Digest.of(raw)
        if isinstance(found, manifest.Index):
            with contextlib.suppress(LabrtError):
                assert found.choose(Platform.parse("linux/amd64")) in found.manifests
    try:
        config = ImageConfig.parse(raw)
    except InvalidManifest as error:
        assert len(str(error)) < 1500
    else:
        assert len(config.chain_ids) == len(config.diff_ids) and repr(config) and str(config.platform)


@given(st.lists(nearly_right() | JSON.map(lambda value: json.dumps(value).encode()), min_size=2, max_size=4), st.data())
def test_archives(documents: list[bytes], data: st.DataObject) -> None:
    """Archives of images whose documents are nearly right: loaded, or one error, and nothing stays."""
    raw = io.BytesIO()
    names = [f"blobs/sha256/{Digest.of(each).hex}" for each in documents]
    listed = [{"Config": data.draw(st.sampled_from([*names, "x", "../x", 7])), "RepoTags": data.draw(JSON),
               "Layers": data.draw(st.lists(st.sampled_from([*names, "..", "link"]), max_size=2) | JSON)}]  # fmt: skip
    index = {"schemaVersion": 2, "manifests": [
        {"mediaType": types.OCI_MANIFEST, "digest": f"sha256:{Digest.of(each).hex}", "size": len(each)}
        for each in documents]}  # fmt: skip
    files = {**dict(zip(names, documents, strict=True)), "manifest.json": json.dumps(listed).encode()}
    if data.draw(st.booleans()):
        files |= {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    raw.seek(0)
    with tempfile.TemporaryDirectory() as place:
        layout = Layout(Path(place) / "store")
        try:
            load(raw, layout)
        except LabrtError as error:
            assert len(str(error)) < 1500
            assert layout.blobs() == []
        assert list(Path(layout.ingest).iterdir()) == []


@given(st.lists(st.sampled_from([*words('Bearer Basic , = " realm http://x/t \\ service é'), " ", "\0"])).map("".join))
def test_challenges(text: str) -> None:
    for found in Challenge.parse(text):
        assert found.scheme == found.scheme.lower() and repr(found)


@given(st.text(max_size=30) | st.sampled_from(["Wed, 21 Oct 2015 07:28:00 GMT", "-1", "1e9", "9" * 400, "²"]))
def test_retry_after(text: str) -> None:
    found = retry_after(text)
    assert found is None or found >= 0


WORDS = [*words("CMD ENV LABEL EXPOSE VOLUME USER ENTRYPOINT [ ] = a \\ $A 80/tcp {} null"), " ", "\n", '"', "'"]


@given(st.lists(st.sampled_from(WORDS)).map("".join))
def test_instructions(text: str) -> None:
    try:
        json.dumps(changes.apply({"Env": ["A=b"]}, [text]))
    except InvalidInput as error:
        assert len(str(error)) < 1500
