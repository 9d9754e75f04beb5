"""Values: what dataclasses(frozen=True) promises, without them."""

from __future__ import annotations

import copy
import pickle

import pytest

from labrt.image.descriptor import Descriptor
from labrt.image.digest import Digest

ONE = Descriptor("text/plain", Digest.of(b"one"), 3, annotations={"a": "1"})


def test_fields_by_place_and_by_name() -> None:
    assert Descriptor(size=3, digest=Digest.of(b"one"), media_type="text/plain", annotations={"a": "1"}) == ONE
    assert (ONE.urls, ONE.platform) == ((), None)
    larger = ONE.replace(size=4)
    assert (larger.size, ONE.size) == (4, 3) and larger != ONE and larger.replace(size=3) == ONE
    assert ONE != "text/plain" and len({ONE, larger, copy.copy(ONE), pickle.loads(pickle.dumps(ONE))}) == 2


@pytest.mark.parametrize(
    ("given", "named", "said"),
    [
        ((), {}, "lacks media_type, digest, size"),
        (("a",), {"media_type": "b"}, "each once"),
        (("a", "b", 3), {"colour": "red"}, "takes media_type, digest, size, "),
        (tuple(range(9)), {}, "each once"),
    ],
)
def test_what_it_is_not_made_of(given, named, said) -> None:
    with pytest.raises(TypeError, match=said):
        Descriptor(*given, **named)


def test_it_does_not_change() -> None:
    with pytest.raises(AttributeError, match="replace"):
        ONE.size = 4  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del ONE.size  # type: ignore[misc]
