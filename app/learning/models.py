"""The models of users: stored columns beside those of a policy.

A replica takes the rows and columns that its policy has, leaves the others alone, and adds what is missing. So replicas
with an old and a new policy file may change one model at the same time, and nothing that was learned is lost.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
import numpy as np

from app.bandit.explore import Odds
from app.bandit.policy import Damaged, Policy
from app.bandit.ridge import Matrix, Singular, Vector, adjust
from app.learning.fit import Fit, Own, fit_of, own_of
from app.learning.steps import correction, grown, known_then, rewarded
from state import keys
from state.errors import CorruptState
from state.store import Store
from state.update.changes import Once, Read, Step
from state.values import record
from state.values.columns import Columns
from state.values.decision import Learned
from state.values.record import Meta, Record

__all__ = ["Model", "Models", "sound"]

T = TypeVar("T")


class _Unknown(Exception):  # not an error: a step asks for what it lacks
    """A model names columns that this replica has not seen yet."""

    def __init__(self, key: str, fingerprint: bytes) -> None:
        self.key = key
        self.fingerprint = fingerprint


class _Unpublished(Exception):  # likewise
    """A model is about to name columns that other replicas could not look up."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns


class Model(msgspec.Struct, frozen=True):
    """A user's model: its key, what is stored, A and b of the policy's columns, the counters, the policy's `own`
    columns, what names them after its next reward (nothing for those of the first version), and if the stored ones are
    others, how these lie among them."""

    key: str
    stored: Record | None
    a: Matrix
    b: Vector
    meta: Meta
    own: Own
    name: bytes
    fit: Fit | None = None


def sound(found: Sequence[Odds] | Damaged, models: Sequence[Model]) -> Sequence[Odds]:
    """The odds by these `models`. Raises CorruptState for one that cannot be solved."""
    if isinstance(found, Damaged):
        raise CorruptState(models[found.place].key, str(found.error))
    return found


