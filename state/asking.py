"""Commands that may be tried again: they change nothing, or the same when they are made twice."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from state import keys, parts
from state.errors import CorruptState, StoreUnavailable
from state.redis.exchange import Command, exchange, raise_for
from state.redis.failure import TROUBLE, Outage, pause_or_give_up, reason
from state.redis.replicas import Replicas
from state.redis.servers import Servers

__all__ = ["Asker", "counted", "decisions"]

_OTHER_TYPE: Final = "holds a value of another type"
# No key has this name, so nothing is written; yet Redis refuses it whenever it would refuse a write.
_NO_WRITE: Final = ("SET", "oo:nothing", "", "XX")
# Decisions of a user that are read, who may have some hundred thousand.
_MOST: Final = 1_000


class Asker:
    """Asks `servers` until they answer, for at most `timeout` seconds.

    `wait_replicas` replicas must have a change before it is acknowledged, as for a store.
    """

    def __init__(self, servers: Servers, *, timeout: float, outage: Outage, wait_replicas: int | None = 0) -> None:
        self._servers = servers
        self._timeout = timeout
        self._outage = outage
        self._replicas = Replicas(servers, wait_replicas)

    async def ask(self, key: str, command: Command) -> Any:
        """The reply to a command about `key`. Raises StoreUnavailable, and CorruptState for a key of another type."""

        return await self._insist(key, lambda connection, _: _first(connection, command))

    async def probe(self) -> None:
        """Ask for a write that changes nothing; of a cluster, whose masters have keys of their own, for an answer."""
        await self.ask("", _NO_WRITE if self._servers.spans_users else ("PING",))

    async def replace(self, key: str, field: str, make: Callable[[bytes | None], bytes | None]) -> None:
        """Replace a field of the hash `key` by what `make` makes of its value, or leave it if that is None.

        If another writer comes first, `make` gets what that one wrote, and also if it was written and the reply is
        lost. Raises what `ask` raises.
        """

        def commands(found: Sequence[bytes | None], _: int) -> list[Command]:
            new = make(found[0])
            return [] if new is None else [("HSET", key, field, new)]

        await self.change(key, (field,), commands)

    async def change(
        self, key: str, fields: tuple[str, ...], make: Callable[[Sequence[bytes | None], int], list[Command]]
    ) -> None:
        """The same by the commands that `make` makes of several fields and of Redis's clock (ms): one transaction, of
        keys in the slot of `key`."""

        async def attempt(connection: AbstractConnection, deadline: float) -> Any:
            _, found, moment = await _all(connection, [("WATCH", key), ("HMGET", key, *fields), ("TIME",)])
            if isinstance(found, ResponseError):
                raise CorruptState(key, _OTHER_TYPE)  # which closes the connection, and so ends the WATCH
            write = make(found, int(moment[0]) * 1_000 + int(moment[1]) // 1_000)
            done = (await _all(connection, [("MULTI",), *write, ("EXEC",)]))[-1]
            if done is not None:
                # Also if nothing is left to write: it may be a change whose reply was lost.
                await self._replicas.have_it(connection, keys.flight_beside(key), deadline)
            return done

        while await self._insist(key, attempt) is None:
            pass

    async def _insist(self, key: str, attempt: Callable[[AbstractConnection, float], Awaitable[Any]]) -> Any:
        deadline = asyncio.get_running_loop().time() + self._timeout
        failures = 0
        with self._outage.watch():
            while True:
                problem: Exception
                try:
                    async with asyncio.timeout_at(deadline), self._servers.connection(key) as connection:
                        reply = await attempt(connection, deadline)
                except TROUBLE as error:
                    problem = error
                else:
                    if not isinstance(reply, ResponseError):
                        return reply
                    if str(reply).startswith("WRONGTYPE"):
                        raise CorruptState(key, _OTHER_TYPE)
                    problem = reply
                failures += 1
                await pause_or_give_up(self._servers, problem, failures, deadline)


async def _first(connection: AbstractConnection, command: Command) -> Any:
    [reply] = await exchange(connection, [command])
    return reply


async def _all(connection: AbstractConnection, commands: list[Command]) -> list[Any]:
    """The replies; raises the first error, unless it is about a key of another type."""
    replies = await exchange(connection, commands)
    raise_for(replies)
    return replies


async def counted(servers: Servers, key: str, seconds: int, *, patience: float) -> int:
    """Add 1 to the counter `key`, which expires `seconds` after its first count; its new value.

    One round trip of at most `patience` seconds, never tried again: a count whose reply is lost may have been made.
    Raises StoreUnavailable, and CorruptState.
    """
    commands: list[Command] = [("MULTI",), ("SET", key, 0, "EX", seconds, "NX"), ("INCR", key), ("EXEC",)]
    try:
        async with asyncio.timeout(patience), servers.connection(key) as connection:
            replies = await exchange(connection, commands)
            raise_for(replies)
    except TROUBLE as error:
        await servers.refresh()
        raise StoreUnavailable(reason(error)) from error
    found: int | ResponseError = replies[-1][-1]
    if isinstance(found, ResponseError):
        raise CorruptState(key, "is not a counter")
    return found


async def decisions(asker: Asker, user_id: str) -> dict[bytes, bytes]:
    """All decisions of a user by local id; of one with large loops, at most so many that must be looked at next."""
    whole = keys.decisions(user_id)
    if not await asker.ask(keys.shared(user_id), ("HGET", keys.shared(user_id), parts.FIELD)):
        found: Mapping[bytes, bytes] | Sequence[bytes] = await asker.ask(whole, ("HGETALL", whole))
        if isinstance(found, Mapping):  # as the embedded store answers
            return dict(found)
        return dict(zip(found[::2], found[1::2], strict=True))
    agenda = keys.agenda(user_id)
    wanted: dict[str, list[bytes]] = {}
    for name in await asker.ask(agenda, ("ZRANGE", agenda, 0, _MOST - 1)):
        for key in (whole, parts.of(whole, name)):
            wanted.setdefault(key, []).append(name)
    read: dict[bytes, bytes] = {}
    for key, names in wanted.items():
        values = await asker.ask(key, ("HMGET", key, *names))
        read |= {name: value for name, value in zip(names, values, strict=True) if value is not None}
    return read
