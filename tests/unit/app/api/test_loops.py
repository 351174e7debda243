"""Loops over HTTP: who serves, and what decisions bring that nothing reads."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.experiments import health as healths
from app.experiments.verdict import encode
from app.http.api_keys import make_key
from app.settings import Secret
from state.store import Store
from tests.support.decisions import one_memory
from tests.unit.app.decisions.scene import ask
from tests.unit.app.experiments.scene import gate, healthy, verdict
from tests.unit.app.serving import serving

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def unchanged() -> AsyncIterator[httpx.AsyncClient]:
    """Of one service for all tests that change nothing."""
    async with serving() as client:
        yield client


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


async def test_loops(unchanged: httpx.AsyncClient) -> None:
    """Who serves, who is scored beside, and the rules for rewards."""
    [loop] = (await unchanged.get("/loops")).json()["loops"]
    alone = (await unchanged.get("/loops/tips")).json()
    assert (loop["loop"], loop["champion"], loop["window_seconds"]) == ("tips", "egreedy-v1", 86_400)
    assert (loop["reward_min"], loop["reward_max"], loop["default_reward"], loop["late"]) == (
        -1.0,
        1.0,
        None,
        "correct",
    )
    assert {name: alone[name] for name in loop} == loop
    assert (alone["missing"], alone["unknown_features"], alone["decisions"]) == (0.0, "keep", 0)


async def test_no_such_loop(unchanged: httpx.AsyncClient) -> None:
    """The error names the loop, not all of a long name, and those that there are."""
    answer = await unchanged.get("/loops/tisp")
    long = await unchanged.get("/loops/" + "x" * 2_000)
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


CANARY = {"canary": {"policy": "tips-v3", "share": 0.5}, "because": "  to try\nit "}


async def test_a_change_and_back() -> None:
    """The ETag is the state, which the next change names; both routes say who serves and what the file says."""
    async with serving() as client:
        first = await client.get("/loops/tips")
        assert first.headers["etag"] == '"0"'
        changed = await client.put("/loops/tips", json=CANARY, headers={"If-Match": first.headers["etag"]})
        assert (changed.status_code, changed.headers["etag"]) == (200, '"1"')
        loop = (await client.get("/loops")).json()["loops"][0]
        assert (loop["state"], loop["champion"], loop["canary"]) == (1, "egreedy-v1", CANARY["canary"])
        assert (loop["shadows"], loop["file"]["champion"]) == (["linucb-v1", "egreedy-v2"], "egreedy-v1")
        assert "tips-v3" in loop["file"]["shadows"]
        served = {(await client.post("/decisions", json=asked())).json()["policy"] for _ in range(40)}
        assert served == {"egreedy-v1", "tips-v3"}
        champion = await client.put(
            "/loops/tips", json={"champion": "tips-v3", "because": "x"}, headers={"If-Match": "1"}
        )
        assert champion.json()["shadows"] == ["egreedy-v1", "linucb-v1", "egreedy-v2"]
        back = await client.put("/loops/tips", json={"back": True}, headers={"If-Match": '"2"'})
        assert (back.json()["state"], back.json()["canary"]) == (3, CANARY["canary"])
        made = (await client.post("/decisions", json=asked(id="x"))).json()
        seen = (await client.get(f"/decisions/{made['decision_id']}")).json()
        assert (seen["state"], seen["arm"] in ("champion", "canary"), seen["canary"]) == (3, True, CANARY["canary"])
        assert 'oo_loop_state{loop="tips"} 3.0' in (await client.get("/metrics")).text
    changes = back.json()["changes"]
    assert [(each["state"], each["champion"], each["back"]) for each in changes] == [
        (3, "egreedy-v1", True),
        (2, "tips-v3", False),
        (1, "egreedy-v1", False),
    ]
    assert changes[2]["because"] == "to try it"


@pytest.mark.parametrize(
    ("state", "body", "status", "detail"),
    [
        (None, CANARY, 428, 'say the state that you saw: If-Match: "7"'),
        ("1", CANARY, 412, "the state of the loop is 0"),
        ("*", CANARY, 412, "takes the number of one state"),
        ('"0", "1"', CANARY, 412, "takes the number of one state"),
        ("0", {**CANARY, "because": " "}, 409, "there is no evidence of this loop"),
        ("0", {}, 422, "takes one of canary, champion and back"),
        ("0", {**CANARY, "champion": "tips-v3"}, 422, "takes one of canary, champion and back"),
        ("0", {"champion": "nobody", "because": "x"}, 422, "'nobody' is none"),
        ("0", {"canary": {"policy": "tips-v3", "share": 0.6}}, 422, "0.5"),
        ("0", {"canary": {"policy": "tips-v3", "share": 0}}, 422, "> 0"),
        ("0", {"back": True}, 422, "no stage before"),
        ("0", {"champion": "tips-v3", "because": "x" * 1_001}, 422, "1000"),
    ],
)
async def test_what_is_refused(
    unchanged: httpx.AsyncClient, state: str | None, body: dict[str, Any], status: int, detail: str
) -> None:
    """With the reason, and nothing is changed."""
    answer = await unchanged.put("/loops/tips", json=body, headers={} if state is None else {"If-Match": state})
    after = await unchanged.get("/loops/tips")
    assert (answer.status_code, detail in answer.json()["detail"]) == (status, True), answer.text
    assert "retry-after" not in answer.headers
    assert (after.headers["etag"], after.json()["changes"]) == ('"0"', [])


async def test_a_refusal_has_its_evidence() -> None:
    """As the loop shows it, too: bounds, what is needed, and when it was made."""
    with one_memory() as servers:
        store = Store(servers.open("memory://"), timeout=60.0, history_size=10, marker_seconds=60)
        [seconds, _] = await ask(store, "TIME")
        found = verdict(gate(-0.2, 0.3, needed=700), policy="tips-v3", champion="egreedy-v1", at=int(seconds))
        await store.loops.keep_evidence("tips", encode(found), lambda _: healths.encode(healthy()))
        async with serving() as client:
            answer = await client.put("/loops/tips", json={"champion": "tips-v3"}, headers={"If-Match": "0"})
            shown = (await client.get("/loops/tips")).json()["evidence"]
    assert (answer.status_code, answer.json()["state"]) == (409, 0)
    assert "about 700 more decisions may show it" in answer.json()["detail"]
    assert answer.json()["evidence"] == shown
    assert (shown["champion"], shown["matured"], sorted(shown["policies"])) == (
        "egreedy-v1",
        5_000,
        ["egreedy-v1", "tips-v3"],
    )
    bounds = shown["policies"]["tips-v3"]["gate"]
    assert (bounds["low"], bounds["high"], bounds["needed"], bounds["n"]) == (-0.2, 0.3, 700, 5_000)


async def test_who_changed_it() -> None:
    """The name of the API key; others may not."""
    keys = {role: make_key(f"{role}-1", role) for role in ("client", "reader", "admin")}
    lines = Secret("\n".join(line for _, line in keys.values()))
    async with serving(api_keys=lines) as client:
        for role, status in (("client", 403), ("reader", 403), ("admin", 200)):
            headers = {"If-Match": "0", "Authorization": f"Bearer {keys[role][0]}"}
            answer = await client.put("/loops/tips", json=CANARY, headers=headers)
            assert answer.status_code == status
    assert [each["who"] for each in answer.json()["changes"]] == ["admin-1"]
