"""The page of a user: what is known, what would be chosen, and what is open."""

import json

import pytest

from app.console import user as module
from tests.unit.app.serving import REWARD, serving

pytestmark = pytest.mark.anyio

BODY = {"user_id": "zoë/1", "candidates": [{"id": "rent", "features": {"priority": 4}}, {"id": "walk"}]}
PATH = "/console/users/zo%C3%AB%2F1"


async def test_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its models with those that serve first, its open decisions, and its history, also where only some are read."""
    async with serving() as client:
        await client.post("/reward/egreedy", json=REWARD | {"user_id": "zoë/1"})
        made = [(await client.post("/decisions", json=BODY)).json()["decision_id"] for _ in range(3)]
        await client.post(f"/decisions/{made[0]}/reward", json={"reward": 1})
        page = (await client.get(PATH)).text
        assert 'aria-current="true">Users</a>' in page
        assert page.index("serves tips") < page.index(">linucb-v1</a>")
        assert "is_<wbr>overdue" in page
        assert "What would be chosen, by hour_of_day" in page
        assert [each in page for each in made] == [False, True, True]
        assert page.count('<td class="num">4</td></tr>') + page.count('<td class="num">1</td></tr>') == 3
        assert page.count("<details id=") == 4
        monkeypatch.setattr(module, "_RECORDS", 0)
        monkeypatch.setattr(module, "_MODELS", 1)
        page = (await client.get(PATH)).text
        assert "Open decisions <small>2</small>" in page
        assert page.count("<details id=") == 1
        found = (await client.get("/console/users", params={"user_id": " zoë/1 "})).text
        assert "<h1>User zoë/1</h1>" in found


async def test_somebody_new() -> None:
    """Nothing is known, and a choice is shown all the same."""
    async with serving() as client:
        page = (await client.get("/console/users/nobody")).text
        assert "No policy knows this user yet" in page
        assert "What would be chosen, by hour_of_day" in page
        assert "User id" in (await client.get("/console/users")).text
        assert (await client.get("/console/users", params={"user_id": "x" * 257})).status_code == 422


async def test_other_candidates() -> None:
    """The loop, the policy and the candidates can be others; what cannot be read is told; a loop may not exist."""
    mine = {"loop": "tips", "request_of": "tips", "policy": "tips-v3"}
    async with serving() as client:

        async def asked(**more: str) -> str:
            return (await client.get("/console/users/ann", params=mine | more)).text

        page = await asked(request=json.dumps({"candidates": [{"id": "mine"}]}))
        assert "<option selected>tips-v3</option>" in page
        assert page.count("<tr><th>mine</th>") == 1
        assert 'role="alert"' in await asked(request="{")
        assert "two have the same id" in await asked(request=json.dumps({"candidates": [{"id": "a"}, {"id": "a"}]}))
        # The request was for another loop.
        assert 'role="alert"' not in await asked(request="{", request_of="nosuch")
        assert "What would be chosen" not in await asked(loop="nosuch")
