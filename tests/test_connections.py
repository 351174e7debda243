"""A connection that is closed under its user: it never goes on with another one in silence."""

import pytest
from redis.exceptions import ConnectionError  # noqa: A004

from state.connect import exchange, open_servers

pytestmark = pytest.mark.anyio


async def test_nothing_is_sent_after_a_close(store_url: str) -> None:
    """Between WATCH and EXEC a new connection would know nothing of either."""
    servers = open_servers(store_url, size=4, timeout=2.0)
    async with servers.connection("k") as connection:
        assert await exchange(connection, [("WATCH", "k"), ("GET", "k")]) == [b"OK", None]
        await connection.disconnect(nowait=True)
        with pytest.raises(ConnectionError, match="was closed"):
            await exchange(connection, [("SET", "k", "1")])
    async with servers.connection("k") as connection:
        assert await exchange(connection, [("GET", "k")]) == [None]
    await servers.close()


async def test_a_close_while_opening_is_a_failed_connection(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    """What redis-py then stumbles over is told as what it is, so that it is tried again."""
    servers = open_servers(redis_url, size=4, timeout=2.0)
    async with servers.connection("k") as connection:
        kind = type(connection)

    async def closed(self: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'read'")

    with monkeypatch.context() as patch:
        patch.setattr(kind, "connect", closed)
        with pytest.raises(ConnectionError, match="while it was opened"):
            async with servers.connection("k"):
                pass
    async with servers.connection("k") as connection:
        assert await exchange(connection, [("PING",)]) == [b"PONG"]
    await servers.close()
