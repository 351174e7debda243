"""A policy: it learns, and decides by the chance in a seed."""

import math
import tracemalloc
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from app.bandit.columns import Columns
from app.bandit.explore import EpsilonGreedy, Normals, Odds, Thompson
from app.bandit.features import Encoder
from app.bandit.policy import Damaged, Policy, Seen, all_odds
from app.bandit.ridge import Singular, Solved, Stack, observe
from app.policies.catalog import catalog, policies
from tests.unit.app.bandit.samples import moment, task

CONTEXT = moment(9, 2, {"completion_rate_30d": 0.5})
TASKS = [task(), task(is_overdue=True), task(is_overdue=True)]


def test_a_policy_learns() -> None:
    """After rewards for overdue tasks alone each policy prefers them, and theta says so."""
    for policy in policies(1.0, 0.0).values():
        a, b = policy.prior()
        for _ in range(50):
            a, b = policy.learn(a, b, policy.see(CONTEXT, [task(is_overdue=True)])[0], 1.0)
            a, b = policy.learn(a, b, policy.see(CONTEXT, [task()])[0], -1.0)
        choice = policy.decide(a, b, policy.see(CONTEXT, TASKS), seed=1)
        assert (choice.index, choice.propensity, choice.explored) == (1, 1.0, False)
        estimate = dict(zip(policy.labels, policy.estimate(a, b), strict=True))
        assert max(estimate, key=lambda label: estimate[label]) == "is_overdue"


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5, 1.0])
def test_exploration_is_counted_as_often_as_it_happens(epsilon: float) -> None:
    """Of 5,000 seeds a share of epsilon explores, the best candidate among the explored ones as often as any.

    Both are within six standard deviations, odds of 2e-9.
    """
    policy = policies(1.0, epsilon)["egreedy-v1"]
    a, b = policy.prior()
    a, b = policy.learn(a, b, policy.see(CONTEXT, [task(is_overdue=True)])[0], 1.0)
    n = 5_000
    x = policy.see(CONTEXT, TASKS)
    explored = [choice for seed in range(n) if (choice := policy.decide(a, b, x, seed)).explored]
    assert abs(len(explored) - n * epsilon) <= 6 * math.sqrt(n * epsilon * (1 - epsilon))
    best = sum(choice.index == 1 for choice in explored)
    assert abs(best - len(explored) / 3) <= 6 * math.sqrt(len(explored) * 2 / 9)
    assert all(choice.propensity in (epsilon / 3, epsilon / 3 + (1.0 - epsilon)) for choice in explored)


@pytest.mark.parametrize("name", ["linucb-v1", "egreedy-v1"])
def test_without_exploration_none_is_counted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for the number at which the part of exploration would begin."""
    monkeypatch.setattr("app.bandit.policy.uniform", lambda *_: 0.0)
    policy = policies(1.0, 0.0)[name]
    assert not policy.decide(*policy.prior(), policy.see(CONTEXT, TASKS), seed=1).explored


def test_a_choice_is_a_function_of_its_seed() -> None:
    """The same seed gives the same choice, other seeds and other policies choose for themselves."""
    one, other = policies(1.0, 1.0)["egreedy-v1"], policies(1.0, 1.0)["egreedy-v2"]
    many = [task(priority=priority) for priority in (1, 2, 3, 4)] * 10
    ours = [one.decide(*one.prior(), one.see(CONTEXT, many), seed).index for seed in range(20)]
    assert ours == [one.decide(*one.prior(), one.see(CONTEXT, many), seed).index for seed in range(20)]
    assert len(set(ours)) > 5
    assert ours != [other.decide(*other.prior(), other.see(CONTEXT, many), seed).index for seed in range(20)]


class Broken(EpsilonGreedy, frozen=True):
    """An explorer whose only candidate has no finite score."""

    def odds_of(self, solved: Solved, x: Stack, seeds: Sequence[int], normals: Normals) -> list[Odds]:
        return [Odds(np.array([self.epsilon]), [1.0], [0.0], theta) for theta in solved.theta]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_refused(score: float) -> None:
    """A damaged model never gives a score that JSON cannot hold."""
    encoder = Encoder([])
    policy = Policy(
        id="p", encoder=encoder, columns=Columns(["1"], encoder.labels), definitions=("",), explorer=Broken(score)
    )
    with pytest.raises(Singular):
        policy.decide(*policy.prior(), policy.see(CONTEXT, TASKS[:1]), seed=1)


def test_d_is_the_number_of_columns() -> None:
    """A model has one number for each column."""
    assert [policy.d for policy in policies(1.0, 0.1).values()] == [5, 7, 12]
    assert [len(policy.labels) for policy in policies(1.0, 0.1).values()] == [5, 7, 12]
    assert [policy.prior()[0].shape for policy in policies(1.0, 0.1).values()] == [(5, 5), (7, 7), (12, 12)]


PUSH = """
[features]
one = { of = "candidate", kind = "number", min = 0, max = 1 }
[policies.push]
columns = ["1", "one"]
explore = { by = "linucb", alpha = 0.5, floor = 0.2 }
forget = 0.9
reward_baseline = 0.25
"""


def test_a_policy_forgets_and_learns_above_its_baseline() -> None:
    """As the file says."""
    policy = catalog(PUSH).policies["push"]
    a, b = policy.prior()
    expected = policy.prior()
    for one, reward in [(0.5, 1.0), (1.0, 0.25), (0.0, -1.0)]:
        [x] = policy.see(CONTEXT, [{"one": one}])
        assert x.tolist() == [1.0, one]
        a, b = policy.learn(a, b, x, reward)
        expected = observe(*expected, x, reward - 0.25, 0.9)
    assert np.array_equal(a, expected[0])
    assert np.array_equal(b, expected[1])


def test_equal_candidates_share_unless_the_first_system_ruled() -> None:
    """A candidate sent twice is not explored twice as much; by the rule of the first system it is."""
    push = catalog(PUSH).policies["push"]
    rows = push.see(CONTEXT, [{"one": 1.0}, {"one": 1.0}, {"one": 0.0}])
    assert push.decide(*push.prior(), rows, seed=1).propensities == pytest.approx([0.45, 0.45, 0.1])
    first = policies(1.0, 0.3)["egreedy-v1"]
    assert first.decide(*first.prior(), first.see(CONTEXT, TASKS), seed=1).propensities == pytest.approx(
        [0.8, 0.1, 0.1]
    )


def test_a_choice_that_is_not_the_best_explored() -> None:
    """Whatever chose it; the best is explored only where chance alone chose it."""
    push = catalog(PUSH).policies["push"]
    rows = push.see(CONTEXT, [{"one": 1.0}, {"one": 0.0}])
    choices = [push.decide(*push.prior(), rows, seed) for seed in range(400)]
    assert all(choice.explored for choice in choices if choice.index == 1)
    assert {choice.explored for choice in choices if choice.index == 0} == {False, True}
    share = sum(choice.explored for choice in choices) / 400
    assert abs(share - 0.2) < 6 * math.sqrt(0.2 * 0.8 / 400)


def test_draws_of_a_policy_are_its_own() -> None:
    """Thompson's propensities are a function of the seed, and other policies have others of the same seed."""
    text = "".join(
        f"[policies.{name}]\ncolumns = ['1', 'task_age']\nexplore = {{ by = 'thompson', scale = 1 }}\n" for name in "pq"
    )
    rows = catalog(text).policies
    x = rows["p"].see(CONTEXT, [task(task_age_days=days) for days in (0, 10, 30)])
    a, b = rows["p"].prior()
    one, same, other = (rows[name].odds(a, b, x, seed=5).propensities for name in "ppq")
    assert one == same
    assert one != other
    assert one != rows["p"].odds(a, b, x, seed=6).propensities
    assert rows["p"].decide(a, b, x, seed=5).propensities == one


