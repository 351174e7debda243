"""Keys of users as the service writes them, for tests of the commands."""

import numpy as np

from state.values import record
from state.values.columns import Columns
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
