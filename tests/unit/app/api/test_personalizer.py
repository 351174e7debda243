"""Rank, reward and activate over HTTP."""

import asyncio

import pytest

from tests.unit.app.api.test_azure import facade

pytestmark = pytest.mark.anyio
ACTIONS = [{"id": "a", "features": [{"kind": "news"}]}, {"id": "b", "features": [{"kind": "sport"}]}]


async def test_a_rank_that_a_library_repeats() -> None:
    """Is answered with the same event, which is one decision."""
    async with facade() as client:
        marked = {"x-ms-client-request-id": "fddc75a8-eb55-11f1-936b-02fc00000001"}
        sent = [client.post("/personalizer/rank", json={"actions": ACTIONS}, headers=marked) for _ in range(4)]
        answers = await asyncio.gather(*sent)
        text = (await client.get("/metrics")).text
    assert len({answer.text for answer in answers}) == 1
    assert sorted("idempotent-replayed" in answer.headers for answer in answers) == [False, True, True, True]
    assert 'oo_loop_decisions_total{loop="personalizer"} 1.0' in text


async def test_a_user_of_ones_own() -> None:
    """The header names whose models decide; a reward without it is for another event."""
    async with facade() as client:
        ann = {"x-oo-user": "ann"}
        await client.post("/personalizer/rank", json={"actions": ACTIONS, "eventId": "e"}, headers=ann)
        other = await client.post("/personalizer/events/e/reward", json={"value": 1})
        own = await client.post("/personalizer/events/e/reward", json={"value": 1}, headers=ann)
        policies = (await client.get("/users/ann")).json()["policies"]
        odd = await client.post("/personalizer/events/e/reward", json={"value": 1}, headers={"x-oo-user": "x" * 257})
    assert [each.headers["x-oo-outcome"] for each in (other, own)] == ["unknown", "applied"]
    assert policies["personalizer-v1"]["reward_count"] == 1
    assert (odd.status_code, odd.json()["error"]["code"]) == (400, "InvalidRewardRequest")


@pytest.mark.slow
async def test_a_better_action_is_learned() -> None:
    """Which one depends on the context: after 300 events its probability is above .8 in each of them."""
    async with facade() as client:

        async def event(day: str, n: int) -> dict[str, float]:
            sent = {"actions": ACTIONS, "contextFeatures": [{"day": day}], "eventId": f"{day} {n}"}
            answer = (await client.post("/personalizer/rank", json=sent)).json()
            value = float((answer["rewardActionId"] == "a") == (day == "monday"))
            await client.post(f"/personalizer/events/{day} {n}/reward", json={"value": value})
            return {each["id"]: each["probability"] for each in answer["ranking"]}

        for n in range(150):
            monday, sunday = await event("monday", n), await event("sunday", n)
    assert monday["a"] > 0.8 < sunday["b"]


async def test_two_rewards_of_one_slot() -> None:
    """Are refused: neither is the right one."""
    async with facade() as client:
        rewards = [{"slotId": "top", "value": value} for value in (1, 0.5)]
        answer = await client.post("/personalizer/multislot/events/e/reward", json={"reward": rewards})
    error = {"code": "InvalidRewardRequest", "message": "reward: two are of the same slot"}
    assert (answer.status_code, answer.json()) == (400, {"error": error})
