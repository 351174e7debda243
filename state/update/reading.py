"""What a batch reads: the commands, and where the values have each reply. Pure."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from state.redis.exchange import pack, template

__all__ = ["Reading"]


class Reading:
    """What steps want to read, each thing once, as packed commands. Every kind of read enters itself."""

    def __init__(self) -> None:
        self.hashes: dict[str, tuple[bytes, ...]] = {}  # whose fields are read, and which; they are watched
        self.watched: dict[str, None] = {}  # other keys that must not change meanwhile
        self.plain: dict[str, bytes] = {}  # what else is read, by its place among the values
        self.agendas: dict[str, int] = {}  # sorted sets of it, and how many of their members
        self.scores: set[str] = set()  # places of scores of it
        self.parts: set[str] = set()  # keys of which only a part is read, and any may be written

    def commands(self, flight: str) -> list[bytes]:
        """WATCH, also of `flight`, and the reads."""
        made = [pack(("WATCH", flight, *self.hashes, *self.watched))]
        before, words = None, b""
        for key, fields in self.hashes.items():
            if fields is not before:  # models follow one another
                before, words = fields, _read(fields)
            name = key.encode()
            made.append(words % (len(name), name))
        return [*made, *self.plain.values()]

    def values(self, replies: Sequence[Any]) -> dict[str, Any]:
        """What was read, by its place, from the replies to `commands`."""
        return dict(zip((*self.hashes, *self.plain), replies[1:], strict=True))


@lru_cache(64)
def _read(fields: tuple[bytes, ...]) -> bytes:
    return template("HMGET", None, *fields)
