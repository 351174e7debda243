"""A user's index: the names of the user's idempotency keys, so that they can be found without a search of all keys.

A sorted set beside the markers. Each member is the last part of a marker's key, and its score is the Unix time at which
the marker expires. The score of the empty member is the time at which the set itself expires. So one ZSCORE tells
whether the expiry must be put off, and whether the key has the right type. Members that have expired are removed when
the expiry is put off, which is seldom: most markers cost two commands.

The set outlives its markers by a slack, since the clocks of replicas may differ.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from state import keys
from state.redis.exchange import Command

__all__ = ["Index", "kinds", "made_of"]

_ITSELF: Final = b""
_SLACK: Final = 3_600


class Index:
    """The index of `user_id`, for markers that live for `marker_seconds` from `now` (Unix seconds) on. Pure."""

    def __init__(self, user_id: str, marker_seconds: int, now: int) -> None:
        self.key = keys.index(user_id)
        self._life = marker_seconds
        self._now = now
        self._slack = min(_SLACK, marker_seconds)

    def read(self) -> Command:
        """The command whose reply `add` needs."""
        return "ZSCORE", self.key, _ITSELF

    def add(self, markers: Sequence[str], read: bytes | None) -> list[Command]:
        """The commands that add markers by the last parts of their keys; `read` is the reply to `read()`.

        The set never expires before its last marker, even if earlier markers had longer lives.
        """
        expiry = self._now + self._life
        members: list[bytes | str | int] = [part for kind in markers for part in (expiry, kind)]
        if read is not None and float(read) >= expiry + self._slack / 2:
            return [("ZADD", self.key, *members)]
        return [
            ("ZREMRANGEBYSCORE", self.key, "-inf", self._now - self._slack),
            ("ZADD", self.key, *members, expiry + self._slack, _ITSELF),
            ("EXPIRE", self.key, self._life + self._slack),
        ]


def kinds(members: Iterable[bytes]) -> list[str]:
    """The last parts of the markers' keys, from the members of an index."""
    return [member.decode(errors="replace") for member in members if member != _ITSELF]


def made_of(user_id: str, left_ms: Mapping[str, int], now: int) -> list[Command]:
    """The commands that create an index of markers that have so many milliseconds left after `now` (Unix seconds)."""
    if not left_ms:
        return []
    key = keys.index(user_id)
    members = [part for kind, left in left_ms.items() for part in (now + left // 1_000 + 1, kind)]
    life = max(left_ms.values()) // 1_000 + 1 + _SLACK
    return [("ZADD", key, *members, now + life, _ITSELF), ("EXPIRE", key, life)]
