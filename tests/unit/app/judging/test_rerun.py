"""A policy over a log as if it had been a shadow from the first line on."""

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from app.bandit.prior import effective, fit
from app.decision_log.lines import Candidate, Decision, Line, Outcome, Taught, milliseconds
from app.decision_log.place import PlaceError
from app.evaluation.logged import user_code
from app.judging.rerun import Rerun, by_time, rerun
from app.policies.catalog import catalog
from tests.support.decisions import clock
from tests.unit.app.decision_log.samples import BEGIN, decision, outcome, state
from tests.unit.app.decisions.scene import Twice, stored
from tests.unit.app.judging.world import POLICIES
from tests.unit.app.ledger import test_transact
from tests.unit.app.ledger.test_transact import CATALOG, Scene

POPULATION = catalog(POLICIES).policies["shared"]
DAY = 86_400_000


def name_of(line: Decision) -> tuple[int, int, int]:
    return milliseconds(line.ts), user_code(line.user), line.seq


def given(lines: list[Line], policy: Any, loop: str = "push") -> np.ndarray[Any, Any]:
    """What the policy gives in all decisions of the loop, in order of time."""
    ordered = sorted(lines, key=by_time)
    names = [name_of(line) for line in ordered if isinstance(line, Decision) and line.loop == loop]
    [found] = rerun(ordered, loop, [policy], names)
    return found


@pytest.fixture
async def store() -> AsyncIterator[Twice]:
    async with stored() as store:
        yield store


