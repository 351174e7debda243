"""A log that the use-cases wrote: of users for whom one policy is better by construction, and what is true of it."""

import asyncio
import random
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import structs

from app.bandit.context import Context
from app.decision_log.files import Files
from app.decision_log.lines import Line, Outcome, decode, encode, milliseconds, moment
from app.decisions.asked import Asked
from app.decisions.decide import Candidate
from app.decisions.make import Maker
from app.decisions.outcome import Outcomes
from app.decisions.told import Told
from app.ledger.rules import Rules
from app.policies.catalog import catalog
from state.redis.connect import open_servers
from state.store import Store
from tests.support.decisions import Clock, clock

__all__ = ["POLICIES", "SIGHTED", "World", "made", "moved", "written"]

# The champion sees what tells nothing; its shadow sees what a reward depends on.
POLICIES = """
[features]
noise = { of = "candidate", kind = "number", min = 0, max = 1 }
worth = { of = "candidate", kind = "number", min = 0, max = 1 }
[policies.blind]
columns = ["1", "noise"]
explore = { by = "epsilon", epsilon = 0.8 }
[policies.sighted]
columns = ["1", "worth"]
explore = { by = "epsilon", epsilon = 0.3 }
[policies.greedy]
columns = ["1", "worth"]
explore = { by = "epsilon", epsilon = 0.0 }
[policies.shared]
columns = ["1", "worth"]
explore = { by = "linucb", alpha = 0.1, floor = 0.2 }
prior = "population"
[loops.push]
champion = "blind"
shadows = ["sighted"]
window = "1h"
missing = 0.0
"""
SIGHTED = "sighted"
_USERS = 25
_TIMES = 24


class World(NamedTuple):
    """Lines in any order, and the mean reward that policies truly earn in the decisions that are matured."""

    lines: list[Line]
    truth: dict[str, float]


def _odds(worth: float) -> float:
    """The probability of a reward of 1; else it is -1."""
    return 0.05 + 0.9 * worth


@cache
def made(seed: int = 3) -> World:
    """The log of two days: every two hours a decision for each user, each with its reward. The last ones are open."""
    return asyncio.run(_made(random.Random(seed)))


async def _made(chance: random.Random) -> World:
    truth: dict[str, list[float]] = {}
    servers = open_servers("memory://", size=4, timeout=60.0)
    store = Store(servers, timeout=60.0, history_size=10, marker_seconds=60)
    try:
        with clock() as time:
            rules = Rules.of(store, catalog(POLICIES), 600_000, logs=True)
            maker, outcomes = Maker(rules, chance=chance), Outcomes(rules)
            for number in range(_TIMES):
                time.turn(seconds=7_200)
                worths = [[float(chance.random() < 1 / 3) for _ in "abc"] for _ in range(_USERS)]
                asked = [_asked(user, worth, chance) for user, worth in enumerate(worths)]
                # Together, for then they share transactions.
                decided = await asyncio.gather(*map(maker.make, asked))
                rewards = []
                for worth, one in zip(worths, decided, strict=True):
                    means = [2 * _odds(each) - 1 for each in worth]
                    rewards.append(1.0 if chance.random() < _odds(worth[one.record.chosen]) else -1.0)
                    for each in one.record.by_policy if number < _TIMES - 1 else []:
                        mean = sum(p * m for p, m in zip(each.propensities, means, strict=True))
                        truth.setdefault(each.policy, []).append(mean)
                told = zip(decided, rewards, strict=True)
                await asyncio.gather(*(outcomes.reward(one.id, Told(reward=reward)) for one, reward in told))
            return World(await _lines(store), {name: float(np.mean(means)) for name, means in truth.items()})
    finally:
        await store.close()


def _asked(user: int, worth: list[float], chance: random.Random) -> Asked:
    candidates = [
        Candidate(name, {"worth": each, "noise": chance.random()}) for name, each in zip("abc", worth, strict=True)
    ]
    return Asked(user_id=f"user-{user}", loop="push", context=Context(), candidates=candidates)


async def _lines(store: Store) -> list[Line]:
    """All lines that wait to be published, which then are gone."""
    found: list[Line] = []
    while page := [one async for page in store.outbox.left(10**15) for one in page]:
        found += [decode(one.line) for one in page]
        await store.outbox.remove(page)
    return found


def moved(lines: list[Line], newest: int) -> list[Line]:
    """The same lines at another time: the newest is then (ms since 1970)."""
    by = newest - max(milliseconds(line.ts) for line in lines)

    def then(ts: str) -> str:
        return moment(milliseconds(ts) + by)

    found: list[Line] = []
    for line in lines:
        more = {"decided": then(line.decided)} if isinstance(line, Outcome) and line.decided else {}
        found.append(structs.replace(line, ts=then(line.ts), **more))
    return found


def written(directory: Path, lines: list[Line]) -> Path:
    """A log of these lines in a directory."""
    files = Files(directory, clock=lambda: Clock.START / 1_000)
    files.append(map(encode, lines))
    files.close()
    return directory
