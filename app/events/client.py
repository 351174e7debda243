"""nats-py's client, made to survive events and credentials that it cannot read, and the addresses that it takes.

In nats-py 2.16 each of these silently ends the reading of a connection, or blocks the event loop. If the event is in a
stream, it happens again after every start. Only the last has been reported, as far as its issues can be searched.

- An inline status that is not UTF-8, or a header block without a line end: `_process_headers` raises UnicodeDecodeError
  or IndexError before its `try`. Ours can go when it returns None instead.
- A subject that is not UTF-8, which nats-server lets pass. `_build_message` can go when nats-py replaces such bytes.
- A form feed or vertical tab in a subject: nats-py's parser takes it for a separator, nats-server takes only space and
  tab. `_Parser` can go when the parser agrees with the server.
- A file of credentials without a JWT, which is read at its end forever. `_readable` can go with the first release that
  has https://github.com/nats-io/nats.py/pull/1020.
"""

import asyncio
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.errors import Error, ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from app.settings import Secret, SettingsError

__all__ = ["Connection", "place", "reach", "servers"]

# nats-server takes them as part of a subject, nats-py as the blanks between the parts of a line.
_BLANKS: Final = b"\v\f"
_CREDENTIALS: Final = (b"BEGIN NATS USER JWT", b"BEGIN USER NKEY SEED")
# Until a server must have answered.
_REACH_SECONDS: Final = 5.0
_NO_BLANKS: Final = bytes.maketrans(_BLANKS, b"??")


def servers(urls: Secret) -> list[str]:
    """The servers in NATS_URL, [] if it is empty; raises SettingsError if nats-py could never connect to one."""
    listed = [url.strip() for url in urls.reveal().split(",") if url.strip()]
    if (urls and not listed) or not all(map(_is_address, listed)):
        raise SettingsError("NATS_URL: takes nats://host:port or tls://host:port, separated by commas")
    return listed


def place(listed: list[str]) -> str:
    """The addresses of these servers, for the log: no credentials."""
    return ", ".join(url.rpartition("@")[2].rpartition("//")[2].rstrip("/") for url in listed)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        port = parts.port
    except ValueError:
        return False
    known = url.startswith(("nats://", "tls://")) or "://" not in url
    # In a password, a slash, question mark or hash would cut off the address there.
    return known and bool(parts.hostname) and port != 0 and not (parts.path.strip("/") or parts.query or parts.fragment)


async def reach(listed: list[str], creds: str) -> "Connection":
    """A connection to one of these servers that does not come back by itself once it is lost.

    Raises nats.errors.Error, TimeoutError and OSError.
    """
    client = Connection()
    try:
        connecting = client.connect(
            listed, user_credentials=creds or None, allow_reconnect=False, max_reconnect_attempts=1
        )
        await asyncio.wait_for(connecting, _REACH_SECONDS)
    except BaseException:
        await client.close()
        raise
    return client


class Connection(Client):
    """A client that goes on reading after any bytes in an event's headers or subject.

    Headers that cannot be read count as none. In a subject, bytes that are not UTF-8 become U+FFFD; no subject of the
    service has any.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ps = _Parser(self)

    @property
    def reads(self) -> bool:
        """Whether the client still reads what the server sends."""
        return self._reading_task is not None and not self._reading_task.done()

    def _read_creds_user_nkey(self, creds: Any) -> bytearray:
        return super()._read_creds_user_nkey(_readable(creds))

    def _read_creds_user_jwt(self, creds: Any) -> Any:
        return super()._read_creds_user_jwt(_readable(creds))

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            parsed: dict[str, str] | None = await super()._process_headers(headers)
        except (UnicodeDecodeError, IndexError):
            return None
        return parsed

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Any:
        return super()._build_message(sid, _utf8(subject), _utf8(reply), data, headers)


def _readable(creds: str) -> str:
    """The path of credentials that are complete; raises Error for others, which would block the loop forever."""
    text = Path(creds).read_bytes()
    if not all(part in text for part in _CREDENTIALS):
        raise Error(f"NATS_CREDS: {creds} lacks a user's JWT or seed")
    return creds


class _Parser(Parser):
    async def parse(self, data: bytes = b"") -> None:
        while True:
            try:
                await super().parse(data)
            except ProtocolError:
                if not self._mended():
                    raise
            else:
                if not self._mended():
                    return
            data = b""

    def _mended(self) -> bool:
        """Replace what nats-py takes for blanks in the line at which reading stopped; whether there was any."""
        if self.state != AWAITING_CONTROL_LINE:
            return False
        line, end, rest = self.buf.partition(b"\r\n")
        if not end or not any(blank in line for blank in _BLANKS):
            return False
        self.buf = line.translate(_NO_BLANKS) + end + rest
        return True


def _utf8(text: bytes) -> bytes:
    return text.decode("utf-8", "replace").encode()
