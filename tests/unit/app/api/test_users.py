"""What is known of one user, over the embedded store."""

import pytest

from app.http.api_keys import make_key
from app.settings import Secret
from tests.unit.app.serving import REWARD, serving

pytestmark = pytest.mark.anyio


async def test_a_user() -> None:
    """Each policy that has a model by its id, with theta and standard errors by column; open decisions by their ids."""
    body = {"user_id": "zoë/1", "id": "mail", "candidates": [{"id": "rent"}, {"id": "walk"}]}
    async with serving() as client:
        assert (await client.get("/users/zo%C3%AB%2F1")).json() == {"user_id": "zoë/1", "policies": {}, "open": []}
        await client.post("/reward/egreedy", json=REWARD | {"user_id": "zoë/1"})
        made = (await client.post("/decisions", json=body)).json()
        found = (await client.get("/users/zo%C3%AB%2F1")).json()
        statistics = (await client.get("/stats/egreedy/zo%C3%AB%2F1")).json()
        assert (await client.get("/users/%FF")).status_code == 422
    policy = found["policies"]["egreedy-v1"]
    assert found["policies"].keys() == {"egreedy-v1"}
    assert (policy["pulls"], policy["reward_count"], policy["cumulative_reward"]) == (1, 1, 1.0)
    assert list(policy["theta"].values()) == statistics["theta"]
    assert policy["theta"].keys() == policy["standard_error"].keys()
    assert all(0 < error <= 1 for error in policy["standard_error"].values())
    assert policy["last_updated"].endswith("Z")
    assert found["open"] == [
        {
            "decision_id": made["decision_id"],
            "loop": "tips",
            "candidate_id": made["candidate_id"],
            "status": "open",
            "deadline": made["deadline"],
        }
    ]


async def test_readers_only() -> None:
    """A client's key does not show users; a reader's does not remove them."""
    names = [make_key(role, role) for role in ("client", "reader")]
    async with serving(api_keys=Secret("\n".join(line for _, line in names))) as client:
        for (key, _), codes in zip(names, ((403, 403), (200, 403)), strict=True):
            headers = {"Authorization": f"Bearer {key}"}
            answers = [await client.get("/users/u", headers=headers), await client.delete("/users/u", headers=headers)]
            assert tuple(each.status_code for each in answers) == codes
