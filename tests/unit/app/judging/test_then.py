"""What models said when a candidate was chosen, computed again from the lines before."""

import msgspec
import pytest

from app.decision_log.lines import Decision, Line
from app.judging.then import then
from app.log_reading.order import by_seq
from app.policies.catalog import catalog
from tests.unit.app.judging.world import POLICIES, made

USER = "user-3"


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    """All lines of a user, by seq."""
    return sorted((line for line in made().lines if line.user == USER), key=by_seq)


def test_it_adds_up_to_the_score(lines: list[Line]) -> None:
    """Of each decision, the first without anything learned and the last with all."""
    policies = catalog(POLICIES).policies
    decisions, learned = [line for line in lines if isinstance(line, Decision)], []
    for decision in decisions:
        known = then(lines, decision, policies)
        assert known.keys() == {"blind", "sighted"}
        champion, shadow = known["blind"], known["sighted"]
        assert isinstance(champion, dict)
        assert isinstance(shadow, dict)
        assert sum(weight * value for weight, value in champion.values()) == pytest.approx(decision.score, abs=1e-12)
        assert {label: value for label, (_, value) in champion.items()}.items() <= {"1": 1.0, **decision.x}.items()
        learned += [shadow["worth"][0]] if "worth" in shadow else []
    assert (decisions[0].score, decisions[-1].score != 0.0) == (0.0, True)
    assert learned[-1] > 0.1


def test_why_it_is_not_known(lines: list[Line]) -> None:
    """A line is missing, the policy is another one by now, or it started from other users."""
    policies = catalog(POLICIES).policies
    last = [line for line in lines if isinstance(line, Decision)][-1]
    of_another = {"blind": "1f3c", "sighted": last.versions["sighted"]}
    assert then(lines[1:], last, policies)["blind"] == "line 1 missing"
    assert then([], last, policies)["blind"] == "line 1 is missing"
    assert then(lines, msgspec.structs.replace(last, versions=of_another), policies)["blind"] == (
        "POLICIES has no such policy, or another version"
    )
    known = then(lines, msgspec.structs.replace(last, prior={"blind": 2}), policies)
    assert known["blind"] == "it started from a prior, which the log does not have"
    assert isinstance(known["sighted"], dict)
