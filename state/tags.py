"""Hash tags: for each slot of a Redis Cluster a text in braces that leads to it."""

from binascii import crc_hqx
from functools import lru_cache
from itertools import count
from typing import Final

__all__ = ["slot", "tags"]

_SLOTS: Final = 16_384


def slot(tag: str) -> int:
    """The slot of a Redis Cluster for keys with `tag` in braces, or for the key `tag` without any: CRC-16/XMODEM.

    https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model
    """
    return crc_hqx(tag.encode(), 0) % _SLOTS


@lru_cache(1)
def tags() -> dict[int, str]:
    """For each slot the smallest whole number whose text hashes to it."""
    found: dict[int, str] = {}
    numbers = map(str, count())
    while len(found) < _SLOTS:
        number = next(numbers)
        found.setdefault(slot(number), number)
    return found
