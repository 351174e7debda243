"""Who serves each loop: the one hash that all replicas read, and how it is changed."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from state import keys
from state.asking import Asker
from state.redis.exchange import Command
from state.redis.failure import Outage
from state.redis.servers import Servers
from state.values import loop
from state.values.loop import LONGEST_AUDIT, Change, Standing

__all__ = ["Changed", "Loops", "health_of"]


def health_of(loop: str) -> str:
    """The field of EVIDENCE with the health of a loop, whose name has no blank."""
    return f"{loop} health"


class Changed(msgspec.Struct, frozen=True):
    """What a change makes: the new state, its entry in the audit trail, and the line that tells the log of it."""

    after: Standing
    entry: Change
    line: bytes | None


class Loops:
    """Reads and changes the states of loops behind `servers`; `timeout` (seconds) limits every call.

    `wait_replicas` is as for a store. All methods raise StoreUnavailable, and CorruptState for what is damaged or a key
    of another type.
    """

    def __init__(self, servers: Servers, *, timeout: float, outage: Outage, wait_replicas: int | None = 0) -> None:
        self._servers = servers
        self._asker = Asker(servers, timeout=timeout, outage=outage, wait_replicas=wait_replicas)

    async def states(self, names: Iterable[str]) -> dict[str, bytes]:
        """The states of those of these loops that have one, as they are stored."""
        return await self._fields(keys.LOOPS, {name: name for name in names})

    async def audit(self, name: str) -> list[Change]:
        """The last changes of a loop, the newest first."""
        field = keys.audit_of(name)
        [text] = await self._asker.ask(keys.LOOPS, ("HMGET", keys.LOOPS, field))
        return loop.decode_audit(f"{keys.LOOPS} {field}", text)

    async def change(self, name: str, make: Callable[[Standing | None, int], Changed | None]) -> None:
        """Change the state of a loop to what `make` makes of the one there is and of Redis's clock (ms).

        None leaves it. If another writer comes first, `make` is called again with what that one wrote; and also if
        this one wrote and the reply is lost, so it must know its own work again. What it raises is raised here.
        """
        field = keys.audit_of(name)
        outbox = keys.outbox_of_loops(in_slots=not self._servers.spans_users)

        def commands(found: Sequence[bytes | None], now: int) -> list[Command]:
            text, trail = found
            changed = make(None if text is None else loop.decode(f"{keys.LOOPS} {name}", text), now)
            if changed is None:
                return []
            kept = [changed.entry, *loop.decode_audit(f"{keys.LOOPS} {field}", trail)][:LONGEST_AUDIT]
            written: Command = ("HSET", keys.LOOPS, name, loop.encode(changed.after), field, loop.encode(kept))
            told: list[Command] = []
            if changed.line is not None:
                told.append(("XADD", outbox, "*", "g", name, "l", changed.line))
            return [written, *told]

        await self._asker.change(keys.LOOPS, (name, field), commands)

    async def evidence(self, name: str) -> bytes | None:
        """The evidence of a loop, as `keep_evidence` wrote it."""
        return (await self._fields(keys.EVIDENCE, {name: name})).get(name)

    async def healths(self, names: Iterable[str]) -> dict[str, bytes]:
        """The healths of those of these loops that have one, as `keep_evidence` wrote them."""
        return await self._fields(keys.EVIDENCE, {name: health_of(name) for name in names})

    async def keep_evidence(self, name: str, text: bytes, health: Callable[[bytes | None], bytes]) -> None:
        """Replace the evidence of a loop, and its health by what `health` makes of the one there is.

        If another writer comes first, or the reply is lost, it is called again with what is there then.
        """
        field = health_of(name)

        def commands(found: Sequence[bytes | None], _: int) -> list[Command]:
            return [("HSET", keys.EVIDENCE, name, text, field, health(found[0]))]

        await self._asker.change(keys.EVIDENCE, (field,), commands)

    async def _fields(self, key: str, fields: Mapping[str, str]) -> dict[str, bytes]:
        """The values of those fields of a hash that are there, by what they are of."""
        if not fields:
            return {}
        found: Sequence[bytes | None] = await self._asker.ask(key, ("HMGET", key, *fields.values()))
        return {name: text for name, text in zip(fields, found, strict=True) if text is not None}
