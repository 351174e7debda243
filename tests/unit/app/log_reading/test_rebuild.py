"""Models from the log: whatever happened to a user, the same bits as serving has left."""

import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.bandit.policy import Policy
from app.decision_log.lines import Line, Outcome, Snapshot, Taught, decode, encode
from app.learning.models import Model, Models, _Unpublished
from app.log_reading.rebuild import Epoch, Lost, Resolve, rebuilt
from app.policies.catalog import catalog
from state.values import record
from state.values.columns import Columns
from state.values.decision import Learned
from tests.unit.app.decision_log.samples import decision, outcome, state
from tests.unit.app.decisions.scene import Twice, stored

pytestmark = pytest.mark.anyio

# Two files of which the second drops a column, adds one and has them in another order, with other weights.
FEATURES = "[features]\n" + "\n".join(
    f'{name} = {{ of = "candidate", kind = "number", min = 0, max = 1 }}' for name in "abc"
)
FILES = [
    catalog(f"{FEATURES}\n[policies.own]\n{row}\n")
    for row in (
        'columns = ["1", "a", "a*b*a"]\nexplore = { by = "linucb", alpha = 0.2, floor = 0.02 }\nforget = 0.97',
        'columns = ["c*b", "a", "1"]\nexplore = { by = "epsilon", epsilon = 0 }\nforget = 0.9\nreward_baseline = 0.125',
    )
]
LABELS = ("1", "a", "b", "c", "hour_sin", "hour_cos", "is_overdue", "priority")


class Served:
    """A user's models as serving changes them, and the lines that tell of it."""

    def __init__(self, store: Twice, seed: int) -> None:
        self.models = Models(store, {})
        self.chance = random.Random(seed)
        self.fields: dict[str, dict[bytes, bytes]] = {}
        self.lines: list[Line] = []
        # The decision's line, its columns and, where it was learned, the reward and what each policy had then.
        self.made: list[tuple[int, dict[str, float], float | None, dict[str, Learned]]] = []
        self.names: dict[str, Columns] = {}
        self.epoch = "e1"

    @property
    def seq(self) -> int:
        return len([line for line in self.lines if line.epoch == self.epoch]) + 1

    @property
    def at(self) -> int:
        return 1_700_000_000 + len(self.lines)

    def load(self, policy: Policy) -> Model:
        fields = self.fields.get(policy.id, {})
        return self.models.load(policy, policy.id, [fields.get(name) for name in record.FIELDS])

    async def change(self, policy: Policy, change: Callable[[], record.Record | dict[bytes, bytes]]) -> None:
        while True:
            try:
                new = change()
                fields = new if isinstance(new, dict) else record.encode(new)
                self.fields.setdefault(policy.id, {}).update(fields)
            except _Unpublished as asked:
                await self.models._publish(asked.columns)
            else:
                return

    def taught(self, policy: Policy, updates: int, had: bytes | None = None) -> Taught:
        own = self.models._own(policy)
        name = self.fields[policy.id].get(b"columns", own.whole)
        self.names |= {own.whole.decode(): own.columns, name.decode(): self.models._known.get(name, own.columns)}
        return Taught(
            own.whole.decode(),
            name.decode(),
            updates,
            had=(had or b"").decode() or (own.whole.decode() if had == b"" else ""),
            forget=policy.forget,
            baseline=policy.baseline,
        )

    def tell(self, made: Callable[..., Line], **what: Any) -> None:
        line = made(self.seq, epoch=self.epoch, ms=self.at * 1_000 + 999, **what)
        self.lines.append(decode(encode(line)))

    async def decide(self, policy: Policy) -> None:
        model, explored, at = self.load(policy), self.chance.random() < 0.5, self.at
        meta = model.meta.decided(at, explored=explored)
        stored = model.stored is not None
        await self.change(
            policy, lambda: record.encode_meta(meta) if stored else self.models.created(policy, model, meta)
        )
        x = {"1": 1.0, **{label: self.chance.uniform(-1, 1) for label in LABELS[1:] if self.chance.random() < 0.8}}
        self.made.append((self.seq, x, None, {}))
        self.tell(decision, policy=policy.id, explored=explored, x=x)

    def row(self, policy: Policy, x: dict[str, float]) -> Any:
        base = [[x.get(label, 0.0) for label in policy.encoder.labels]]
        return policy.columns.of(np.array(base))[0]

    async def tell_reward(self, policies: list[Policy], to: float | None, place: int | None = None) -> None:
        place = self.chance.randrange(len(self.made)) if place is None else place
        born, x, was, before = self.made[place]
        taught, learned, at = {}, dict(before), self.at
        for policy in policies:
            model = self.load(policy)
            if was is None and to is not None:
                await self.change(
                    policy,
                    lambda p=policy, m=model: self.models.learned(p, m, self.row(p, x), to, at),  # type: ignore[misc]
                )
                taught[policy.id] = self.taught(policy, model.meta.updates + 1)
                learned[policy.id] = Learned(policy.id, model.meta.updates + 1, model.name)
            elif was is not None and policy.id in before:
                then = before[policy.id]
                await self.change(
                    policy,
                    lambda p=policy, m=model, t=then: self.models.corrected(p, m, self.row(p, x), t, was=was, now=to),  # type: ignore[misc]
                )
                taught[policy.id] = self.taught(policy, then.updates, then.columns)
        if taught:
            self.made[place] = (born, x, to, {} if to is None else learned)
            self.tell(outcome, born=born, was=was, reward=to, total=to, taught=taught, learned=list(taught))

    async def classic(self, policy: Policy) -> None:
        """A score and a reward of the first system."""
        model, at = self.load(policy), self.at
        meta = model.meta.decided(at, explored=True)
        await self.change(policy, lambda: self.models.created(policy, model, meta))
        self.tell(state, what="score", policy=policy.id, explored=True)
        x, model, at = {"1": 1.0, "priority": self.chance.random()}, self.load(policy), self.at
        await self.change(policy, lambda: self.models.learned(policy, model, self.row(policy, x), 0.5, at))
        self.tell(
            state, what="reward", policy=policy.id, x=x, reward=0.5, taught=self.taught(policy, model.meta.updates + 1)
        )

    def snapshot(self, policy: Policy) -> Snapshot:
        fields = self.fields[policy.id]
        return Snapshot(fields[b"A"], fields[b"b"], fields[b"meta"], self.taught(policy, 0).columns)


