"""What was sent against what Redis holds, exactly.

Rewards and features here are multiples of 1/8, so all products and sums of a run are exact in float64, in whatever
order they were added: A, b and the sums are compared bit for bit. For that the hour and the day are always 0, where
sine and cosine are exact.

A reward carries an idempotency key and must be there once, however often it was sent. A score carries none: each
attempt names a candidate of its own, which must be in the history once if it was answered, and at most once if its
answer was lost.
"""

import collections
import random
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.bandit.ridge import Matrix, Vector
from state import keys

__all__ = ["SIZES", "Holding", "Ledger", "Reward", "Slot", "Verdict", "draw_reward", "judge"]

SIZES = {"linucb-v1": 5, "egreedy-v1": 7, "egreedy-v2": 12}


class Slot(NamedTuple):
    """One user under one policy."""

    user: str
    policy: str


class Reward(msgspec.Struct, frozen=True):
    """A reward as it is sent, and the feature vector that the service must make of it."""

    slot: Slot
    key: str
    value: float
    x: tuple[float, ...]
    body: dict[str, Any]


def draw_reward(draw: random.Random, slot: Slot, key: str) -> Reward:
    """A reward whose features and value are multiples of 1/8."""
    overdue, urgent, at_favourite_hour, busy = (draw.random() < 0.5 for _ in range(4))
    age, completed, dismissed, dwell = (draw.randrange(9) for _ in range(4))
    value = draw.randrange(-8, 9) / 8
    body = {
        "user_id": slot.user,
        "tip_id": key,
        "reward": value,
        "features": {
            "hour_of_day": 0,
            "is_overdue": overdue,
            "task_age_days": 30 * age / 8,
            "priority": 4 if urgent else 1,
        },
        "day_of_week": 0,
        "profile_features": {
            "completion_rate_30d": completed / 8,
            "dismiss_rate_30d": dismissed / 8,
            "mean_dwell_ms_30d": 600_000 * dwell / 8,
            "preferred_hour": 0 if at_favourite_hour else None,
            "tip_volume_30d": 100 if busy else 0,
        },
    }
    clock, task = (0.0, 1.0), (float(overdue), age / 8, float(urgent))
    profile = (completed / 8, dismissed / 8, dwell / 8, 1.0 if at_favourite_hour else 0.5, float(busy))
    x = (*clock, *task, *clock, *profile)[: SIZES[slot.policy]]
    return Reward(slot, key, value, x, body)


class Ledger:
    """What clients sent and what was acknowledged to them: rewards by idempotency key, scores by candidate."""

    def __init__(self) -> None:
        self.rewards: dict[str, Reward] = {}
        self.acknowledged: set[str] = set()
        self.scores: dict[str, Slot] = {}
        self.answered: set[str] = set()
        self.surprises: collections.Counter[str] = collections.Counter()


class Holding(msgspec.Struct):
    """What Redis holds: A, b and meta of each user and policy, (candidate, policy) of each user's history, and the keys
    that remember idempotency keys."""

    models: dict[Slot, tuple[bytes, bytes, bytes]]
    histories: dict[str, list[tuple[str, str]]]
    markers: set[str]


class Verdict(msgspec.Struct):
    """How many updates were lost, applied more than once, and never acknowledged; and whatever else is wrong."""

    lost: int = 0
    doubled: int = 0
    unacknowledged: int = 0
    findings: list[str] = msgspec.field(default_factory=list)

    @property
    def right(self) -> bool:
        return not (self.lost or self.doubled or self.unacknowledged or self.findings)


# The bytes that stand for counters and sum in `meta`; what follows is the time.
_META = np.dtype([("pulls", "<u8"), ("explored", "<u8"), ("rewards", "<u8"), ("total", "<f8"), ("updated", "<i8")])
_NOTHING = bytes(_META.itemsize)