@pytest.mark.parametrize("most", [1, 10**6])
def test_decisions_together_are_those_alone(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each policy, in the order of the decisions, however many are computed at once; an error is in its place."""
    monkeypatch.setattr("app.bandit.policy._MOST", most)
    rows = policies(1.0, 0.1)
    some = [rows["egreedy-v1"], rows["linucb-v1"]]
    encoder = rows["egreedy-v1"].encoder
    columns = [Columns(policy.labels, encoder.labels) for policy in some]
    seen: list[Seen] = []
    for step, count in enumerate((3, 3, 1, 3)):
        base, _ = encoder.encode(moment(step, 2), [task(priority=place + 1) for place in range(count)])
        pairs = zip(some, columns, strict=True)
        models = [policy.learn(*policy.prior(), own.of(base)[0], 0.5) for policy, own in pairs]
        if step == 1:
            models[1] = -np.eye(some[1].d), np.zeros(some[1].d)
        seen.append((models, base, step, None))
    found = all_odds(some, columns, seen)
    assert len(found) == 4
    for each, (starts, base, seed, _) in zip(found, seen, strict=True):
        if isinstance(each, Damaged):
            assert (seed, each.place, str(each.error)) == (1, 1, "A is not positive definite")
            continue
        assert seed != 1
        for policy, own, model, odds in zip(some, columns, starts, each, strict=True):
            alone = policy.odds(*model, own.of(base), seed)
            assert (odds.scores.tobytes(), odds.propensities) == (alone.scores.tobytes(), alone.propensities)
            assert (odds.theta.tobytes(), odds.random) == (alone.theta.tobytes(), alone.random)
    [one] = some[0].odds_alone([(seen[0][0][:1], seen[0][1], 0, 0.5)])
    assert not isinstance(one, Damaged)
    [odds] = one
    assert sorted(odds.propensities) == pytest.approx([0.5 / 3, 0.5 / 3, 0.5 + 0.5 / 3])


def test_many_candidates_are_computed_in_parts() -> None:
    """Policies of few columns draw many numbers for each candidate: the memory is that of a few thousand candidates."""
    row = msgspec.structs.replace(policies(1.0, 0.1)["linucb-v1"], explorer=Thompson(0.2))
    base, _ = row.encoder.encode(CONTEXT, [task(priority=1 + place % 4) for place in range(500)])
    seen: list[Seen] = [([row.prior()], base, seed, None) for seed in range(64)]
    tracemalloc.start()
    try:
        found = all_odds([row], [row.columns], seen)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 64
    assert peak < 16_000_000
