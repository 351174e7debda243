"""Loops over HTTP: who serves, and what decisions bring that nothing reads."""

from typing import Any

import pytest

from tests.unit.app.serving import serving

pytestmark = pytest.mark.anyio


def asked(**more: Any) -> dict[str, Any]:
    known = {"is_overdue": False, "task_age_days": 0, "priority": 4}
    profile = dict.fromkeys(("completion_rate_30d", "dismiss_rate_30d", "mean_dwell_ms_30d", "tip_volume_30d"), 0)
    return {
        "user_id": "ann",
        "context": {"hour_of_day": 9, "day_of_week": 0},
        "user": profile | {"preferred_hour": 9},
        "candidates": [{"id": "rent", "features": known}, {"id": "walk", "features": known}],
        **more,
    }


async def test_loops() -> None:
    """Who serves, who is scored beside, and the rules for rewards."""
    async with serving() as client:
        [loop] = (await client.get("/loops")).json()["loops"]
        alone = (await client.get("/loops/tips")).json()
    assert (loop["loop"], loop["champion"], loop["window_seconds"]) == ("tips", "egreedy-v1", 86_400)
    assert (loop["reward_min"], loop["reward_max"], loop["default_reward"], loop["late"]) == (
        -1.0,
        1.0,
        None,
        "correct",
    )
    assert {name: alone[name] for name in loop} == loop
    assert (alone["missing"], alone["unknown_features"], alone["decisions"]) == (0.0, "keep", 0)


async def test_no_such_loop() -> None:
    """The error names the loop, not all of a long name, and those that there are."""
    async with serving() as client:
        answer = await client.get("/loops/tisp")
        long = await client.get("/loops/" + "x" * 2_000)
    assert (answer.status_code, answer.json()["detail"]) == (404, "there is no loop 'tisp', there are tips")
    assert (long.status_code, len(long.json()["detail"]) < 200) == (404, True)


async def test_a_misspelt_field_is_seen() -> None:
    """By where it came and its name, once for a decision however many candidates have it; and the feature that lacked
    it is named with its field, in the metric too. What is missing, null, not finite or no number is all the same."""
    odd = [{"id": "a", "features": {"priorty": 4}}, {"id": "b", "features": {"priorty": 1, "priority": None}}]
    async with serving() as client:
        answers = [
            await client.post("/decisions", json=asked(id="x")),
            await client.post("/decisions", json=asked(id="x")),  # not another decision
            await client.post("/decisions", json=asked(candidates=odd)),
            await client.post("/decisions", json=asked(context={"hour": 9, "hour_of_day": "nine", "day_of_week": 0})),
        ]
        loop = (await client.get("/loops/tips")).json()
        text = (await client.get("/metrics")).text
        again = (await client.get("/metrics")).text
    assert [answer.status_code for answer in answers] == [200] * 4
    assert loop["decisions"] == 3
    assert loop["unknown_fields"] == [
        {"of": "candidate", "field": "priorty", "decisions": 1},
        {"of": "context", "field": "hour", "decisions": 1},
    ]
    lacked = {each["feature"]: (each["of"], each["field"], each["decisions"]) for each in loop["lacked_features"]}
    assert lacked["priority"] == ("candidate", "priority", 1)
    assert lacked["hour"] == ("context", "hour_of_day", 1)
    assert "weekday" not in lacked
    for scraped in (text, again):
        assert 'oo_features_unread_total{feature="priority",loop="tips"} 1.0' in scraped