def judge(ledger: Ledger, held: Holding) -> Verdict:
    """Compare the two."""
    verdict = Verdict()
    verdict.unacknowledged = len(ledger.rewards.keys() - ledger.acknowledged)
    verdict.findings += [f"answered {what}: {count} times" for what, count in ledger.surprises.items()]
    _judge_markers(ledger, held, verdict)
    for slot in sorted(held.models.keys() | {reward.slot for reward in ledger.rewards.values()}):
        _judge_model(slot, ledger, held, verdict)
    _judge_scores(ledger, held, verdict)
    return verdict


def _judge_markers(ledger: Ledger, held: Holding, verdict: Verdict) -> None:
    sent = {keys.marker(*reward.slot, key): key for key, reward in ledger.rewards.items()}
    missing = [key for marker, key in sent.items() if key in ledger.acknowledged and marker not in held.markers]
    verdict.findings += [f"reward {key} was acknowledged, and its idempotency key is unknown" for key in missing]
    verdict.findings += [f"{marker} was never sent" for marker in held.markers - sent.keys()]


def _judge_model(slot: Slot, ledger: Ledger, held: Holding, verdict: Verdict) -> None:
    """Rewards in A, b, the count and the sum. One that was not acknowledged may be there or not, as its marker says."""
    rewards = [
        reward
        for key, reward in ledger.rewards.items()
        if reward.slot == slot and (key in ledger.acknowledged or keys.marker(*slot, key) in held.markers)
    ]
    a, b, meta = _model(slot, held)
    difference = int(meta["rewards"]) - len(rewards)
    verdict.lost += max(0, -difference)
    verdict.doubled += max(0, difference)
    where = f"{slot.policy} of {slot.user}"
    if difference:
        verdict.findings.append(f"{where}: {meta['rewards']} rewards counted, {len(rewards)} sent")
    x = np.array([reward.x for reward in rewards]).reshape(-1, SIZES[slot.policy])
    values = np.array([reward.value for reward in rewards])
    # Exact sums in any order, so a matrix product will do.
    if not np.array_equal(a, np.eye(SIZES[slot.policy]) + x.T @ x):
        verdict.findings.append(f"{where}: A is not the sum of what was sent")
    if not np.array_equal(b, x.T @ values):
        verdict.findings.append(f"{where}: b is not the sum of what was sent")
    if meta["total"] != values.sum():
        verdict.findings.append(f"{where}: cumulative_reward is {meta['total']}, sent were {values.sum()}")


def _judge_scores(ledger: Ledger, held: Holding, verdict: Verdict) -> None:
    """Scores in the histories and in `pulls`, which one transaction changes together."""
    seen = collections.Counter(
        (tip, Slot(user, policy)) for user, entries in held.histories.items() for tip, policy in entries
    )
    there = {tip for tip, _ in seen}
    lost = ledger.answered - there
    verdict.lost += len(lost)
    verdict.findings += [f"score {tip} was answered and is in no history" for tip in sorted(lost)]
    for (tip, slot), count in seen.items():
        if ledger.scores.get(tip) != slot:
            verdict.findings.append(f"{tip} is in the history of {slot.user} under {slot.policy}, and was never sent")
        if count > 1:
            verdict.doubled += count - 1
            verdict.findings.append(f"score {tip} is {count} times in the history")
    entries = collections.Counter(dict.fromkeys(held.models, 0))
    entries.update(slot for _, slot in seen.elements())
    for slot, count in entries.items():
        meta = _model(slot, held)[2]
        if meta["pulls"] != count:
            verdict.findings.append(f"{slot.policy} of {slot.user}: {meta['pulls']} pulls, {count} in the history")
        if meta["explored"] > meta["pulls"]:
            verdict.findings.append(f"{slot.policy} of {slot.user}: explored more often than it was asked")


def _model(slot: Slot, held: Holding) -> tuple[Matrix, Vector, NDArray[np.void]]:
    """A, b and meta as the raw bytes say; those of an unknown user if there are none."""
    d = SIZES[slot.policy]
    a, b, meta = held.models.get(slot, (np.eye(d).tobytes(), np.zeros(d).tobytes(), _NOTHING))
    counters: NDArray[np.void] = np.frombuffer(meta[: _META.itemsize], _META)
    return np.frombuffer(a).reshape(d, d), np.frombuffer(b), counters[0]
