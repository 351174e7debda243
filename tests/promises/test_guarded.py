"""What a change of one line could silently break: each test here fails for such a change."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.http.access import Access
from app.http.api_keys import bearer_digest, make_key
from app.settings import Secret
from app.tips import chat as llm
from state.redis.connect import open_servers
from state.store import Store
from tests.support.bodies import POLICIES, reward, score
from tests.support.processes import Server
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio

each_policy = pytest.mark.parametrize("suffix", POLICIES.values(), ids=list(POLICIES))


@pytest.fixture
def client(served: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=PATIENCE_SECONDS) as one:
        yield one


OTHERS: dict[str, dict[str, Any]] = {
    "reward": {"reward": -0.5},
    "tip": {"tip_id": "another"},
    "weekday": {"day_of_week": 6},
    "profile": {"profile_features": {"completion_rate_30d": 0.9}},
    "no profile": {"profile_features": None},
    "hour": {"features": {"hour_of_day": 10, "is_overdue": True, "task_age_days": 2.5, "priority": 3}},
    "overdue": {"features": {"hour_of_day": 9, "is_overdue": False, "task_age_days": 2.5, "priority": 3}},
    "age": {"features": {"hour_of_day": 9, "is_overdue": True, "task_age_days": 2.25, "priority": 3}},
    "priority": {"features": {"hour_of_day": 9, "is_overdue": True, "task_age_days": 2.5, "priority": 4}},
}


@each_policy
@pytest.mark.parametrize("what", OTHERS)
def test_one_idempotency_key_stands_for_one_reward(client: httpx.Client, suffix: str, what: str) -> None:
    """The key with a body that says something else is refused with 422 and changes nothing; the first body again is
    a replay, however its JSON is written."""
    user = f"key-{suffix.count('/')}-{what}"
    first = {
        "user_id": user,
        "tip_id": "tip-1",
        "reward": 0.5,
        "day_of_week": 1,
        "profile_features": {"completion_rate_30d": 0.4, "preferred_hour": "8"},
        "features": {"hour_of_day": 9, "is_overdue": True, "task_age_days": 2.5, "priority": 3},
    }
    key = {"Idempotency-Key": "one"}

    def send(body: Any) -> httpx.Response:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.post(f"/reward{suffix}", content=text, headers=key)

    def learned() -> Any:
        found = client.get(f"/stats{suffix}/{user}").json()
        return found["reward_count"], found["cumulative_reward"], found["theta"]

    assert send(first).status_code == 200
    before = learned()
    refused = send(first | OTHERS[what])
    assert refused.status_code == 422
    assert refused.json() == {"detail": "this idempotency key was used before for another request"}
    turned = json.dumps(dict(reversed(first.items())), indent=3).encode()
    again = send(turned)
    assert again.status_code == 200
    assert again.headers["idempotent-replayed"] == "true"
    assert learned() == before
    assert before[:2] == (1, 0.5)


def test_a_key_is_of_one_user_and_one_policy(client: httpx.Client) -> None:
    """The same key with another user or another policy is another key: the reward counts and is no replay."""
    key = {"Idempotency-Key": "shared"}
    for suffix in POLICIES.values():
        for user in ("both-a", "both-b"):
            answer = client.post(f"/reward{suffix}", json=reward(user), headers=key)
            assert answer.status_code == 200
            assert "idempotent-replayed" not in answer.headers
            assert client.get(f"/stats{suffix}/{user}").json()["reward_count"] == 1


@pytest.mark.parametrize("key", ["0", "ab", "sk-...", "e", "sk-1234abcd"])
async def test_no_part_of_a_secret_is_left(key: str) -> None:
    """A key that is a part of its own hash, or of the form in which the proxy shortens it, is blanked out after them,
    so that nothing of them stays."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    short = f"sk-...{key[-4:]}"
    async with llm.connect(
        url="http://llm.test",
        key=Secret(key),
        max_concurrency=1,
        queue_seconds=1.0,
        transport=httpx.MockTransport(refuse),
    ) as chat:
        assert chat.quote(digest) == "***"
        assert chat.quote(short) == "***"
        assert chat.quote(f"<{digest}><{short}><{key}>") == "<***><***><***>"


def refuse(_: httpx.Request) -> httpx.Response:
    raise AssertionError("nothing is asked here")


def test_score_bodies_are_used(client: httpx.Client) -> None:
    """The routes of one policy leave the others alone."""
    for policy, suffix in POLICIES.items():
        answer = client.post(f"/score{suffix}", json=score(f"own-{policy}")).json()
        assert answer["policy"] == policy
        for suffix_of_other in POLICIES.values():
            pulls = client.get(f"/stats{suffix_of_other}/own-{policy}").json()["pulls"]
            assert pulls == (suffix_of_other == suffix)


async def test_every_known_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A match does not end the search, and no digest is compared in another way: the time tells nothing of the keys."""
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def noted(known: bytes, given: bytes) -> bool:
        compared.append(known)
        return compare(known, given)

    monkeypatch.setattr("hmac.compare_digest", noted)
    made = [make_key(f"k{number}", "client") for number in range(3)]
    store = Store(open_servers("memory://", size=4, timeout=1.0), timeout=1.0, history_size=1, marker_seconds=1)
    access = Access("\n".join(line for _, line in made), store, 0, lambda: None)
    for key, line in made:
        compared.clear()
        found = access.find(bearer_digest(f"Bearer {key}"))
        assert found is not None
        assert found.digest.hex() in line
        assert len(compared) == len(set(compared)) == 3
    compared.clear()
    assert access.find(bearer_digest("Bearer unknown")) is None
    assert len(set(compared)) == 3
    await store.close()
