"""What is known of a sorted set of which the first members were read. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from state.update.changes import AGENDA

__all__ = ["NOTHING", "Next", "first_members", "members", "moved"]


class Next(msgspec.Struct, frozen=True):
    """What is known of a sorted set: its `members` up to the score `end`, each with its score, at most `asked`."""

    members: Sequence[tuple[bytes, float]]
    end: float
    asked: int = AGENDA

    @property
    def first(self) -> float | None:
        """The lowest score, or one below it where it is not known; None if there are no members."""
        if self.members:
            return self.members[0][1]
        return None if self.end == math.inf else self.end


NOTHING: Final = Next((), math.inf)


def members(reply: Sequence[Any]) -> list[tuple[bytes, float]]:
    """The members of a sorted set with their scores, from the reply to ZRANGE: in RESP2 flat, in RESP3 pairs."""
    if not reply:
        return []
    words = iter([word for pair in reply for word in pair] if isinstance(reply[0], list) else reply)
    return [*zip(words, map(float, words))]  # noqa: B905  # `strict` takes a third as long again


def first_members(reply: Sequence[Any], asked: int) -> Next:
    """What the reply to ZRANGE for the first `asked` members tells."""
    return _cut(members(reply), math.inf, asked)


def moved(known: Next, scores: Mapping[bytes, int | None]) -> Next:
    """What is known of a sorted set after some members got other `scores`."""
    after = dict(known.members)
    for member, score in scores.items():
        after.pop(member, None)
        if score is not None and score <= known.end:
            after[member] = score
    return _cut(sorted(after.items(), key=lambda pair: (pair[1], pair[0])), known.end, known.asked)


def _cut(found: Sequence[tuple[bytes, float]], end: float, asked: int) -> Next:
    # Beyond the last one there may be others.
    return Next(found, end, asked) if len(found) < asked else Next(found[:asked], found[asked - 1][1], asked)
