"""All users' keys in bulk, out of Redis and into it, while the service runs.

Each key is read at once and written at once, so none is ever seen half. Those that are of use to one replica only, or
for a second, are left out.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, Final

import msgspec
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from state import keys
from state.errors import StoreUnavailable
from state.failure import TROUBLE, raise_for, reason
from state.scan import answers, lent, scan
from state.servers import Command, Servers

__all__ = ["Page", "Stored", "Transfer"]

# Keys written in one transaction: Redis does nothing else meanwhile.
_TOGETHER: Final = 128
# What PTTL answers for a key that does not expire, and for one that is not there.
_STAYS: Final = -1
_GONE: Final = -2


class Stored(msgspec.Struct, frozen=True):
    """A key of a user, as keys.of names it, and its value: that of a hash, a list or a string.

    A string may have a rest of life, in milliseconds.
    """

    user: str
    kind: str
    value: dict[bytes, bytes] | list[bytes] | bytes
    expires_ms: int | None = None


class Page(msgspec.Struct, frozen=True):
    """Some keys with their values, and the names of those that hold what they should not."""

    found: list[Stored]
    odd: list[str]


_Act = Callable[[AbstractConnection, list[Stored]], Awaitable[int]]


class Transfer:
    """Reads and writes keys of all users behind `servers`; each round trip has `patience` (seconds).

    All methods raise StoreUnavailable.
    """

    def __init__(self, servers: Servers, *, patience: float) -> None:
        self._servers = servers
        self._patience = patience

    async def count(self) -> int:
        """About how many keys there are."""
        with _told():
            masters = await self._servers.masters()
            total = 0
            for lend in masters.values():
                async with lent(lend(), self._patience) as connection:
                    [found] = await answers(connection, [("DBSIZE",)], self._patience)
                total += found
        return total

    async def pages(self) -> AsyncGenerator[Page, None]:
        """Every key that was there from the beginning to the end, perhaps twice."""
        with _told():
            masters = await self._servers.masters()
            for lend in masters.values():
                async with lent(lend(), self._patience) as connection, aclosing(self._pages(connection)) as pages:
                    async for page in pages:
                        yield page
            if (await self._servers.masters()).keys() != masters.keys():
                raise StoreUnavailable("the cluster's slots moved meanwhile, so keys may have been missed: try again")

    async def fetch(self, user_id: str, kinds: Sequence[str]) -> Page:
        """The keys of a user with these last parts."""
        with _told():
            async with lent(self._servers.connection(keys.of(user_id, "")), self._patience) as connection:
                return await self._read(connection, [keys.of(user_id, kind) for kind in kinds])

    async def present(self, wanted: Iterable[Stored]) -> int:
        """How many of these keys are there, whatever they hold."""
        return sum(await self._in_groups(wanted, self._present))

    async def write(self, stored: Iterable[Stored], *, overwrite: bool) -> int:
        """Write keys, or those that are not there yet; how many were written."""
        return sum(await self._in_groups(stored, self._overwrite if overwrite else self._write))

    async def _pages(self, connection: AbstractConnection) -> AsyncGenerator[Page, None]:
        async with aclosing(scan(connection, keys.EVERYONE, patience=self._patience)) as pages:
            async for names in pages:
                yield await self._read(connection, names)

    async def _read(self, connection: AbstractConnection, names: Sequence[str]) -> Page:
        commands: list[Command] = []
        wanted: list[tuple[str, str]] = []
        odd = []
        for name in names:
            parsed = keys.parse(name)
            if parsed is None:
                odd.append(name)
            elif not keys.is_passing(parsed[1]):
                wanted.append(parsed)
                commands += _reads(name, parsed[1])
        replies = iter(await answers(connection, commands, self._patience))
        found = []
        for user_id, kind in wanted:
            value = next(replies)
            expires = next(replies) if keys.is_marker(kind) else _STAYS
            if isinstance(value, ResponseError):
                odd.append(keys.of(user_id, kind))
            elif value and expires != _GONE:
                value = dict(zip(value[::2], value[1::2], strict=True)) if _is_hash(kind) else value
                found.append(Stored(user_id, kind, value, max(expires, 1) if expires != _STAYS else None))
        return Page(found, odd)

    async def _in_groups(self, stored: Iterable[Stored], act: _Act) -> list[int]:
        """The results of `act` on groups of keys that one transaction may change."""
        groups: dict[str, list[Stored]] = {}
        for index, item in enumerate(stored):
            group = str(index // _TOGETHER) if self._servers.spans_users else item.user
            groups.setdefault(group, []).append(item)
        done: list[int | BaseException] = await asyncio.gather(
            *(self._act(group, act) for group in groups.values()), return_exceptions=True
        )
        results = []
        for result in done:
            if isinstance(result, BaseException):
                raise result
            results.append(result)
        return results

    async def _act(self, group: list[Stored], act: _Act) -> int:
        with _told():
            async with lent(self._servers.connection(keys.of(group[0].user, "")), self._patience) as connection:
                return await act(connection, group)

    async def _present(self, connection: AbstractConnection, group: list[Stored]) -> int:
        [found] = await answers(
            connection, [("EXISTS", *(keys.of(item.user, item.kind) for item in group))], self._patience
        )
        return int(found)

    async def _overwrite(self, connection: AbstractConnection, group: list[Stored]) -> int:
        commands: list[Command] = []
        for item in group:
            key = keys.of(item.user, item.kind)
            commands += [("DEL", key), _write(key, item)]
        await self._transaction(connection, commands)
        return len(group)

    async def _write(self, connection: AbstractConnection, group: list[Stored]) -> int:
        """RENAMENX does nothing if the new name is taken: no key need be watched, and nobody can be faster."""
        commands: list[Command] = []
        for item in group:
            key = keys.of(item.user, item.kind)
            if isinstance(item.value, bytes):
                commands.append((*_write(key, item), "NX"))
            else:
                draft = keys.draft(item.user)
                commands += [_write(draft, item), ("RENAMENX", draft, key), ("DEL", draft)]
        replies = await self._transaction(connection, commands)
        tried = zip(commands, replies, strict=True)
        return sum(bool(reply) for command, reply in tried if command[0] in {"RENAMENX", "SET"})

    async def _transaction(self, connection: AbstractConnection, commands: list[Command]) -> list[Any]:
        replies = await answers(connection, [("MULTI",), *commands, ("EXEC",)], self._patience)
        done: list[Any] = replies[-1]
        raise_for(done)
        return done


def _is_hash(kind: str) -> bool:
    return kind != keys.HISTORY and not keys.is_marker(kind)


def _reads(key: str, kind: str) -> list[Command]:
    if kind == keys.HISTORY:
        return [("LRANGE", key, 0, -1)]
    if keys.is_marker(kind):
        return [("GET", key), ("PTTL", key)]
    return [("HGETALL", key)]


def _write(key: str, item: Stored) -> Command:
    """The command that gives a key that is not there its value."""
    value = item.value
    if isinstance(value, dict):
        return "HSET", key, *(part for pair in value.items() for part in pair)
    if isinstance(value, list):
        return "RPUSH", key, *value
    return ("SET", key, value) if item.expires_ms is None else ("SET", key, value, "PX", item.expires_ms)


@contextmanager
def _told() -> Iterator[None]:
    """Whatever goes wrong with Redis is StoreUnavailable, in words that show no address."""
    try:
        yield
    except TROUBLE as error:
        raise StoreUnavailable(reason(error)) from error
