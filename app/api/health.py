"""GET /health for people, /health/live for liveness probes, /health/ready for readiness probes."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
from litestar import HttpMethod, Response, route
from litestar.handlers import HTTPRouteHandler

from app.experiments.following import Following
from app.http.draining import Draining
from app.http.errors import RETRY_SECONDS
from app.messages.basics import ErrorAnswer, Ok
from app.messages.health import HealthAnswer, LogHealth, LoopsHealth, NatsHealth, StoreHealth
from state.errors import StoreUnavailable
from state.store import Store

__all__ = ["Health", "health_routes"]

_PING_SECONDS: Final = 0.5

# Some load balancers and uptime checks ask with HEAD.
_ASKED: Final = (HttpMethod.GET, HttpMethod.HEAD)
_AGAIN: Final = {"Retry-After": str(RETRY_SECONDS)}


class Health(NamedTuple):
    """What the health of a replica is made of.

    `nats` tells the state of the consumers, `log` that of the log, and `following` whether it is known who serves the
    loops.
    """

    store: Store
    draining: Draining
    following: Following
    nats: Callable[[], NatsHealth]
    log: Callable[[], LogHealth]
    version: str

    async def ask_store(self) -> tuple[StoreHealth, bool]:
        """Whether Redis takes writes, and how fast; and whether it can be read, at least."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await self.store.ping()
        except TimeoutError:
            return StoreHealth(ok=False, problem="Redis did not answer in time"), False
        except StoreUnavailable as error:
            return StoreHealth(ok=False, problem=str(error)), error.reads
        return StoreHealth(ok=True, milliseconds=round((time.perf_counter() - started) * 1000, 3)), True

    async def seen(self) -> HealthAnswer:
        """The health of all parts now."""
        store, _ = await self.ask_store()
        loops = LoopsHealth(self.following.problem is None, self.following.problem)
        detail = store.problem or msgspec.UNSET
        return HealthAnswer(store.ok, self.version, self.draining.begun, store, self.nats(), self.log(), loops, detail)


def health_routes(parts: Health) -> list[HTTPRouteHandler]:
    """The three routes."""

    @route("/health", http_method=_ASKED)
    async def health() -> Response[HealthAnswer]:
        answer = await parts.seen()
        return Response(answer) if answer.ok else Response(answer, status_code=503, headers=_AGAIN)

    @route("/health/live", http_method=_ASKED)
    async def live() -> Ok:
        return Ok()

    @route("/health/ready", http_method=_ASKED)
    async def ready() -> Response[Ok | ErrorAnswer]:
        if parts.draining.begun:
            return Response(ErrorAnswer("stopping"), status_code=503, headers=_AGAIN)
        # All replicas have this Redis: if it is full, another one could not write either, and reads go on here.
        store, reads = await parts.ask_store()
        if not reads:
            return Response(ErrorAnswer(store.problem or "Redis is not available"), status_code=503, headers=_AGAIN)
        problem = await _unknown(parts.following)
        return Response(ErrorAnswer(problem), status_code=503, headers=_AGAIN) if problem else Response(Ok())

    return [health, live, ready]


async def _unknown(following: Following) -> str | None:
    """Why this replica does not know who serves the loops; None once it did."""
    if not following.began:
        await following.refresh()
    return None if following.began else following.problem or "who serves the loops is not known yet"
