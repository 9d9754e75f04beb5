import hashlib

import pytest

from labrt.errors import InvalidDigest
from labrt.image.digest import Digest

HEX = hashlib.sha256(b"labrt").hexdigest()


def test_text_to_value_and_back():
    digest = Digest.parse(f"sha256:{HEX}")
    assert (digest.algorithm, digest.hex, digest.short) == ("sha256", HEX, HEX[:12])
    assert str(digest) == f"sha256:{HEX}"
    assert digest == Digest.of(b"labrt")
    assert Digest.parse(str(Digest.of(b"", "sha512"))).hex == hashlib.sha512(b"").hexdigest()


def test_values_are_hashable_ordered_and_short_to_look_at():
    first, second = sorted([Digest.of(b"b"), Digest.of(b"a")])
    assert first < second
    assert len({Digest.of(b"a"), Digest.of(b"a")}) == 1
    assert repr(first) == f"<Digest sha256:{first.short}…>"


def test_a_running_hash_gives_the_same():
    hasher = Digest.of(b"").hasher()
    hasher.update(b"la")
    hasher.update(memoryview(b"brt"))
    assert hasher.hexdigest() == HEX


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        f"sha256-{HEX}",
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"sha256:{HEX}\n",
        f"md5:{HEX[:32]}",
        f"SHA256:{HEX}",
        f"sha512:{HEX}",
        "sha256:" + "g" * 64,
        "sha256:" + "٠" * 64,
        None,
        7,
    ],
)
def test_what_is_no_digest_is_said_so(text):
    with pytest.raises(InvalidDigest) as caught:
        Digest.parse(text)
    assert caught.value.remedy
