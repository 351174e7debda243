"""Models: the columns of a policy within those that are stored, and that nothing is lost when they differ."""

import asyncio

import numpy as np
import pytest

from app.bandit.policy import Damaged, Policy
from app.bandit.ridge import Singular, Vector
from app.decisions.reward import Learner
from app.learning.fit import naming, own_of
from app.learning.models import Model, Models, sound
from app.policies.catalog import catalog, policies
from state import keys
from state.errors import CorruptState
from state.update.changes import Change, Fields, Hash, Values
from state.values import record
from state.values.columns import Columns
from state.values.decision import Learned
from state.values.record import FIELDS, Meta, Record
from tests.unit.app.bandit.samples import moment
from tests.unit.app.decisions.scene import NOW, Twice, ask, rules_of, stored

ROW = policies()["linucb-v1"]
FEATURES = """
[features]
one = { of = "candidate", kind = "number", min = 0, max = 1 }
two = { of = "candidate", kind = "number", min = 0, max = 1 }
three = { of = "candidate", kind = "number", min = 0, max = 1 }

[policies.p]
explore = { by = "linucb", alpha = 1.0 }
"""
CONTEXT = moment(9, 2)


def policy(*columns: str) -> Policy:
    """A policy `p` with these columns."""
    quoted = ", ".join(f'"{column}"' for column in columns)
    return catalog(f"{FEATURES}columns = [{quoted}]").policies["p"]


async def learn(store: Twice, row: Policy, reward: float, **features: float) -> None:
    rows = {row.id: row}
    learner = Learner(rules_of(store, rows), clock=lambda: NOW)
    await learner.learn(row.id, "u", context=CONTEXT, features=features, reward=reward)


async def decide(store: Twice, row: Policy, *candidates: dict[str, float]) -> float:
    model = await Models(store, {row.id: row}).read(row, "u")
    return row.decide(model.a, model.b, row.see(CONTEXT, candidates), seed=1).score


async def by_name(store: Twice) -> tuple[dict[str, float], Record]:
    """What is stored of b by column, and all of it."""
    key = keys.record("u", "p")
    values = await store.read(key, FIELDS)
    assert values[3] is not None
    columns = await store.shared.columns(values[3])
    assert columns is not None
    found = record.decode(key, len(columns.pairs), values)
    assert found is not None
    return dict(zip(columns.labels, found.b.tolist(), strict=True)), found


@pytest.mark.anyio
async def test_a_new_user() -> None:
    """The policy's prior, and that it is not stored."""
    async with stored() as store:
        model = Models(store, {ROW.id: ROW}).load(ROW, "k", (None, None, None, None))
    assert (model.stored, model.meta) == (None, Meta())
    assert (model.a == np.eye(5)).all()
    assert not model.b.any()


@pytest.mark.anyio
async def test_who_expires_loses_models_of_all_policies() -> None:
    """The store knows this replica's policies and those of others as soon as columns are published."""
    async with stored() as store:
        await store.shared.note_policies(["of another replica"])
        await Models(store, {ROW.id: ROW}).publish(0)
        assert set(store.idle.policies) == {ROW.id, "of another replica"}


@pytest.mark.anyio
async def test_models_of_the_first_version_name_no_columns() -> None:
    """What was written before columns had names is read, and what is written now an old version could read."""
    fields = record.encode(Record(2 * np.eye(5), np.ones(5), Meta(3)))
    async with stored() as store:
        models = Models(store, {ROW.id: ROW})
        model = models.load(ROW, "k", [fields.get(name) for name in FIELDS])
        written = record.encode(models.learned(ROW, model, np.ones(5), 1.0, NOW))
        with pytest.raises(CorruptState, match="k: b has"):
            models.load(ROW, "k", [fields[b"A"], bytes(48), fields[b"meta"], None])
    assert model.stored is not None
    assert (model.meta.pulls, model.b.sum()) == (3, 5.0)
    assert set(written) == {b"A", b"b", b"meta"}


