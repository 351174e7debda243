"""What stands in for NATS: a client that keeps what is published, and events as a stream delivers them."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import cast

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from app.events.counts import Counts
from app.messages.events import Happening

__all__ = ["FakeClient", "Observed", "event", "settle"]

SUBJECT = "signals.task.synced"


async def settle(times: int = 30) -> None:
    """Let everything run that can."""
    for _ in range(times):
        await asyncio.sleep(0)


class FakeClient:
    """A connected client; `answer` is called for each request, and `said` lists what events were answered."""

    def __init__(self, answer: Callable[[str, bytes], bytes] | None = None) -> None:
        self.is_connected = True
        self.max_payload = 1_048_576
        self.published: list[tuple[str, bytes]] = []
        self.requests: list[tuple[str, bytes, dict[str, str]]] = []
        self.error: Exception | None = None
        self.drained = False
        self.deliver: Callable[[Msg], Awaitable[None]] | None = None
        self.answer = answer or (lambda _subject, _body: b'{"stream": "dlq", "seq": 1}')

    @property
    def real(self) -> Client:
        return cast("Client", self)

    @property
    def said(self) -> list[str]:
        """Each answer to an event, such as `+ACK`, without its arguments."""
        return [
            body.split(b" ")[0].decode() or "+ACK" for subject, body in self.published if subject.startswith("$JS.ACK")
        ]

    @property
    def delays(self) -> list[float]:
        """For how many seconds each event was given back."""
        return [
            msgspec.json.decode(body.removeprefix(b"-NAK "))["delay"] / 1e9
            for _, body in self.published
            if body.startswith(b"-NAK ")
        ]

    async def publish(self, subject: str, body: bytes = b"", reply: str = "") -> None:
        if self.error is not None:
            raise self.error
        self.published.append((subject, body))

    async def request(
        self,
        subject: str,
        body: bytes,
        timeout: float = 0,  # noqa: ASYNC109  # nats-py's signature
        headers: dict[str, str] | None = None,
    ) -> Msg:
        self.requests.append((subject, body, headers or {}))
        return Msg(self.real, data=self.answer(subject, body))

    def new_inbox(self) -> str:
        return "_INBOX.1"

    async def subscribe(self, _subject: str, cb: Callable[[Msg], Awaitable[None]]) -> "FakeClient":
        self.deliver = cb
        return self

    async def drain(self) -> None:
        self.drained = True

    async def give(self, msg: Msg) -> None:
        """Deliver a message over the subscription."""
        assert self.deliver is not None
        await self.deliver(msg)


def event(
    client: FakeClient,
    body: bytes = b'{"user_id": "u"}',
    *,
    subject: str = SUBJECT,
    delivered: int = 1,
    sequence: int = 1,
    pending: int = 0,
    stored: float | None = None,
    headers: dict[str, str] | None = None,
) -> Msg:
    """An event as the stream S delivers it, for the `delivered`-th time; `stored` in Unix seconds."""
    at = int((time.time() if stored is None else stored) * 1e9)
    reply = f"$JS.ACK.S.oo-serving-signals.{delivered}.{sequence}.{sequence}.{at}.{pending}"
    return Msg(client.real, subject=subject, reply=reply, data=body, headers=headers)


class Observed:
    """What an observer is told."""

    def __init__(self) -> None:
        self.events: Counter[Happening] = Counter()
        self.waiting: list[int] = []
        self.counts = Counts("signals", self)

    def event(self, consumer: str, happening: Happening) -> None:
        assert consumer == "signals"
        self.events[happening] += 1

    def pending(self, consumer: str, events: int) -> None:
        assert consumer == "signals"
        self.waiting.append(events)
