"""What a batch reads: the commands, and where the values have each reply. Pure."""

from collections.abc import Sequence
from typing import Any

from state.redis.exchange import Command

__all__ = ["Reading"]


class Reading:
    """What steps want to read, each thing once. Every kind of read enters itself."""

    def __init__(self) -> None:
        self.hashes: dict[str, tuple[bytes, ...]] = {}  # whose fields are read, and which; they are watched
        self.watched: dict[str, None] = {}  # other keys that must not change meanwhile
        self.plain: dict[str, Command] = {}  # what else is read, by its place among the values
        self.agendas: dict[str, int] = {}  # sorted sets of it, and how many of their members
        self.scores: set[str] = set()  # places of scores of it
        self.parts: set[str] = set()  # keys of which only a part is read, and any may be written

    def commands(self, flight: str) -> list[Command]:
        """WATCH, also of `flight`, and the reads."""
        read: list[Command] = [("HMGET", key, *fields) for key, fields in self.hashes.items()]
        return [("WATCH", flight, *self.hashes, *self.watched), *read, *self.plain.values()]

    def values(self, replies: Sequence[Any]) -> dict[str, Any]:
        """What was read, by its place, from the replies to `commands`."""
        return dict(zip((*self.hashes, *self.plain), replies[1:], strict=True))
