"""A log that the use-cases wrote: of users for whom one policy is better by construction, and what is true of it."""

import asyncio
import random
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from app.bandit.context import Context
from app.decision_log.files import Files
from app.decision_log.lines import Line, decode, encode
from app.decisions.asked import Asked, Told
from app.decisions.decide import Candidate
from app.decisions.make import Maker
from app.decisions.outcome import Outcomes
from app.ledger.rules import Rules
from app.policies.catalog import catalog
from state.redis.connect import open_servers
from state.store import Store
from tests.support.decisions import Clock, clock

__all__ = ["POLICIES", "SIGHTED", "World", "made", "written"]

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


class World(NamedTuple):
    """Lines in any order, and the mean reward that policies truly earn in the decisions that are matured."""

    lines: list[Line]
    truth: dict[str, float]


def _odds(worth: float) -> float:
    """The probability of a reward of 1; else it is -1."""
    return 0.05 + 0.9 * worth


@cache
def made(decisions: int = 550, seed: int = 3) -> World:
    """The log of so many decisions in two days, each with its reward but the last hour's."""
    return asyncio.run(_made(decisions, seed))


async def _made(decisions: int, seed: int) -> World:
    chance, found = random.Random(seed), catalog(POLICIES)
    truth: dict[str, list[float]] = {}
    with clock() as time:
        servers = open_servers("memory://", size=4, timeout=60.0)
        store = Store(servers, timeout=60.0, history_size=10, marker_seconds=60)
        try:
            rules = Rules.of(store, found, 600_000, logs=True)
            maker, outcomes = Maker(rules, chance=chance), Outcomes(rules)
            for _ in range(decisions):
                time.turn(seconds=48 * 3_600 / decisions)
                user, worth = f"user-{chance.randrange(_USERS)}", [chance.random() for _ in range(3)]
                candidates = [
                    Candidate(name, {"worth": each, "noise": chance.random()})
                    for name, each in zip("abc", worth, strict=True)
                ]
                asked = Asked(user_id=user, loop="push", context=Context(), candidates=candidates)
                whole = await maker.make(asked)
                if time.now < Clock.START + 47 * 3_600_000:
                    for each in whole.record.by_policy:
                        mean = sum(p * (2 * _odds(w) - 1) for p, w in zip(each.propensities, worth, strict=True))
                        truth.setdefault(each.policy, []).append(mean)
                reward = 1.0 if chance.random() < _odds(worth[whole.record.chosen]) else -1.0
                await outcomes.reward(whole.id, Told(reward=reward))
            lines = await _lines(store)
        finally:
            await store.close()
    return World(lines, {name: float(np.mean(means)) for name, means in truth.items()})


async def _lines(store: Store) -> list[Line]:
    """All lines that wait to be published, which then are gone."""
    found: list[Line] = []
    while page := [one async for page in store.outbox.left(10**15) for one in page]:
        found += [decode(one.line) for one in page]
        await store.outbox.remove(page)
    return found


def written(directory: Path, lines: list[Line]) -> Path:
    """A log of these lines in a directory."""
    files = Files(directory, clock=lambda: Clock.START / 1_000)
    files.append(map(encode, lines))
    files.close()
    return directory