class Models:
    """The models in `store` under `policies`, which may change, and the columns that they name."""

    def __init__(self, store: Store, policies: Mapping[str, Policy]) -> None:
        self._store = store
        self._policies = policies
        self._owns: dict[str, Own] = {}
        # What other replicas can look up, too.
        self._known: dict[bytes, Columns] = {}
        # What is being looked up or published, by fingerprint.
        self._asking: dict[bytes, asyncio.Task[None]] = {}
        self._fits: dict[tuple[bytes, bytes], Fit] = {}

    async def update(self, user_id: str, reads: tuple[Read, ...], step: Step[T], *, once: Once[T] | None = None) -> T:
        """As `Store.update`, for a step that uses `load`, `created` and `learned`."""
        while True:
            try:
                return await self._store.update(user_id, reads, step, once=once)
            except _Unknown as asked:
                await self._once(asked.fingerprint, partial(self._look_up, asked.key, asked.fingerprint))
            except _Unpublished as asked:
                await self._once(asked.columns.fingerprint, partial(self._publish, asked.columns))

    def due(self, user_id: str) -> str:
        """The key of the index that says when the user's decisions must be looked at."""
        return self._store.due.key(user_id)

    def outbox(self, user_id: str) -> str:
        """The key of the stream for lines about the user."""
        return self._store.outbox.key(user_id)

    async def read(self, policy: Policy, user_id: str) -> Model:
        """A user's model under a policy. Raises the store's errors."""
        key = keys.record(user_id, policy.id)
        values = await self._store.read(key, record.FIELDS)
        while True:
            try:
                return self.load(policy, key, values)
            except _Unknown as asked:
                await self._look_up(asked.key, asked.fingerprint)

    async def publish(self, now: int) -> None:
        """Note which policies this replica has and, at `now` (Unix seconds), which columns; publish again all that it
        knows, in case Redis has lost it. Raises the store's errors."""
        shared = self._store.shared
        owns = {name: self._own(policy) for name, policy in self._policies.items()}
        await shared.note_policies(owns)
        self._store.idle.policies |= dict.fromkeys((*owns, *await shared.policies()))
        for own in owns.values():
            await self._publish(own.columns)
        for columns in list(self._known.values()):
            await shared.publish(columns)
        await shared.note_used({name: own.columns for name, own in owns.items()}, now)

    def load(self, policy: Policy, key: str, values: Sequence[bytes | None]) -> Model:
        """The model in the values of the hash `key`, or that of a new user. Raises CorruptState."""
        own, fingerprint = self._owns.get(policy.id), values[3]
        if own is None or own.policy is not policy:  # asked here too, to spare each model a call
            own = self._own(policy)
        if fingerprint is None or fingerprint == own.fingerprint:
            stored = record.decode(key, len(own.b), values)
            if stored is None:
                return Model(key, None, own.a, own.b, Meta(), own, own.name)
            return Model(key, stored, stored.a, stored.b, stored.meta, own, own.name)
        columns = self._known.get(fingerprint)
        if columns is None:
            raise _Unknown(key, fingerprint)
        stored = record.decode(key, len(columns.pairs), values)
        if stored is None:
            raise CorruptState(key, "has none of A, b and meta")
        fit = self._fits.get((own.whole, fingerprint))
        if fit is None:
            fit = self._fits[own.whole, fingerprint] = fit_of(key, own.columns, columns)
        a, b = policy.prior()
        a[np.ix_(fit.own, fit.own)] = stored.a[np.ix_(fit.there, fit.there)]
        b[fit.own] = stored.b[fit.there]
        return Model(key, stored, a, b, stored.meta, own, fit.fingerprint, fit)

    def created(self, policy: Policy, model: Model, meta: Meta) -> Record:
        """A model that did not exist, with the counters `meta`."""
        return Record(model.a, model.b, meta, self._named(model))

    def learned(self, policy: Policy, model: Model, x: Vector, reward: float, now: int) -> Record:
        """What is stored of a model that learned at `now` (Unix seconds) that columns `x` (d) earned `reward`.

        Raises CorruptState if it cannot.
        """
        meta = rewarded(model.meta, reward, now, baseline=policy.baseline, forget=policy.forget)
        return self._changed(model, x, meta, partial(policy.learn, reward=reward))

    def corrected(
        self, policy: Policy, model: Model, x: Vector, learned: Learned, *, was: float, now: float | None
    ) -> Record:
        """What is stored of a model in which the reward `was`, learned for columns `x` (d), is `now`, or was not given.

        What came after it has aged it, and so ages the correction: by the weight of the past for each later reward.
        Raises CorruptState.
        """
        x = self._as_learned(policy, x, learned)
        made = correction(model.meta, learned.updates, was=was, now=now, baseline=policy.baseline, forget=policy.forget)
        return self._changed(model, x, made.meta, partial(adjust, seen=made.seen, change=made.change))

    def version(self, policy: Policy) -> str:
        """What changes with all by which a policy decides or learns."""
        return self._own(policy).version

    def fingerprint(self, policy: Policy) -> bytes:
        """That of a policy's columns, also for a policy whose models do not name them."""
        return self._own(policy).whole

    def _as_learned(self, policy: Policy, x: Vector, learned: Learned) -> Vector:
        """The columns `x` (d) without those that the model did not have when it learned. Raises _Unknown."""
        if learned.columns == (self._own(policy).fingerprint or b""):
            return x
        had = self._known.get(learned.columns)
        if had is None:
            raise _Unknown(policy.id, learned.columns)
        return known_then(x, self._own(policy).columns, had)

    def _changed(
        self,
        model: Model,
        x: Vector,
        meta: Meta,
        change: Callable[[Matrix, Vector, Vector], tuple[Matrix, Vector]],
    ) -> Record:
        """What is stored of a model after `change`, which gets A, b and x of the stored columns."""
        a, b = model.a, model.b
        if model.fit is not None and model.stored is not None:
            a, b = grown(model.stored.a, model.stored.b, len(model.fit.columns.pairs))
            own, x = x, np.zeros(len(b))
            x[model.fit.at] = own
        try:
            a, b = change(a, b, x)
        except Singular as error:
            raise CorruptState(model.key, str(error)) from None
        return Record(a, b, meta, self._named(model))

    def _own(self, policy: Policy) -> Own:
        """The columns of a policy. Another of this name may have come meanwhile, while a request has this one."""
        own = self._owns.get(policy.id)
        if own is None or own.policy is not policy:
            own = self._owns[policy.id] = own_of(policy)
        return own

    def _named(self, model: Model) -> bytes | None:
        """What names the model's columns, if all replicas can look it up. Raises _Unpublished."""
        if not model.name:
            return None
        if model.name not in self._known:
            raise _Unpublished(model.fit.columns if model.fit else model.own.columns)
        return model.name

    async def _once(self, fingerprint: bytes, ask: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for `ask`, together with all who want the same: they go on in the order in which they came, so that the
        changes of a user stay in order."""
        asking = self._asking.get(fingerprint)
        if asking is None:
            asking = self._asking[fingerprint] = asyncio.create_task(ask())
            asking.add_done_callback(lambda _: self._asking.pop(fingerprint, None))
        await asyncio.shield(asking)  # a caller that is cancelled does not stop the others

    async def _publish(self, columns: Columns) -> None:
        await self._store.shared.publish(columns)
        self._known[columns.fingerprint] = columns

    async def _look_up(self, key: str, fingerprint: bytes) -> None:
        found = await self._store.shared.columns(fingerprint)
        if found is None:
            raise CorruptState(key, f"names unknown columns: {fingerprint!r}")
        self._known[fingerprint] = found
