"""nats-py's client, made to go on after an event or credentials that it cannot read, and the addresses that it takes.

nats-py ends the reading of its connection at the first such event, without a word: nothing arrives any more, over any
subscription, and with the event in a stream it is the same after each start.
"""

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.errors import Error, ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from app.settings import Secret, SettingsError

__all__ = ["Connection", "servers"]

# A subject may have them, for the server; nats-py takes them for the blanks between the parts of a line.
_BLANKS: Final = b"\v\f"
_CREDENTIALS: Final = (b"BEGIN NATS USER JWT", b"BEGIN USER NKEY SEED")
_NO_BLANKS: Final = bytes.maketrans(_BLANKS, b"??")


def servers(urls: Secret) -> list[str]:
    """The servers in NATS_URL, none if it is empty; raises SettingsError if nats-py could never connect to one."""
    found = [url.strip() for url in urls.reveal().split(",") if url.strip()]
    if (urls and not found) or not all(map(_is_address, found)):
        raise SettingsError("NATS_URL: takes nats://host:port or tls://host:port, separated by commas")
    return found


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        port = parts.port
    except ValueError:
        return False
    known = url.startswith(("nats://", "tls://")) or "://" not in url
    # A slash, a question mark or a hash in a password would cut the address off there.
    return known and bool(parts.hostname) and port != 0 and not (parts.path.strip("/") or parts.query or parts.fragment)


class Connection(Client):
    """A client for which no bytes in an event's headers or subject are too strange, nor in a file of credentials.

    Headers that cannot be read count as none; in a subject, what is no UTF-8 is replaced. No subject that means
    something to the service looks like that.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ps = _Parser(self)

    @property
    def reads(self) -> bool:
        """Whether anything that the server sends will be noticed."""
        return self._reading_task is not None and not self._reading_task.done()

    def _read_creds_user_nkey(self, creds: Any) -> bytearray:
        return super()._read_creds_user_nkey(_readable(creds))

    def _read_creds_user_jwt(self, creds: Any) -> Any:
        return super()._read_creds_user_jwt(_readable(creds))

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            found: dict[str, str] | None = await super()._process_headers(headers)
        except (UnicodeDecodeError, IndexError):
            return None
        return found

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Any:
        return super()._build_message(sid, _utf8(subject), _utf8(reply), data, headers)


def _readable(creds: str) -> str:
    """The path of credentials, once they are whole: in others nats-py looks for ever, and the loop with it."""
    found = Path(creds).read_bytes()
    if not all(part in found for part in _CREDENTIALS):
        raise Error(f"NATS_CREDS: {creds} has not both a user's JWT and seed")
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
        """Whether the line at which reading stopped had blanks in its subject, which are others now."""
        if self.state != AWAITING_CONTROL_LINE:
            return False
        line, end, rest = self.buf.partition(b"\r\n")
        if not end or not any(blank in line for blank in _BLANKS):
            return False
        self.buf = line.translate(_NO_BLANKS) + end + rest
        return True


def _utf8(text: bytes) -> bytes:
    return text.decode("utf-8", "replace").encode()
