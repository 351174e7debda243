"""Servers of every kind of REDIS_URL, and the connections that they lend."""

import asyncio
from contextlib import suppress

import pytest

from state.redis.connect import open_servers
from state.redis.exchange import exchange
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.waiting import PATIENCE_SECONDS, until_async

pytestmark = pytest.mark.anyio


async def set_and_get(url: str) -> None:
    """Write and read through the servers of `url`, then close."""
    servers = open_servers(url, size=2, timeout=PATIENCE_SECONDS)
    try:
        async with servers.connection("k") as connection:
            assert await exchange(connection, [("SET", "k", b"\x00\xff"), ("GET", "k")]) == [b"OK", b"\x00\xff"]
    finally:
        await servers.close()


async def test_memory() -> None:
    """Each embedded store is its own."""
    await set_and_get("memory://")
    servers = open_servers("memory://", size=2, timeout=PATIENCE_SECONDS)
    async with servers.connection("k") as connection:
        assert await exchange(connection, [("GET", "k")]) == [None]
    await servers.close()


async def test_a_real_server_and_its_databases(real_redis: RedisServer) -> None:
    """The path names the database."""
    await set_and_get(real_redis.url.replace("/0", "/3"))
    assert real_redis.command("DBSIZE") == 0
    assert "db3" in real_redis.info()


@pytest.mark.parametrize("how", ["password", "user", "unix", "unix-user", "tls", "tls-user"])
async def test_ways_to_a_server(how: str) -> None:
    """With a password, as an ACL user whose name and password need quoting, by socket file, with TLS and its CA."""
    user = ("o:o@o", "p/a:s%s?", "~* +@all") if how.endswith("user") else None
    args = ["--requirepass", "p@ss"] if how == "password" else []
    with redis_server(*args, user=user, unix=how.startswith("unix"), tls=how.startswith("tls")) as server:
        await set_and_get(server.url.replace("redis://", "redis://:p%40ss@") if args else server.url)


async def test_tls_is_verified() -> None:
    """A certificate that no known authority signed is not accepted."""
    with redis_server(tls=True) as server:
        servers = open_servers(server.url.split("?")[0], size=2, timeout=PATIENCE_SECONDS)
        with pytest.raises(Exception, match="certificate verify failed"):
            async with servers.connection("k"):
                pass
        await servers.close()


async def test_connections_are_bounded_and_returned(redis_url: str) -> None:
    """As many as allowed are lent at once; who waits gets the next that comes back, a failed one included."""
    servers = open_servers(redis_url, size=2, timeout=PATIENCE_SECONDS)

    async def use(fail: bool) -> int:
        async with servers.connection("k") as connection:
            [number] = await exchange(connection, [("CLIENT", "ID")])
            await asyncio.sleep(0)
            if fail:
                raise ZeroDivisionError
            return int(number)

    results = await asyncio.gather(*(use(number % 7 == 0) for number in range(70)), return_exceptions=True)
    numbers = {number for number in results if isinstance(number, int)}
    assert sum(isinstance(result, ZeroDivisionError) for result in results) == 10
    assert 2 <= len(numbers) <= 12
    await servers.close()


async def test_a_connection_that_failed_is_used_no_more(redis_url: str) -> None:
    """Neither a MULTI left open, nor replies still owed, nor watched keys meet the next who borrows."""
    servers = open_servers(redis_url, size=1, timeout=PATIENCE_SECONDS)
    for left in (b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$4\r\nPING\r\n"):
        with suppress(ZeroDivisionError):
            async with servers.connection("k") as connection:
                await connection.send_packed_command(left)
                raise ZeroDivisionError
    async with servers.connection("k") as connection:
        assert await exchange(connection, [("SET", "k", 1), ("GET", "k")]) == [b"OK", b"1"]
    await servers.close()


async def test_replies_nobody_asked_for_are_not_taken_for_others(redis_url: str) -> None:
    """What a connection still had to say when it was given back is never read as an answer to the next command."""
    servers = open_servers(redis_url, size=1, timeout=PATIENCE_SECONDS)
    async with servers.connection("k") as connection:
        await exchange(connection, [("SET", "k", 1)])
        await connection.send_packed_command(b"*2\r\n$4\r\nECHO\r\n$5\r\nstale\r\n")
        await until_async(connection.can_read, "a reply that is not read")
    async with servers.connection("k") as connection:
        assert await exchange(connection, [("GET", "k")]) == [b"1"]
    await servers.close()


async def test_close_survives_a_server_that_hangs() -> None:
    """Closing asks nothing of the server: a frozen one does not hold it up."""
    with redis_server(tls=True) as server:
        servers = open_servers(server.url, size=1, timeout=PATIENCE_SECONDS)
        async with servers.connection("k") as connection:
            await exchange(connection, [("PING",)])
            # redis-py lets the goodbye of TLS take as long as it lets connecting take, which must have time enough.
            connection.socket_connect_timeout = 0.1
        server.pause()
        await servers.close()
        server.resume()
