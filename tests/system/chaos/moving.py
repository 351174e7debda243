"""An export under load, restored into an empty system and into one that is in use; then every reward is repeated.

The repeats have the keys of the first time. A reward must then be in the models once, wherever the export found its
user: a reward without its key in the file would count twice, and a key without its reward would be lost.
"""

import asyncio
import copy
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import redis

from app.commands.cli import run
from state import keys
from state.errors import ConflictError
from state.redis.connect import open_servers
from state.store import Store
from state.update.changes import Change, Fields, Hash, Once, Values
from state.values import record
from state.values.record import Meta, Record
from tests.support.redis_groups import redis_cluster
from tests.support.redis_servers import redis_server
from tests.support.waiting import PATIENCE_SECONDS, until
from tests.system.chaos.judge import SIZES, Holding, Ledger, Reward, Slot, Verdict, draw_reward, judge

__all__ = ["try_moving"]

_USERS: Final = tuple(f"user-{number}" for number in range(60))
Hold = Callable[[Any, Sequence[str]], Holding]
_FINGERPRINT: Final = b"0" * 32
_WRITERS: Final = 6


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


class _Writers:
    """Send rewards for `users` to the Redis at `url`, in a thread, from the beginning to the end of a `with`."""

    def __init__(self, url: str, users: Sequence[str], ledger: Ledger, name: str, seed: int) -> None:
        self._url, self._users, self._ledger, self._name, self._seed = url, users, ledger, name, seed
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
        """Wait until so many more rewards have been sent."""
        goal = self.sent + number
        until(lambda: self.sent >= goal, f"{number} more rewards of {self._name}")

    async def _run(self) -> None:
        store = _opened(self._url)
        await asyncio.gather(*(self._write(store, number) for number in range(_WRITERS)))
        await store.close()

    async def _write(self, store: Store, number: int) -> None:
        draw = random.Random(f"{self._seed}-{self._name}-{number}")
        while not self._stop.is_set():
            slot = Slot(draw.choice(self._users), draw.choice(list(SIZES)))
            reward = draw_reward(draw, slot, f"{self._name}-{number}-{self.sent}")
            self._ledger.rewards[reward.key] = reward
            await _send(store, reward)
            self._ledger.acknowledged.add(reward.key)
            self.sent += 1


@contextmanager
def _environment(url: str) -> Iterator[None]:
    names = {"REDIS_URL": url, "STORE_TIMEOUT_SECONDS": f"{PATIENCE_SECONDS:g}"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _moved(word: str, file: Path, url: str) -> int:
    """The exit code of `export` or `restore`."""
    with _environment(url):
        return run([word, str(file)])


async def _repeated(url: str, ledger: Ledger) -> None:
    """Send every reward of the ledger once more, with its key, in no order."""
    store = _opened(url)
    rewards = list(ledger.rewards.values())
    random.Random(1).shuffle(rewards)
    for at in range(0, len(rewards), 64):
        await asyncio.gather(*(_send(store, reward) for reward in rewards[at : at + 64]))
    await store.close()


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
    sent = Ledger()
    with _system(kind) as (url, client):
        with _Writers(url, _USERS, sent, "old", seed) as writers:
            writers.go_on(rewards)
            if _moved("export", file, url):
                raise AssertionError("the export failed")
            writers.go_on(rewards)
        yield "exported", judge(sent, hold(client, _USERS))
    for name, users in (("restored into nothing", ()), ("restored into a system in use", _USERS[::2])):
        ledger = copy.deepcopy(sent)
        with _system(kind) as (url, client):
            with _Writers(url, users, ledger, "new", seed) if users else nullcontext() as busy:
                if busy:
                    busy.go_on(rewards)
                if _moved("restore", file, url):
                    raise AssertionError("the restore failed")
            asyncio.run(_repeated(url, ledger))
            yield name, judge(ledger, hold(client, _USERS))
