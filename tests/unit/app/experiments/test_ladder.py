"""Each rung takes what its rule says, and no more."""

import numpy as np
import pytest

from app.evaluation.gate import Bounds
from app.experiments.ladder import Known, challenger, objections
from bench.ladder import climbed
from state.values.loop import Canary, Stage
from tests.unit.app.experiments.scene import gate, healthy, verdict

SHADOW = Stage(0, "serves")
FIRST = Stage(1, "serves", Canary("watches", 0.1))
HALF = Stage(2, "serves", Canary("watches", 0.5))
CHAMPION = Stage(3, "watches")
BETTER, UNKNOWN, WORSE = gate(0.01, 0.3), gate(-0.2, 0.3, needed=700), gate(-0.3, -0.01, needed=None)


def against(
    bounds: Bounds | None,
    *rules: str,
    now: Stage = SHADOW,
    to: Stage = FIRST,
    age: int = 60,
    floorless: tuple[str, ...] = (),
) -> str:
    return "; ".join(objections(now, to, Known(verdict(bounds, *rules), healthy(), age), floorless))


@pytest.mark.parametrize(
    ("now", "to", "policy"),
    [
        (SHADOW, FIRST, "watches"),
        (FIRST, HALF, "watches"),
        (FIRST, CHAMPION, "watches"),
        (FIRST, Stage(2, "serves", Canary("fades", 0.05)), "fades"),
        (CHAMPION, SHADOW, "serves"),
        # Less of the same, or none.
        (HALF, FIRST, None),
        (HALF, SHADOW, None),
        (HALF, HALF, None),
    ],
)
def test_who_would_serve_more(now: Stage, to: Stage, policy: str | None) -> None:
    """Only for that there must be evidence."""
    assert challenger(now, to) == policy
    assert (objections(now, to, Known(None, None, 0), ["serves", "watches", "fades"]) == []) == (policy is None)


def test_a_first_canary_must_not_do_harm() -> None:
    """It need not be better; and few decisions are no reason against what makes more of them."""
    assert against(BETTER) == against(UNKNOWN) == ""
    assert against(UNKNOWN, "effective size", "dominance") == ""
    assert against(WORSE) == "watches does harm: it earns at least 0.01 less than the champion"
    assert against(gate(-0.3, 0.0)) == ""


@pytest.mark.parametrize("to", [Stage(1, "serves", Canary("watches", 0.100001)), HALF, CHAMPION])
@pytest.mark.parametrize("now", [SHADOW, FIRST])
def test_more_must_be_better(now: Stage, to: Stage) -> None:
    """Beyond a share of 0.1."""
    assert against(BETTER, now=now, to=to) == ""
    assert against(UNKNOWN, now=now, to=to) == (
        "watches is not known to be better: it earns between -0.2 and +0.3 more; about 700 more decisions may show it"
    )
    assert "may show it" not in against(WORSE, now=now, to=to)
    assert against(gate(0.0, 0.3), now=now, to=to) != ""


@pytest.mark.parametrize("rule", ["draws", "propensities", "mean weight", "missing outcomes", "nothing"])
@pytest.mark.parametrize("to", [FIRST, CHAMPION])
def test_a_log_that_cannot_be_trusted(rule: str, to: Stage) -> None:
    """On no rung, whatever the gate says."""
    assert against(BETTER, rule, to=to) == f"{rule} is wrong: mend it"


@pytest.mark.parametrize("to", [FIRST, HALF, CHAMPION])
def test_a_pipeline_that_is_not_healthy(to: Stage) -> None:
    """On no rung, and its problems are said."""
    known = Known(verdict(BETTER), healthy(problems=["rewards are lost", "so are decisions"]), 60)
    assert objections(SHADOW, to, known, ()) == ["rewards are lost", "so are decisions"]
    assert objections(HALF, SHADOW, known, ()) == []
    [said] = objections(SHADOW, to, Known(verdict(BETTER), None, 60), ())
    assert said.startswith("it is not known whether rewards find their decisions")


def test_support() -> None:
    """A canary must not choose what the champion never could: nothing is known of that."""
    assert against(BETTER, "support") == "support is wrong: mend it"
    assert against(BETTER, "support", to=CHAMPION) == ""


def test_without_a_bound() -> None:
    """The gate says why, or there is none."""
    assert against(gate(-1.0, 1.0, refused="silence")) == "the gate has no bound: silence"
    assert against(None, to=CHAMPION) == "the evidence has no gate for watches"


def test_evidence_must_be_about_today() -> None:
    """Of the last 24 hours, about the champion that serves, and about the challenger."""
    assert against(BETTER, age=86_400) == ""
    assert against(BETTER, age=90_000) == "the evidence is 25 hours old, and it counts for 24"
    assert against(BETTER, now=Stage(0, "fades"), to=Stage(1, "fades", Canary("watches", 0.1))) == (
        "the evidence is about the champion serves, and fades serves"
    )
    assert against(BETTER, to=Stage(1, "fades")) == "the evidence does not know fades: it must have been a shadow"
    assert objections(SHADOW, FIRST, Known(None, healthy(), 0), ()) == [
        "there is no evidence of this loop: `python -m app judge` makes it from the log"
    ]


def test_who_serves_needs_a_floor() -> None:
    """Both, of those who would."""
    said = "has no floor: other policies cannot be judged by its decisions"
    assert against(BETTER, floorless=("fades",)) == ""
    assert against(BETTER, floorless=("serves",)) == f"serves {said}"
    assert against(BETTER, floorless=("watches", "serves")) == f"serves {said}; watches {said}"
    assert against(BETTER, to=CHAMPION, floorless=("serves",)) == ""
    assert against(BETTER, to=CHAMPION, floorless=("watches",)) == f"watches {said}"


@pytest.mark.slow
@pytest.mark.parametrize(("gain", "rungs"), [(0.0, {1}), (0.3, {2, 3}), (-0.3, {0, 1})])
def test_by_evidence_alone(gain: float, rungs: set[int]) -> None:
    """Of 300 loops without a difference at most one in a hundred passes the first rung, though somebody asks for the
    next one every 50 decisions; a better challenger serves alone in the end, and a worse one never does."""
    reached = climbed(300, 4_000, gain=gain, seed=1)
    assert np.isin(reached, list(rungs)).mean() >= 0.99
    assert (reached == 3).mean() >= (0.99 if gain > 0.0 else 0.0)
