"""REDIS_URL: every form that is taken, and how others are refused."""

import asyncio
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection

from state.redis.connect import open_servers
from state.redis.servers import exchange
from tests.support.processes import ROOT, free_port
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.waiting import PATIENCE_SECONDS, until_async

pytestmark = pytest.mark.anyio

SECRET = "s3cret-Wort"


async def set_and_get(url: str) -> None:
    """Write and read through the servers of `url`, then close."""
    servers = open_servers(url, size=2, timeout=PATIENCE_SECONDS)
    try:
        async with servers.connection("k") as connection:
            assert await exchange(connection, [("SET", "k", b"\x00\xff"), ("GET", "k")]) == [b"OK", b"\x00\xff"]
    finally:
        await servers.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        SECRET,
        f"http://user:{SECRET}@host/",
        f"redis:user:{SECRET}@host",
        f"redis+magic://user:{SECRET}@host",
        f"unix+cluster://{SECRET}",
        f"memory+cluster://{SECRET}",
        f"memory://{SECRET}",
        f"redis://user:{SECRET}@host:port/0",
        f"redis://user:{SECRET}",
        f"redis://:{SECRET}@host:70000/0",
        f"redis://:{SECRET}@/0",
        f"redis://:{SECRET}@host/db",
        f"redis://:{SECRET}@host/0/1",
        f"redis://:{SECRET}@host/-1",
        f"redis://:{SECRET}@a:1,b:2/0",
        f"redis://:{SECRET}@a,b",
        f"redis://:{SECRET}@[::1/0",
        f"redis://:{SECRET}@host/0?socket_timeout={SECRET}",
        f"redis://:{SECRET}@host/0?nonsense={SECRET}",
        f"redis://:{SECRET}@ho\u2100st/0",
        f"rediss://:{SECRET}@host/0?ssl_min_version={SECRET}",
        "unix://",
        f"unix://host/{SECRET}",
        f"redis+sentinel://:{SECRET}@host:1",
        f"redis+sentinel://:{SECRET}@host:1/",
        f"redis+sentinel://:{SECRET}@host:1/service/db",
        f"redis+sentinel://:{SECRET}@host:1/service/0/1",
        f"redis+sentinel://:{SECRET}@/service",
        f"redis+sentinel://:{SECRET}@host:1,,host:2/service",
        f"redis+sentinel://user:{SECRET}/service",
        f"redis+sentinel://:{SECRET}@host:1/service?nonsense={SECRET}",
        f"redis+cluster://:{SECRET}@host:1/0",
        f"redis+cluster://:{SECRET}@",
        f"redis+cluster://user:{SECRET}",
        f"redis+cluster://:{SECRET}@host:1?nonsense={SECRET}",
        f"rediss+cluster://:{SECRET}@[::1",
        f"redis+cluster://:{SECRET}@h:0,h:1",
        f"redis+cluster://:{SECRET}@h:1,[h]:2",
        f"redis+cluster://:{SECRET}@h:1, h:2",
    ],
)
def test_bad_urls(url: str) -> None:
    """Any other form is refused at once, in words that tell the forms and nothing of the URL."""
    with pytest.raises(ValueError, match="takes memory://, redis://host:port/db") as caught:
        open_servers(url, size=2, timeout=PATIENCE_SECONDS)
    assert SECRET not in str(caught.value)
    assert "user" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://host", {"host": "host"}),
        ("redis://host:7/", {"host": "host", "port": 7}),
        ("redis://[::1]:7/3", {"host": "::1", "port": 7, "db": 3}),
        ("redis://:p%40s%2Fs@host/1", {"password": "p@s/s", "db": 1}),
        ("redis://us%3Aer:pa%2Css@host", {"username": "us:er", "password": "pa,ss"}),
        ("redis://host/0?client_name=oo", {"client_name": "oo"}),
        ("unix:///run/a%20b.sock?db=2", {"path": "/run/a b.sock", "db": 2}),
        ("redis+sentinel://h:1,h:2/name", {"db": 0}),
        ("redis+sentinel://u:p@h:1,[::1]:2/name/5", {"username": "u", "password": "p", "db": 5}),
    ],
)
def test_what_a_url_says(url: str, expected: dict[str, object]) -> None:
    """Hosts, ports, paths, databases, credentials and options are taken as written, percent-decoded."""
    [connection] = open_servers(url, size=2, timeout=PATIENCE_SECONDS)._idle  # type: ignore[attr-defined]
    assert {name: getattr(connection, name) for name in expected} == expected
    assert isinstance(connection, UnixDomainSocketConnection) == url.startswith("unix")
    assert not isinstance(connection, SSLConnection)


