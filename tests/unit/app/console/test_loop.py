"""The page of a loop, and its forms."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.experiments import health as healths
from app.experiments.verdict import encode
from app.http.api_keys import make_key
from app.messages.pipeline import HealthColumn, HealthFeature
from app.settings import Secret
from state.store import Store
from tests.support.decisions import one_memory
from tests.unit.app.console.scene import busy
from tests.unit.app.decisions.scene import ask
from tests.unit.app.experiments.scene import gate, verdict
from tests.unit.app.serving import serving

pytestmark = pytest.mark.anyio

PAGE = "/console/loops/tips"
OWN = {"Origin": "http://here"}
CANARY = {"step": "canary", "policy": "tips-v3", "share": "0.05", "state": "0"}


@pytest.fixture(autouse=True)
def store() -> Iterator[Store]:
    """What services of a test have in common."""
    with one_memory() as servers:
        yield Store(servers.open("memory://"), timeout=60.0, history_size=10, marker_seconds=60)


async def judge(store: Store, low: float, high: float) -> None:
    [seconds, _] = await ask(store, "TIME")
    found = verdict(gate(low, high, needed=700), policy="tips-v3", champion="egreedy-v1", at=int(seconds))
    moved = busy(columns=[HealthColumn("age", 0.1, 0.5, None)], features=[HealthFeature("priority", 0.0, 0.25)])
    await store.loops.keep_evidence("tips", encode(found), lambda _: healths.encode(moved))


async def post(client: httpx.AsyncClient, form: dict[str, str], headers: dict[str, str] = {}) -> Any:  # noqa: B006  # read only
    return await client.post(PAGE, data=form, headers={**OWN, **headers})


async def test_before_judge_ran() -> None:
    """Who serves; that there is no evidence; and that nobody changed it."""
    async with serving() as client:
        page = (await client.get(PAGE)).text
    assert "state 0: the policy file decides" in page
    assert "No evidence yet" in page
    assert page.count("there is no evidence of this loop") == 9  # three rungs of three challengers
    assert "Nobody yet" in page
    assert "<svg" not in page


async def test_what_is_known(store: Store) -> None:
    """Evidence, the gate, how it became so, joins, delays, and what decisions bring; all of it below 200 kB."""
    await judge(store, -0.1, 0.2)
    odd = [{"id": "a", "features": {"<priorty>": 4}}]
    async with serving() as client:
        assert (await client.post("/decisions", json={"user_id": "ann", "candidates": odd})).status_code == 200
        answer = await client.get(PAGE)
    page = answer.text
    for part in ("of 40 users", "\N{MINUS SIGN}0.100 to +0.200", "700", "The gate over time", "How long rewards took"):
        assert part in page, part
    assert "&lt;priorty&gt;" in page
    assert "<priorty>" not in page
    assert len(answer.content) < 200_000
    # Every id that a section is labelled by is there, once.
    labels = re.findall(r'aria-labelledby="([^"]+)"', page)
    assert sorted(labels) == sorted(set(re.findall(r' id="([^"]+)"', page)) & set(labels))


async def test_up_and_back(store: Store) -> None:
    """A step that the evidence allows needs no reason; then the page says so, and who did it; and the way back."""
    await judge(store, -0.1, 0.2)
    async with serving() as client:
        done = await post(client, CANARY)
        assert (done.status_code, done.headers["location"]) == (303, "../../console/loops/tips?done=1")
        page = (await client.get(PAGE, params={"done": "1"})).text
        assert "The loop is in state 1" in page
        assert "anybody: there are no keys" in page
        assert "End the canary" in page
        assert (await client.get("/loops/tips")).json()["canary"] == {"policy": "tips-v3", "share": 0.05}
        assert (await post(client, {"step": "back", "state": "1"})).status_code == 303
        assert (await client.get("/loops/tips")).json()["canary"] is None
        assert "The loop is in state" not in (await client.get(PAGE, params={"done": "1"})).text


REFUSED: list[tuple[dict[str, str], int, str]] = [
    ({}, 409, "With a reason it is done all the same"),
    ({"state": "7"}, 412, "somebody has changed the loop, whose state is 0 now"),
    ({"share": "0.7"}, 422, "share: takes"),
    ({"policy": "<b>"}, 422, "takes a policy of the loop"),
    ({"step": "back"}, 422, "there is no stage before this one"),
]


async def test_nothing_is_changed() -> None:
    """The page says why, and shows the form as it was sent."""
    async with serving() as client:
        for form, status, said in REFUSED:
            answer = await post(client, {**CANARY, "because": "", **form})
            assert (answer.status_code, said in answer.text) == (status, True)
            assert "Nothing was changed" in answer.text
            assert "<b>" not in answer.text
            is_open = '<details class="rung" open>' in answer.text
            assert is_open == (form.keys() <= {"state", "share"})
        after = (await client.get("/loops/tips")).json()
    assert (after["state"], after["changes"]) == (0, [])


async def test_a_reason_does() -> None:
    """It stays in the audit trail."""
    async with serving() as client:
        assert (await post(client, {**CANARY, "because": "<i>to try"})).status_code == 303
        page = (await client.get(PAGE)).text
        changes = (await client.get("/loops/tips")).json()["changes"]
    assert changes[0]["because"] == "<i>to try"
    assert "&lt;i&gt;to try" in page


async def test_roles() -> None:
    """A reader sees no forms and may not send one; an admin's name stays in the trail."""
    keys = {role: make_key(f"{role}-1", role) for role in ("reader", "admin")}
    lines = Secret("\n".join(line for _, line in keys.values()))
    async with serving(api_keys=lines) as client:
        for role, status in (("reader", 403), ("admin", 303)):
            signed = await client.post("/console/sign-in", data={"key": keys[role][0]}, headers=OWN)
            cookie = {"Cookie": signed.headers["set-cookie"].partition(";")[0]}
            client.cookies.clear()
            page = (await client.get(PAGE, headers=cookie)).text
            assert ('name="because"' in page) == (role == "admin")
            answer = await post(client, {**CANARY, "because": "x"}, cookie)
            assert answer.status_code == status
            foreign = await client.post(PAGE, data=CANARY, headers={"Origin": "http://evil", **cookie})
            assert foreign.status_code == 403
        assert "admin-1</td>" in (await client.get(PAGE, headers=cookie)).text
