"""The requests whose calls are counted, as bytes of HTTP."""

import base64
import json
from collections.abc import Callable
from typing import Final, NamedTuple

from bench.decide import PROFILE

__all__ = ["KINDS", "Kind"]


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


class Kind(NamedTuple):
    """The request of a user at a step, what has to be asked before, if anything, how many come at once, and whether all
    are of one user."""

    make: Callable[[int, int], bytes]
    before: Callable[[int, int], bytes] | None = None
    at_once: int = 16
    one_user: bool = False


KINDS: Final = {
    "score": Kind(_score),
    "score, one at a time": Kind(_score, at_once=1),
    "reward": Kind(_reward, _score),
    "reward, one user": Kind(_reward, _score, one_user=True),
    "decision with three shadows": Kind(_decision),
    "reward by id": Kind(_outcome, _decision),
}
