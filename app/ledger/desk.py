"""The models of a user while a step runs: as they were read and as the step leaves them, and what they learn. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from app.bandit.columns import Columns
from app.bandit.policy import Policy
from app.bandit.ridge import Matrix, Vector
from app.decision_log.lines import Line, Taught
from app.learning.models import Model
from app.ledger.rules import Rules
from app.ledger.telling import Name, base
from state import keys
from state.update.changes import Change, Fields, Hash, More, Values, Write
from state.values import record
from state.values.decision import Learned, Record, Shadow
from state.values.record import Meta
from state.values.record import Record as Stored

__all__ = ["Desk"]


class Desk:
    """The models of `user_id` in `values`."""

    def __init__(self, rules: Rules, user_id: str, values: Values) -> None:
        self._rules = rules
        self._user_id = user_id
        self._values = values
        # The fields that this step has changed, by the key of their model.
        self._saved: dict[str, Mapping[bytes, bytes]] = {}
        # Of models that learned last: as they were before, and what is stored then. To read the fields takes longer.
        self._learned: dict[str, tuple[Model, Stored]] = {}
        self._writes: list[Write] = []
        # How models changed since the last line told of it.
        self._taught: dict[str, Taught] = {}

    def seconds(self, now: int) -> int:
        """The moment of a change (Unix seconds) for a replica by whose clock it is `now`."""
        return now

    def taken(self) -> dict[str, Taught]:
        """How models changed since the last line told of it, for the next one."""
        taught, self._taught = self._taught, {}
        return taught

    def tell(self, line: Callable[[Name], Line]) -> None:
        """Have the log tell of a change, if there is one."""

    def model(self, policy: Policy) -> Model:
        """A model, as the steps before and this one have left it. Raises More and CorruptState."""
        key = keys.record(self._user_id, policy.id)
        try:
            values: Sequence[bytes | None] = self._values[key]
        except KeyError:
            raise More((Hash(key, record.FIELDS),)) from None
        if key in self._saved:
            before, new = self._learned.get(key, (None, None))
            if before is not None and new is not None and before.fit is None and before.own.policy is policy:
                meta = record.decode_meta(key, self._saved[key][b"meta"])  # which finds sums beyond all bounds
                return msgspec.structs.replace(before, stored=new, a=new.a, b=new.b, meta=meta)
            values = list(map(self._saved[key].get, record.FIELDS, values))
        return self._rules.models.load(policy, key, values)

    def effective(self, policies: Iterable[Policy], models: Iterable[Model]) -> list[tuple[Matrix, Vector]]:
        """A and b by which each of the policies decides."""
        effective = self._rules.priors.effective
        return [effective(policy, model.a, model.b) for policy, model in zip(policies, models, strict=True)]

    def count(self, policy: Policy, model: Model, meta: Meta) -> None:
        """Keep the counters of a model, and all of it if it is new."""
        new = model.stored is None
        fields = record.encode(self._rules.models.created(policy, model, meta)) if new else record.encode_meta(meta)
        self._save(model, fields)

    def learn(self, policy: Policy, x: Vector, reward: float, now: int) -> Learned:
        """Learn at `now` (Unix seconds) that columns `x` (d) earned `reward`. Raises More and CorruptState."""
        rules, model = self._rules, self.model(policy)
        new = rules.models.learned(policy, model, x, reward, now)
        self._save(model, record.encode(new), new)
        learned = Learned(policy.id, model.meta.updates + 1, model.name)
        if rules.logs:
            self._note(policy, model, learned)
        return learned

    def _note(self, policy: Policy, model: Model, learned: Learned) -> None:
        """Note for the log how a model changes."""
        own = model.own.whole
        columns = own if model.fit is None else model.fit.fingerprint
        had = learned.columns or own
        self._taught[policy.id] = Taught(
            own=own.decode(),
            columns=columns.decode(),
            updates=learned.updates,
            had="" if had == columns else had.decode(),
            forget=policy.forget,
            baseline=policy.baseline,
        )

    def teach(self, made: Record, reward: float, now: int) -> tuple[Record, list[str]]:
        """The record after every policy of the decision has learned `reward`, unless none shall, and the policies that
        are gone."""
        learned, skipped, seen, policies = [], list[str](), _Seen(made), self._rules.policies
        for each in () if made.untaught else made.by_policy:
            policy = policies.get(each.policy)
            if policy is None:
                skipped.append(each.policy)
            else:
                learned.append(self.learn(policy, seen.row(policy), reward, now))
        return _briefly(made, reward, learned), skipped

    def correct(self, made: Record, reward: float | None) -> tuple[Record, list[str]]:
        """The record after its reward has become `reward`, or was taken back, and the policies that are gone."""
        assert made.reward is not None  # noqa: S101  # only what was learned is corrected
        skipped, seen = [], _Seen(made)
        for learned in made.learned:
            policy = self._rules.policies.get(learned.policy)
            if policy is None:
                skipped.append(learned.policy)
                continue
            x, model = seen.row(policy), self.model(policy)
            new = self._rules.models.corrected(policy, model, x, learned, was=made.reward, now=reward)
            self._save(model, record.encode(new))
            if self._rules.logs:
                self._note(policy, model, learned)
        kept = [] if reward is None else made.learned
        return msgspec.structs.replace(made, reward=reward, learned=kept), skipped

    def change(self, result: Any, *more: Write) -> Change[Any]:
        """The result of the step, and all that must be written."""
        return Change(result, (*self._writes, *more))

    def _save(self, model: Model, fields: Mapping[bytes, bytes], new: Stored | None = None) -> None:
        """Keep fields of a model: of one that learned all, and what is `new` says the same."""
        key, saved = model.key, self._saved
        if key in saved:
            saved[key] = {**saved[key], **fields}
            self._learned.pop(key, None)
        else:
            saved[key] = fields
        if new is not None:
            self._learned[key] = model, new
        self._writes.append(Fields(key, fields))


def _briefly(made: Record, reward: float, learned: list[Learned]) -> Record:
    """The record after this reward, without what only its explanation needs: it stays for long, and there may be
    many."""
    kept = base(made.labels, made.x)
    return msgspec.structs.replace(
        made,
        reward=reward,
        learned=learned,
        labels=[*kept],
        x=[*kept.values()],
        by_policy=[Shadow(each.policy, []) for each in made.by_policy],
        evidence=None,
    )


class _Seen:
    """The base columns of the chosen candidate of a decision."""

    def __init__(self, made: Record) -> None:
        self._labels = tuple(made.labels)
        self._base = np.array([made.x])

    def row(self, policy: Policy) -> Vector:
        """A policy's columns (d); a base column that is not kept is 0."""
        columns = _columns(policy.columns, self._labels)
        if columns is not None:
            found: Vector = columns.of(self._base)[0]
            return found
        known = dict(zip(self._labels, self._base[0].tolist(), strict=True))
        rest: Vector = policy.columns.of(np.array([[known.get(label, 0.0) for label in policy.columns.base]]))[0]
        return rest


@lru_cache(256)
def _columns(columns: Columns, labels: tuple[str, ...]) -> Columns | None:
    """A policy's columns, of base columns with these labels; None if some that it needs are not among them."""
    return Columns(columns.labels, labels) if {*columns.base} <= {*labels} else None