def resolve(served: Served) -> Resolve:
    return served.names.get


def assert_same(epoch: Epoch, served: Served, policies: list[Policy]) -> None:
    """Every stored model is the one of the log, bit for bit, but for columns that never were anything."""
    assert set(epoch.models) == set(served.fields)
    for policy in policies:
        stored = served.load(policy).stored
        model = epoch.models[policy.id]
        assert stored is not None
        d = len(model.b)
        assert model.a.tobytes() == stored.a[:d, :d].tobytes()
        assert model.b.tobytes() == stored.b[:d].tobytes()
        assert stored.a[d:, d:].tobytes() == np.eye(len(stored.b) - d).tobytes()
        assert not stored.a[d:, :d].any()
        assert model.meta == stored.meta


@pytest.mark.parametrize("seed", range(6))
async def test_the_same_bits(seed: int) -> None:
    """Decisions, rewards, corrections, retractions and the first system's routes, with two policy files in turns."""
    async with stored() as store:
        served = Served(store, seed)
        policies: list[Policy] = []
        for number in range(150):
            rows = FILES[0 if number < 50 else served.chance.randrange(2)].policies
            policies = [rows[name] for name in ("own", "egreedy-v1", "tips-v3")]
            if number % 3 == 0:
                await served.decide(policies[number % 9 // 3])
            elif number % 7 == 0:
                await served.classic(policies[1])
            else:
                await served.tell_reward(policies, served.chance.choice([None, 0.1, -0.7, 1.0, 0.3]))
        [[epoch]] = rebuilt(served.lines, resolve(served))
        assert epoch.lost == {}
        assert_same(epoch, served, policies)
        # What the test is about did happen.
        told = [line for line in served.lines if isinstance(line, Outcome)]
        assert len({line.taught["own"].columns for line in told}) > 1
        assert any(line.taught["own"].had not in ("", line.taught["own"].columns) for line in told)
        assert any(line.total is None for line in told)


async def story(store: Twice) -> tuple[Served, list[Policy]]:
    """Two decisions by each of two policies, lines 1, 2, 4 and 5, and rewards of the first of each two."""
    served = Served(store, 1)
    policies = [FILES[0].policies[name] for name in ("own", "egreedy-v1")]
    for place in (0, 2):
        await served.decide(policies[0])
        await served.decide(policies[1])
        await served.tell_reward(policies, 0.25, place)
    return served, policies


async def test_a_gap() -> None:
    """From a missing line on nothing is known, until a line that has the models."""
    async with stored() as store:
        served, policies = await story(store)
        lines = [*served.lines]
        del lines[1:3]
        [[epoch]] = rebuilt(lines, resolve(served))
        assert epoch.models == {}
        assert epoch.lost == {"": Lost(2, "lines 2 to 3 missing")}
        served.tell(state, what="imported", models={"own": served.snapshot(policies[0])}, lacking=["egreedy-v1"])
        lines.append(served.lines[-1])
        [[epoch]] = rebuilt(lines, resolve(served))
        assert set(epoch.models) == {"own"}
        assert set(epoch.lost) == {""}
        served.tell(state, what="restored", models={policy.id: served.snapshot(policy) for policy in policies})
        await served.tell_reward(policies, 1.0, 3)
        lines += served.lines[-2:]
        [[epoch]] = rebuilt(lines, resolve(served))
        assert epoch.lost == {}
        assert_same(epoch, served, policies)
        await served.tell_reward(policies, 0.5, 1)
        [[epoch]] = rebuilt([*lines, served.lines[-1]], resolve(served))
        assert {lost.why for lost in epoch.lost.values()} == {"the decision, line 2, is not there"}
        [[epoch]] = rebuilt(served.lines[1:], resolve(served))
        assert epoch.lost == {}
        [[epoch]] = rebuilt(served.lines[1:5], resolve(served))
        assert epoch.lost == {"": Lost(1, "line 1 missing")}


async def test_a_reset() -> None:
    """It ends the epoch; the next one begins from nothing."""
    async with stored() as store:
        served, policies = await story(store)
        served.tell(state, what="reset")
        served.fields, served.epoch, served.made = {}, "e0", []
        await served.decide(policies[0])
        lines = sorted(served.lines, key=lambda line: (line.epoch, line.seq))
        [[new, old]] = rebuilt(lines, resolve(served))
        assert (old.ended, old.models, new.ended) == (True, {}, False)
        assert_same(new, served, policies[:1])


async def test_models_from_before_the_log() -> None:
    """A line with what was there; without it, the first reward tells that something was."""
    async with stored() as store:
        served, policies = await story(store)
        served.lines, served.made = [], []
        served.tell(state, what="begun", models={policy.id: served.snapshot(policy) for policy in policies})
        await served.decide(policies[0])
        await served.tell_reward(policies, 0.5)
        [[epoch]] = rebuilt(served.lines, resolve(served))
        assert_same(epoch, served, policies)
        served.lines, served.made = [], []
        await served.decide(policies[0])
        await served.tell_reward(policies, 0.5)
        [[epoch]] = rebuilt(served.lines, resolve(served))
        assert epoch.lost["own"] == Lost(2, "it had learned 3 rewards, not the 0 of the log")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"taught": {"own": Taught("?", "?", 1)}}, "the columns '\\?' are unknown"),
        ({"taught": {"own": Taught("1", "2", 1)}}, "not those that the lines before tell"),
        ({"taught": {"own": Taught("1", "1", 1)}, "born": 9}, "the decision, line 9, is not there"),
        ({"taught": {"own": Taught("1", "1", 1)}, "total": None}, "without a reward"),
        ({"taught": {"own": Taught("1", "1", 1)}, "total": 1e308, "was": -1e308}, "not finite"),
    ],
)
def test_what_cannot_be_done(change: dict[str, Any], why: str) -> None:
    """The policy is lost from there on, and the others are not."""
    known = {"1": Columns((("1", "x"), ("a", "y"))), "2": Columns((("1", "x"),))}
    lines: list[Line] = [
        decision(1, policy="own", x={"1": 1.0, "a": 1.0}),
        outcome(2, **change),
        decision(3, policy="own"),
        decision(4, policy="other"),
    ]
    [[epoch]] = rebuilt(lines, known.get)
    assert epoch.lost["own"].seq == 2
    assert re.search(why, epoch.lost["own"].why)
    assert {name: model.meta.pulls for name, model in epoch.models.items()} == {"other": 1}


def test_other_states() -> None:
    """A snapshot that is damaged, a reward without its effect, and lines of no user."""
    known = {"1": Columns((("1", "x"),))}
    lines: list[Line] = [
        state(1, what="imported", models={"a": Snapshot(b"x", b"y", b"z", "1"), "b": Snapshot(b"", b"", b"", "?")}),
        state(2, what="reward", policy="c", reward=0.5),
    ]
    [[epoch]] = rebuilt([state(1, user="", what="loop", loop="tips"), *lines], known.get)
    assert {name: lost.why for name, lost in epoch.lost.items()} == {
        "a": "line 1: b has 1 bytes, not 8 (d = 1)",
        "b": "the columns '?' are unknown",
        "c": "a reward whose effect the line does not tell",
    }
