"""The priors as decisions take them: what is read when, what is logged, and that nothing bad is taken over."""

import logging
from collections.abc import AsyncIterator

import numpy as np
import pytest

from app.bandit.policy import Policy
from app.bandit.ridge import Matrix, Vector
from app.decisions.decide import Decider
from app.decisions.users import Users
from app.learning.models import Models
from app.learning.priors import Priors
from app.policies.catalog import catalog
from state import keys
from state.errors import StoreUnavailable
from state.values.columns import Columns
from state.values.prior import PriorRecord, encode
from tests.unit.app.bandit.samples import moment
from tests.unit.app.decisions.scene import NOW, Candidate, Twice, ask, rules_of, stored

pytestmark = pytest.mark.anyio

ROWS = catalog(
    """
[policies.p]
columns = ["priority", "is_overdue"]
prior = "population"
explore = { by = "epsilon", epsilon = 0.0 }
[policies.q]
columns = ["priority", "is_overdue"]
explore = { by = "epsilon", epsilon = 0.0 }
"""
).policies
P, Q = ROWS["p"], ROWS["q"]
A, B = np.array([[3.0, 0.5], [0.5, 2.0]]), np.array([-0.5, 1.0])


def value(version: int = 1, users: int = 20, *, reverse: bool = False) -> bytes:
    pairs = list(zip(P.labels, P.definitions, strict=True))
    a, b = (A[::-1, ::-1], B[::-1]) if reverse else (A, B)
    return encode(PriorRecord(version, NOW, users, Columns(tuple(pairs[::-1] if reverse else pairs)), a, b))


async def put(store: Twice, policy: str, text: bytes) -> None:
    await ask(store, "HSET", keys.PRIORS, policy, text)


def start(priors: Priors, policy: Policy) -> tuple[Matrix, Vector]:
    """The A and b of a new user."""
    return priors.effective(policy, *policy.prior())


def is_plain(priors: Priors, policy: Policy = P) -> bool:
    a, b = start(priors, policy)
    return a.tolist() == np.eye(2).tolist() and not b.any() and priors.version(policy) == 0


def is_prior(priors: Priors, version: int) -> bool:
    a, b = start(priors, P)
    return a.tolist() == A.tolist() and b.tolist() == B.tolist() and priors.version(P) == version


@pytest.fixture
async def store() -> AsyncIterator[Twice]:
    async with stored() as store:
        yield store


async def test_it_follows_what_is_in_redis(store: Twice, caplog: pytest.LogCaptureFixture) -> None:
    """Before the first look there is none; each change is logged once, in one line. Other policies have none, even if
    there is one in Redis."""
    caplog.set_level(logging.INFO, "oo")
    priors = Priors(store.shared, ROWS)
    await put(store, "p", value(4, 812))
    await put(store, "q", value(9, 812))
    assert is_plain(priors)
    for _ in range(2):
        await priors.refresh()
    assert is_prior(priors, 4)
    assert is_plain(priors, Q)
    await put(store, "p", value(5, 20, reverse=True))
    await priors.refresh()
    assert is_prior(priors, 5)
    await ask(store, "DEL", keys.PRIORS)
    await priors.refresh()
    await priors.refresh()
    assert is_plain(priors)
    assert caplog.messages == [
        "prior of p: version 4, from 812 users",
        "prior of p: version 5, from 20 users",
        "prior of p: removed; new users start from nothing",
    ]


async def test_too_few_users(store: Twice, caplog: pytest.LogCaptureFixture) -> None:
    """With 19 it is not used, and that is logged; the one before is not used any longer."""
    caplog.set_level(logging.INFO, "oo")
    priors = Priors(store.shared, ROWS)
    await put(store, "p", value(1))
    await priors.refresh()
    await put(store, "p", value(2, 19))
    for _ in range(2):
        await priors.refresh()
    assert is_plain(priors)
    [_, line] = caplog.messages
    assert line == "prior of p: version 2 is from 19 users, fewer than 20: new users start from nothing"


async def test_what_cannot_be_read_changes_nothing(store: Twice, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged value is logged once and the last good one stays; so it is with a key of another type, and while Redis
    is away."""
    caplog.set_level(logging.WARNING, "oo")
    priors = Priors(store.shared, ROWS)
    await put(store, "p", value(3))
    await priors.refresh()
    await put(store, "p", value(4)[:-9])
    for _ in range(2):
        await priors.refresh()
    assert is_prior(priors, 3)
    [line] = caplog.messages
    assert line.startswith("oo:priors p: is not a prior: ")
    assert line.endswith(": version 3 stays in use")
    await ask(store, "DEL", keys.PRIORS)
    await ask(store, "SET", keys.PRIORS, "text")
    await priors.refresh()
    assert is_prior(priors, 3)
    assert caplog.messages[1:] == ["oo:priors: holds a value of another type: no prior is read"]


async def test_redis_is_away(store: Twice, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What was there stays, and nothing is raised or logged; the next look sees what is new."""
    caplog.set_level(logging.WARNING, "oo")
    priors = Priors(store.shared, ROWS)
    await put(store, "p", value(3))
    await priors.refresh()
    await put(store, "p", value(4))

    async def away() -> dict[str, bytes]:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(store.shared, "priors", away)
        await priors.refresh()
    assert is_prior(priors, 3)
    assert caplog.messages == []
    await priors.refresh()
    assert is_prior(priors, 4)


async def test_nothing_is_read_for_nothing(store: Twice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a policy that takes a prior Redis is not asked."""
    monkeypatch.setattr(store.shared, "priors", None)
    await Priors(store.shared, {"q": Q}).refresh()


async def test_decisions_and_statistics_start_from_it(store: Twice) -> None:
    """A new user is shown what others liked. The model that is stored stays the user's own."""
    priors = Priors(store.shared, ROWS)
    models = Models(store, ROWS)
    await put(store, "p", value())
    await priors.refresh()
    decider = Decider(rules_of(store, ROWS, models=models, priors=priors), clock=lambda: NOW)
    fields = {"task_age_days": 0.0, "hour_of_day": 9}
    candidates = [
        Candidate("urgent", {**fields, "is_overdue": False, "priority": 4}),
        Candidate("overdue", {**fields, "is_overdue": True, "priority": 1}),
    ]
    assert [(await decider.decide(name, "ann", moment(9, 2), candidates)).candidate_id for name in "pq"] == [
        "overdue",
        "urgent",
    ]
    for policy in (P, Q):
        model = await models.read(policy, "ann")
        assert (model.a.tolist(), model.b.tolist()) == (np.eye(2).tolist(), [0.0, 0.0])
    users = Users(store, models, ROWS, priors)
    assert (await users.statistics("p", "ann")).theta == pytest.approx(np.linalg.solve(A, B))
    assert (await users.statistics("q", "ann")).theta == [0.0, 0.0]
