"""The ladder as forms."""

import pytest

from app.console.loops.rungs import challengers, former, wanted
from app.experiments.change import Wanted
from app.experiments.ladder import Known
from app.messages.reading import Unreadable
from state.values.loop import Canary, Stage, Standing
from tests.unit.app.console.scene import busy, plan
from tests.unit.app.experiments.scene import gate, verdict

SMALL, LARGE = "canary with at most 10\xa0%", "canary with at most 50\xa0%"
NOTHING = Known(None, None, 0)


def known(low: float, high: float) -> Known:
    return Known(verdict(gate(low, high), policy="tips-v3", champion="egreedy-v1"), busy(), 0)


@pytest.mark.parametrize(
    ("what", "free"),
    [
        (NOTHING, []),
        (known(-0.1, 0.2), [SMALL]),
        (known(0.01, 0.2), [SMALL, LARGE, "champion"]),
        (known(-0.2, -0.1), []),
    ],
)
def test_what_may_be_done(what: Known, free: list[str]) -> None:
    """By the rules of the ladder: what is not free says why."""
    found = {each.name: each for each in challengers(plan(), what)}
    assert list(found) == ["linucb-v1", "egreedy-v2", "tips-v3"]
    rungs = found["tips-v3"].rungs
    assert [rung.title for rung in rungs] == [SMALL, LARGE, "champion"]
    assert [rung.title for rung in rungs if not rung.against] == free


def test_a_canary() -> None:
    """Can always become smaller; its own share is none of the steps."""
    [each] = [each for each in challengers(plan(Canary("tips-v3", 0.2)), NOTHING) if each.name == "tips-v3"]
    assert (each.role, each.share) == ("canary", 0.2)
    assert [(rung.title, tuple(rung.shares), not rung.against) for rung in each.rungs] == [
        ("smaller canary", (0.01, 0.02, 0.05, 0.1), True),
        (LARGE, (0.3, 0.5), False),
        ("champion", (), False),
    ]


def test_what_a_form_asks_for() -> None:
    """A canary, a champion, or back; for a reason."""
    asked = {"state": "7", "policy": "tips-v3", "share": "0.05", "because": "  to\ntry "}
    assert wanted({**asked, "step": "canary"}, "ops") == Wanted(
        number=7, who="ops", canary=Canary("tips-v3", 0.05), because="to try"
    )
    assert wanted({**asked, "step": "champion"}, "") == Wanted(number=7, who="", champion="tips-v3", because="to try")
    assert wanted({"step": "back", "state": "0"}, "ops") == Wanted(number=0, who="ops", back=True)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"step": ""}, "step: takes"),
        ({"state": ""}, "state: takes"),
        ({"state": "-1"}, "state: takes"),
        ({"state": "\N{SUPERSCRIPT TWO}"}, "state: takes"),
        ({"share": "x"}, "share: takes"),
        ({"share": "nan"}, "share: takes"),
        ({"share": "0"}, "share: takes"),
        ({"share": "0.6"}, "share: takes"),
        ({"because": "x" * 1_001}, "because: takes"),
    ],
)
def test_a_form_that_says_nothing_sensible(odd: dict[str, str], said: str) -> None:
    """The message names the field."""
    with pytest.raises(Unreadable, match=said):
        wanted({"step": "canary", "state": "1", "policy": "tips-v3", "share": "0.1", **odd}, "ops")


def test_the_way_back() -> None:
    """To the last former stage."""
    stage = Stage(0, "egreedy-v1")
    assert former(Standing(1, "e", "", Stage(1, "tips-v3"), [stage])) == stage
    assert former(None) is None
    assert former(Standing(0, "e", "", stage)) is None
