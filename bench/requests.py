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


def _asked(user: int, step: int) -> dict[str, object]:
    candidates = [{"id": f"t{i}", "features": _features(i, step)} for i in range(1, 11)]
    context = {"hour_of_day": step % 24, "day_of_week": step % 7}
    return {"user_id": f"u{user}", "id": f"k{step}", "candidates": candidates, "context": context, "user": PROFILE}


def _name(user: int, step: int) -> str:
    """The id of the decision that was asked for."""
    return f"k{step}.{base64.urlsafe_b64encode(f'u{user}'.encode()).decode().rstrip('=')}"


def _decision(user: int, step: int) -> bytes:
    return _post("/decisions", _asked(user, step))


def _outcome(user: int, step: int) -> bytes:
    return _post(f"/decisions/{_name(user, step)}/reward", {"reward": 0.5})


# As many as of single ones come at once.
_TOGETHER: Final = 16


def _decisions(_: int, step: int) -> bytes:
    return _post("/decisions/batch", {"decisions": [_asked(user, step) for user in range(_TOGETHER)]})


def _outcomes(_: int, step: int) -> bytes:
    told = [{"decision_id": _name(user, step), "reward": 0.5} for user in range(_TOGETHER)]
    return _post("/rewards/batch", {"rewards": told})


class Kind(NamedTuple):
    """The request of a user at a step, what has to be asked before, if anything, how many come at once, whether all are
    of one user, and how many decisions or rewards are in one."""

    make: Callable[[int, int], bytes]
    before: Callable[[int, int], bytes] | None = None
    at_once: int = 16
    one_user: bool = False
    within: int = 1


KINDS: Final = {
    "score": Kind(_score),
    "score, one at a time": Kind(_score, at_once=1),
    "reward": Kind(_reward, _score),
    "reward, one user": Kind(_reward, _score, one_user=True),
    "decision with three shadows": Kind(_decision),
    "reward by id": Kind(_outcome, _decision),
    "decision, in batches of 16": Kind(_decisions, at_once=1, within=_TOGETHER),
    "reward by id, in batches of 16": Kind(_outcomes, _decisions, at_once=1, within=_TOGETHER),
}
