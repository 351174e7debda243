"""The models of a user within a step: each change is seen by the next, and all of them are written."""

import msgspec
import numpy as np
import pytest

from app.ledger.desk import Desk
from app.ledger.rules import Rules
from app.policies.catalog import catalog
from state import keys
from state.errors import CorruptState
from state.update.changes import Fields, Hash, More
from state.values.decision import Record, Shadow, Terms
from state.values.record import FIELDS
from tests.unit.app.decisions.scene import Twice, stored

pytestmark = pytest.mark.anyio

KNOWN = catalog()
ROW = KNOWN.policies["linucb-v1"]
MADE = Record(
    request=b"",
    loop="tips",
    policy="linucb-v1",
    status="open",
    born=0,
    decided=0,
    deadline=1,
    terms=Terms(-1.0, 1.0, None, discards=False, adds=False),
    ids=["a"],
    propensities=[1.0],
    chosen=0,
    score=0.0,
    seed=1,
    by_policy=[Shadow("linucb-v1", [1.0]), Shadow("gone", [1.0])],
    labels=["is_overdue", "unknown"],
    x=[1.0, 7.0],
)


def desk(store: Twice) -> Desk:
    """Of a new user."""
    none = [None] * len(FIELDS)
    return Desk(Rules.of(store, KNOWN, 0), "u", {keys.record("u", ROW.id): none})


async def test_what_is_learned_is_seen_and_written() -> None:
    """By name: columns that the decision did not have are 0, columns that the policy lacks teach nothing."""
    async with stored() as store:
        found = desk(store)
        once, skipped = found.teach(MADE, 0.5, 12)
        twice, _ = found.teach(MADE, 0.25, 12)
        assert skipped == ["gone"]
        assert (once.reward, [each.updates for each in once.learned]) == (0.5, [1])
        assert [each.updates for each in twice.learned] == [2]
        model = found.model(ROW)
        assert dict(zip(ROW.labels, model.b.tolist(), strict=True)) == {
            **dict.fromkeys(ROW.labels, 0.0),
            "is_overdue": 0.75,
        }
        assert (model.meta.reward_count, model.meta.last_updated) == (2, 12)
        corrected, _ = found.correct(once, -0.5)
        assert corrected.reward == -0.5
        assert found.model(ROW).b.sum() == -0.25
        back, _ = found.correct(corrected, None)
        assert (back.reward, back.learned) == (None, [])
        assert np.array_equal(found.model(ROW).a, np.eye(5) + np.diag([0, 0, 1.0, 0, 0]))
        assert [type(write) for write in found.change(None).writes] == [Fields] * 4


async def test_a_model_that_learned_is_what_its_fields_say() -> None:
    """Whether it is kept or read again, for the policy that taught it and for another of its name; and counted after
    it."""
    async with stored() as store:
        found = desk(store)
        for name in ("linucb-v1", "egreedy-v2", "tips-v3"):
            policy, key = KNOWN.policies[name], keys.record("u", name)
            other = catalog().policies[name]
            models = found._rules.models
            for columns in [models._own(policy).columns] if models._own(policy).name else []:
                await models._publish(columns)
            found._values = {key: [None] * len(FIELDS)}
            found.learn(policy, np.arange(float(len(policy.labels))), 0.3, 12)
            for _ in range(2):
                read = models.load(other, key, [found._saved[key].get(name) for name in FIELDS])
                for model, other_own in ((found.model(policy), False), (found.model(other), True)):
                    assert (model.own.policy is other) == other_own
                    assert (model.a.tobytes(), model.b.tobytes()) == (read.a.tobytes(), read.b.tobytes())
                    assert model.a.flags.c_contiguous
                    assert (model.meta, model.name, model.fit) == (read.meta, read.name, None)
                    assert model.stored is not None
                    assert read.stored is not None
                    assert model.stored.columns == read.stored.columns
                found.count(policy, read, read.meta.decided(13, explored=True))
            assert found.model(policy).meta.pulls == 2
            found.learn(policy, np.zeros(len(policy.labels)), 1e200, 12)
            with pytest.raises(CorruptState, match="meta: invalid weight or squares"):
                found.model(policy)


async def test_a_decision_is_counted() -> None:
    """A new model is written whole, a known one's counters alone."""
    async with stored() as store:
        found = desk(store)
        for count in (1, 2):
            model = found.model(ROW)
            found.count(ROW, model, model.meta.decided(12, explored=False))
            assert found.model(ROW).meta.pulls == count
        assert [set(write.values) for write in found._writes if isinstance(write, Fields)] == [
            {b"A", b"b", b"meta"},
            {b"meta"},
        ]
        assert found.effective([ROW], [found.model(ROW)])[0][0].shape == (5, 5)


async def test_what_was_not_read_is_asked_for() -> None:
    """A step runs again when it has been read; what cannot be solved is named."""
    async with stored() as store:
        found = desk(store)
        with pytest.raises(More) as asked:
            found.model(KNOWN.policies["egreedy-v1"])
        assert asked.value.reads == (Hash(keys.record("u", "egreedy-v1"), FIELDS),)
        damaged = np.full(25, np.nan).tobytes()
        found._save(found.model(ROW), {b"A": damaged, b"b": bytes(40), b"meta": bytes(40)})
        with pytest.raises(CorruptState, match=r"oo:\{u\}:linucb-v1: A or b is not finite"):
            found.teach(MADE, 1.0, 12)


async def test_what_nobody_shall_learn() -> None:
    """The reward stands, and no model changes, also when it is corrected."""
    async with stored() as store:
        found = desk(store)
        kept, skipped = found.teach(msgspec.structs.replace(MADE, untaught=True), 0.5, 12)
        assert (kept.reward, kept.learned, skipped) == (0.5, [], [])
        assert found.correct(kept, 1.0)[0].reward == 1.0
        assert found.change(None).writes == ()
