"""Keys in bulk while the service runs: which users exist, the keys of one user, and the models that an import writes.

Each key is read and written as a whole. `state.users` reads and writes whole users.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeVar

import msgspec
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from state import keys, parts
from state.redis.exchange import Command, exchange_or_raise, raise_for
from state.redis.failure import as_unavailable
from state.redis.scan import scan_all
from state.redis.servers import Servers, borrow
from state.sorter import Sorter
from state.update.agenda import members
from state.update.idle import Idle, milliseconds
from state.values.stored import LONGEST_HISTORY, Stored

__all__ = ["Page", "Transfer", "all_results", "decode_replies", "read_commands", "write_command"]

T = TypeVar("T")

# Keys written in one transaction, during which Redis is blocked.
_TOGETHER: Final = 128
# The replies of PTTL for a key that does not expire, and for a missing one.
_STAYS: Final = -1
_GONE: Final = -2


class Page(msgspec.Struct, frozen=True):
    """Some keys with their values, and the names of those that hold a value of the wrong type."""

    found: list[Stored]
    odd: list[str]


_Act = Callable[[AbstractConnection, list[Stored]], Awaitable[int]]


class Transfer:
    """Reads and writes keys of all users behind `servers`; each round trip has `patience` (seconds).

    `idle` says when the users whose keys are written expire. All methods raise StoreUnavailable.
    """

    def __init__(self, servers: Servers, *, patience: float, idle: Idle | None = None) -> None:
        self._idle = idle or Idle()
        self._servers = servers
        self._patience = patience

    async def count(self) -> int:
        """The approximate number of keys."""
        with as_unavailable():
            masters = await self._servers.masters()
            total = 0
            for lend in masters.values():
                async with borrow(lend(), self._patience) as connection:
                    [found] = await exchange_or_raise(connection, [("DBSIZE",)], self._patience)
                total += found
        return total

    async def list_all(self, sorter: Sorter, fixed: Sequence[str]) -> AsyncGenerator[tuple[int, list[str]], None]:
        """Add every user to `sorter`, with the last parts of keys that are neither `fixed` nor in the user's index.

        Yields for each page the number of keys, and the names of those that belong to no user. Every user with a key
        that exists throughout is found. Others had at some moment neither models nor history, since a reset or an
        erasure removes all at once; leaving them out shows the state of that moment.
        """
        with as_unavailable():
            async with aclosing(scan_all(self._servers, keys.EVERYONE, patience=self._patience)) as pages:
                async for connection, names in pages:
                    yield len(names), await self._note(connection, names, sorter, {*fixed, keys.INDEX, keys.SEEN})

    async def _note(
        self, connection: AbstractConnection, names: Sequence[str], sorter: Sorter, fixed: Container[str]
    ) -> list[str]:
        parsed = [keys.parse(name) for name in names]
        others = []
        for user, kind in filter(None, parsed):
            if not keys.is_passing(kind):
                sorter.add(user)
                if kind not in fixed:
                    others.append((user, kind))
        asked: list[Command] = [("ZSCORE", keys.index(user), kind) for user, kind in others]
        for (user, kind), score in zip(others, await exchange_or_raise(connection, asked, self._patience), strict=True):
            if not isinstance(score, bytes):
                sorter.add(user, kind)
        return [name for name, found in zip(names, parsed, strict=True) if found is None]

    async def fetch(self, user_id: str, kinds: Sequence[str]) -> Page:
        """The keys of a user with these last parts."""
        with as_unavailable():
            async with borrow(self._servers.connection(keys.of(user_id, "")), self._patience) as connection:
                commands = [command for kind in kinds for command in read_commands(user_id, kind)]
                replies = iter(await exchange_or_raise(connection, commands, self._patience))
        return Page(*decode_replies(user_id, kinds, replies))

    async def present(self, wanted: Iterable[Stored]) -> int:
        """How many of these keys exist, with any value."""
        return sum(await self._in_groups(wanted, self._present))

    async def write(self, stored: Iterable[Stored], *, overwrite: bool) -> int:
        """Write keys other than idempotency keys: all of them with `overwrite`, else the missing ones; how many."""
        return sum(await self._in_groups(stored, self._overwrite if overwrite else self._write))

    async def _in_groups(self, stored: Iterable[Stored], act: _Act) -> list[int]:
        """The results of `act` on groups of keys that one transaction may change."""
        groups: dict[str, list[Stored]] = {}
        for index, item in enumerate(stored):
            group = str(index // _TOGETHER) if self._servers.spans_users else item.user
            groups.setdefault(group, []).append(item)
        return await all_results(self._act(group, act) for group in groups.values())

    async def _act(self, group: list[Stored], act: _Act) -> int:
        with as_unavailable():
            async with borrow(self._servers.connection(keys.of(group[0].user, "")), self._patience) as connection:
                return await act(connection, group)

    async def _present(self, connection: AbstractConnection, group: list[Stored]) -> int:
        [found] = await exchange_or_raise(
            connection, [("EXISTS", *(keys.of(item.user, item.kind) for item in group))], self._patience
        )
        return int(found)

    async def _overwrite(self, connection: AbstractConnection, group: list[Stored]) -> int:
        commands: list[Command] = []
        for item in group:
            key = keys.of(item.user, item.kind)
            commands += [("DEL", key), write_command(key, item)]
        commands += await self._expiries(connection, group)
        await self._transaction(connection, commands)
        return len(group)

    async def _write(self, connection: AbstractConnection, group: list[Stored]) -> int:
        """RENAMENX does nothing if the new name is taken, so no key must be watched."""
        commands: list[Command] = []
        for item in group:
            key = keys.of(item.user, item.kind)
            draft = keys.draft(item.user)
            commands += [write_command(draft, item), ("RENAMENX", draft, key), ("DEL", draft)]
        replies = await self._transaction(connection, [*commands, *await self._expiries(connection, group)])
        return sum(map(bool, replies[1 : len(commands) : 3]))

    async def _expiries(self, connection: AbstractConnection, group: list[Stored]) -> list[Command]:
        """The commands that let all keys of the users in `group` expire as if each had changed now, if users expire."""
        if not self._idle.days:
            return []
        users = list(dict.fromkeys(item.user for item in group))
        asked: list[Command] = [("TIME",), *(("HGET", keys.shared(user), parts.FIELD) for user in users)]
        [clock, *spread] = await exchange_or_raise(connection, asked, self._patience)
        now = milliseconds(clock)
        return [
            command
            for user, told in zip(users, spread, strict=True)
            for command in self._idle.given(user, self._idle.moment(user, now), self._idle.every(user, told))
        ]

    async def _transaction(self, connection: AbstractConnection, commands: list[Command]) -> list[Any]:
        replies = await exchange_or_raise(connection, [("MULTI",), *commands, ("EXEC",)], self._patience)
        done: list[Any] = replies[-1]
        raise_for(done)
        return done


def _is_hash(kind: str) -> bool:
    return kind not in (keys.HISTORY, keys.AGENDA, keys.SEEN) and not keys.is_marker(kind)


def read_commands(user: str, kind: str) -> list[Command]:
    """The commands that read a key of a user."""
    key = keys.of(user, kind)
    if kind == keys.HISTORY:
        # Two replicas that append at the same time may leave some more, until one appends again.
        return [("LRANGE", key, -LONGEST_HISTORY, -1)]
    if kind == keys.AGENDA:
        return [("ZRANGE", key, 0, -1, "WITHSCORES")]
    if keys.is_marker(kind):
        return [("GET", key), ("PTTL", key)]
    if kind == keys.SEEN:
        return [("GET", key)]
    return [("HGETALL", key)]


def decode_replies(user: str, kinds: Iterable[str], replies: Iterator[Any]) -> tuple[list[Stored], list[str]]:
    """The keys in the replies to `read_commands`, and the names of the keys that hold a value of the wrong type."""
    found, odd = [], []
    for kind in kinds:
        value = next(replies)
        expires = next(replies) if keys.is_marker(kind) else _STAYS
        if isinstance(value, ResponseError):
            odd.append(keys.of(user, kind))
        elif value and expires != _GONE:
            if _is_hash(kind):
                value = dict(zip(value[::2], value[1::2], strict=True))
            elif kind == keys.AGENDA:
                value = tuple(members(value))
            found.append(Stored(user, kind, value, max(expires, 1) if expires != _STAYS else None))
    return found, odd


def write_command(key: str, item: Stored) -> Command:
    """The command that creates a missing key with its value."""
    value = item.value
    if isinstance(value, dict):
        return "HSET", key, *(part for pair in value.items() for part in pair)
    if isinstance(value, list):
        return "RPUSH", key, *value
    if isinstance(value, tuple):
        return "ZADD", key, *(word for member, score in value for word in (repr(score), member))
    return ("SET", key, value) if item.expires_ms is None else ("SET", key, value, "PX", item.expires_ms)


async def all_results(work: Iterable[Awaitable[T]]) -> list[T]:
    """The results of all that runs at once. Raises the first error, but only after everything has ended."""
    results = []
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results
