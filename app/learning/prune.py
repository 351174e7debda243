"""Prune: take columns that no file has any more out of the models of a user."""

from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np

from app.bandit.policy import Policy
from app.bandit.ridge import prior
from state import keys
from state.errors import CorruptState
from state.store import Store
from state.update.changes import Change, Fields, Hash, Values
from state.values import record
from state.values.columns import Columns
from state.values.decision import SHARED, unlogged

__all__ = ["Pair", "Pruner"]

# A column's label and the digest of its definition.
Pair = tuple[str, str]


class _Lacking(Exception):  # not an error: the step asks for what it lacks
    """The columns with this fingerprint, or that these are made known."""

    def __init__(self, key: str, fingerprint: bytes, columns: Columns | None = None) -> None:
        self.key = key
        self.fingerprint = fingerprint
        self.columns = columns


class Pruner:
    """Takes `unused` columns out of the models of `policies` in `store`.

    To leave a column out of A and b is the same as never to have had it: what the others learned stays to the last bit.
    """

    def __init__(self, store: Store, policies: Mapping[str, Policy], unused: Mapping[str, Collection[Pair]]) -> None:
        self._store = store
        self._unused = {name: frozenset(pairs) for name, pairs in unused.items() if pairs}
        self._own = {
            name: Columns(tuple(zip(policies[name].labels, policies[name].definitions, strict=True)))
            for name in self._unused
        }
        self._known: dict[bytes, Columns] = {}

    async def prune(self, user_id: str, *, dry_run: bool = False) -> int:
        """Change the models of a user, or with `dry_run` none; how many there are to change.

        Raises the store's errors.
        """
        shared = Hash(keys.shared(user_id), SHARED)
        named = {name: keys.record(user_id, name) for name in self._unused}

        def step(values: Values) -> Change[int]:
            writes = []
            for name, key in named.items():
                fields = self._pruned(name, key, values[key])
                if fields:
                    writes.append(Fields(key, fields))
            changed = len(writes)
            if changed and (fields := unlogged(values[shared.key])):
                writes.append(Fields(shared.key, fields))
            return Change(changed, () if dry_run else tuple(writes))

        while True:
            try:
                return await self._store.update(
                    user_id, (shared, *(Hash(key, record.FIELDS) for key in named.values())), step
                )
            except _Lacking as asked:
                await self._learn(asked)

    async def _learn(self, asked: _Lacking) -> None:
        found = asked.columns
        if found is not None:
            await self._store.shared.publish(found)
        else:
            found = await self._store.shared.columns(asked.fingerprint)
        if found is None:
            raise CorruptState(asked.key, f"names unknown columns: {asked.fingerprint!r}")
        self._known[asked.fingerprint] = found

    def _pruned(self, name: str, key: str, values: Sequence[bytes | None]) -> dict[bytes, bytes]:
        """The fields of a model without the unused columns; none if it has none of them."""
        fingerprint = values[3]
        if fingerprint is None:  # it has the columns of the first version, or does not exist
            return {}
        columns = self._of(key, fingerprint)
        keep = [place for place, pair in enumerate(columns.pairs) if pair not in self._unused[name]]
        if len(keep) == len(columns.pairs):
            return {}
        model = record.decode(key, len(columns.pairs), values)
        if model is None:
            raise CorruptState(key, "has none of A, b and meta")
        if keep:
            left = Columns(tuple(columns.pairs[place] for place in keep))
            a, b = np.ascontiguousarray(model.a[np.ix_(keep, keep)]), model.b[keep]
        else:  # no model is without columns
            left = self._own[name]
            a, b = prior(len(left.pairs))
        self._of(key, left.fingerprint, left)
        return record.encode(msgspec.structs.replace(model, a=a, b=b, columns=left.fingerprint))

    def _of(self, key: str, fingerprint: bytes, columns: Columns | None = None) -> Columns:
        found = self._known.get(fingerprint)
        if found is None:
            raise _Lacking(key, fingerprint, columns)
        return found
