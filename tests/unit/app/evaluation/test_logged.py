"""What a log must be to be judged."""

from typing import Any

import numpy as np
import pytest

from app.evaluation.logged import BUCKETS, MOST_COLUMNS, user_code
from tests.unit.app.evaluation.logs import few

WRONG: dict[str, dict[str, Any]] = {
    "reward, context: another length than 20 decisions with 60 candidates": {
        "reward": np.zeros(19),
        "reward_in_time": np.zeros(20),
        "context": np.zeros((3, 1)),
    },
    "eras of e, features": {"eras": {"e": np.zeros(2, np.int64)}, "features": np.zeros((2, 1))},
    "starts: takes 21 places from 0 to 60": {"starts": np.arange(1, 22)},
    "chosen: takes a place among": {"chosen": np.full(20, 3)},
    "chosen: .* at least one": {"starts": np.array([0, 0, *range(6, 61, 3)])},
    "hour: takes decisions in the order": {"hour": -np.arange(20)},
    "champion: takes a policy": {"champion": "z"},
    "low: a number below high": {"low": 1.0},
    "at most 511 columns": {"context": np.zeros((20, MOST_COLUMNS))},
    "reward: takes 0 to 1; a reward out of them": {"reward": np.full(20, 1.5)},
    "reward: takes -0.5 to 1": {"low": -0.5, "reward_in_time": np.full(20, -0.6)},
}


@pytest.mark.parametrize("problem", WRONG)
def test_what_does_not_fit_is_named(problem: str) -> None:
    """Each thing that is wrong is refused with its name."""
    with pytest.raises(ValueError, match=problem):
        few(**WRONG[problem])


def test_who_challenges() -> None:
    """Everybody but the champion."""
    assert (few().n, few().challengers, few(champion="e").challengers) == (20, ["e"], ["h"])


def test_codes_of_users_are_stable() -> None:
    """The code of a user is the same everywhere and for ever, for buckets are kept in files; users spread over them."""
    assert user_code("ann") == 11957940740637538957
    assert len({user_code(f"user-{number}") % BUCKETS for number in range(1_000)}) == BUCKETS