@pytest.mark.anyio
async def test_changes_that_wait_for_the_same_columns_stay_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """What names them is asked for once, however long it takes, and the changes go on as they came."""
    asked: list[bytes] = []
    async with stored() as store:
        await learn(store, policy("one", "two"), 1.0, one=0.5, two=0.25)
        look_up = store.shared.columns

        async def slow_at_first(fingerprint: bytes) -> Columns | None:
            asked.append(fingerprint)
            for _ in range(100 if len(asked) == 1 else 0):
                await asyncio.sleep(0)
            return await look_up(fingerprint)

        monkeypatch.setattr(store.shared, "columns", slow_at_first)
        row = policy("one")
        learner = Learner(rules_of(store, {row.id: row}), clock=lambda: NOW)
        done: list[float] = []

        async def told(reward: float) -> None:
            await learner.learn(row.id, "u", context=CONTEXT, features={"one": 1.0}, reward=reward)
            done.append(reward)

        await asyncio.gather(*(told(reward) for reward in (0.25, 0.5, 0.75)))
    assert (done, len(asked)) == ([0.25, 0.5, 0.75], 1)


@pytest.mark.anyio
async def test_columns_are_added_dropped_taken_back_and_moved() -> None:
    """Each reward is in the sums of the columns that its file has, by name, whatever files came before."""
    async with stored() as store:
        await learn(store, policy("one", "two"), 1.0, one=0.5, two=0.25)
        await learn(store, policy("two", "three"), 1.0, one=0.5, two=0.5, three=1.0)
        await learn(store, policy("1", "three", "one"), -1.0, one=1.0, two=1.0, three=0.5)
        await learn(store, policy("two", "one"), 0.5, one=0.5, two=0.5)
        sums, found = await by_name(store)
    assert sums == {"one": 0.5 - 1.0 + 0.25, "two": 0.25 + 0.5 + 0.25, "three": 1.0 - 0.5, "1": -1.0}
    assert (found.meta.reward_count, found.meta.updates) == (4, 4)
    # Columns that no file ever had together share nothing.
    places = {label: place for place, label in enumerate(sums)}
    assert found.a[places["1"], places["two"]] == 0.0
    assert found.a[places["one"], places["two"]] == 0.125 + 0.25
    assert np.array_equal(found.a, found.a.T)


@pytest.mark.anyio
async def test_a_column_that_is_left_out_was_never_there() -> None:
    """To the last bit, in whatever order and under whatever other columns the rewards came."""
    numbers = np.random.default_rng(7)
    rewards = [(float(numbers.uniform(-1, 1)), *numbers.uniform(0, 1, 3).tolist()) for _ in range(30)]
    candidates = [{"one": 0.2, "two": 0.9}, {"one": 0.7, "two": 0.1}]
    async with stored() as store, stored() as plain:
        for place, (reward, one, two, three) in enumerate(rewards):
            wide = policy("three", "two", "one") if place % 3 else policy("two", "1", "one*three", "one")
            await learn(store, wide, reward, one=one, two=two, three=three)
            await learn(plain, policy("one", "two"), reward, one=one, two=two)
        assert await decide(store, policy("one", "two"), *candidates) == await decide(
            plain, policy("one", "two"), *candidates
        )


@pytest.mark.anyio
async def test_a_column_that_means_something_else_is_another() -> None:
    """The same name with another definition starts anew; the old one is kept."""
    narrow = catalog(f"{FEATURES}columns = ['one']".replace("max = 1 }", "max = 2 }")).policies["p"]
    async with stored() as store:
        await learn(store, policy("one"), 1.0, one=1.0)
        await learn(store, narrow, 1.0, one=1.0)
        key = keys.record("u", "p")
        [_, b, _, fingerprint] = await store.read(key, FIELDS)
        assert fingerprint is not None
        columns = await store.shared.columns(fingerprint)
    assert columns is not None
    assert columns.labels == ["one", "one"]
    assert np.frombuffer(b or b"").tolist() == [1.0, 0.5]


