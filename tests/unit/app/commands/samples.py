"""Keys of users as the service writes them, for tests of the commands."""

from typing import Any

import numpy as np

from state import keys
from state.values import decision, record
from state.values.columns import Columns
from state.values.decision import Learned, Part, Shadow, User
from state.values.record import Meta, Record
from state.values.stored import Stored

ENTRY = b'[1795438044,"rent",1.5,9,true,3.0,4,"linucb-v1",null,null]'
HISTORY = Stored("ann", "history", [ENTRY])
MARKER = Stored("ann", "linucb-v1:once:k", b"0123456789abcdef" * 2, 60_000)


def model(user: str, scale: float = 2.0) -> Stored:
    """A model of LinUCB with A = scale * I and b = 0.5; at least 1 in what serving writes."""
    a, b = scale * np.eye(5), np.full(5, 0.5)
    return Stored(user, "linucb-v1", record.encode(Record(a, b, Meta(pulls=3, reward_count=2, cumulative_reward=1.0))))


COLUMNS = Columns((("one", "0123456789abcdef"), ("two", "0123456789abcdef")))
NAMED = Stored(
    "ann", "push-v1", record.encode(Record(2 * np.eye(2), np.full(2, 0.5), Meta(reward_count=2), COLUMNS.fingerprint))
)


def broken_model(user: str) -> Stored:
    """A model that no rewards could have made."""
    return model(user, scale=0.5)


def decided(status: decision.Status = "open", **fields: Any) -> decision.Record:
    """A decision with all that one may have."""
    usual: dict[str, Any] = {
        "request": b"\x00\xff" * 8,
        "loop": "tips",
        "policy": "egreedy-v1",
        "born": 4,
        "decided": 1_795_438_044_123,
        "deadline": 1_795_524_444_123,
        "terms": decision.Terms(-1.0, 1.0, 0.5, discards=False, adds=True),
        "ids": ["rent", "walk\x1b[2J"],
        "propensities": [0.95, 0.05],
        "chosen": 0,
        "score": 1.25,
        "seed": 2**64 - 1,
        "by_policy": [Shadow("egreedy-v1", [0.95, 0.05]), Shadow("push-v1", [0.5, 0.5])],
        "labels": ["one"],
        "x": [0.1],
    }
    return decision.Record(status=status, **(usual | fields))


def decisions(**made: decision.Record) -> list[Stored]:
    """The keys of a user with these decisions."""
    opened = sum(one.status in decision.OPEN for one in made.values())
    moments = sorted((float(one.deadline), name.encode()) for name, one in made.items())
    return [
        Stored("ann", keys.SHARED, decision.encode_user(User(b"0123456789abcdef", 9, 7, opened, len(made)))),
        Stored("ann", keys.DECISIONS, {name.encode(): decision.encode(one) for name, one in made.items()}),
        Stored("ann", keys.AGENDA, tuple((name, at) for at, name in moments)),
    ]


REWARDED = decided(
    "rewarded",
    n=2,
    reward=1.0,
    rewarded=1_795_438_050_000,
    late=True,
    learned=[Learned("egreedy-v1", 3, b""), Learned("push-v1", 5, COLUMNS.fingerprint)],
    parts={"a b": Part(0.5, 1.0)},
)
