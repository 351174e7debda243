"""The evidence of a loop as tables and plots."""

from typing import Any

import msgspec

from app.console.loops.evidence import courses, delays, estimates, gates, judged, role_of, said
from app.evaluation.estimators import Estimate
from app.evaluation.evidence import Mean
from app.experiments.verdict import Verdict
from app.messages.pipeline import GatePoint
from state.values.loop import Canary
from tests.unit.app.console.scene import busy, plan
from tests.unit.app.experiments.scene import gate, verdict


def seen(*given: Any, **more: Any) -> Verdict:
    """Evidence of `tips`, of which the baselines are known too."""
    found = verdict(*given, policy="tips-v3", champion="egreedy-v1")
    known = msgspec.structs.replace(found.evidence.policies["egreedy-v1"], snips=Estimate(0.1, 0.05, 0.15))
    evidence = msgspec.structs.replace(found.evidence, **{"baselines": {"uniform": known}} | more)
    return msgspec.structs.replace(found, evidence=evidence)


def test_roles() -> None:
    """What each policy is now, whatever it was when the evidence was made."""
    found = plan(Canary("tips-v3", 0.05))
    names = ("egreedy-v1", "tips-v3", "linucb-v1", "nobody")
    assert [role_of(found, name) for name in names] == ["champion", "canary", "shadow", "gone"]


def test_rows() -> None:
    """The champion first, and last what is there to compare."""
    rows = judged(plan(), seen(gate(-0.1, 0.2)))
    assert [(row.name, row.role, row.is_baseline) for row in rows] == [
        ("egreedy-v1", "champion", False),
        ("tips-v3", "shadow", False),
        ("any candidate, each as often", "", True),
    ]


def test_estimates() -> None:
    """Those that are not refused, with what was served; nothing, if all are refused."""
    found = seen(gate(-0.1, 0.2), logging=Mean(0.2, 0.1, 0.3))
    drawn = estimates(judged(plan(), found), found)
    assert drawn is not None
    assert ("what was served" in drawn, "any candidate" in drawn, "tips-v3" in drawn) == (True, True, False)
    none = seen(gate(-0.1, 0.2), baselines={})
    assert estimates(judged(plan(), none), none) is None


def test_gates() -> None:
    """Of challengers with a bound; one that says nothing yet would only make the others small."""
    drawn, unbound = gates(judged(plan(), seen(gate(-0.1, 0.2))), 2.0)
    assert drawn is not None
    assert ("tips-v3" in drawn, 'class="zero"' in drawn, unbound) == (True, True, [])
    assert gates(judged(plan(), seen(gate(-2.0, 2.0))), 2.0) == (None, ["tips-v3"])
    assert gates(judged(plan(), seen(gate(-0.1, 0.2, refused="too few"))), 2.0) == (None, [])
    assert gates(judged(plan(), seen(None)), 2.0) == (None, [])


def test_courses() -> None:
    """A plot for each challenger, with a gap where another champion began to serve; one run of judge is enough."""
    [course] = courses(busy())
    assert (course.name, course.plot.count('class="line')) == ("tips-v3", 1)
    [*first] = busy().gates["tips-v3"]
    later = [msgspec.structs.replace(point, champion="tips-v3") for point in first[30:]]
    [broken] = courses(busy(gates={"linucb-v1": [*first[:30], *later], "none": []}))
    assert broken.plot.count('class="line') == 2
    alone: list[GatePoint] = first[:1]
    [single] = courses(busy(gates={"tips-v3": alone}))
    assert single.plot.count("<text") > 0


def test_delays() -> None:
    """A column for each edge and one beyond; nothing without a reward."""
    drawn = delays(busy())
    assert drawn is not None
    assert (drawn.count("<title>"), "up to 5\xa0min: 900" in drawn, "longer: 2" in drawn) == (7, True, True)
    assert delays(busy(delays=[0] * 7)) is None


def test_what_is_said() -> None:
    """Of whom there is something to say: refusals with their help, and warnings."""
    rows = judged(plan(), seen(gate(-0.1, 0.2, refused="too few"), "ess"))
    careful = msgspec.structs.replace(rows[0].found, warnings=["few users"])
    assert said([rows[0]._replace(found=careful), *rows[1:]]) == [
        ("egreedy-v1", [], ["few users"]),
        ("tips-v3", ["ess is wrong: mend it", "the gate has no bound: too few"], []),
    ]


def test_many_delays() -> None:
    """Only up to the longest that there was, and with few texts below."""
    edges = [float(2**n) for n in range(20)]
    drawn = delays(busy(delay_edges=edges, delays=[1] * 15 + [0] * 6))
    assert drawn is not None
    assert (drawn.count("<title>"), 4 <= drawn.count("text-anchor") <= 7, "longer" in drawn) == (15, True, False)
