"""A day of decisions and rewards, made within seconds: Redis seems to have the time of each."""

import heapq
import itertools
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from app.bandit.context import Context
from app.decision_log.places import Folder
from app.decision_log.publish import Publisher
from app.decisions.asked import Asked
from app.decisions.decide import Candidate
from app.decisions.make import Maker
from app.decisions.outcome import Outcomes, Told
from app.ledger.rules import Rules
from app.policies.catalog import catalog
from app.simulation.owners import Owners
from tests.support.decided import Shifted, shifted

__all__ = ["POLICIES", "USERS", "made_day"]

POLICIES: Final = Path(__file__).parent / "policies.toml"
USERS: Final = ("ada", *(f"user-{number}" for number in range(1, 24)), "zoë/1 from a rather long-named tenant")
_TASKS: Final = ("rent", "walk", "dentist", "report", "call-mum", "groceries", "backup", "plants")
_DAY: Final = 86_400.0
_SEED: Final = 7
_OF_A_USER: Final = 40
_MESSAGES: Final = 300
_BACKLOG: Final = 256 * 1024 * 1024
_GRACE_MS: Final = 3_600_000


class Step(msgspec.Struct, frozen=True, order=True):
    """What happens `ago` seconds before now: a decision, with the reward of each candidate and after how long it
    comes; None: it never does."""

    ago: float
    number: int
    asked: Asked
    rewards: list[float]
    delay: float | None


class _Unseen:
    """Nobody looks at the publishing of the day."""

    def published(self, lines: int) -> None: ...

    def lines_lost(self, lines: int) -> None: ...

    def backlog(self, used: int, most: int) -> None: ...


async def made_day(url: str, log: Path) -> dict[str, str]:
    """Decide and reward for a day that ends now, in the Redis at `url`, with its lines in `log`; the ids of the last
    decisions that are open and rewarded."""
    async with _shifted(url, log) as (store, rules):
        maker, outcomes = Maker(rules, chance=random.Random(_SEED)), Outcomes(rules)
        waiting: list[tuple[float, int, str, float]] = []
        last = {"open": "", "rewarded": ""}
        for step in sorted(itertools.chain(_tips(), _messages()), reverse=True):
            while waiting and -waiting[0][0] > step.ago:
                last["rewarded"] = await _reward(store, outcomes, heapq.heappop(waiting))
            store.ago = round(step.ago)
            made = await maker.make(step.asked)
            if step.delay is None and step.asked.loop == "tips":
                last["open"] = made.id
            if step.delay is not None and step.delay < step.ago:
                told = (step.delay - step.ago, step.number, made.id, step.rewards[made.record.chosen])
                heapq.heappush(waiting, told)
        while waiting:
            last["rewarded"] = await _reward(store, outcomes, heapq.heappop(waiting))
        return last


async def _reward(store: Shifted, outcomes: Outcomes, told: tuple[float, int, str, float]) -> str:
    before, _, decision, reward = told
    store.ago = round(-before)
    await outcomes.reward(decision, Told(reward=reward))
    return decision


@asynccontextmanager
async def _shifted(url: str, log: Path) -> AsyncIterator[tuple[Shifted, Rules]]:
    store = shifted(url)
    publisher = Publisher(store.outbox, Folder(log), _BACKLOG, _Unseen())
    store.tell_emitted(publisher.take)
    try:
        rules = Rules.of(store, catalog(POLICIES.read_text()), _GRACE_MS, logs=True)
        await rules.models.publish(0)
        yield store, rules
        await publisher.stop(60.0)
    finally:
        await store.close()


def _moment(chance: random.Random) -> float:
    """A moment of the day, in seconds before its end; few at its begin, most before its end."""
    return chance.uniform(0.0, _DAY) if chance.random() < 0.2 else chance.triangular(0.0, _DAY, _DAY / 4)


def _tips() -> Iterator[Step]:
    """Owners of tasks, each at the hours of a waking day."""
    chance = random.Random(_SEED)
    world = Owners(users=len(USERS), decisions=_OF_A_USER)
    number = 0
    for place, user in enumerate(USERS):
        for moment in world.moments(_SEED, place):
            number += 1
            fields = moment.candidates
            profile = {"completion_rate_30d": place / len(USERS), "tip_volume_30d": 4 * place, "preferred_hour": 9}
            yield Step(
                _moment(chance),
                number,
                Asked(
                    user_id=user,
                    loop="tips",
                    context=Context(moment.context.moment, profile),
                    candidates=[Candidate(name, each) for name, each in zip(_TASKS, fields, strict=True)],
                ),
                moment.rewards.tolist(),
                min(chance.expovariate(1 / 600), 3_500) if chance.random() < 0.8 else None,
            )


def _messages() -> Iterator[Step]:
    """Messages: a push is welcome in the rain, nothing at all costs nothing."""
    chance = random.Random(_SEED + 1)
    for number in range(_MESSAGES):
        hour, rainy = chance.randrange(24), chance.random() < 0.4
        candidates = [
            Candidate("push", {"channel": "push", "length_words": 12, "topics": ["sale", "shoes"]}),
            Candidate("mail", {"channel": "mail", "length_words": 140, "topics": ["news"]}),
            Candidate("nothing", {"channel": "nothing"}),
        ]
        welcome = [0.5 if rainy else -0.4, 0.3 if 7 <= hour < 10 else -0.1, 0.0]
        yield Step(
            _moment(chance),
            100_000 + number,
            Asked(
                user_id=chance.choice(USERS),
                loop="messages",
                context=Context({"hour_of_day": hour, "rainy": rainy}, {"hours_since_last_visit": 3}),
                candidates=candidates,
            ),
            [max(-1.0, min(1.0, mean + chance.gauss(0, 0.2))) for mean in welcome],
            chance.uniform(20, 1_500) if chance.random() < 0.7 else None,
        )
