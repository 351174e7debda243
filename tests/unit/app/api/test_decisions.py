"""Decisions with ids over HTTP: what is answered; tests/contract has every odd case."""

from math import ceil

import pytest

from app.precedence import LARGE
from tests.unit.app.serving import serving

pytestmark = pytest.mark.anyio

ASKED = {
    "user_id": "ann",
    "context": {"hour_of_day": 9},
    "candidates": [{"id": "rent", "features": {"priority": 4}}, {"id": "walk"}],
}


async def test_a_decision_and_its_outcome() -> None:
    """Made, shown, rewarded, corrected and taken back by its id."""
    async with serving(epsilon=0.0) as client:
        made = (await client.post("/decisions", json=ASKED)).json()
        assert (made["loop"], made["policy"], made["status"], made["propensity"]) == ("tips", "egreedy-v1", "open", 1.0)
        assert made["candidates"] == [{"id": "rent", "propensity": 1.0}, {"id": "walk", "propensity": 0.0}]
        path = f"/decisions/{made['decision_id']}"
        shown = (await client.get(path)).json()
        assert {name: shown[name] for name in made} == made
        assert set(shown["by_policy"]) == {"egreedy-v1", "linucb-v1", "egreedy-v2", "tips-v3"}
        assert int(shown["seed"]) >= 0
        done = (await client.post(f"{path}/reward", json={"reward": 1})).json()
        assert (done["outcome"], done["n"], done["rewarded_at"] is not None) == ("applied", 1, True)
        assert (await client.put(f"{path}/reward", json={"reward": 0.5})).json()["outcome"] == "corrected"
        assert (await client.delete(f"{path}/reward", params={"if_n": 2})).json()["outcome"] == "retracted"
        assert (await client.post(f"{path}/cancel")).status_code == 409
        assert (await client.post(f"{path}/activate")).json()["outcome"] == "duplicate"
        assert (await client.get("/stats/ann")).json()["reward_count"] == 0


async def test_a_batch_shares_transactions_and_keeps_the_order_of_a_user() -> None:
    """The operations of a slice are one transaction, and those of one user are applied as they were asked for."""
    async with serving() as client:
        named = [(user, f"{user}{number}") for number in range(50) for user in ("ann", "bob")]
        asked = [{"user_id": user, "candidates": [{"id": name}]} for user, name in named]
        made = (await client.post("/decisions/batch", json={"decisions": asked})).json()["results"]
        assert [each["candidate_id"] for each in made] == [name for _, name in named]
        for user in ("ann", "bob"):
            past = (await client.get(f"/features/{user}")).json()["history"]
            assert [each["tip_id"] for each in past] == [name for whose, name in named if whose == user]
        # Each decision twice, with two values: the first counts.
        told = [
            {"decision_id": each["decision_id"], "reward": reward} for each in made[: LARGE // 2] for reward in (1, 0)
        ]
        done = (await client.post("/rewards/batch", json={"rewards": told})).json()["results"]
        assert [each.get("outcome") for each in done] == ["applied", None] * (LARGE // 2)
        text = (await client.get("/metrics")).text
        assert f"oo_store_batch_operations_sum {len(asked) + len(told)}.0" in text
        assert f"oo_store_batch_operations_count {ceil(len(asked) / LARGE) + len(told) / LARGE}" in text


async def test_a_defect_is_not_hidden_among_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody expects fails the whole request, and is logged."""

    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    async with serving() as client:
        monkeypatch.setattr("app.api.decisions._decision", broken)
        assert (await client.post("/decisions/batch", json={"decisions": [ASKED]})).status_code == 500