@pytest.mark.anyio
@pytest.mark.parametrize(("loop", "expected"), [("books", {"default", "corrected", "retracted"}), ("sums", set())])
async def test_a_shadow_is_found_again(
    store: Twice, loop: str, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever became of decisions, the probabilities and models that shadows had are computed again to the last bit:
    with rewards that came late, were corrected, taken back, added up or booked by default, with forgetting and a
    baseline."""
    monkeypatch.setattr(test_transact, "LOOPS", (loop,))
    with clock() as time:
        scene, made = Scene(store, time, logs=True), list[str]()
        for _ in range(150):
            await scene.anything(made)
        lines, held = await scene.lines(), await scene.held()
    decisions = [line for line in lines if isinstance(line, Decision)]
    assert {line.what for line in lines if isinstance(line, Outcome)} >= {"applied", "activated", *expected}
    for name in ("watches", "fades"):
        logged = np.concatenate([line.by_policy[name] for line in decisions])
        run = Rerun(CATALOG.policies[name])
        np.testing.assert_array_equal(given(lines, run, loop), logged)
        [model] = run._models.values()
        stored, _ = held.models[name]
        np.testing.assert_array_equal(model.a, stored.a)
        np.testing.assert_array_equal(model.b, stored.b)
        assert (model.meta.reward_count, run.failed) == (stored.meta.reward_count, "")


def told(user: str, first: int, worth: float, *, ms: int, **more: Any) -> list[Line]:
    """A decision between a candidate of this worth and one of another; the first is served, and earns the more the less
    it is worth."""
    candidates = [Candidate("a", {"worth": worth}), Candidate("b", {"worth": 1 - worth})]
    made = decision(first, user, ms, loop="push", candidates=candidates, prior={}, **more)
    taught = {"egreedy-v1": Taught("aa", "bb", 1)}
    after = outcome(first + 1, user, ms + 1, born=first, loop="push", reward=1 - worth, total=1 - worth, taught=taught)
    return [made, after]


def crowd(users: int = 30, rewards: int = 6, **more: Any) -> list[Line]:
    """Users with so many rewards each, all in one day."""
    return [
        line
        for user in range(users)
        for n in range(rewards)
        for line in told(f"u{user}", 2 * n + 1, (user * 7 + n * 3) % 10 / 10, ms=BEGIN + 20 * n + user, **more)
    ]


def test_a_prior_daily() -> None:
    """Where the log tells of no priors, one is built from the models of others each day; new users begin there."""
    lines = [*crowd(), *told("new", 1, 0.9, ms=BEGIN + DAY)]
    run = Rerun(POPULATION)
    found = given(lines, run)[-2:]
    assert run.priors == 1

    models = [model for (user, _), model in run._models.items() if user != "new"]
    s = np.stack([model.a for model in models]) - np.eye(2)
    order = sorted(range(30), key=lambda place: user_code(f"u{place}"))
    moments = [np.array([getattr(m.meta, name) for m in models])[order] for name in ("weight", "squares")]
    a0, b0, _ = fit(s[order], np.stack([model.b for model in models])[order], *moments)
    x = np.array([[1.0, 0.9], [1.0, 1 - 0.9]])
    expected = POPULATION.odds(*effective(*POPULATION.prior(), a0, b0), x, 2**64 - 1).propensities
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    alone = given(told("new", 1, 0.9, ms=BEGIN), Rerun(POPULATION))
    assert (found[0], alone[0]) == (pytest.approx(0.1), pytest.approx(0.9))


@pytest.mark.parametrize("lines", [crowd(19), crowd(rewards=4)])
def test_too_few_for_a_prior(lines: list[Line]) -> None:
    """Of fewer than 20 users with 5 rewards there is none."""
    run = Rerun(POPULATION)
    given([*lines, *told("new", 1, 0.9, ms=BEGIN + DAY)], run)
    assert run.priors == 0


def test_a_prior_when_the_log_says_so() -> None:
    """Where decisions name the versions of priors, one is built when such a version is new, and not before."""
    lines = crowd()
    for days, version, built in ((1, 0, 0), (1, 3, 1), (2, 3, 1), (2, 4, 2)):
        lines += [replace(told("new", 1, 0.9, ms=BEGIN + days * DAY + version)[0], prior={"x": version})]
        lines = [replace(each, prior=each.prior or {"x": 0}) if isinstance(each, Decision) else each for each in lines]
        run = Rerun(POPULATION)
        given(lines, run)
        assert run.priors == built


def test_a_policy_without_a_prior_has_none() -> None:
    run = Rerun(catalog(POLICIES).policies["greedy"])
    given([*crowd(), *told("new", 1, 0.9, ms=BEGIN + DAY)], run)
    assert run.priors == 0


def test_what_is_not_of_the_loop() -> None:
    """Excluded candidates get nothing; outcomes of other loops, and those that taught nothing, teach nothing."""
    run = Rerun(catalog(POLICIES).policies["greedy"])
    assert given(told("u", 1, 0.9, ms=BEGIN, excluded=[0], chosen=1, propensity=0.05), run).tolist() == [0.0, 1.0]
    others: list[dict[str, Any]] = [{"loop": "other"}, {"taught": {}}]
    for more in others:
        lines = told("u", 1, 0.1, ms=BEGIN)
        lines[1] = replace(lines[1], **more)
        run = Rerun(catalog(POLICIES).policies["greedy"])
        given(lines, run)
        assert not run._models["u", "9f2c"].b.any()


def test_a_reset_is_a_new_beginning() -> None:
    """Models of an epoch that ended are gone."""
    run = Rerun(catalog(POLICIES).policies["greedy"])
    given([*told("u", 1, 0.1, ms=BEGIN), state(3, "u", BEGIN + 5)], run)
    assert run._models == {}


def test_what_came_or_went_meanwhile() -> None:
    """A decision that was not known when the log was first read is left out; one that is gone is an error."""
    lines = [*told("a", 1, 0.9, ms=BEGIN), *told("b", 1, 0.9, ms=BEGIN + 10)]
    names = [name_of(line) for line in lines if isinstance(line, Decision)]
    run = Rerun(catalog(POLICIES).policies["greedy"])
    assert len(rerun(lines, "push", [run], names[1:])[0]) == 2
    with pytest.raises(PlaceError, match="lost lines"):
        rerun(lines[2:], "push", [run], names)


def test_a_model_that_cannot_be_solved() -> None:
    """Has no probabilities, and it is said."""
    run = Rerun(catalog(POLICIES).policies["greedy"])
    made = told("u", 1, 0.9, ms=BEGIN)[0]
    assert isinstance(made, Decision)
    run.score(made)
    run._models["u", "9f2c"].a = np.full((2, 2), np.nan)
    assert np.isnan(run.score(made)).all()
    assert run.failed


def test_order() -> None:
    """By time, then by user; what is erased is known first."""
    erased = state(9, "", BEGIN + 9, what="erased", user_hash="ab")
    lines: list[Line] = [erased, decision(1, "a", BEGIN), decision(1, "ab", BEGIN), decision(2, "a", BEGIN + 1)]
    assert sorted([lines[2], lines[3], lines[0], lines[1]], key=by_time) == lines
