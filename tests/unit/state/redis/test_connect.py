"""REDIS_URL: every form that is taken, and how others are refused."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection

from state.redis.connect import open_servers, place
from state.redis.exchange import exchange
from tests.support.processes import ROOT, free_port
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio

SECRET = "s3cret-Wort"


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
    assert "in a password, / # ? @ : , % are written %2F" in str(caught.value)
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


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://bob:hidden@h:6379/2", "one server at h:6379, database 2"),
        ("redis://:hidden@[::1]:1?db=3", "one server at [::1]:1, database 3"),
        ("rediss://h?ssl_ca_certs=/x", "one server over TLS at h, database 0"),
        (
            "rediss+sentinel://:hidden@a:1,[::1]:2/my/5?sentinel_password=hidden",
            "Sentinel over TLS at a:1, [::1]:2, master my, database 5",
        ),
        ("redis+sentinel://a/my", "Sentinel at a, master my, database 0"),
        ("redis+cluster://bob:hidden@a:1,b:2", "a Cluster at a:1, b:2"),
        ("unix://bob:hidden@/run/r.sock?db=3", "one server at the socket /run/r.sock, database 3"),
    ],
)
def test_place(url: str, shown: str) -> None:
    """Kind, addresses and database of each form of URL that is taken, and nothing of its credentials."""
    open_servers(url, size=4, timeout=1)
    assert place(url) == shown


STRICT = """
import sys, urllib.parse
lenient = urllib.parse.urlsplit

def urlsplit(url, *rest, **options):
    host = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    if "[" in host.lstrip("[") or "," in host:
        raise ValueError("Invalid IPv6 URL")
    return lenient(url, *rest, **options)

urllib.parse.urlsplit = urlsplit
from state.redis.connect import open_servers, place
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


async def test_one_server_has_no_slots() -> None:
    """All keys are its own, under the name that is no address."""
    servers = open_servers("memory://", size=1, timeout=PATIENCE_SECONDS)
    assert (list(await servers.masters()), list(await servers.slots())) == ([""], [])
    await servers.close()


async def test_memory_sweeps_now_and_then() -> None:
    """The embedded store removes expired keys by itself, even if they are never read."""
    servers = open_servers("memory://", size=1, timeout=PATIENCE_SECONDS)
    [database] = [servers._pool.connection_kwargs["server"].dbs]  # type: ignore[attr-defined]  # its memory
    async with servers.connection("") as connection:
        await exchange(connection, [("SET", f"k{number}", "x", "PX", 1) for number in range(10)])
    await asyncio.sleep(0.002)
    for _ in range(256):
        async with servers.connection(""):
            pass
    assert len(database[0]._dict) == 0
    await servers.close()
