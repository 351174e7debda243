"""For tests of what becomes of decisions: a loop whose silence means something, and decisions of the past."""

import random
from collections import ChainMap
from typing import Any

from app.bandit.context import Context
from app.decisions.asked import Asked
from app.decisions.decide import Candidate
from app.decisions.make import Made, Maker
from app.decisions.settle import Settler
from app.ledger.rules import Rules
from app.policies.catalog import catalog
from state.redis.connect import open_servers
from state.store import Store
from state.update.changes import MOMENT, Asking, Change, Read, Step, Values

__all__ = ["DEFAULT", "GRACE_MS", "LOOPS", "WINDOW_MS", "Shifted", "asked", "made", "rules", "settler", "shifted"]

LOOPS = """
[loops.quiet]
champion = "egreedy-v1"
shadows = ["linucb-v1", "tips-v3"]
window = "1h"
default_reward = -0.25
open_max = 1000

[loops.vast]
champion = "egreedy-v1"
shadows = ["linucb-v1", "tips-v3"]
window = "1h"
default_reward = -0.25
open_max = 5000

[loops.patient]
champion = "egreedy-v1"
window = "1h"
"""
DEFAULT = -0.25
WINDOW_MS = GRACE_MS = 3_600_000
_ROWS = catalog(LOOPS)


class Shifted(Store):
    """A store whose Redis seems to have another time: `ago` seconds less."""

    ago = 0

    async def update(self, user_id: str, reads: tuple[Read, ...], step: Step[Any], **more: Any) -> Any:
        def earlier(values: Values) -> Change[Any] | Asking[Change[Any]]:
            if MOMENT not in values:
                return step(values)
            seconds, micros = values[MOMENT]
            return step(ChainMap({MOMENT: (int(seconds) - self.ago, micros)}, values))  # type: ignore[arg-type]

        return await super().update(user_id, reads, earlier, **more)


def shifted(url: str, ago: int = 0, timeout: float = 60.0) -> Shifted:
    """A store of its own behind `url`, as another replica has one."""
    servers = open_servers(url, size=8, timeout=timeout)
    store = Shifted(servers, timeout=timeout, history_size=10, marker_seconds=60)
    store.ago = ago
    return store


def rules(store: Store) -> Rules:
    return Rules.of(store, _ROWS, GRACE_MS)


def settler(store: Store) -> Settler:
    return Settler(rules(store), store)


def asked(user: str, local: str, loop: str = "quiet") -> Asked:
    candidates = [Candidate("rent", {"priority": 4, "is_overdue": True}), Candidate("walk", {"priority": 1})]
    return Asked(user_id=user, loop=loop, context=Context({"hour_of_day": 9}, {}), candidates=candidates, local=local)


async def made(store: Store, user: str, *local: str, loop: str = "quiet") -> list[Made]:
    """Decisions, one after the other."""
    maker = Maker(rules(store), chance=random.Random(f"{user} {local}"))
    return [await maker.make(asked(user, one, loop)) for one in local]