STRICT = """
import sys, urllib.parse
lenient = urllib.parse.urlsplit

def urlsplit(url, *rest, **options):
    host = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    if "[" in host.lstrip("[") or "," in host:
        raise ValueError("Invalid IPv6 URL")
    return lenient(url, *rest, **options)

urllib.parse.urlsplit = urlsplit
from state.connect import open_servers
for url in sys.argv[1:]:
    open_servers(url, size=2, timeout=1)
"""


def test_several_hosts_whatever_python_makes_of_them() -> None:
    """Some patch levels of Python refuse an address in brackets that is not the first host; the service does not."""
    urls = [
        "redis+sentinel://u:p@h:1,[::1]:2/name/5",
        "redis+cluster://h:1,[::1]:2,h",
        "rediss+cluster://[::1],[::2]:3",
    ]
    subprocess.run([sys.executable, "-c", STRICT, *urls], cwd=ROOT, check=True, timeout=300)


def test_what_a_cluster_url_says() -> None:
    """A cluster's nodes, their default port, credentials and TLS options."""
    servers = open_servers("rediss+cluster://u:p%40@h:1,h?ssl_ca_certs=/ca.pem", size=2, timeout=PATIENCE_SECONDS)
    nodes = servers._nodes  # type: ignore[attr-defined]
    assert list(nodes.startup_nodes) == ["h:1", "h:6379"]
    kwargs = nodes.connection_kwargs
    assert (kwargs["username"], kwargs["password"], kwargs["ssl_ca_certs"]) == ("u", "p@", "/ca.pem")
    assert not servers.spans_users


def test_what_a_sentinel_url_says() -> None:
    """Sentinels have credentials of their own; TLS options serve both; nothing of them reaches the other."""
    url = "rediss+sentinel://u:p@h:1,h/name?sentinel_username=su&sentinel_password=sp&ssl_ca_certs=/ca.pem"
    servers = open_servers(url, size=2, timeout=PATIENCE_SECONDS)
    [connection] = servers._idle  # type: ignore[attr-defined]
    assert isinstance(connection, SSLConnection)
    assert (connection.username, connection.password) == ("u", "p")
    manager = connection.connection_pool.sentinel_manager  # type: ignore[attr-defined]
    asked = [sentinel.connection_pool.connection_kwargs for sentinel in manager.sentinels]
    assert [(kwargs["host"], kwargs["port"]) for kwargs in asked] == [("h", 1), ("h", 26379)]
    assert all((kwargs["username"], kwargs["password"]) == ("su", "sp") for kwargs in asked)
    assert all(kwargs["ssl_ca_certs"] == "/ca.pem" for kwargs in asked)


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


async def test_nothing_connects_before_it_is_needed(tmp_path: Path) -> None:
    """Opening and closing servers that do not exist is no error, for every form."""
    port = free_port()
    for url in (
        f"redis://127.0.0.1:{port}/0",
        f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path}/none.pem",
        f"unix://{tmp_path}/none.sock",
        f"redis+sentinel://127.0.0.1:{port}/name",
        f"redis+cluster://127.0.0.1:{port}",
    ):
        await open_servers(url, size=2, timeout=PATIENCE_SECONDS).close()


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
        await until_async(connection.can_read, "a reply that nobody reads")
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
