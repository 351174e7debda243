"""A connection that is closed while it is in use is never silently replaced."""

import asyncio

import pytest
import uvloop
from redis.exceptions import ConnectionError  # noqa: A004

from state.redis.connect import open_servers
from state.redis.exchange import exchange
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio


async def test_nothing_is_sent_after_a_close(store_url: str) -> None:
    """Between WATCH and EXEC a new connection would know nothing of either."""
    servers = open_servers(store_url, size=4, timeout=PATIENCE_SECONDS)
    async with servers.connection("k") as connection:
        assert await exchange(connection, [("WATCH", "k"), ("GET", "k")]) == [b"OK", None]
        await connection.disconnect(nowait=True)
        with pytest.raises(ConnectionError, match="was closed"):
            await exchange(connection, [("SET", "k", "1")])
    async with servers.connection("k") as connection:
        assert await exchange(connection, [("GET", "k")]) == [None]
    await servers.close()


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_a_transport_that_was_closed(redis_url: str, turns: int) -> None:
    """On the loop that serves, what Redis' end closes just before the next command is a failed connection."""

    async def scenario() -> None:
        servers = open_servers(redis_url, size=4, timeout=PATIENCE_SECONDS)
        async with servers.connection("k") as connection:
            await exchange(connection, [("WATCH", "k"), ("GET", "k")])
            assert connection._writer is not None
            connection._writer.transport.abort()
            for _ in range(turns):
                await asyncio.sleep(0)
            with pytest.raises(ConnectionError):
                await exchange(connection, [("MULTI",), ("SET", "k", "1"), ("EXEC",)])
            await connection.disconnect(nowait=True)
        async with servers.connection("k") as connection:
            assert await exchange(connection, [("GET", "k")]) == [None]
        await servers.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("stumble", [AttributeError("no attribute 'read'"), RuntimeError("the handler is closed")])
async def test_a_close_while_opening_is_a_failed_connection(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, stumble: Exception
) -> None:
    """What redis-py or uvloop then stumbles over is told as what it is, so that it is tried again."""
    servers = open_servers(redis_url, size=4, timeout=PATIENCE_SECONDS)
    async with servers.connection("k") as connection:
        kind = type(connection)

    async def closed(self: object) -> None:
        raise stumble

    with monkeypatch.context() as patch:
        patch.setattr(kind, "connect", closed)
        with pytest.raises(ConnectionError, match="while it was opened"):
            async with servers.connection("k"):
                pass
    async with servers.connection("k") as connection:
        assert await exchange(connection, [("PING",)]) == [b"PONG"]
    await servers.close()
