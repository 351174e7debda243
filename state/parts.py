"""How what is too much for one key is divided: by the slots of a Redis Cluster, and a large hash by its fields.

One hash of some hundred megabytes would hold Redis up when it grows, moves to another server, or goes.
"""

from binascii import crc_hqx
from functools import lru_cache
from itertools import count
from typing import Final
from zlib import crc32

__all__ = ["COUNT", "FIELD", "SLOTS", "every", "is_part", "of", "slot", "stand_in", "tags"]

# Of a Redis Cluster.
SLOTS: Final = 16_384
# How many parts a large hash has.
COUNT: Final = 256
# The field of the hash `keys.shared` that says that a user has parts.
FIELD: Final = b"parts"
# A field of this length may be an id that the service made: its time first, which is known only within the transaction,
# then chance.
_MADE: Final = 23
_TIME: Final = 10


def slot(tag: str) -> int:
    """The slot of a Redis Cluster for keys with `tag` in braces, or for the key `tag` without any: CRC-16/XMODEM.

    https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model
    """
    return crc_hqx(tag.encode(), 0) % SLOTS


@lru_cache(1)
def tags() -> dict[int, str]:
    """For each slot the smallest whole number whose text hashes to it."""
    found: dict[int, str] = {}
    numbers = map(str, count())
    while len(found) < SLOTS:
        number = next(numbers)
        found.setdefault(slot(number), number)
    return found


def of(whole: str, field: bytes) -> str:
    """The part of the hash `whole` that has this field, if any has."""
    return f"{whole}:{crc32(field[_TIME:] if len(field) == _MADE else field) % COUNT}"


def stand_in(field: bytes) -> bytes:
    """A field of the same part that can be named before the time in an id of the service is known."""
    return b"0" * _TIME + field[_TIME:] if len(field) == _MADE else field


def every(whole: str) -> list[str]:
    """All parts of the hash `whole`."""
    return [f"{whole}:{number}" for number in range(COUNT)]


def is_part(name: str, whole: str) -> bool:
    """Whether `name` is one of them."""
    return name.startswith(f"{whole}:") and name in every(whole)
