"""Keys in bulk while the service runs: who is there, the keys of one user, and the models that an import writes.

Each key is read at once and written at once, so none is ever seen half. `state.users` has whole users.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, Final

import msgspec
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from state import keys
from state.errors import StoreUnavailable
from state.redis.failure import TROUBLE, raise_for, reason
from state.redis.scan import answers, lent, scan
from state.redis.servers import Command, Servers
from state.sorter import Sorter
from state.values.stored import Stored

__all__ = ["Page", "Transfer", "read_back", "reads", "told", "writes"]

# Keys written in one transaction: Redis does nothing else meanwhile.
_TOGETHER: Final = 128
# What PTTL answers for a key that does not expire, and for one that is not there.
_STAYS: Final = -1
_GONE: Final = -2


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
        with told():
            masters = await self._servers.masters()
            total = 0
            for lend in masters.values():
                async with lent(lend(), self._patience) as connection:
                    [found] = await answers(connection, [("DBSIZE",)], self._patience)
                total += found
        return total

    async def list_all(self, sorter: Sorter, fixed: Sequence[str]) -> AsyncGenerator[tuple[int, list[str]], None]:
        """Note every user in `sorter`, with the last parts of those keys that are neither `fixed` nor in the user's
        index; page by page the number of keys, and the names of those that belong to no user.

        A user of whom a key is there from the beginning to the end is found. Of anyone else there was a moment without
        models and history, since these are removed all at once (by a reset or an erasure) or not at all; to leave such
        a user out is to have seen that moment.
        """
        with told():
            masters = await self._servers.masters()
            for lend in masters.values():
                async with (
                    lent(lend(), self._patience) as connection,
                    aclosing(scan(connection, keys.EVERYONE, patience=self._patience)) as pages,
                ):
                    async for names in pages:
                        yield len(names), await self._note(connection, names, sorter, {*fixed, keys.INDEX})
            if (await self._servers.masters()).keys() != masters.keys():
                raise StoreUnavailable("the cluster's slots moved meanwhile, so keys may have been missed: try again")

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
        for (user, kind), score in zip(others, await answers(connection, asked, self._patience), strict=True):
            if not isinstance(score, bytes):
                sorter.add(user, kind)
        return [name for name, found in zip(names, parsed, strict=True) if found is None]

    async def fetch(self, user_id: str, kinds: Sequence[str]) -> Page:
        """The keys of a user with these last parts."""
        with told():
            async with lent(self._servers.connection(keys.of(user_id, "")), self._patience) as connection:
                commands = [command for kind in kinds for command in reads(user_id, kind)]
                replies = iter(await answers(connection, commands, self._patience))
        return Page(*read_back(user_id, kinds, replies))

    async def present(self, wanted: Iterable[Stored]) -> int:
        """How many of these keys are there, whatever they hold."""
        return sum(await self._in_groups(wanted, self._present))

    async def write(self, stored: Iterable[Stored], *, overwrite: bool) -> int:
        """Write keys other than idempotency keys, or those that are not there yet; how many were written."""
        return sum(await self._in_groups(stored, self._overwrite if overwrite else self._write))

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
        with told():
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
            commands += [("DEL", key), writes(key, item)]
        await self._transaction(connection, commands)
        return len(group)

    async def _write(self, connection: AbstractConnection, group: list[Stored]) -> int:
        """RENAMENX does nothing if the new name is taken: no key need be watched."""
        commands: list[Command] = []
        for item in group:
            key = keys.of(item.user, item.kind)
            draft = keys.draft(item.user)
            commands += [writes(draft, item), ("RENAMENX", draft, key), ("DEL", draft)]
        replies = await self._transaction(connection, commands)
        return sum(map(bool, replies[1::3]))

    async def _transaction(self, connection: AbstractConnection, commands: list[Command]) -> list[Any]:
        replies = await answers(connection, [("MULTI",), *commands, ("EXEC",)], self._patience)
        done: list[Any] = replies[-1]
        raise_for(done)
        return done


def _is_hash(kind: str) -> bool:
    return kind != keys.HISTORY and not keys.is_marker(kind)


def reads(user: str, kind: str) -> list[Command]:
    """The commands that read a key of a user."""
    key = keys.of(user, kind)
    if kind == keys.HISTORY:
        return [("LRANGE", key, 0, -1)]
    if keys.is_marker(kind):
        return [("GET", key), ("PTTL", key)]
    return [("HGETALL", key)]


def read_back(user: str, kinds: Iterable[str], replies: Iterator[Any]) -> tuple[list[Stored], list[str]]:
    """What the replies to `reads` say, and the names of the keys that hold a value of the wrong type."""
    found, odd = [], []
    for kind in kinds:
        value = next(replies)
        expires = next(replies) if keys.is_marker(kind) else _STAYS
        if isinstance(value, ResponseError):
            odd.append(keys.of(user, kind))
        elif value and expires != _GONE:
            value = dict(zip(value[::2], value[1::2], strict=True)) if _is_hash(kind) else value
            found.append(Stored(user, kind, value, max(expires, 1) if expires != _STAYS else None))
    return found, odd


def writes(key: str, item: Stored) -> Command:
    """The command that gives a key that is not there its value."""
    value = item.value
    if isinstance(value, dict):
        return "HSET", key, *(part for pair in value.items() for part in pair)
    if isinstance(value, list):
        return "RPUSH", key, *value
    return ("SET", key, value) if item.expires_ms is None else ("SET", key, value, "PX", item.expires_ms)


@contextmanager
def told() -> Iterator[None]:
    """Whatever goes wrong with Redis is StoreUnavailable, in words that show no address."""
    try:
        yield
    except TROUBLE as error:
        raise StoreUnavailable(reason(error)) from error
