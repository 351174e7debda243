"""Whole users: all keys of one read at one moment, for an export, and written in one transaction, by a restore.

So a reward and its idempotency key are both there or both not, in the file and after it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Final, TypeVar

import msgspec
from redis.exceptions import ResponseError

from state import keys
from state.errors import ConflictError
from state.redis.failure import raise_for
from state.redis.scan import answers, lent
from state.redis.servers import Command, Servers
from state.transfer import read_back, reads, told, writes
from state.update import index
from state.values.stored import Stored

__all__ = ["Found", "Users", "Wanted"]

T = TypeVar("T")
U = TypeVar("U")
Wanted = tuple[str, Sequence[str]]
# The users, and the history entries and idempotency keys in all, that one transaction is about: Redis does nothing else
# meanwhile. A user with more is alone.
_TOGETHER: Final = 32
_ITEMS: Final = 4_000
_AT_ONCE: Final = 4
_AT_ONCE_ON_CLUSTER: Final = 16
# Writers that may be first before the users of a transaction go one by one, and before one user is given up.
_TRIES_TOGETHER: Final = 3
_TRIES_ALONE: Final = 100


class Found(msgspec.Struct, frozen=True):
    """All keys of a user at one moment, and the names of those that hold a value of the wrong type."""

    user: str
    stored: list[Stored]
    odd: list[str]


class Users:
    """Reads and writes whole users behind `servers`; each round trip has `patience` (seconds).

    `fixed` are the last parts of a user's keys, less idempotency keys. The methods raise StoreUnavailable, and
    ConflictError when others were always first.
    """

    def __init__(self, servers: Servers, *, patience: float, fixed: Sequence[str]) -> None:
        self._servers = servers
        self._patience = patience
        self._fixed = list(fixed)
        self._size, self._at_once = (_TOGETHER, _AT_ONCE) if servers.spans_users else (1, _AT_ONCE_ON_CLUSTER)

    async def read(self, wanted: Iterable[Wanted]) -> AsyncGenerator[list[Found], None]:
        """The users `wanted`, some at a time; those of whom nothing is there are left out.

        Each is given with the last parts of what is neither fixed nor indexed.
        """
        rest = iter(wanted)
        with told():
            while chunk := list(islice(rest, self._size * self._at_once)):
                for found in await self._all(await self._groups(chunk), self._read):
                    yield [one for one in found if one.stored or one.odd]

    async def write(self, users: Sequence[list[Stored]], *, strays: Sequence[Sequence[str]] | None) -> list[bool]:
        """Write users, each given by all keys it is to have, at least one; which of them were written.

        Without `strays` a user of whom any key is there is left alone. With them, which are the last parts of what each
        may have that is neither fixed nor indexed, all that is there is replaced.
        """
        leftover = [None] * len(users) if strays is None else strays
        work = list(zip(users, leftover, strict=True))
        groups = [work[at : at + self._size] for at in range(0, len(work), self._size)]
        with told():
            return [done for part in await self._all(groups, self._write) for done in part]

    async def _all(
        self, groups: Sequence[list[T]], act: Callable[[list[T]], Awaitable[list[U] | None]]
    ) -> list[list[U]]:
        """The results of `act` on each group, some at once. It is done again as long as it says None, for others were
        first: then with each of a group alone."""
        free = asyncio.Semaphore(self._at_once)

        async def one(group: list[T]) -> list[U]:
            async with free:
                for _ in range(_TRIES_TOGETHER if len(group) > 1 else _TRIES_ALONE):
                    if (done := await act(group)) is not None:
                        return done
            if len(group) == 1:
                raise ConflictError("too many others change a user at once")
            return [result for item in group for result in await one([item])]

        results = []
        for result in await asyncio.gather(*map(one, groups), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
            results.append(result)
        return results

    async def _groups(self, chunk: Sequence[Wanted]) -> list[list[Wanted]]:
        """The users in groups that one transaction may read."""
        if not self._servers.spans_users:
            return [[one] for one in chunk]
        sizes: list[Command] = [
            size for user, _ in chunk for size in (("LLEN", keys.history(user)), ("ZCARD", keys.index(user)))
        ]
        async with lent(self._servers.connection(""), self._patience) as connection:
            replies = await answers(connection, sizes, self._patience)
        groups: list[list[Wanted]] = []
        total = _ITEMS
        for one, pair in zip(chunk, zip(replies[::2], replies[1::2], strict=True), strict=True):
            items = sum(size for size in pair if isinstance(size, int))
            if total + items > _ITEMS or len(groups[-1]) == _TOGETHER:
                groups.append([])
                total = 0
            groups[-1].append(one)
            total += items
        return groups

    async def _read(self, group: list[Wanted]) -> list[Found] | None:
        """None if an idempotency key came meanwhile: nothing else has a name that must be read first."""
        indexes = [keys.index(user) for user, _ in group]
        names: list[Command] = [("WATCH", *indexes), *(("ZRANGE", key, 0, -1) for key in indexes)]
        async with lent(self._servers.connection(indexes[0]), self._patience) as connection:
            members = (await answers(connection, names, self._patience))[1:]
            asked = [
                (user, list(dict.fromkeys([*self._fixed, *_indexed(found), *strays])))
                for (user, strays), found in zip(group, members, strict=True)
            ]
            commands = [command for user, kinds in asked for kind in kinds for command in reads(user, kind)]
            replies = (await answers(connection, [("MULTI",), *commands, ("EXEC",)], self._patience))[-1]
        if replies is None:
            return None
        raise_for(replies)
        rest = iter(replies)
        found = [Found(user, *read_back(user, kinds, rest)) for user, kinds in asked]
        for one, key, listed in zip(found, indexes, members, strict=True):
            if isinstance(listed, ResponseError):
                one.odd.append(key)
        return found

    async def _write(self, group: list[tuple[list[Stored], Sequence[str] | None]]) -> list[bool] | None:
        """None if others were first and nothing was written."""
        now = int(time.time())
        watched, looks = [], []
        for stored, strays in group:
            user = stored[0].user
            own = keys.index(user)
            fixed = [keys.of(user, kind) for kind in self._fixed]
            watched += [own, keys.draft(user), *(fixed if strays is None else [])]
            markers = [keys.of(user, item.kind) for item in stored if keys.is_marker(item.kind)]
            looks.append(("EXISTS", own, *fixed, *markers) if strays is None else ("ZRANGE", own, 0, -1))
        async with lent(self._servers.connection(watched[0]), self._patience) as connection:
            there = (await answers(connection, [("WATCH", *watched), *looks], self._patience))[1:]
            commands: list[Command] = [("MULTI",)]
            free = []
            for (stored, strays), found in zip(group, there, strict=True):
                free.append(strays is not None or not found)
                if strays is not None:
                    kinds = [*self._fixed, keys.INDEX, *_indexed(found), *strays, *(item.kind for item in stored)]
                    commands.append(("DEL", *(keys.of(stored[0].user, kind) for kind in dict.fromkeys(kinds))))
                if free[-1]:
                    commands += _all_of(stored, now)
            replies = (await answers(connection, [*commands, ("EXEC",)], self._patience))[-1]
        if replies is None:
            return None
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return free


def _indexed(members: object) -> list[str]:
    """The markers in an index; none if the key holds something else."""
    return index.kinds(members) if isinstance(members, list) else []


def _all_of(stored: Sequence[Stored], now: int) -> list[Command]:
    """The commands that write all keys of a user of whom nothing is there."""
    left = {item.kind: item.expires_ms for item in stored if item.expires_ms is not None}
    commands = [writes(keys.of(item.user, item.kind), item) for item in stored]
    return [*commands, *index.made_of(stored[0].user, left, now)]
