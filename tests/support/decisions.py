"""What tests of decisions share: a clock that they turn, services over one store, and a policy file with every loop."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from litestar import Litestar

import state.redis.servers
from app.ledger import transact
from app.ledger.ledger import Ledger
from app.ledger.rules import Rules
from app.main import create_app
from app.settings import Secret, Settings
from state.redis.connect import open_servers
from state.update.changes import MOMENT, Values
from tests.support.waiting import PATIENCE_SECONDS

__all__ = ["GRACE_SECONDS", "POLICIES", "WINDOW_SECONDS", "Clock", "Servers", "clock", "one_memory", "replica"]

GRACE_SECONDS = 600
WINDOW_SECONDS = 3_600
# Integers as features and rewards: sums are the same in any order, to the last bit.
POLICIES = """
[features]
size = { of = "candidate", kind = "number", min = 0, max = 1 }
side = { of = "candidate", kind = "number", min = 0, max = 1 }
mood = { of = "context", kind = "number", min = 0, max = 1 }

[policies.serves]
columns = ["1", "size", "side", "mood*size"]
explore = { by = "epsilon", epsilon = 0.5 }

[policies.watches]
columns = ["1", "size", "mood"]
explore = { by = "linucb", alpha = 1.0, floor = 0.2 }
reward_baseline = 1.0

[policies.fades]
columns = ["1", "side"]
explore = { by = "epsilon", epsilon = 0.2 }
forget = 0.5
"""
_LOOP = """
[loops.{name}]
champion = "serves"
shadows = ["watches", "fades"]
window = "1h"
reward = {{ min = -8, max = 8 }}
open_max = {open_max}
late = "{late}"
aggregation = "{aggregation}"
unknown_features = "{unknown}"
{more}
"""


def _loop(
    name: str,
    *,
    default: float | None = None,
    late: str = "correct",
    aggregation: str = "first",
    open_max: int = 64,
    unknown: str = "keep",
) -> str:
    more = "" if default is None else f"default_reward = {default}"
    return _LOOP.format(name=name, late=late, aggregation=aggregation, open_max=open_max, unknown=unknown, more=more)


POLICIES += (
    _loop("plain")
    + _loop("strict", late="discard", unknown="refuse")
    + _loop("books", default=-2.0)
    + _loop("books-strict", default=-2.0, late="discard")
    + _loop("sums", aggregation="sum")
    + _loop("sums-books", aggregation="sum", default=-2.0)
    + _loop("large", open_max=2_000)
    + _loop("large-books", open_max=2_000, default=-2.0)
    + _loop("small", open_max=2)
    + _loop("small-books", open_max=2, default=-2.0)
    + _loop("small-books-strict", open_max=2, default=-2.0, late="discard")
)


class Clock:
    """The clock of Redis as the service reads it, in milliseconds: it stands until a test turns it."""

    START = 1_800_000_000_000

    def __init__(self) -> None:
        self.now = self.START

    def reset(self) -> None:
        self.now = self.START

    def turn(self, *, seconds: float) -> None:
        self.now += round(seconds * 1_000)

    def shifted(self, values: Values) -> Values:
        """The values with the clock's moment in place of Redis's."""
        moment = [b"%d" % (self.now // 1_000), b"%d" % (self.now % 1_000 * 1_000)]
        return {**values, MOMENT: moment} if MOMENT in values else values


@contextmanager
def clock() -> Iterator[Clock]:
    """Every ledger within goes by this clock, whatever Redis says. All else about its values is as it was read."""
    found = Clock()

    class Turned(Ledger):
        def __init__(self, rules: Rules, user_id: str, values: Values, epoch: Callable[[], bytes]) -> None:
            super().__init__(rules, user_id, found.shifted(values), epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transact, "Ledger", Turned)
        yield found


class Servers:
    """Opens servers; memory:// is one store for all, as replicas share a Redis."""

    def __init__(self) -> None:
        self._memory: list[state.redis.servers.Servers] = []

    def open(self, url: str, *, size: int = 8, timeout: float = PATIENCE_SECONDS) -> "state.redis.servers.Servers":
        if url != "memory://":
            return open_servers(url, size=size, timeout=timeout)
        if not self._memory:
            self._memory.append(open_servers(url, size=size, timeout=timeout))
        return self._memory[0]


@contextmanager
def one_memory() -> Iterator[Servers]:
    """All services within that take memory:// share one embedded store."""
    found = Servers()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.main.open_servers", found.open)
        yield found


@asynccontextmanager
async def replica(
    url: str, directory: Path, policies: str = POLICIES, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a started service over `url`, with this policy file."""
    file = directory / f"policies-{abs(hash(policies))}.toml"
    file.write_text(policies)
    whole = {
        "redis_url": Secret(url),
        "policies": str(file),
        "decision_grace_seconds": GRACE_SECONDS,
        "store_timeout_seconds": PATIENCE_SECONDS,
        "litellm_master_key": Secret("sk-1"),
        **settings,
    }
    app: Any = create_app(Settings(**whole))
    inner = app
    while not isinstance(inner, Litestar):
        inner = inner._app
    transport = httpx.ASGITransport(cast("Any", app))
    async with inner.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        yield client