@pytest.mark.anyio
async def test_a_new_model_names_columns_that_can_be_looked_up() -> None:
    """They are known before the model names them, and again after Redis has lost them."""
    row = policy("one")
    async with stored() as store:
        models = Models(store, {"p": row})
        learner = Learner(rules_of(store, {"p": row}, models=models), clock=lambda: NOW)
        await learner.learn("p", "u", context=CONTEXT, features={"one": 1.0}, reward=1.0)
        assert (await by_name(store))[0] == {"one": 1.0}
        await ask(store, "DEL", keys.COLUMNS)
        with pytest.raises(CorruptState, match=r"oo:\{u\}:p: names unknown columns"):
            await Models(store, {"p": policy("two")}).read(policy("two"), "u")
        await models.publish(NOW)
        assert (await by_name(store))[0] == {"one": 1.0}
        assert await store.shared.policies() == ["p"]
        assert set(await store.shared.last_used("p")) == set(Columns(models._owns["p"].columns.pairs).pairs)


@pytest.mark.anyio
async def test_too_many_columns_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the key and what helps."""
    monkeypatch.setattr("app.learning.fit.MOST", 2)
    async with stored() as store:
        await learn(store, policy("one", "two"), 1.0, one=1.0, two=1.0)
        with pytest.raises(CorruptState, match=r"oo:\{u\}:p: would have over 2 columns: .*--prune"):
            await learn(store, policy("three"), 1.0, three=1.0)


def test_errors_name_the_key() -> None:
    """Only Singular is translated; its traceback is not shown to operators, who can do nothing with it."""
    with pytest.raises(CorruptState, match="k: no solution") as raised, naming("k"):
        raise Singular("no solution")
    assert raised.value.__suppress_context__
    with pytest.raises(ZeroDivisionError), naming("k"):
        raise ZeroDivisionError
    with naming("k"):
        pass
    own = own_of(ROW)
    models = [Model(name, None, own.a, own.b, Meta(), own, own.name) for name in "ab"]
    assert sound([], models) == []
    with pytest.raises(CorruptState, match="b: no solution"):
        sound(Damaged(1, Singular("no solution")), models)


@pytest.mark.anyio
async def test_a_policy_may_be_replaced_while_a_request_has_it() -> None:
    """Each finds its own columns in the same model, and what both publish is known."""
    async with stored() as store:
        rows = {"p": policy("one")}
        models = Models(store, rows)
        learner = Learner(rules_of(store, rows, models=models), clock=lambda: NOW)
        await learner.learn("p", "u", context=CONTEXT, features={"one": 0.5}, reward=1.0)
        old = rows["p"]
        rows["p"] = policy("two", "one")
        for features in ({"one": 1.0, "two": 1.0}, {"two": 0.25}):
            await learner.learn("p", "u", context=CONTEXT, features=features, reward=1.0)
            assert (await models.read(old, "u")).b.tolist() == [1.5]
        assert (await models.read(rows["p"], "u")).b.tolist() == [1.25, 1.5]
        await models.publish(NOW)
        assert {label for label, _ in await store.shared.last_used("p")} == {"two", "one"}


class Told:
    """A model under a policy with columns `one` and `two`, and by hand what it must have come to."""

    def __init__(self, store: Twice, row: Policy) -> None:
        self.row, self.models, self.fields = row, Models(store, {row.id: row}), dict[bytes, bytes]()
        columns = self.models._own(row).columns
        self.models._known[columns.fingerprint] = columns
        self.a, self.b = np.eye(row.d), np.zeros(row.d)

    def model(self) -> Model:
        return self.models.load(self.row, "k", [self.fields.get(name) for name in FIELDS])

    def learn(self, x: Vector, reward: float) -> Learned:
        model = self.model()
        self.fields |= record.encode(self.models.learned(self.row, model, x, reward, NOW))
        one = np.eye(len(x))
        if self.row.forget != 1.0:
            self.a, self.b = one + self.row.forget * (self.a - one), self.row.forget * self.b
        self.a, self.b = self.a + np.outer(x, x), self.b + (reward - self.row.baseline) * x
        return Learned("p", model.meta.updates + 1, model.name)

    def correct(self, x: Vector, learned: Learned, was: float, now: float | None, later: int) -> None:
        model = self.model()
        self.fields |= record.encode(self.models.corrected(self.row, model, x, learned, was=was, now=now))
        weight = self.row.forget**later
        baseline = self.row.baseline
        if now is None:
            self.a = self.a + -weight * np.outer(x, x)
            self.b = self.b + weight * (0.0 - (was - baseline)) * x
        else:
            self.b = self.b + weight * ((now - baseline) - (was - baseline)) * x

    def agrees(self) -> bool:
        model = self.model()
        return model.a.tobytes() == self.a.tobytes() and model.b.tobytes() == self.b.tobytes()


def forgetting(forget: float, baseline: float) -> Policy:
    more = f"columns = ['one', 'two']\nforget = {forget}\nreward_baseline = {baseline}"
    return catalog(f"{FEATURES}{more}").policies["p"]


@pytest.mark.anyio
@pytest.mark.parametrize(("forget", "baseline"), [(1.0, 0.0), (0.5, 0.0), (0.9, 0.25)])
@pytest.mark.parametrize("later", [0, 1, 5])
async def test_corrected_and_taken_back(forget: float, baseline: float, later: int) -> None:
    """To the last bit what the same operations give by hand, weighted by forget^m after m later rewards;
    within 1e-9 what it would be if the reward had been another from the beginning, or had only aged the others."""
    numbers = np.random.default_rng(3)
    row = forgetting(forget, baseline)
    x, *others = numbers.uniform(0, 1, (8, 2))
    async with stored() as store:
        told, other, never = (Told(store, row) for _ in range(3))
        for each in (told, other, never):
            each.learn(others[0], 0.5)
        learned = told.learn(x, 0.75)
        other.learn(x, -0.5)
        never.learn(np.zeros(2), 0.75)
        for place in range(later):
            for each in (told, other, never):
                each.learn(others[1 + place], 1.0)
        told.correct(x, learned, 0.75, -0.5, later)
        assert told.agrees()
        model, wanted = told.model(), other.model()
        assert np.allclose(model.a, wanted.a, rtol=0, atol=1e-9)
        assert np.allclose(model.b, wanted.b, rtol=0, atol=1e-9)
        assert model.meta.weight == wanted.meta.weight
        assert model.meta.squares == pytest.approx(wanted.meta.squares, abs=1e-9)
        assert (model.meta.reward_count, model.meta.updates) == (wanted.meta.reward_count, wanted.meta.updates)
        assert model.meta.cumulative_reward == pytest.approx(wanted.meta.cumulative_reward)
        told.correct(x, learned, -0.5, None, later)
        assert told.agrees()
        model, wanted = told.model(), never.model()
        assert np.allclose(model.a, wanted.a, rtol=0, atol=1e-9)
        assert np.allclose(model.b, wanted.b, rtol=0, atol=1e-9)
        assert (model.meta.reward_count, model.meta.updates) == (1 + later, 2 + later)
        assert model.meta.cumulative_reward == pytest.approx(0.5 + later)


@pytest.mark.anyio
async def test_a_correction_leaves_later_columns_alone() -> None:
    """Columns that the model did not have when it learned stay as they are, whatever the file has now."""
    narrow, wide = policy("one"), policy("one", "two")
    async with stored() as store:
        await learn(store, narrow, 1.0, one=1.0, two=1.0)
        learned = Learned("p", 1, Models(store, {"p": narrow})._own(narrow).columns.fingerprint)
        await learn(store, wide, 0.5, one=0.0, two=1.0)
        models = Models(store, {"p": wide})
        key = keys.record("u", "p")

        def step(values: Values) -> Change[None]:
            model = models.load(wide, key, values[key])
            fields = record.encode(models.corrected(wide, model, np.array([1.0, 1.0]), learned, was=1.0, now=-1.0))
            return Change(None, (Fields(key, fields),))

        await models.update("u", (Hash(key, FIELDS),), step)
        sums, found = await by_name(store)
    assert sums == {"one": -1.0, "two": 0.5}
    assert np.array_equal(found.a, np.diag([2.0, 2.0]))
