import pytest

from labrt.errors import InvalidReference
from labrt.image.digest import Digest
from labrt.image.reference import Reference

DIGEST = str(Digest.of(b"labrt"))


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "familiar"),
    [
        ("busybox", "docker.io", "library/busybox", "latest", "busybox:latest"),
        ("busybox:1.36", "docker.io", "library/busybox", "1.36", "busybox:1.36"),
        ("docker.io/busybox", "docker.io", "library/busybox", "latest", "busybox:latest"),
        ("docker.io/library/busybox", "docker.io", "library/busybox", "latest", "busybox:latest"),
        ("index.docker.io/busybox", "docker.io", "library/busybox", "latest", "busybox:latest"),
        ("library/busybox", "docker.io", "library/busybox", "latest", "busybox:latest"),
        ("user/app", "docker.io", "user/app", "latest", "user/app:latest"),
        ("library/a/b", "docker.io", "library/a/b", "latest", "library/a/b:latest"),
        ("a/b/c/d", "docker.io", "a/b/c/d", "latest", "a/b/c/d:latest"),
        ("ghcr.io/x/y:Z", "ghcr.io", "x/y", "Z", "ghcr.io/x/y:Z"),
        ("ghcr.io/y", "ghcr.io", "y", "latest", "ghcr.io/y:latest"),
        ("localhost/x", "localhost", "x", "latest", "localhost/x:latest"),
        ("localhost:5000/a/b:t", "localhost:5000", "a/b", "t", "localhost:5000/a/b:t"),
        ("LOCALHOST/x", "LOCALHOST", "x", "latest", "LOCALHOST/x:latest"),
        ("[::1]:5000/x", "[::1]:5000", "x", "latest", "[::1]:5000/x:latest"),
        ("xn--n3h.com/x", "xn--n3h.com", "x", "latest", "xn--n3h.com/x:latest"),
        ("test:8080", "docker.io", "library/test", "8080", "test:8080"),
        ("a.b_c__d-e---f", "docker.io", "library/a.b_c__d-e---f", "latest", "a.b_c__d-e---f:latest"),
        ("x:" + "t" * 128, "docker.io", "library/x", "t" * 128, "x:" + "t" * 128),
        ("a/" + "b" * 253, "docker.io", "a/" + "b" * 253, "latest", "a/" + "b" * 253 + ":latest"),
        ("f" * 63, "docker.io", "library/" + "f" * 63, "latest", "f" * 63 + ":latest"),
    ],
)
def test_what_a_name_means(text, registry, repository, tag, familiar):
    reference = Reference.parse(text)
    assert (reference.registry, reference.repository, reference.tag) == (registry, repository, tag)
    assert reference.digest is None
    assert reference.familiar == familiar
    assert str(reference) == f"{registry}/{repository}:{tag}"
    assert Reference.parse(str(reference)) == Reference.parse(familiar) == reference


def test_by_content():
    reference = Reference.parse(f"busybox@{DIGEST}")
    assert reference.tag is None
    assert str(reference) == f"docker.io/library/busybox@{DIGEST}"
    both = Reference.parse(f"localhost:5000/a/b:t@{DIGEST}")
    assert (both.registry, both.tag, str(both.digest)) == ("localhost:5000", "t", DIGEST)
    assert both.familiar == f"localhost:5000/a/b:t@{DIGEST}"


def test_derived_names():
    reference = Reference.parse("busybox:1.36")
    assert reference.name == "docker.io/library/busybox"
    assert reference.with_tag("x").familiar == "busybox:x"
    assert reference.with_digest(Digest.parse(DIGEST)).familiar == f"busybox@{DIGEST}"
    with pytest.raises(InvalidReference):
        reference.with_tag("no tag")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("Busybox", "'busybox'"),
        ("user/App:Tag", "'user/app:tag'"),
        ("f" * 64, "id"),
        ("a" * 256, "characters"),
        (":tag", "repository"),
        ("busybox:", "tag"),
        ("busybox:-x", "tag"),
        ("x:" + "t" * 129, "tag"),
        ("busybox@", "digest"),
        ("busybox@sha256:12", "digest"),
        (f"busybox@{DIGEST.upper()}", "digest"),
        ("a//b", "repository"),
        ("a/", "repository"),
        ("/a", "repository"),
        ("-a", "repository"),
        ("a-", "repository"),
        ("a...b", "repository"),
        ("a___b", "repository"),
        ("a.-b", "repository"),
        ("-host.com/a", "host"),
        ("host.com:port/a", "host"),
        ("https://host.com/a", "host"),
        ("busybox\n", "repository"),
        ("busybox:1\n", "tag"),
        ("../../etc", "host"),
        ("bus ybox", "repository"),
        ("büsybox", "repository"),
        ("a:b:c", "tag"),
    ],
)
def test_what_is_no_name_is_explained(text, word):
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(text)
    assert word in str(caught.value)
