"""The use-cases are made of one store, one set of rules and one view of the loops."""

import random

import pytest

from app.bandit.context import Context
from app.cases import made_cases
from app.catalog_file import read_catalog
from app.decisions.asked import Asked
from app.decisions.decide import Candidate
from app.decisions.told import Told
from app.observe.metrics import Metrics
from app.serving import Serving
from app.settings import Settings
from state.redis.connect import open_servers
from state.store import Store

pytestmark = pytest.mark.anyio


async def test_they_share_their_state() -> None:
    """What one use-case makes, another finds."""
    settings = Settings()
    store = Store(open_servers("memory://", size=1, timeout=1.0), timeout=1.0, history_size=1, marker_seconds=1)
    rows = Serving(lambda: read_catalog(settings))
    metrics = Metrics("1", tuple(rows), {})
    cases = made_cases(settings, store, rows, metrics, clock=lambda: 0.0, chance=random.Random(1))
    assert not cases.rules.logs
    candidates = [Candidate("rent", {}), Candidate("walk", {})]
    asked = Asked(
        user_id="ann",
        loop="tips",
        context=Context({}, {}),
        candidates=candidates,
        excluded=[],
        deferred=False,
        local=None,
    )
    made = await cases.maker.make(asked)
    assert (await cases.outcomes.reward(made.id, Told(reward=1.0))).what == "applied"
    assert await cases.users.open("ann") == []
    await store.close()
