"""Users whose models other users can learn from: what rewards would have left in Redis."""

from collections.abc import Iterator

import numpy as np

from app.bandit.policy import Policy
from state import keys
from state.redis.exchange import Command
from state.values import record
from state.values.columns import Columns
from state.values.record import Meta, Record

__all__ = ["NOISE", "columns_of", "like_minded"]

NOISE = 0.3


def columns_of(policy: Policy) -> Columns:
    return Columns(tuple(zip(policy.labels, policy.definitions, strict=True)))


def like_minded(
    policy: Policy, mu: list[float], users: range, *, rewards: int = 10, seed: int = 1
) -> Iterator[Command]:
    """The commands that write the columns of a policy and its models of users `user 0`, `user 1` and so on.

    Their thetas are normal around `mu` with a standard deviation of 0.1, the noise has one of NOISE.
    """
    columns = columns_of(policy)
    yield "HSET", keys.COLUMNS, columns.fingerprint, columns.encode()
    numbers = np.random.default_rng(seed)
    for user in users:
        x = numbers.uniform(0, 1, (rewards, policy.d))
        r = x @ (np.array(mu) + 0.1 * numbers.normal(size=policy.d)) + NOISE * numbers.normal(size=rewards)
        meta = Meta(rewards, 0, rewards, float(r.sum()), 1, rewards, float(rewards), float(r @ r))
        fields = record.encode(Record(np.eye(policy.d) + x.T @ x, x.T @ r, meta, columns.fingerprint))
        yield "HSET", keys.record(f"user {user}", policy.id), *(part for pair in fields.items() for part in pair)
