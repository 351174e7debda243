"""The rows of decisions: a conversation in its order, with propensities that the policies give."""

from app.messages.decisions import DecisionAnswer, DecisionState, OutcomeAnswer
from app.reference.decisions import DECISIONS, LOOP, PLANS
from app.reference.described import Failure


def test_the_first_decision_is_what_the_champion_does() -> None:
    """Its propensities add up to 1, are those of the champion, and nothing contributes for a new user."""
    made, shown = DECISIONS["POST /decisions"].answers, DECISIONS["GET /decisions/{decision_id}"].answers
    assert isinstance(made, DecisionAnswer)
    assert isinstance(shown, DecisionState)
    assert made.policy == LOOP.champion
    assert sum(each.propensity for each in made.candidates) == 1.0
    assert list(shown.by_policy) == [policy.id for policy in PLANS[LOOP.name].policies]
    assert shown.by_policy[LOOP.champion] == [each.propensity for each in made.candidates]
    assert shown.explanation is not None
    assert {value for part in shown.explanation.candidates for value in part.contributions} == {0.0}


def test_every_change_of_an_outcome_is_shown() -> None:
    """Told, corrected, taken back, activated, cancelled."""
    answers = [row.answers for row in DECISIONS.values()]
    outcomes = {answer.outcome for answer in answers if isinstance(answer, OutcomeAnswer)}
    assert outcomes == {"applied", "corrected", "retracted", "activated", "cancelled"}


def test_contradictions_say_what_is_recorded() -> None:
    """Each 409 has an answer of its own shape."""
    errors: list[Failure] = [error for row in DECISIONS.values() for error in row.errors]
    assert all((error.answer is not None) == (error.status == 409) for error in errors)
