"""The embedded store behind a wire that notes what is sent over it, and fails when a test says so."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from hiredis import Reader
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, ResponseError  # noqa: A004  # redis-py's name

from state.redis.connect import open_servers
from state.redis.exchange import Command, exchange
from state.redis.servers import Lend

__all__ = ["CUT", "LOSE", "Action", "Wire", "unpacked"]

# The connection fails before the commands arrive, or after they were executed.
CUT: Final = "cut"
LOSE: Final = "lose"
# Or an error that Redis replies, or what another client does just before the commands arrive.
Action = str | ResponseError | Callable[[], Awaitable[object]]


class Wire:
    """`Servers` over the embedded store. `sent` are the names of the commands of each exchange."""

    def __init__(self, *, spans_users: bool = True) -> None:
        self.spans_users = spans_users
        self.replicated = False
        self.sent: list[list[str]] = []
        self.refreshed = 0
        self.shares = [""]
        # The slots of each server, as a Cluster says them: all there are, unless a test has enough in fewer.
        self.owned: list[Sequence[int]] = [range(4_096), range(4_096, 16_384)]
        self._servers = open_servers("memory://", size=4, timeout=1.0)
        self._actions: list[tuple[str, Action]] = []

    def on(self, name: str, *actions: Action) -> None:
        """At the next exchanges with a command `name`, one action each."""
        self._actions += [(name, action) for action in actions]

    async def ask(self, *commands: Command) -> list[Any]:
        """The replies to commands of another client, which are not noted."""
        async with self._servers.connection("") as connection:
            return [_resp2(reply) for reply in await exchange(connection, commands)]

    @asynccontextmanager
    async def connection(self, key: str, *, insist: bool = False) -> AsyncIterator[AbstractConnection]:
        async with self._servers.connection(key, insist=insist) as connection:
            yield _Tapped(connection, self)  # type: ignore[misc]  # it passes on all else

    async def masters(self) -> Mapping[str, Lend]:
        return {self.shares[0] if len(self.shares) == 1 else self.shares.pop(0): partial(self.connection, "")}

    async def slots(self) -> Sequence[Sequence[int]]:
        return self.owned

    async def refresh(self) -> None:
        self.refreshed += 1

    async def close(self) -> None:
        await self._servers.close()

    def action(self, names: list[str]) -> Action | None:
        self.sent.append(names)
        for place, (name, action) in enumerate(self._actions):
            if name in names:
                del self._actions[place]
                return action
        return None


class _Tapped:
    def __init__(self, connection: AbstractConnection, wire: Wire) -> None:
        self._connection = connection
        self._wire = wire
        self._error: ResponseError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def send_packed_command(self, command: bytes, *, check_health: bool = True) -> None:
        names = [words.partition(" ")[0] for words in unpacked([command])]
        action = self._wire.action(names)
        if action == CUT:
            raise ConnectionError("cut")
        self._error = action if isinstance(action, ResponseError) else None
        if self._error is not None:
            return
        if callable(action):
            await action()
        await self._connection.send_packed_command(command, check_health=check_health)
        if action == LOSE:
            raise ConnectionError("the reply is lost")

    async def read_response(self, **options: Any) -> Any:
        if self._error is not None:
            raise self._error
        return _resp2(await self._connection.read_response(**options))


def unpacked(commands: Iterable[bytes]) -> list[str]:
    """Packed commands as one types them."""
    reader = Reader()
    for command in commands:
        reader.feed(command)
    return [b" ".join(words).decode(errors="replace") for words in iter(reader.gets, False)]


def _resp2(reply: Any) -> Any:
    """A reply as a server gives it in the protocol that the service speaks; the embedded store speaks a newer one."""
    if isinstance(reply, dict):
        return [part for pair in reply.items() for part in pair]
    if isinstance(reply, list):
        return [_resp2(part) for part in reply]
    return b"%g" % reply if isinstance(reply, float) else reply
