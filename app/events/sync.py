"""Sync: keep the last synchronisation of a user's tasks."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from state import keys
from state.store import Store
from state.update.changes import Change, Fields, Hash, Remove, Values

__all__ = ["Sync"]

_ORDER: Final = b"received_at_us"


class Sync:
    """Keeps the last synchronisation of each user's tasks in `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def synced(self, user_id: str, fields: Mapping[str, str], received_at: float) -> None:
        """Replace the stored synchronisation of the user's tasks by `fields`, unless the stored one is newer.

        `received_at` is in Unix seconds. Repeating a call changes nothing. Raises the store's errors.
        """
        moment = datetime.fromtimestamp(received_at, UTC)
        order = int(received_at * 1_000_000)
        key = keys.sync(user_id)

        def step(values: Values) -> Change[None]:
            [stored] = values[key]
            if stored is not None and stored.isdigit() and int(stored) > order:
                return Change(None)
            texts = {**fields, "received_at": moment.strftime("%Y-%m-%dT%H:%M:%SZ"), _ORDER.decode(): str(order)}
            written = {name.encode(): text.encode() for name, text in texts.items()}
            return Change(None, (Remove(key), Fields(key, written)))

        await self._store.update(user_id, (Hash(key, (_ORDER,)),), step)
