"""A loop: which policies decide and learn on a stream of decisions, and what its rewards are."""

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from msgspec import UNSET

from app.bandit.policy import Policy
from app.policies.reading import BadPolicies
from app.policies.rows import LoopRow

__all__ = ["Loop", "made_loop"]

_WINDOW: Final = re.compile(r"([0-9]{1,9})([smhd])")
_NAMED: Final = 16  # policies in a message
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LONGEST_WINDOW: Final = 90 * 86_400
_LARGE: Final = 1_024


class Loop(msgspec.Struct, frozen=True, kw_only=True):
    """A stream of decisions: the `champion` serves it, the `shadows` are scored and learn beside it.

    A reward from `low` to `high` may come within `window` seconds. Silence is booked as `default_reward`, and counts as
    `missing` in evidence; None: it is not.
    """

    name: str
    champion: str
    shadows: tuple[str, ...]
    window: int
    low: float
    high: float
    default_reward: float | None
    missing: float | None
    late: Literal["correct", "discard"]
    aggregation: Literal["first", "sum"]
    open_max: int
    refuses_unknown: bool

    @property
    def is_large(self) -> bool:
        """Whether one user may have so many open decisions that one hash should not hold all of them."""
        return self.open_max > _LARGE


def made_loop(name: str, row: LoopRow, policies: Mapping[str, Policy]) -> Loop:
    """The loop that `row` describes. Raises BadPolicies."""

    def refuse(problem: str) -> BadPolicies:
        return BadPolicies(f"[loops] {name}: {problem}")

    for key, policy in (("champion", row.champion), *(("shadows", each) for each in row.shadows)):
        if policy not in policies:
            raise refuse(f"{key}: takes a policy, and {policy!r} is none; there are {', '.join([*policies][:_NAMED])}")
    for place, policy in enumerate(row.shadows):
        if policy in (row.champion, *row.shadows[:place]):
            raise refuse(f"shadows: takes each policy once, and not the champion; {policy!r} is there already")
    found = _WINDOW.fullmatch(row.window)
    window = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 1 <= window <= _LONGEST_WINDOW:
        raise refuse(
            f"window: takes a whole number and s, m, h or d, such as '24h', from 1s to 90d, not {row.window!r}"
        )
    low, high = row.reward.min, row.reward.max
    if not low < high:
        raise refuse(f"reward.min: takes a number below reward.max, {high:g}, not {low:g}")
    missing = row.default_reward if row.missing is UNSET else row.missing
    for key, value in (("default_reward", row.default_reward), ("missing", missing)):
        if value is not None and not low <= value <= high:
            raise refuse(f"{key}: takes a reward of the loop, {low:g} to {high:g}, not {value:g}")
    return Loop(
        name=name,
        champion=row.champion,
        shadows=tuple(row.shadows),
        window=window,
        low=low,
        high=high,
        default_reward=row.default_reward,
        missing=missing,
        late=row.late,
        aggregation=row.aggregation,
        open_max=row.open_max,
        refuses_unknown=row.unknown_features == "refuse",
    )
