"""Whole users: an export reads all keys of a user in one transaction, and a restore writes them in one.

So a reward and its idempotency key are both in the file or neither is, and likewise in Redis after a restore.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Final, TypeVar

import msgspec
from redis.exceptions import ResponseError

from state import keys, parts
from state.errors import ConflictError
from state.redis.exchange import Command, exchange_or_raise, raise_for
from state.redis.failure import as_unavailable
from state.redis.servers import Servers, borrow
from state.transfer import all_results, decode_replies, read_commands, write_command
from state.update import index
from state.update.idle import Idle, milliseconds
from state.values.stored import Stored, is_part

__all__ = ["Found", "Users", "Wanted"]

T = TypeVar("T")
U = TypeVar("U")
Wanted = tuple[str, Sequence[str]]
# Per transaction, during which Redis is blocked: users, and their history entries, idempotency keys and decisions in
# all. A user with more has a transaction alone.
_TOGETHER: Final = 32
_ITEMS: Final = 4_000
_AT_ONCE: Final = 4
_AT_ONCE_ON_CLUSTER: Final = 16
# Lost races before the users of a transaction are taken one by one, and before one user is given up.
_TRIES_TOGETHER: Final = 3
_TRIES_ALONE: Final = 100


class Found(msgspec.Struct, frozen=True):
    """All keys of a user at one moment, and the names of those that hold a value of the wrong type."""

    user: str
    stored: list[Stored]
    odd: list[str]


class Users:
    """Reads and writes whole users behind `servers`; each round trip has `patience` (seconds).

    `fixed` are the last parts of a user's keys, without idempotency keys. `idle` says when users expire who
    are written. The methods raise StoreUnavailable, and
    ConflictError if other writers always came first.
    """

    def __init__(self, servers: Servers, *, patience: float, fixed: Sequence[str], idle: Idle | None = None) -> None:
        self._idle = idle or Idle()
        self._servers = servers
        self._patience = patience
        self._fixed = list(fixed)
        self._size, self._at_once = (_TOGETHER, _AT_ONCE) if servers.spans_users else (1, _AT_ONCE_ON_CLUSTER)

    async def read(self, wanted: Iterable[Wanted]) -> AsyncGenerator[list[Found], None]:
        """The users `wanted`, some at a time, without those that have no keys.

        Each wanted user comes with the last parts of keys that are neither fixed nor in the index.
        """
        rest = iter(wanted)
        with as_unavailable():
            while chunk := list(islice(rest, self._size * self._at_once)):
                for found in await self._all(await self._groups(chunk), self._read):
                    yield [one for one in found if one.stored or one.odd]

    async def write(self, users: Sequence[list[Stored]], *, strays: Sequence[Sequence[str]] | None) -> list[bool]:
        """Write users, each given by all of its keys (at least one); which of them were written.

        Without `strays` a user that has any key already is skipped. With them, everything a user has is replaced:
        `strays` are for each the last parts of keys that are neither fixed nor in the index.
        """
        leftover = [None] * len(users) if strays is None else strays
        work = list(zip(users, leftover, strict=True))
        groups = [work[at : at + self._size] for at in range(0, len(work), self._size)]
        with as_unavailable():
            return [done for part in await self._all(groups, self._write) for done in part]

    def _due(self, user: str) -> str:
        return keys.due(None if self._servers.spans_users else user)

    async def _all(
        self, groups: Sequence[list[T]], act: Callable[[list[T]], Awaitable[list[U] | None]]
    ) -> list[list[U]]:
        """The results of `act` on each group, some groups at once.

        None means that another writer came first: then it is tried again, in the end with each of the group alone.
        """
        free = asyncio.Semaphore(self._at_once)

        async def one(group: list[T]) -> list[U]:
            async with free:
                for _ in range(_TRIES_TOGETHER if len(group) > 1 else _TRIES_ALONE):
                    if (done := await act(group)) is not None:
                        return done
            if len(group) == 1:
                raise ConflictError("too many other writers change a user at once")
            return [result for item in group for result in await one([item])]

        return await all_results(map(one, groups))

    async def _groups(self, chunk: Sequence[Wanted]) -> list[list[Wanted]]:
        """The users in groups, each small enough for one transaction."""
        if not self._servers.spans_users:
            return [[one] for one in chunk]
        sizes: list[Command] = [
            (name, key(user))
            for user, _ in chunk
            for name, key in (("LLEN", keys.history), ("ZCARD", keys.index), ("ZCARD", keys.agenda))
        ]
        async with borrow(self._servers.connection(""), self._patience) as connection:
            replies = await exchange_or_raise(connection, sizes, self._patience)
        groups: list[list[Wanted]] = []
        total = 0
        for one, of_one in zip(chunk, zip(*(replies[at::3] for at in range(3)), strict=True), strict=True):
            items = sum(size for size in of_one if isinstance(size, int))
            if not groups or total + items > _ITEMS or len(groups[-1]) == _TOGETHER:
                groups.append([])
                total = 0
            groups[-1].append(one)
            total += items
        return groups

    async def _read(self, group: list[Wanted]) -> list[Found] | None:
        """None if an idempotency key was added meanwhile, or the first part: these have names that are read first."""
        indexes = [keys.index(user) for user, _ in group]
        names: list[Command] = [("WATCH", *indexes), *(("ZRANGE", key, 0, -1) for key in indexes)]
        names += [("HGET", keys.shared(user), parts.FIELD) for user, _ in group]
        async with borrow(self._servers.connection(indexes[0]), self._patience) as connection:
            replies = (await exchange_or_raise(connection, names, self._patience))[1:]
            members, spread = replies[: len(group)], replies[len(group) :]
            asked = [
                (user, list(dict.fromkeys([*self._fixed, *_indexed(found), *strays, *_parts(told)])))
                for (user, strays), found, told in zip(group, members, spread, strict=True)
            ]
            commands = [command for user, kinds in asked for kind in kinds for command in read_commands(user, kind)]
            replies = (await exchange_or_raise(connection, [("MULTI",), *commands, ("EXEC",)], self._patience))[-1]
        if replies is None:
            return None
        raise_for(replies)
        rest = iter(replies)
        found = [Found(user, *decode_replies(user, kinds, rest)) for user, kinds in asked]
        if any(_has_parts(one) and not _parts(told) for one, told in zip(found, spread, strict=True)):
            return None
        for one, key, listed in zip(found, indexes, members, strict=True):
            if isinstance(listed, ResponseError):
                one.odd.append(key)
        return found

    async def _write(self, group: list[tuple[list[Stored], Sequence[str] | None]]) -> list[bool] | None:
        """None if another writer came first and nothing was written."""
        now = int(time.time())
        watched, looks = [], []
        for stored, strays in group:
            user = stored[0].user
            own = keys.index(user)
            fixed = [keys.of(user, kind) for kind in self._fixed]
            watched += [own, keys.draft(user), *(fixed if strays is None else [keys.shared(user)])]
            markers = [keys.of(user, item.kind) for item in stored if keys.is_marker(item.kind)]
            looks.append(("EXISTS", own, *fixed, *markers) if strays is None else ("ZRANGE", own, 0, -1))
        async with borrow(self._servers.connection(watched[0]), self._patience) as connection:
            tells: list[Command] = [("HGET", keys.shared(stored[0].user), parts.FIELD) for stored, _ in group]
            asked: list[Command] = [("WATCH", *watched), ("TIME",), *looks, *tells]
            [_, clock, *told] = await exchange_or_raise(connection, asked, self._patience)
            commands: list[Command] = [("MULTI",)]
            free = []
            for (stored, strays), found, spread in zip(group, told[: len(group)], told[len(group) :], strict=True):
                free.append(strays is not None or not found)
                if strays is not None:
                    kinds = [
                        *self._fixed,
                        keys.INDEX,
                        keys.SEEN,
                        *_indexed(found),
                        *strays,
                        *(item.kind for item in stored),
                    ]
                    names = {keys.of(stored[0].user, kind): is_part(kind) for kind in [*kinds, *_parts(spread)]}
                    commands.append(("DEL", *(name for name, large in names.items() if not large)))
                    if large := [name for name, large in names.items() if large]:
                        commands.append(("UNLINK", *large))
                    commands.append(("ZREM", self._due(stored[0].user), stored[0].user))
                if free[-1]:
                    commands += [*_all_of(stored, now), *_due_of(self._due(stored[0].user), stored)]
                    commands += self._expiries(stored, milliseconds(clock))
            replies = (await exchange_or_raise(connection, [*commands, ("EXEC",)], self._patience))[-1]
        if replies is None:
            return None
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return free

    def _expiries(self, stored: Sequence[Stored], now: int) -> list[Command]:
        """The commands that let a user who is written expire as if all had changed at `now` (Unix ms)."""
        if not self._idle.days:
            return []
        user = stored[0].user
        kept = [keys.of(user, item.kind) for item in stored if not keys.is_marker(item.kind)]
        return self._idle.given(user, self._idle.moment(user, now), kept)


def _due_of(key: str, stored: Sequence[Stored]) -> list[Command]:
    """The command that notes when the first of a user's decisions must be looked at, if there are any."""
    agenda = next((item.value for item in stored if isinstance(item.value, tuple)), ())
    return [("ZADD", key, repr(min(score for _, score in agenda)), stored[0].user)] if agenda else []


def _parts(told: object) -> list[str]:
    """The last parts of the keys with decisions of large loops, by what a user's hash says of them."""
    return parts.every(keys.DECISIONS) if isinstance(told, bytes) else []


def _has_parts(found: Found) -> bool:
    return any(one.kind == keys.SHARED and parts.FIELD in one.value for one in found.stored)


def _indexed(members: object) -> list[str]:
    """The markers in an index; none if the key is not a sorted set."""
    return index.kinds(members) if isinstance(members, list) else []


def _all_of(stored: Sequence[Stored], now: int) -> list[Command]:
    """The commands that write all keys of a user that has none."""
    left = {item.kind: item.expires_ms for item in stored if item.expires_ms is not None}
    commands = [write_command(keys.of(item.user, item.kind), item) for item in stored]
    return [*commands, *index.made_of(stored[0].user, left, now)]
