"""Images for the tests of storage: layers made in memory, and the names by which a driver knows them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

from archives import tar

from labrt.image.config import chain_ids
from labrt.image.digest import Digest
from labrt.storage.driver import Driver


class Stack(NamedTuple):
    """An image's layers: uncompressed archives, base first, with their names."""

    archives: list[bytes]
    diff_ids: list[Digest]
    chain_ids: tuple[Digest, ...]

    def add_to(self, driver: Driver) -> None:
        for number, archive in enumerate(self.archives):
            driver.add(self.chain_ids[: number + 1], io.BytesIO(archive), self.diff_ids[number])


def stack(*layers: Sequence[object]) -> Stack:
    archives = [tar(*entries).getvalue() for entries in layers]
    diff_ids = [Digest.of(archive) for archive in archives]
    return Stack(archives, diff_ids, chain_ids(diff_ids))
