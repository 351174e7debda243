"""Requests as clients send them, and what Redis holds before and after."""

from typing import Any

import httpx

from tests.support.redis_servers import RedisServer

__all__ = ["POLICIES", "candidate", "contents", "reward", "score", "target"]

# What comes after /score, /reward and /stats in a route, by policy.
POLICIES = {"linucb-v1": "", "egreedy-v1": "/egreedy", "egreedy-v2": "/egreedy/v2"}


def candidate(name: str = "tip-1", **features: Any) -> dict[str, Any]:
    """One candidate with every field given."""
    known = {"hour_of_day": 9, "is_overdue": True, "task_age_days": 2.5, "priority": 3}
    return {
        "id": name,
        "content": "Call the plumber",
        "source": "todoist",
        "source_id": "8037",
        "features": known | features,
    }


def score(user: str = "ann", count: int = 2) -> dict[str, Any]:
    """A ScoreRequest with every field given."""
    return {
        "user_id": user,
        "candidates": [candidate(f"tip-{index}", priority=1 + index % 4) for index in range(count)],
        "context": {"hour_of_day": 9, "day_of_week": 1},
        "profile_features": {"completion_rate_30d": 0.4, "preferred_hour": "8"},
    }


def reward(user: str = "ann", value: float = 1.0, **features: Any) -> dict[str, Any]:
    """A RewardRequest with every field given."""
    return {
        "user_id": user,
        "tip_id": "tip-1",
        "reward": value,
        "features": candidate(**features)["features"],
        "day_of_week": 1,
        "profile_features": {"completion_rate_30d": 0.4, "preferred_hour": "8"},
    }


def target(client: httpx.Client, method: str, path: bytes) -> httpx.Response:
    """Send a path byte for byte: clients tidy up `..` and such before they send them."""
    return client.request(method, "/", extensions={"target": path})


def contents(server: RedisServer) -> dict[bytes, bytes]:
    """Every key and its value, so that two moments can be compared."""
    with server.client() as client:
        names = sorted(client.keys())
        with client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.dump(name)
            return dict(zip(names, pipe.execute(), strict=True))
