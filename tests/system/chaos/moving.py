"""An export under load, restored into an empty system and into one that is in use; then all that was sent is repeated.

The repeats have the keys and ids of the first time. A reward must then be in the models once, wherever the export found
its user: a reward without its key in the file would count twice, and a key without its reward would be lost. The same
holds for decisions and what was told of them, in their order: a correction names the outcome that it follows, so where
the export found a later one it changes nothing. They have one candidate each, so that one which is made anew chooses
the same, and windows that do not end meanwhile.
"""

import asyncio
import copy
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import httpx
import numpy as np
import redis

from state import keys
from state.errors import ConflictError
from state.redis.connect import open_servers
from state.store import Store
from state.update.changes import Change, Fields, Hash, Once, Values
from state.values import record
from state.values.record import Meta, Record
from tests.support.bodies import POLICIES
from tests.support.decisions import replica
from tests.support.redis_groups import redis_cluster
from tests.support.redis_servers import redis_server
from tests.support.waiting import PATIENCE_SECONDS, until
from tests.system.chaos.commands import command
from tests.system.chaos.deciding import Talk
from tests.system.chaos.judge import Verdict, judge
from tests.system.chaos.ledger import Holding, Ledger, Reward, Slot, draw_reward
from tests.system.chaos.loops import FILE, SIZES
from tests.system.chaos.telling import Ask, Reply

__all__ = ["try_moving"]

_USERS: Final = tuple(f"user-{number}" for number in range(60))
Hold = Callable[[Any, Sequence[str]], Holding]
_FINGERPRINT: Final = b"0" * 32
_WRITERS: Final = 6
_SHARE_OF_DECISIONS: Final = 0.1
_LOOPS: Final = ("patient", "mixed")


class _Request(NamedTuple):
    method: str
    path: str
    body: Any
    key: str | None


