"""The policies of this service, one row each. All facts about a policy are here, and derived from here elsewhere."""

import re
from typing import Final

from app.bandit.explore import EpsilonGreedy, UpperConfidence
from app.bandit.policy import Classic, Policy
from app.bandit.tips import CLOCK, PROFILE, TASK, WEEKDAY

__all__ = ["SIZES", "by_id", "policies"]

# An id is part of the names of keys in Redis, where these words have another meaning.
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TAKEN: Final = frozenset({"history", "sync", "once", "flight", "u", "d", "t"})


def policies(alpha: float = 1.0, epsilon: float = 0.1) -> dict[str, Policy]:
    """The policies by id, for LinUCB's `alpha` (>= 0) and epsilon-greedy's `epsilon` (0..1)."""
    return by_id(
        Policy(
            "linucb-v1",
            CLOCK + TASK,
            UpperConfidence(alpha),
            Classic(route="", suffix="", tells_exploration=False),
        ),
        Policy(
            "egreedy-v1",
            CLOCK + TASK + WEEKDAY,
            EpsilonGreedy(epsilon),
            Classic(route="/egreedy", suffix="_egreedy", tells_exploration=True, role="the active policy"),
        ),
        Policy(
            "egreedy-v2",
            CLOCK + TASK + WEEKDAY + PROFILE,
            EpsilonGreedy(epsilon),
            Classic(route="/egreedy/v2", suffix="_egreedy_v2", tells_exploration=True, role="the shadow policy"),
        ),
    )


def by_id(*rows: Policy) -> dict[str, Policy]:
    """The rows by id. Raises ValueError for an id that is used twice or is not allowed in the name of a key."""
    found: dict[str, Policy] = {}
    for row in rows:
        if not _ID.fullmatch(row.id) or row.id in _TAKEN or row.id in found:
            raise ValueError(f"{row.id!r} cannot be the id of a policy, or is used twice")
        found[row.id] = row
    return found


# The number of features of each policy; it depends on no setting.
SIZES: Final = {row.id: row.d for row in policies().values()}
