"""The rows of loops and users."""

from app.messages.loops import LoopsAnswer, UserAnswer
from app.reference.decisions import FIRST, LOOP, PLANS
from app.reference.loops import LOOPS, USERS


def test_the_loop_is_the_built_in_one() -> None:
    """With its champion, its shadows and its window."""
    answers = LOOPS["GET /loops"].answers
    assert isinstance(answers, LoopsAnswer)
    [shown] = answers.loops
    assert (shown.loop, shown.champion, tuple(shown.shadows)) == (LOOP.name, LOOP.champion, LOOP.shadows)
    assert shown.window_seconds == 86_400


def test_a_user_has_what_the_champion_decided() -> None:
    """One decision, which is open, and a weight for each column of the champion."""
    answers = USERS["GET /users/{user_id}"].answers
    assert isinstance(answers, UserAnswer)
    assert [each.decision_id for each in answers.open] == [FIRST]
    [(name, learned)] = answers.policies.items()
    assert (name, tuple(learned.theta)) == (LOOP.champion, PLANS[LOOP.name].policies[0].labels)
