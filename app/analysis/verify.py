"""The command `log verify`: whether Redis holds what the log tells, to the last bit."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final

from app.learning.fit import own_of
from app.log_reading.reading import Complain, read
from app.log_reading.rebuild import Epoch, rebuilt
from app.log_reading.verify import Held, Verdict, verdict
from app.policies.catalog import SIZES, policies
from state import keys
from state.errors import CorruptState
from state.redis.servers import Servers
from state.shared import Shared
from state.transfer import Transfer, all_results
from state.values import decision, record
from state.values.columns import Columns
from state.values.stored import Stored

__all__ = ["verified"]

# Users who are looked at together.
_TOGETHER: Final = 64
# Whose models name no columns.
_FIRST: Final = {policy.id: own_of(policy).columns for policy in policies().values()}


async def verified(servers: Servers, directory: Path, complain: Complain, patience: float) -> list[Verdict]:
    """What was found of each user in the log below `directory`. Raises PlaceError, OSError and StoreUnavailable."""
    shared = Shared(servers, timeout=patience)
    names = dict.fromkeys((*SIZES, *await shared.policies()))
    columns = {name.decode(errors="replace"): found for name, found in (await shared.all_columns()).items()}
    columns |= {found.fingerprint.decode(): found for found in _FIRST.values()}
    transfer = Transfer(servers, patience=patience)
    kinds = [keys.SHARED, *names]

    async def one(epochs: list[Epoch]) -> Verdict:
        user = epochs[0].user
        try:
            page = await transfer.fetch(user, kinds)
            held, logged = _held(page.found, columns)
        except CorruptState as error:
            return Verdict(user, "unknown", (str(error),))
        if page.odd or (held.epoch is not None and not logged):
            why = f"{page.odd[0]}: holds a value of another type" if page.odd else "it changed when there was no log"
            return Verdict(user, "unknown", (why,))
        return verdict(user, epochs, held)

    found: list[Verdict] = []
    for group in _groups(rebuilt(read(directory, complain), columns.get)):
        found += await all_results(one(epochs) for epochs in group)
    return found


def _groups(users: Iterable[list[Epoch]]) -> Iterator[list[list[Epoch]]]:
    left = iter(users)
    while group := list(islice(left, _TOGETHER)):
        yield group


def _held(stored: Iterable[Stored], columns: Mapping[str, Columns]) -> tuple[Held, bool]:
    """What Redis holds of a user, and whether it has every change since the log began. Raises CorruptState."""
    epoch, seq, logged, models = None, 0, False, {}
    for one in stored:
        if not isinstance(one.value, dict):
            continue
        key = keys.of(one.user, one.kind)
        if one.kind == keys.SHARED:
            user = decision.decode_user(key, [one.value.get(name) for name in decision.SHARED], b"")
            epoch, seq, logged = user.epoch.decode(errors="replace") or None, user.seq, bool(user.logged)
            continue
        values = [one.value.get(name) for name in record.FIELDS]
        named = values[3]
        own = columns.get(named.decode(errors="replace")) if named is not None else _FIRST.get(one.kind)
        if own is None:
            raise CorruptState(key, "names unknown columns")
        if (model := record.decode(key, len(own.pairs), values)) is not None:
            models[one.kind] = (model, own)
    return Held(epoch, seq, models), logged


def counts(verdicts: Iterable[Verdict]) -> Counter[str]:
    """How many users have each verdict."""
    return Counter(one.what for one in verdicts)
