"""The outbox: lines of the log that were written with the changes they tell of, until they are published."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any, Final

import msgspec

from state import keys
from state.redis.exchange import Command
from state.redis.failure import Outage
from state.redis.servers import Servers
from state.slots.slotted import Slotted
from state.update.operation import Emitted

__all__ = ["Outbox", "Size"]

# Lines of each part that are read at once.
_OF_EACH: Final = 256
# No line has this id.
_NONE: Final = b"0-0"


class Size(msgspec.Struct, frozen=True):
    """How many lines wait, and the moment (ms) at which the oldest of them was written, None if none waits."""

    lines: int
    since: int | None


class Outbox:
    """Reads the outbox behind `servers`; each round trip has `timeout` (seconds).

    The methods raise StoreUnavailable, and CorruptState if the outbox holds something else.
    """

    def __init__(self, servers: Servers, *, timeout: float, outage: Outage) -> None:
        self._of_all = keys.outbox(None) if servers.spans_users else None
        self._parts = Slotted(servers, keys.outbox(None), timeout=timeout, outage=outage)

    def key(self, user_id: str) -> str:
        """The part of the outbox for this user."""
        return self._of_all or keys.outbox(user_id)

    async def now(self) -> int:
        """Redis's clock, in ms."""
        return await self._parts.now()

    async def left(self, by: int) -> AsyncGenerator[list[Emitted], None]:
        """The lines that were written before the moment `by` (ms), oldest of each part first, some at a time."""
        async for replies in self._parts.ask(lambda key: ("XRANGE", key, "-", by - 1, "COUNT", _OF_EACH)):
            for key, entries in replies:
                if entries:
                    yield [sent for sent in (_sent(key, *entry) for entry in entries) if sent is not None]

    async def remove(self, sent: Iterable[Emitted]) -> None:
        """Remove lines that were published. Lines that are gone already are ignored."""
        by_key: dict[str, list[bytes]] = {}
        for one in sent:
            by_key.setdefault(one.key, []).append(one.id)
        commands: dict[str, Command] = {key: ("XDEL", key, *ids) for key, ids in by_key.items()}
        for key in by_key:
            await self._parts.ask_some([key], commands.__getitem__)

    async def check(self, sent: Iterable[Emitted]) -> None:
        """Raise StoreUnavailable if Redis would refuse to remove these lines, which it may still let be read."""
        await self.remove(Emitted(key, _NONE, "", b"") for key in {one.key for one in sent})

    async def size(self) -> dict[str, Size]:
        """What waits in each part that is not empty."""
        found = {}
        async for replies in self._parts.ask(lambda key: ("XLEN", key)):
            filled = {key: length for key, length in replies if length}
            if filled:
                first = await self._parts.ask_some(list(filled), lambda key: ("XRANGE", key, "-", "+", "COUNT", 1))
                for key, entries in first:
                    found[key] = Size(filled[key], int(entries[0][0].partition(b"-")[0]) if entries else None)
        return found

    async def trim(self, key: str, most: int) -> int:
        """Leave the newest `most` lines of a part; how many went."""
        return sum(gone for _, gone in await self._parts.ask_some([key], lambda key: ("XTRIM", key, "MAXLEN", most)))


def _sent(key: str, name: bytes, fields: Sequence[Any] | None) -> Emitted | None:
    if not fields:  # removed meanwhile
        return None
    found = dict(zip(fields[::2], fields[1::2], strict=True))
    return Emitted(key, name, found.get(b"g", b"").decode(errors="replace"), found.get(b"l", b""))
