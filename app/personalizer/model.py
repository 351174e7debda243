"""The models of an application as a file: what its policies have learned, without the events."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta

from app.decisions.users import Users
from app.messages.personalizer import ModelProperties
from app.personalizer import times
from app.personalizer.errors import Refusal
from app.policies.plan import Plan
from state import keys
from state.errors import CorruptState
from state.store import Store
from state.update.changes import Change, Drop, Fields, Hash, Values, Write
from state.values import record
from state.values.columns import Columns
from state.values.decision import SHARED, unlogged
from state.values.stored import Stored, check

__all__ = ["Keeper"]

_INVALID: Final = "InvalidModelImportFormat"


class _Model(msgspec.Struct, frozen=True):
    """A model as Redis holds it; its columns, each by label and definition."""

    a: bytes
    b: bytes
    meta: bytes
    columns: Annotated[list[tuple[str, str]], Meta(min_length=1)]


class _File(msgspec.Struct, frozen=True):
    """The models by policy."""

    format: Literal["oo-serving model"]
    version: Literal[1]
    models: Annotated[dict[str, _Model], Meta(max_length=64)]


_decode: Final = msgspec.json.Decoder(_File).decode


class Keeper:
    """Exports, imports and resets the models in `store` under the policies of the loop `loop` of `plans`.

    All methods raise the store's errors.
    """

    def __init__(self, store: Store, users: Users, plans: Mapping[str, Plan], *, loop: str) -> None:
        self._store = store
        self._users = users
        self._plans = plans
        self._loop = loop

    async def export(self, user: str) -> bytes:
        """The models of a user. They are the same, byte for byte, as long as nothing is learned or decided."""
        found: dict[str, _Model] = {}
        for policy in self._policies():
            key = keys.record(user, policy)
            a, b, meta, name = await self._store.read(key, record.FIELDS)
            if a is None or b is None or meta is None or name is None:
                continue
            columns = await self._store.shared.columns(name)
            if columns is None:
                raise CorruptState(key, "names unknown columns")
            found[policy] = _Model(a, b, meta, list(columns.pairs))
        return msgspec.json.encode(_File("oo-serving model", 1, found))

    async def restore(self, user: str, text: bytes) -> None:
        """Put the models that `export` wrote in place of those that there are; events stay. Raises Refusal."""
        models, every = _read(user, text), self._policies()
        if odd := sorted(models.keys() - set(every)):
            raise Refusal(_INVALID, f"has a model of {odd[0][:64]!r}; the loop has {', '.join(every)}")
        for _, columns in models.values():
            await self._store.shared.publish(columns)
        shared = Hash(keys.shared(user), SHARED)

        def step(values: Values) -> Change[None]:
            writes: list[Write] = [Fields(keys.record(user, name), fields) for name, (fields, _) in models.items()]
            writes += [Drop(keys.record(user, name), record.FIELDS) for name in every if name not in models]
            # Models have changed past the log, which begins anew with them.
            begun = unlogged(values[shared.key])
            return Change(None, (*writes, *([Fields(shared.key, begun)] if begun else ())))

        reads = [Hash(keys.record(user, name), record.FIELDS) for name in every]
        await self._store.update(user, (shared, *reads), step)

    async def reset(self, user: str) -> None:
        """Forget what was learned, and the events. Raises Refusal for a user whom other loops know too.

        A reset takes all there is of a user, which is for an admin: a key of an application reaches its loop alone.
        """
        own = set(self._policies())
        for policy in {each.id for plan in self._plans.values() for each in plan.policies} - own:
            if (await self._store.read(keys.record(user, policy), (b"meta",))) != [None]:
                message = "other loops know this user: an admin may reset it with POST /reset/{user_id}"
                raise Refusal("OperationNotAllowed", message, status=403)
        await self._users.reset(user)

    async def properties(self, user: str) -> ModelProperties:
        """When the model of the champion was last changed."""
        champion = self._plans[self._loop].policies[0].id
        [meta] = await self._store.read(keys.record(user, champion), (b"meta",))
        if meta is None:
            return ModelProperties()
        last = record.decode_meta(keys.record(user, champion), meta).last_updated
        return ModelProperties(last_modified_time=times.moment(last * 1_000) if last else UNSET)

    def _policies(self) -> Sequence[str]:
        return [policy.id for policy in self._plans[self._loop].policies]


def _read(user: str, text: bytes) -> dict[str, tuple[dict[bytes, bytes], Columns]]:
    """The fields of each model in a file, and its columns. Raises Refusal."""
    found = {}
    try:
        for policy, model in _decode(text).models.items():
            columns = Columns.decode(policy, msgspec.json.encode(model.columns))
            values = (model.a, model.b, model.meta, columns.fingerprint)
            fields = dict(zip(record.FIELDS, values, strict=True))
            check(Stored(user, policy, dict(fields)), {}, {columns.fingerprint: columns})
            found[policy] = fields, columns
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(_INVALID, f"is not a model that this service exported: {error}") from None
    except CorruptState as error:
        raise Refusal(_INVALID, f"has a damaged model: {error}") from None
    return found