class _Sent(Ledger):
    """And the requests about each decision, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: dict[str, list[_Request]] = {}


async def _send(store: Store, reward: Reward) -> None:
    """Learn a reward as the service does, with its idempotency key."""
    d = SIZES[reward.slot.policy]
    key, x = keys.record(*reward.slot), np.array(reward.x)

    def step(values: Values) -> Change[None]:
        old = record.decode(key, d, values[key]) or Record(np.eye(d), np.zeros(d), Meta())
        meta = old.meta.rewarded(1_790_000_000, reward.value)
        learned = Record(old.a + np.outer(x, x), old.b + reward.value * x, meta)
        return Change(None, (Fields(key, record.encode(learned)),))

    once: Once[None] = Once(keys.marker(*reward.slot, reward.key), _FINGERPRINT, seen=None)
    while True:
        try:
            return await store.update(reward.slot.user, (Hash(key, record.FIELDS),), step, once=once)
        except ConflictError:
            await asyncio.sleep(0)


def _opened(url: str) -> Store:
    servers = open_servers(url, size=16, timeout=PATIENCE_SECONDS)
    return Store(servers, timeout=PATIENCE_SECONDS, history_size=100, marker_seconds=86_400)


async def _answered(client: httpx.AsyncClient, sent: _Request) -> Reply:
    """The answer to a request, which is repeated while others are in its way."""
    headers = {} if sent.key is None else {"Idempotency-Key": sent.key}
    while True:
        answer = await client.request(sent.method, sent.path, json=sent.body, headers=headers)
        if answer.status_code != 503:
            return Reply(answer.status_code, answer.json(), "idempotent-replayed" in answer.headers)


class _Writers:
    """Send rewards and decisions for `users` to the Redis at `url`, in a thread, as long as a `with` block runs."""

    def __init__(self, url: str, users: Sequence[str], ledger: _Sent, name: str, *, seed: int, directory: Path) -> None:
        self._url, self._users, self._ledger, self._name, self._seed = url, users, ledger, name, seed
        self._directory = directory
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name=name)
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def go_on(self, number: int) -> None:
        """Wait until so many more rewards or decisions have been sent."""
        goal = self.sent + number
        # However slow the machine, some ten a second.
        until(lambda: self.sent >= goal, f"{number} more of {self._name}", PATIENCE_SECONDS + number / 10)

    async def _run(self) -> None:
        store = _opened(self._url)
        async with _served(self._url, self._directory) as client:
            await asyncio.gather(*(self._write(store, client, number) for number in range(_WRITERS)))
        await store.close()

    async def _write(self, store: Store, client: httpx.AsyncClient, number: int) -> None:
        draw = random.Random(f"{self._seed}-{self._name}-{number}")
        while not self._stop.is_set():
            slot = Slot(draw.choice(self._users), draw.choice(list(POLICIES)))
            name = f"{self._name}-{number}-{self.sent}"
            if draw.random() < _SHARE_OF_DECISIONS:
                ask = self._asking(client, name)
                await Talk(draw, ask, self._ledger, user=slot.user, name=name, loops=_LOOPS, alone=True).begin()
            else:
                reward = draw_reward(draw, slot, name)
                self._ledger.rewards[name] = reward
                await _send(store, reward)
                self._ledger.acknowledged.add(name)
            self.sent += 1

    def _asking(self, client: httpx.AsyncClient, name: str) -> Ask:
        requests = self._ledger.requests.setdefault(name, [])

        async def ask(method: str, path: str, body: Any = None, key: str | None = None) -> Reply:
            requests.append(_Request(method, path, body, key))
            return await _answered(client, requests[-1])

        return ask


def _served(url: str, directory: Path) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    return replica(url, directory, FILE.read_text(), feature_history_size=10_000)


async def _repeated(url: str, ledger: _Sent, directory: Path) -> None:
    """Send every reward of the ledger once more, with its key, in no order; and all that was told of each decision."""
    store = _opened(url)
    rewards = list(ledger.rewards.values())
    random.Random(1).shuffle(rewards)
    for at in range(0, len(rewards), 64):
        await asyncio.gather(*(_send(store, reward) for reward in rewards[at : at + 64]))
    await store.close()

    async def repeat(requests: Sequence[_Request]) -> None:
        for request in requests:
            reply = await _answered(client, request)
            # A change that was made already, or that others followed, is refused.
            if reply.status not in (200, 409, 422):
                ledger.surprises[f"{reply.status} to a repeat"] += 1

    scripts = list(ledger.requests.values())
    async with _served(url, directory) as client:
        for at in range(0, len(scripts), 16):
            await asyncio.gather(*(repeat(requests) for requests in scripts[at : at + 16]))


@contextmanager
def _system(kind: str) -> Iterator[tuple[str, Any]]:
    """The URL of a Redis, and a client of it."""
    if kind == "cluster":
        with redis_cluster("--cluster-node-timeout", "60000", masters=2) as group:
            yield group.url, redis.RedisCluster("127.0.0.1", group.masters[0].port)
    else:
        with redis_server() as server, server.client() as client:
            yield server.url, client


def try_moving(kind: str, file: Path, *, seed: int, rewards: int, hold: Hold) -> Iterator[tuple[str, Verdict]]:
    """What became of the rewards after an export during `rewards` of them, restored into an empty Redis and into one
    that has half of the users and goes on teaching them. `hold` reads what a Redis holds."""
    sent = _Sent()
    with _system(kind) as (url, client):
        with _Writers(url, _USERS, sent, "old", seed=seed, directory=file.parent) as writers:
            writers.go_on(rewards)
            if command(url, "export", str(file)):
                raise AssertionError("the export failed")
            writers.go_on(rewards)
        yield "exported", judge(sent, hold(client, _USERS))
    for name, users in (("restored into nothing", ()), ("restored into a system in use", _USERS[::2])):
        ledger = copy.deepcopy(sent)
        with _system(kind) as (url, client):
            new = _Writers(url, users, ledger, "new", seed=seed, directory=file.parent) if users else None
            with new or nullcontext():
                if new:
                    new.go_on(rewards)
                if command(url, "restore", str(file)):
                    raise AssertionError("the restore failed")
            asyncio.run(_repeated(url, ledger, file.parent))
            yield name, judge(ledger, hold(client, _USERS))
