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
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import httpx
import redis

from tests.support.bodies import POLICIES
from tests.support.decisions import replica
from tests.support.redis_groups import redis_cluster
from tests.support.redis_servers import redis_server
from tests.support.waiting import PATIENCE_SECONDS, until
from tests.system.chaos.commands import command
from tests.system.chaos.deciding import Talk
from tests.system.chaos.judge import Verdict, judge
from tests.system.chaos.ledger import Holding, Ledger, Reward, Slot, draw_reward
from tests.system.chaos.log.judge import told
from tests.system.chaos.log.places import LogPlace, folder
from tests.system.chaos.loops import FILE
from tests.system.chaos.telling import Ask, Reply

__all__ = ["try_moving"]

_USERS: Final = tuple(f"user-{number}" for number in range(60))
Hold = Callable[[Any, Sequence[str]], Holding]
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


class _System(NamedTuple):
    """A Redis at `url` with a `client` of it, and the log of the services over it; files are below `directory`."""

    url: str
    client: Any
    directory: Path
    log: LogPlace

    def served(self) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        """A client of a service."""
        settings = {name.lower(): value for name, value in self.log.settings.items()}
        return replica(self.url, self.directory, FILE.read_text(), feature_history_size=10_000, **settings)

    def command(self, *words: str) -> None:
        if command(self.url, *words, **self.log.settings):
            raise AssertionError(f"{words[0]} failed")

    def judged(self, ledger: _Sent, held: Holding, restored: Collection[str] = ()) -> Verdict:
        """What Redis holds against what was sent, and the log, in which no decisions are that were `restored`."""
        verdict = judge(ledger, held)
        here = [made for name, made in ledger.decisions.items() if name not in restored]
        verdict.add(told(self.url, self.log, here, _USERS))
        return verdict


def _asked(reward: Reward) -> _Request:
    """The request that sends a reward with its idempotency key."""
    return _Request("POST", f"/reward{POLICIES[reward.slot.policy]}", reward.body, reward.key)


async def _answered(client: httpx.AsyncClient, sent: _Request) -> Reply:
    """The answer to a request, which is repeated while others are in its way."""
    headers = {} if sent.key is None else {"Idempotency-Key": sent.key}
    while True:
        answer = await client.request(sent.method, sent.path, json=sent.body, headers=headers)
        if answer.status_code != 503:
            return Reply(answer.status_code, answer.json(), "idempotent-replayed" in answer.headers)


class _Writers:
    """Send rewards and decisions for `users` to a service over the `system`, in a thread, as long as a `with` block
    runs."""

    def __init__(self, system: _System, users: Sequence[str], ledger: _Sent, name: str, *, seed: int) -> None:
        self._system, self._users, self._ledger, self._name, self._seed = system, users, ledger, name, seed
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
        async with self._system.served() as client:
            await asyncio.gather(*(self._write(client, number) for number in range(_WRITERS)))

    async def _write(self, client: httpx.AsyncClient, number: int) -> None:
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
                await _repeat(client, self._ledger, [_asked(reward)])
                self._ledger.acknowledged.add(name)
            self.sent += 1

    def _asking(self, client: httpx.AsyncClient, name: str) -> Ask:
        requests = self._ledger.requests.setdefault(name, [])

        async def ask(method: str, path: str, body: Any = None, key: str | None = None) -> Reply:
            requests.append(_Request(method, path, body, key))
            return await _answered(client, requests[-1])

        return ask


async def _repeat(client: httpx.AsyncClient, ledger: _Sent, requests: Sequence[_Request], *refused: int) -> None:
    """Send these requests, of which each must be answered 200 or be `refused`."""
    for request in requests:
        reply = await _answered(client, request)
        if reply.status not in (200, *refused):
            ledger.surprises[f"{reply.status} to {request.method} {request.path}"] += 1


async def _all_again(system: _System, ledger: _Sent) -> None:
    """Send every reward of the ledger once more, with its key, in no order; and all that was told of each decision.
    Then a new reward for each user, so that the log tells of each again, wherever it began."""
    draw = random.Random(1)
    rewards = list(ledger.rewards.values())
    draw.shuffle(rewards)
    last = [draw_reward(draw, Slot(user, draw.choice(list(POLICIES))), f"last-{user}") for user in _USERS]
    async with system.served() as client:
        for at in range(0, len(rewards), 64):
            sending = (_repeat(client, ledger, [_asked(reward)]) for reward in rewards[at : at + 64])
            await asyncio.gather(*sending)
        scripts = list(ledger.requests.values())
        for at in range(0, len(scripts), 16):
            # A change that was made already, or that others followed, is refused.
            await asyncio.gather(*(_repeat(client, ledger, script, 409, 422) for script in scripts[at : at + 16]))
        for reward in last:
            ledger.rewards[reward.key] = reward
            await _repeat(client, ledger, [_asked(reward)])
            ledger.acknowledged.add(reward.key)


@contextmanager
def _system(kind: str, directory: Path) -> Iterator[_System]:
    """An empty system."""
    lines = directory / "log"
    lines.mkdir(parents=True)
    log = folder(lines)
    if kind == "cluster":
        with redis_cluster("--cluster-node-timeout", "60000", masters=2) as group:
            client = redis.RedisCluster("127.0.0.1", group.masters[0].port)
            yield _System(group.url, client, directory, log)
    else:
        with redis_server() as server, server.client() as client:
            yield _System(server.url, client, directory, log)


def try_moving(kind: str, directory: Path, *, seed: int, rewards: int, hold: Hold) -> Iterator[tuple[str, Verdict]]:
    """What became of the rewards after an export during `rewards` of them, restored into an empty Redis and into one
    that has half of the users and goes on teaching them. `hold` reads what a Redis holds, and files are in `directory`.

    Each system has a log of its own. A restored user's begins anew, with the models that were in the export.
    """
    sent, file = _Sent(), directory / "backup"
    with _system(kind, directory / "old") as system:
        with _Writers(system, _USERS, sent, "old", seed=seed) as writers:
            writers.go_on(rewards)
            system.command("export", str(file))
            writers.go_on(rewards)
        yield "exported", system.judged(sent, hold(system.client, _USERS))
    for name, users in (("restored into nothing", ()), ("restored into a system in use", _USERS[::2])):
        ledger = copy.deepcopy(sent)
        with _system(kind, directory / name.replace(" ", "-")) as system:
            new = _Writers(system, users, ledger, "new", seed=seed) if users else None
            with new or nullcontext():
                if new:
                    new.go_on(rewards)
                system.command("restore", str(file))
            asyncio.run(_all_again(system, ledger))
            yield name, system.judged(ledger, hold(system.client, _USERS), restored=sent.decisions)
