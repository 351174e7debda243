"""The client: which addresses it takes, and what it reads where nats-py alone would stop."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from nats.aio.msg import Msg
from nats.errors import Error, ProtocolError

from app.events.client import Connection, place, servers
from app.settings import Secret, SettingsError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("urls", "listed"),
    [
        ("", []),
        ("nats://host", ["nats://host"]),
        ("host:4222", ["host:4222"]),
        (" nats://a:4222 , tls://b,", ["nats://a:4222", "tls://b"]),
        ("nats://oo:p@ss:w%40rd@host:4222/", ["nats://oo:p@ss:w%40rd@host:4222/"]),
        ("nats://[::1]:4222", ["nats://[::1]:4222"]),
    ],
)
def test_servers(urls: str, listed: list[str]) -> None:
    """Separated by commas, with or without a scheme."""
    assert servers(Secret(urls)) == listed


def test_places() -> None:
    """Where the servers are is told without user, password or token."""
    listed = servers(Secret("nats://oo:p@ss:w%40rd@host:4222/, tls://t0ken@b, oo:s3cret@c:1, nats://[::1]:4222, d"))
    assert place(listed) == "host:4222, b, c:1, [::1]:4222, d"


@pytest.mark.parametrize(
    "url",
    [
        "nats://host:99999",
        "nats://host:0",
        "nats://host:port",
        "nats://",
        "nats://:4222",
        "http://host:4222",
        "foo://host",
        "NATS://host",
        ",",
        " , ",
        " ",
        "nats://host:4222,ws://host:80",
        "ws://host:80",
        "nats://oo:s3cret#x@host",
        "nats://oo:123/s3cret@host",
        "nats://oo:1?s3cret@host",
        "nats://oo:s[3cret@host",
        "nats://host:4222/s3cret",
    ],
)
def test_bad_servers(url: str) -> None:
    """An address that cannot be used is refused in one line that does not repeat it."""
    with pytest.raises(SettingsError) as caught:
        servers(Secret(url))
    assert str(caught.value) == "NATS_URL: takes nats://host:port or tls://host:port, separated by commas"


class Reading(Connection):
    """A connection with one subscription that keeps what it reads instead of delivering it."""

    def __init__(self) -> None:
        super().__init__()
        self.built: list[Msg] = []
        self._subs = cast("Any", {1: _Subscription()})

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> None:
        self.built.append(super()._build_message(sid, subject, reply, data, headers))

    async def read(self, *data: bytes) -> list[Msg]:
        for part in data:
            await self._ps.parse(part)
        return self.built


class _Subscription:
    _received = 0
    _max_msgs = 0
    _jsi = None


def hmsg(subject: bytes, headers: bytes, body: bytes = b"x") -> bytes:
    return b"HMSG %s 1 %d %d\r\n%s%s\r\n" % (subject, len(headers), len(headers) + len(body), headers, body)


LAST = b"MSG last 1 1\r\nx\r\n"


@pytest.mark.parametrize(
    ("data", "subject", "headers"),
    [
        (b"MSG a.b 1 1\r\nx\r\n", "a.b", None),
        (hmsg(b"a", b"NATS/1.0\r\nA: b\r\n\r\n"), "a", {"A": "b"}),
        (hmsg(b"a", b"NATS/1.0 \xff\xff\xff\r\n\r\n"), "a", None),
        (hmsg(b"a", b"NATS/1.0 200 \xff\xfe\r\n\r\n"), "a", None),
        (hmsg(b"a", b"NATS/1.0"), "a", None),
        (b"MSG a.\xff\xfe 1 1\r\nx\r\n", "a.\ufffd\ufffd", None),
        (b"MSG a\x0cb 1 1\r\nx\r\n", "a?b", None),
        (b"MSG a\x0b\x0cb 1 reply 1\r\nx\r\n", "a??b", None),
        (hmsg(b"a\x0cb", b"NATS/1.0\r\nA: b\r\n\r\n"), "a?b", {"A": "b"}),
    ],
)
async def test_strange_events_are_read(data: bytes, subject: str, headers: dict[str, str] | None) -> None:
    """Each is read, and so is what comes after it, in one piece or several."""
    for parts in ([data + LAST], [data, LAST], [data[:9], data[9:] + LAST]):
        first, last = await Reading().read(*parts)
        assert (first.subject, first.headers, first.data) == (subject, headers, b"x")
        assert last.subject == "last"


async def test_other_protocols_are_refused() -> None:
    """What is not NATS ends the connection, as in nats-py."""
    with pytest.raises(ProtocolError):
        await Reading().read(b"HTTP/1.1 400 Bad Request\r\n")
    with pytest.raises(ProtocolError):
        await Reading().read(b"MSG\x0cx\r\n")


async def test_reads() -> None:
    """Whether the task that reads still runs."""
    connection = Connection()
    seen = [connection.reads]
    task = connection._reading_task = asyncio.create_task(asyncio.Event().wait())
    seen.append(connection.reads)
    task.cancel()
    await asyncio.wait([task])
    assert [*seen, connection.reads] == [False, True, False]


JWT = "-----BEGIN NATS USER JWT-----\neyJ0\n------END NATS USER JWT------\n"
SEED = "-----BEGIN USER NKEY SEED-----\nSUAA\n------END USER NKEY SEED------\n"


def test_credentials(tmp_path: Path) -> None:
    """A complete file is read; from another nats-py would never return."""
    creds = tmp_path / "oo.creds"
    creds.write_text(JWT + SEED)
    assert Connection()._read_creds_user_jwt(str(creds)) == b"eyJ0"
    assert Connection()._read_creds_user_nkey(str(creds)) == b"SUAA"
    for text in ("", JWT, SEED):
        creds.write_text(text)
        for read in (Connection()._read_creds_user_jwt, Connection()._read_creds_user_nkey):
            with pytest.raises(Error, match=r"NATS_CREDS: .*oo.creds lacks a user's JWT or seed"):
                read(str(creds))
    with pytest.raises(FileNotFoundError):
        Connection()._read_creds_user_jwt(str(tmp_path / "missing"))
