"""What decisions are tried with: candidates, an embedded store, and an observer that notes what it gets."""

import random
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from app.bandit.policy import Policy
from app.decisions.decide import Candidate
from app.learning.models import Models
from app.learning.priors import Priors
from app.ledger.rules import Nobody, Rules
from app.policies.catalog import Catalog
from state.redis.connect import open_servers
from state.redis.exchange import exchange
from state.store import Store
from state.update.changes import Asking, Change, Read, Step, Values
from tests.unit.app.bandit.samples import moment, task

__all__ = ["CANDIDATES", "CONTEXT", "NOW", "Candidate", "Chance", "Noted", "Twice", "ask", "rules_of", "stored"]

NOW = 1_700_000_000
CONTEXT = moment(9, 2, {"completion_rate_30d": 0.4})


CANDIDATES = [Candidate(f"tip-{index}", task(priority=1 + index % 4)) for index in range(100)]


class Chance(random.Random):
    """Counts how often it is asked."""

    drawn = 0

    def getrandbits(self, k: int, /) -> int:
        self.drawn += 1
        return super().getrandbits(k)


class Noted(Nobody):
    """An observer."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.ends: list[tuple[str, str]] = []
        self.clocks: list[int] = []
        self.decisions: list[tuple[str, bool]] = []
        self.rewards: list[tuple[str, float, bool]] = []
        self.outcomes: list[tuple[str, str]] = []
        self.lacking: list[tuple[str, list[str]]] = []
        self.twice: list[str] = []

    def decided(self, policy: str, *, explored: bool) -> None:
        self.decisions.append((policy, explored))

    def entered(self, loop: str) -> None:
        self.entries.append(loop)

    def ended(self, loop: str, how: str) -> None:
        self.ends.append((loop, how))

    def clock(self, at: int) -> None:
        self.clocks.append(at)

    def lacked(self, loop: str, features: Iterable[str]) -> None:
        self.lacking.append((loop, sorted(features)))

    def taught_twice(self, policy: str) -> None:
        self.twice.append(policy)

    def became(self, loop: str, outcome: str) -> None:
        self.outcomes.append((loop, outcome))

    def rewarded(self, policy: str, reward: float, *, replayed: bool) -> None:
        self.rewards.append((policy, reward, replayed))


def rules_of(
    store: Store,
    policies: Mapping[str, Policy],
    noted: Noted | None = None,
    *,
    models: Models | None = None,
    priors: Priors | None = None,
) -> Rules:
    """Rules of policies without a loop."""
    plain = Rules.of(store, Catalog({}, policies, {}), 0, noted or Noted())
    return msgspec.structs.replace(plain, models=models or plain.models, priors=priors or plain.priors)


class Twice(Store):
    """Runs every step twice, as when another writer came first, and keeps both changes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.changes: list[tuple[Change[Any], Change[Any]]] = []
        self.begun = 0  # also those that asked for more values

    async def update(self, user_id: str, reads: tuple[Read, ...], step: Step[Any], **more: Any) -> Any:
        def once(values: Values) -> Asking[Change[Any]]:
            made = step(values)
            return made if isinstance(made, Change) else (yield from made)

        def twice(values: Values) -> Asking[Change[Any]]:
            self.begun += 1
            first = yield from once(values)
            second = yield from once(values)
            self.changes.append((first, second))
            return second

        return await super().update(user_id, reads, twice, **more)


@asynccontextmanager
async def stored() -> AsyncIterator[Twice]:
    """An embedded store."""
    store = Twice(open_servers("memory://", size=4, timeout=60.0), timeout=60.0, history_size=10, marker_seconds=60)
    try:
        yield store
    finally:
        await store.close()


async def ask(store: Store, *command: bytes | str | int) -> Any:
    """The reply to a command of another client."""
    async with store._servers.connection("") as connection:
        [reply] = await exchange(connection, [command])
    return reply
