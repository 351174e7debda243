"""Simulated owners: their rewards have the mean and the values that are said, and they differ."""

import math
from collections import Counter

import numpy as np

from app.bandit.context import Context
from app.policies.catalog import catalog
from app.simulation.owners import Owners, Tasks


def test_rewards() -> None:
    """Each reward is one of five, and their mean is the expected one: at odds of 1e-9 (6 errors)."""
    moments = list(Owners(1, 3_000).moments(1, 0))
    assert {reward for moment in moments for reward in moment.rewards.tolist()} == {-1.0, -0.5, 0.0, 0.5, 1.0}
    off = np.concatenate([moment.rewards - moment.expected for moment in moments])
    assert abs(off.mean()) < 6 * off.std() / math.sqrt(len(off))
    # A binomial of four trials, scaled to -1..1, has this variance.
    expected = np.concatenate([moment.expected for moment in moments])
    wanted = (1 - expected**2) / 4
    assert abs((off**2 - wanted).mean()) < 6 * (off**2).std() / math.sqrt(len(off))
    assert -1.0 <= expected.min() < expected.max() <= 1.0


def test_what_a_request_would_have() -> None:
    """Hours of the day, days from Monday, and eight tasks within the bounds of the first system."""
    moments = list(Owners(1, 500).moments(2, 0))
    assert {moment.context.moment["hour_of_day"] for moment in moments} == set(range(7, 23))
    assert {moment.context.moment["day_of_week"] for moment in moments} == set(range(7))
    tasks = [task for moment in moments for task in moment.candidates]
    assert len(tasks) == 8 * 500
    assert {task["priority"] for task in tasks} == {1, 2, 3, 4}
    assert all(isinstance(age := task["task_age_days"], float) and 0 <= age <= 30 for task in tasks)
    overdue = Counter(task["is_overdue"] for task in tasks)
    assert abs(overdue[True] / len(tasks) - 0.4) < 6 * math.sqrt(0.24 / len(tasks))


def test_an_owner_by_hand() -> None:
    """Wants overdue tasks at 6 in the morning, and old ones of low priority at weekends."""
    wants = np.zeros((4, 4))
    wants[1, 1], wants[3] = 0.5, [0.1, 0.0, 0.6, -0.3]
    tasks = Tasks(np.array([0.0, 1.0]), np.array([15.0, 30.0]), np.array([1.0, 4.0]))
    assert np.allclose(tasks.wanted(wants, 6, 0), [0.0, 0.5])
    assert np.allclose(tasks.wanted(wants, 18, 4), [0.0, -0.5])
    assert np.allclose(tasks.wanted(wants, 0, 5), [0.1 + 0.3, 0.1 + 0.6 - 0.3])
    assert tasks.wanted(10 * wants, 6, 0).max() == 1.0
    assert tasks.fields()[1] == {"is_overdue": True, "task_age_days": 30.0, "priority": 4}


def test_owners_differ_and_stay() -> None:
    """Each user of each seed is somebody else, and always the same."""
    world = Owners()
    drawn = [world.wants(seed, user).tobytes() for seed in range(3) for user in range(3)]
    assert len(set(drawn)) == 9
    assert world.wants(1, 2).tobytes() == drawn[5]
    one, two = list(Owners(1, 3).moments(0, 0)), list(Owners(1, 3).moments(0, 0))
    assert [moment.rewards.tolist() for moment in one] == [moment.rewards.tolist() for moment in two]


def test_a_preference_for_the_hour_can_be_learned() -> None:
    """For an owner who wants overdue tasks in the morning and old ones in the evening, tips-v3's greedy pick at 9 h is
    another than at 21 h. egreedy-v1, which crosses nothing, picks the same."""
    wants = np.zeros((4, 4))
    wants[1] = [0.0, 0.8, -0.8, 0.0]
    two = Tasks(np.array([1.0, 0.0]), np.array([0.0, 30.0]), np.array([2.0, 2.0]))
    picks = {}
    for name in ("tips-v3", "egreedy-v1"):
        policy = catalog().policies[name]
        a, b = policy.prior()
        for moment in Owners(1, 300).moments(3, 0):
            hour, day = moment.context.moment["hour_of_day"], moment.context.moment["day_of_week"]
            assert isinstance(hour, int)
            assert isinstance(day, int)
            x = policy.see(moment.context, two.fields())
            for row, reward in zip(x, two.wanted(wants, hour, day).tolist(), strict=True):
                a, b = policy.learn(a, b, row, reward)
        theta = policy.estimate(a, b)
        seen = [policy.see(Context({"hour_of_day": hour, "day_of_week": 1}), two.fields()) for hour in (9, 21)]
        picks[name] = [int((x @ theta).argmax()) for x in seen]
    assert picks["tips-v3"] == [0, 1]
    assert len(set(picks["egreedy-v1"])) == 1
