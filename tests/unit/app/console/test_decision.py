"""The page of a decision: why it was made, and what is left when it has an outcome."""

import pytest

from tests.unit.app.serving import serving

pytestmark = pytest.mark.anyio

BODY = {
    "user_id": "<ann>",
    "id": "mail",
    "context": {"hour_of_day": 9},
    "candidates": [{"id": "rent", "features": {"is_overdue": True}}, {"id": "<walk>"}],
}


async def test_a_decision_and_its_outcome() -> None:
    """As long as it is open its scores are explained; afterwards the propensities stay, and the command is told."""
    async with serving() as client:
        made = (await client.post("/decisions", json=BODY)).json()
        path = f"/console/decisions/{made['decision_id']}"
        page = (await client.get(path)).text
        assert "What would have turned it" in page
        assert "&lt;walk&gt;" in page
        assert "linucb-<wbr>v1" in page
        assert "<walk>" not in page
        found = await client.get("/console/decisions", params={"decision_id": made["decision_id"]})
        assert "What would have turned it" in found.text
        await client.post(f"/decisions/{made['decision_id']}/reward", json={"reward": -0.5})
        page = (await client.get(path)).text
        assert "What would have turned it" not in page
        assert f"log explain DIRECTORY {made['decision_id']}" in page
        assert "\N{MINUS SIGN}0.500" in page
        assert made["candidate_id"].replace("<walk>", "&lt;walk&gt;") in page


async def test_many_candidates() -> None:
    """Of those that are settled, the chosen one and the likeliest are shown."""
    candidates = [{"id": f"c{place}"} for place in range(60)]
    async with serving() as client:
        made = (await client.post("/decisions", json={**BODY, "candidates": candidates})).json()
        await client.post(f"/decisions/{made['decision_id']}/reward", json={"reward": 0.5})
        page = (await client.get(f"/console/decisions/{made['decision_id']}")).text
        assert "40 candidates with lower probabilities" in page
        assert page.count('<th scope="row">c') == 20


async def test_no_decision() -> None:
    """Asked for none there is a form, for one that is not there a page that says so."""
    async with serving() as client:
        assert "Decision id" in (await client.get("/console/decisions")).text
        for odd in ("nosuch.YW5u", "nosuch"):
            assert (await client.get(f"/console/decisions/{odd}")).status_code == 404
