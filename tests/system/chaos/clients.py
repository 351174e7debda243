"""Clients that send rewards, scores and decisions, and do not give up on what has an id until it is acknowledged."""

import asyncio
import collections
import json
import random
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from tests.support.bodies import POLICIES
from tests.system.chaos.deciding import Talk
from tests.system.chaos.ledger import Ledger, Slot, draw_reward
from tests.system.chaos.telling import Ask, Reply

__all__ = ["USERS", "Clients"]

# Few, so that processes are in each other's way.
USERS: Final = tuple(f"user-{number}" for number in range(6))
_PATIENCE: Final = 3.0
_SHARE_OF_SCORES: Final = 0.15
# Each is several requests.
_SHARE_OF_DECISIONS: Final = 0.25
# How long after a deadline by this clock it is past for sure.
_MARGIN: Final = 0.1
_SHARE_OF_IMPATIENT: Final = 0.03
# From the service itself and from the load balancer before it.
_TRY_AGAIN: Final = frozenset({502, 503, 504})


class _Answer(NamedTuple):
    status: int
    head: bytes
    body: bytes


class Clients:
    """`count` clients of one load balancer, each with at most one request under way, in a thread of their own.

    `stop` ends the sending; `drained` waits until what was sent before is acknowledged.
    """

    def __init__(self, port: int, *, seed: int, count: int = 12) -> None:
        self.ledger = Ledger()
        self.attempts = 0
        self.replayed = 0
        self.slowest = 0.0
        self._port = port
        self._seed = seed
        self._count = count
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clients", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._sending: asyncio.Future[list[None]] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.drained(0)

    def stop(self) -> None:
        """Send nothing new."""
        self._stop.set()

    def drained(self, seconds: float) -> None:
        """Wait until all is acknowledged, and no longer than `seconds`; what is not by then never will be."""
        self.stop()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(lambda: self._sending and self._sending.cancel())
            self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner, suppress(asyncio.CancelledError):
            runner.run(self._send())

    async def _send(self) -> None:
        self._sending = sending = asyncio.gather(*(self._client(number) for number in range(self._count)))
        await sending

    async def _client(self, number: int) -> None:
        draw = random.Random(f"{self._seed}-{number}")
        serial = 0
        late: collections.deque[tuple[float, Talk]] = collections.deque()
        while not self._stop.is_set():
            serial += 1
            name = f"{number}-{serial}"
            slot = Slot(draw.choice(USERS), draw.choice(list(POLICIES)))
            kind = draw.random()
            if kind < _SHARE_OF_SCORES:
                await self._score(draw, slot, name)
            elif kind < _SHARE_OF_SCORES + _SHARE_OF_DECISIONS:
                talk = Talk(draw, self._asking(draw), self.ledger, user=slot.user, name=name)
                await talk.begin()
                if talk.later is not None:
                    late.append((time.monotonic() + talk.later + _MARGIN, talk))
            else:
                await self._reward(draw, slot, name)
            while late and late[0][0] < time.monotonic():
                await late.popleft()[1].end()
        for moment, talk in late:
            await asyncio.sleep(moment - time.monotonic())
            await talk.end()

    def _asking(self, draw: random.Random) -> Ask:
        async def ask(method: str, path: str, body: Any = None, key: str | None = None) -> Reply:
            """Send a request until it is answered."""
            first = time.monotonic()
            answer = await self._send_once(draw, method, path, body, key)
            while answer is None or answer.status in _TRY_AGAIN:
                await asyncio.sleep(draw.uniform(0.02, 0.3))
                answer = await self._send_once(draw, method, path, body, key)
            self.slowest = max(self.slowest, time.monotonic() - first)
            return Reply(answer.status, json.loads(answer.body), b"idempotent-replayed: true" in answer.head.lower())

        return ask

    async def _reward(self, draw: random.Random, slot: Slot, name: str) -> None:
        """Send a reward until it is acknowledged."""
        reward = draw_reward(draw, slot, name)
        self.ledger.rewards[name] = reward
        first = time.monotonic()
        while True:
            answer = await self._send_once(draw, "POST", f"/reward{POLICIES[slot.policy]}", reward.body, name)
            if answer is not None and answer.status == 200:
                break
            await self._before_next_try(draw, answer)
        self.ledger.acknowledged.add(name)
        self.replayed += b"idempotent-replayed: true" in answer.head.lower()
        self.slowest = max(self.slowest, time.monotonic() - first)

    async def _score(self, draw: random.Random, slot: Slot, name: str) -> None:
        """Ask until there is an answer, each time for a candidate of its own."""
        attempt = 0
        while not self._stop.is_set():
            attempt += 1
            tip = f"tip-{name}-{attempt}"
            candidate = {"id": tip, "content": tip, "source": "chaos", "features": {"priority": draw.randint(1, 4)}}
            self.ledger.scores[tip] = slot
            body = {"user_id": slot.user, "candidates": [candidate]}
            answer = await self._send_once(draw, "POST", f"/score{POLICIES[slot.policy]}", body)
            if answer is not None and answer.status == 200:
                if json.loads(answer.body)["tip_id"] != tip:
                    self.ledger.surprises["with another candidate"] += 1
                self.ledger.answered.add(tip)
                return
            await self._before_next_try(draw, answer)

    async def _before_next_try(self, draw: random.Random, answer: _Answer | None) -> None:
        if answer is not None and answer.status not in _TRY_AGAIN:
            self.ledger.surprises[f"{answer.status} {answer.body.decode(errors='replace')[:120]}"] += 1
        await asyncio.sleep(draw.uniform(0.02, 0.3))

    async def _send_once(
        self, draw: random.Random, method: str, path: str, body: Any, key: str | None = None
    ) -> _Answer | None:
        """The answer to one attempt; None if the connection broke or patience ended, which it soon does at times."""
        self.attempts += 1
        patience = draw.uniform(0.001, 0.02) if draw.random() < _SHARE_OF_IMPATIENT else _PATIENCE
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: chaos\r\nconnection: close\r\ncontent-length: {len(content)}\r\n"
        if key is not None:
            head += f"idempotency-key: {key}\r\n"
        writer = None
        try:
            async with asyncio.timeout(patience):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(f"{head}\r\n".encode() + content)
                return _parse(await reader.read())
        except (OSError, TimeoutError):
            return None
        finally:
            if writer is not None:
                writer.transport.abort()


def _parse(raw: bytes) -> _Answer | None:
    """A whole answer, or None if it was cut short: then it may say anything."""
    head, found, body = raw.partition(b"\r\n\r\n")
    if not found:
        return None
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    if lengths and len(body) != int(lengths[0]):
        return None
    return _Answer(int(head.split()[1]), head, body)
