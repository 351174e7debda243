"""What probes and people are told."""

import asyncio
from typing import Any

import httpx
import pytest
from litestar import Litestar

from app.api.health import Health, health_routes
from app.http.draining import Draining
from app.http.errors import answer_to
from app.messages.health import LogHealth, NatsHealth
from state.errors import StoreUnavailable
from tests.unit.app.experiments.scene import Followed

pytestmark = pytest.mark.anyio


class Store:
    """Answers, fails or hangs."""

    def __init__(self) -> None:
        self.fails = self.hangs = self.full = False

    async def ping(self) -> None:
        if self.fails:
            raise StoreUnavailable("Redis cannot be reached")
        if self.full:
            raise StoreUnavailable("Redis refuses: OutOfMemoryError", reads=True)
        if self.hangs:
            await asyncio.Event().wait()


def made(followed: Followed | None = None) -> tuple[httpx.AsyncClient, Store, Draining]:
    store: Any = Store()
    draining = Draining(0, 1)
    following: Any = followed or Followed()
    nats, log = NatsHealth(enabled=False, consumers={}), LogHealth(enabled=False)
    routes = health_routes(Health(store, draining, following, lambda: nats, lambda: log, "1.2"))
    app: Any = Litestar(list(routes), openapi_config=None, exception_handlers={Exception: answer_to})
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here"), store, draining


async def test_all_is_well() -> None:
    """All three say so, to HEAD too."""
    client, _, _ = made()
    body = (await client.get("/health")).json()
    assert body["store"].pop("milliseconds") >= 0
    assert body == {
        "ok": True,
        "version": "1.2",
        "draining": False,
        "store": {"ok": True, "problem": None},
        "nats": {"enabled": False, "consumers": {}},
        "log": {"enabled": False, "problem": None, "waiting_lines": 0, "oldest_seconds": 0.0},
        "loops": {"ok": True, "problem": None},
    }
    for path in ("/health/live", "/health/ready"):
        assert (await client.get(path)).json() == {"ok": True}
    for path in ("/health", "/health/live", "/health/ready"):
        assert (await client.head(path)).status_code == 200


@pytest.mark.parametrize(
    ("trouble", "problem"), [("fails", "Redis cannot be reached"), ("hangs", "Redis did not answer in time")]
)
async def test_without_redis_it_is_alive_and_not_ready(
    trouble: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart would not help, but no requests should come."""
    monkeypatch.setattr("app.api.health._PING_SECONDS", 0.01)
    client, store, _ = made()
    setattr(store, trouble, True)
    assert (await client.get("/health/live")).status_code == 200
    ready, health = await client.get("/health/ready"), await client.get("/health")
    assert (ready.status_code, ready.json(), ready.headers["retry-after"]) == (503, {"detail": problem}, "1")
    assert (health.status_code, health.json()["ok"], health.json()["detail"]) == (503, False, problem)


async def test_a_full_redis_can_be_read() -> None:
    """No other replica could write either, so reads may come; people are told."""
    client, store, _ = made()
    store.full = True
    assert (await client.get("/health/ready")).status_code == 200
    health = await client.get("/health")
    assert (health.status_code, health.json()["ok"]) == (503, False)
    assert health.json()["detail"] == health.json()["store"]["problem"] == "Redis refuses: OutOfMemoryError"


async def test_who_serves_must_be_known_once() -> None:
    """A probe asks, and until Redis has said it no requests come. Later trouble is told, and ends nothing."""
    followed = Followed(problems=["cannot be read", None, "cannot be read"])
    client, _, _ = made(followed)
    first = await client.get("/health/ready")
    assert (first.status_code, first.json()) == (503, {"detail": "cannot be read"})
    assert (await client.get("/health/ready")).status_code == 200
    await followed.refresh()
    assert (await client.get("/health/ready")).status_code == 200
    health = await client.get("/health")
    assert (health.status_code, health.json()["ok"]) == (200, True)
    assert health.json()["loops"] == {"ok": False, "problem": "cannot be read"}


async def test_a_stop_is_not_ready_and_healthy() -> None:
    """Load balancers look elsewhere, and the liveness probe restarts nothing."""
    client, _, draining = made()
    draining.begin()
    assert (await client.get("/health/ready")).status_code == 503
    assert (await client.get("/health/live")).status_code == 200
    assert (await client.get("/health")).json()["draining"] is True
