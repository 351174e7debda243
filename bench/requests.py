"""The requests whose calls are counted, as bytes of HTTP."""

import base64
import json
from collections.abc import Callable
from typing import Final

from bench.decide import PROFILE

__all__ = ["KINDS"]


def _features(i: int, step: int) -> dict[str, object]:
    return {"is_overdue": i % 3 == 0, "task_age_days": (i * 7 + step) % 31, "priority": (i + step) % 4 + 1}


def _post(path: str, body: object) -> bytes:
    """A request as wrk writes it."""
    text = json.dumps(body, separators=(",", ":")).encode()
    return (
        b"POST %b HTTP/1.1\r\nHost: 127.0.0.1:8000\r\ncontent-type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (path.encode(), len(text), text)
    )


def _score(user: int, step: int) -> bytes:
    candidates = [
        {
            "id": f"t{i}",
            "content": f"do thing {i}",
            "source": "todoist",
            "features": {"hour_of_day": 9, **_features(i, step)},
        }
        for i in range(1, 11)
    ]
    context = {"hour_of_day": step % 24, "day_of_week": step % 7}
    return _post("/score", {"user_id": f"u{user}", "candidates": candidates, "context": context})


def _reward(user: int, step: int) -> bytes:
    features = {"hour_of_day": step % 24, **_features(1, step)}
    told = {"user_id": f"u{user}", "tip_id": "t1", "reward": 0.5, "features": features, "day_of_week": step % 7}
    return _post("/reward", told)


def _decision(user: int, step: int) -> bytes:
    candidates = [{"id": f"t{i}", "features": _features(i, step)} for i in range(1, 11)]
    context = {"hour_of_day": step % 24, "day_of_week": step % 7}
    asked = {"user_id": f"u{user}", "id": f"k{step}", "candidates": candidates, "context": context, "user": PROFILE}
    return _post("/decisions", asked)


def _outcome(user: int, step: int) -> bytes:
    name = base64.urlsafe_b64encode(f"u{user}".encode()).decode().rstrip("=")
    return _post(f"/decisions/k{step}.{name}/reward", {"reward": 0.5})


# By name: the request of a user at a step, and what has to be asked before, if anything.
KINDS: Final[dict[str, tuple[Callable[[int, int], bytes], Callable[[int, int], bytes] | None]]] = {
    "score": (_score, None),
    "reward": (_reward, _score),
    "decision with three shadows": (_decision, None),
    "reward by id": (_outcome, _decision),
}
