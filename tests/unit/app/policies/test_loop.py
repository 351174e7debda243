"""Loops: their policies, windows and rewards."""

from typing import Any

import pytest

from app.policies.catalog import catalog
from app.policies.loop import Loop
from app.policies.reading import BadPolicies


def loop(**row: Any) -> Loop:
    def text(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{name} = {number}" for name, number in value.items()) + " }"
        return repr(value)

    rows = "\n".join(f"{name} = {text(value)}" for name, value in {"champion": "tips-v3", **row}.items())
    return catalog(f"[loops.l]\n{rows}").loops["l"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"champion": "x"},
            "champion: takes a policy, and 'x' is none; there are linucb-v1, egreedy-v1, egreedy-v2, t",
        ),
        ({"shadows": ["x"]}, "shadows: takes a policy, and 'x' is none"),
        ({"shadows": ["tips-v3"]}, "shadows: takes each policy once, and not the champion; 'tips-v3' is there already"),
        ({"shadows": ["linucb-v1"] * 2}, "shadows: takes each policy once, and not the champion; 'linucb-v1' is there"),
        *[
            ({"window": window}, "window: takes a whole number and s, m, h or d, such as '24h', from 1s to 90d, not ")
            for window in ("0s", "24", "h", "1.5h", "-1h", "24 h", "91d", "2161h", "24H", "999999999d", "\u0661h")
        ],
        ({"reward": {"min": 1}}, "reward.min: takes a number below reward.max, 1, not 1"),
        ({"reward": {"min": 0, "max": -1}}, "reward.min: takes a number below reward.max, -1, not 0"),
        ({"default_reward": 2}, "default_reward: takes a reward of the loop, -1 to 1, not 2"),
        ({"missing": -2}, "missing: takes a reward of the loop, -1 to 1, not -2"),
        ({"reward": {"min": 0.5}, "default_reward": 0}, "default_reward: takes a reward of the loop, 0.5 to 1, not 0"),
    ],
)
def test_what_does_not_fit(row: dict[str, Any], said: str) -> None:
    """Loop and key are named."""
    with pytest.raises(BadPolicies) as caught:
        loop(**row)
    assert str(caught.value).startswith(f"[loops] l: {said}")


def test_a_line_break_is_no_part_of_a_window() -> None:
    """Nor is anything else after it."""
    with pytest.raises(BadPolicies, match="window: takes"):
        catalog('[loops.l]\nchampion = "tips-v3"\nwindow = "24h\\n"')


@pytest.mark.parametrize(
    ("window", "seconds"), [("1s", 1), ("90s", 90), ("5m", 300), ("24h", 86_400), ("90d", 7_776_000)]
)
def test_windows(window: str, seconds: int) -> None:
    """In seconds."""
    assert loop(window=window).window == seconds


def test_defaults() -> None:
    """What silence counts as in evidence is what it is booked as, unless the file says otherwise."""
    assert loop() == Loop(
        name="l",
        champion="tips-v3",
        shadows=(),
        window=86_400,
        low=-1.0,
        high=1.0,
        default_reward=None,
        missing=None,
        late="correct",
        aggregation="first",
        open_max=256,
        refuses_unknown=False,
    )
    assert loop(default_reward=-0.5).missing == -0.5
    assert loop(default_reward=-0.5, missing=1).missing == 1.0
    assert loop(unknown_features="refuse").refuses_unknown
