"""The first API: score, reward, statistics, history, reset, erasure."""

from collections.abc import AsyncIterator

import httpx
import pytest

from app.policies.catalog import policies
from tests.unit.app.serving import REWARD, SCORE, serving

pytestmark = pytest.mark.anyio

ROUTES = [policy.classic.route for policy in policies().values()]


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Of one service for all tests that touch no user of another one."""
    async with serving() as found:
        yield found


@pytest.mark.parametrize("route", ROUTES)
async def test_a_decision_and_its_reward(route: str) -> None:
    """Each policy has its own routes, and learns for itself."""
    async with serving(epsilon=0.0) as client:
        decided = (await client.post(f"/score{route}", json=SCORE)).json()
        [policy] = [policy for policy in policies().values() if policy.classic.route == route]
        assert (decided["tip_id"], decided["policy"]) == ("a", policy.id)
        assert (await client.post(f"/reward{route}", json=REWARD)).json() == {"ok": True}
        seen = (await client.get(f"/stats{route}/ann")).json()
        assert (seen["pulls"], seen["reward_count"], seen["last_updated"]) == (1, 1, "2026-11-23T12:47:24Z")
        assert len(seen["theta"]) == policy.d
        assert ("feature_labels" in seen) == policy.classic.tells_exploration
        for other in ROUTES:
            counted = (await client.get(f"/stats{other}/ann")).json()["reward_count"]
            assert counted == (1 if other == route else 0)


async def test_a_key_counts_a_reward_once() -> None:
    """The same reward again is not learned, in whatever order its fields come; another one with its key is refused."""
    key = {"Idempotency-Key": "k-1"}
    async with serving() as client:
        told = REWARD | {"profile_features": {"completion_rate_30d": 1, "tip_volume_30d": 2}}
        first = await client.post("/reward", json=told, headers=key)
        profile = {"tip_volume_30d": 2, "completion_rate_30d": 1}
        other_order = {"profile_features": profile} | dict(reversed(REWARD.items()))
        again = await client.post("/reward", json=other_order, headers=key)
        assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
        changes: list[dict[str, object]] = [{"reward": 0.5}, {"tip_id": "b"}, {"features": {}}, {"day_of_week": 1}]
        for change in changes:
            assert (await client.post("/reward", json=told | change, headers=key)).status_code == 422
        assert (await client.get("/stats/ann")).json()["reward_count"] == 1


@pytest.mark.parametrize("keys", [["two words"], [""], ["x" * 129], ["a", "a"], ["\xfc"]])
async def test_another_key_is_refused(client: httpx.AsyncClient, keys: list[str]) -> None:
    """It must be visible ASCII of at most 128 characters, and there must be one."""
    headers = [("Idempotency-Key", key.encode("latin-1")) for key in keys]
    answer = await client.post("/reward", json=REWARD, headers=headers)  # type: ignore[arg-type]  # bytes are taken
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]
    assert (await client.get("/stats/ann")).json()["reward_count"] == 0


@pytest.mark.parametrize("user", ["egreedy", "v2", "a/b", "ü", "%", "a b"])
async def test_any_user_has_statistics(client: httpx.AsyncClient, user: str) -> None:
    """Also one who is called like a part of a path, or whose id has a slash."""
    await client.post("/reward", json=REWARD | {"user_id": user})
    quoted = "".join(f"%{byte:02X}" for byte in user.encode())
    for path in {quoted, user} if user.isalnum() and user.isascii() else {quoted}:
        seen = (await client.get(f"/stats/{path}")).json()
        assert (seen["user_id"], seen["reward_count"]) == (user, 1)


@pytest.mark.parametrize("quoted", ["%FF", "a" * 257])
async def test_an_invalid_user_is_refused(client: httpx.AsyncClient, quoted: str) -> None:
    """An id is 1 to 256 characters of UTF-8."""
    for method, path in (("GET", "stats"), ("GET", "features"), ("POST", "reset"), ("DELETE", "users")):
        assert (await client.request(method, f"/{path}/{quoted}")).status_code == 422


async def test_history_reset_and_erasure() -> None:
    """History is oldest first; reset forgets models and history; erasure lists the removed keys."""
    async with serving(epsilon=0.0) as client:
        for route in ROUTES:
            await client.post(f"/score{route}", json=SCORE)
        entries = (await client.get("/features/ann")).json()["history"]
        assert [entry.get("policy") for entry in entries] == [None, "egreedy-v1", "egreedy-v2"]
        assert ["exploring" in entry["features"] for entry in entries] == [False, True, True]
        await client.post("/reset/ann")
        assert (await client.get("/features/ann")).json()["history"] == []
        await client.post("/score", json=SCORE)
        assert "oo:{ann}:history" in (await client.delete("/users/ann")).json()["removed"]
        assert (await client.delete("/users/ann")).json()["removed"] == []


async def test_a_score_needs_candidates(client: httpx.AsyncClient) -> None:
    """And the user keeps no trace of a refused one."""
    answer = await client.post("/score", json=SCORE | {"candidates": []})
    assert (answer.status_code, answer.json()) == (422, {"detail": "No candidates"})
    assert (await client.delete("/users/ann")).json()["removed"] == []
