"""The examples of the reference: whole, and taken from the catalog."""

import pytest

from app.messages.classic import ErasedAnswer, RewardRequest, ScoreAnswer, ScoreRequest, StatisticsAnswer
from app.policies.catalog import policies
from app.reference.examples import IDEMPOTENCY_KEY, ROUTES, THETA
from state import keys

POLICIES = list(policies().values())


@pytest.mark.parametrize("policy", POLICIES, ids=[policy.id for policy in POLICIES])
def test_each_policy_has_its_rows(policy: object) -> None:
    """Score, reward and statistics, with its id, its labels and its role."""
    [row] = [row for row in POLICIES if row is policy]
    score, reward = ROUTES[f"POST /score{row.classic.route}"], ROUTES[f"POST /reward{row.classic.route}"]
    assert (type(score.reads), type(reward.reads)) == (ScoreRequest, RewardRequest)
    assert isinstance(score.answers, ScoreAnswer)
    assert score.answers.policy == row.id
    assert score.summary.endswith(f"`{row.id}`, {row.classic.role}" if row.classic.role else f"`{row.id}`")
    assert (score.idempotent, reward.idempotent) == (False, True)
    answers = ROUTES[f"GET /stats{row.classic.route}/{{user_id}}"].answers
    assert isinstance(answers, StatisticsAnswer)
    assert len(answers.theta) == row.d
    assert answers.theta[row.labels.index("is_overdue")] > 0
    if row.classic.tells_exploration:
        assert (answers.policy, answers.feature_labels) == (row.id, row.labels)
    else:
        assert f"`{row.id}`: {', '.join(row.labels)}, in this order" in THETA


def test_an_erasure_removes_what_the_conversation_has_written() -> None:
    """Each policy's record and idempotency key, the history and the index of keys."""
    answers = ROUTES["DELETE /users/{user_id}"].answers
    assert isinstance(answers, ErasedAnswer)
    assert len(answers.removed) == 2 * len(POLICIES) + 2
    assert {keys.history("ann"), keys.index("ann")} < set(answers.removed)
    assert sum(name.endswith(IDEMPOTENCY_KEY) for name in answers.removed) == len(POLICIES)
    assert answers.removed == sorted(answers.removed)


def test_no_row_lists_a_status_twice() -> None:
    """The document has one response for each."""
    for name, row in ROUTES.items():
        statuses = [error.status for error in row.errors] + ([503] if row.unwell else [])
        assert len(statuses) == len(set(statuses)), name
