"""Settle the decisions of users who never return: the default rewards that are due, and the records that may go."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from app.ledger.ledger import LATER_MS
from app.ledger.rules import Rules, reads
from app.ledger.transact import transact
from state import keys
from state.errors import ConflictError, CorruptState
from state.slots.due import Waiting
from state.store import Store
from state.transfer import all_results
from state.update.changes import Change, Schedule, Score, Values, Watched

__all__ = ["Settled", "Settler"]

_AT_ONCE: Final = 8
_GROUP: Final = 100


class Settled(msgspec.Struct):
    """What was done: `users` looked at, `decisions` settled, and what kept others from being settled, by key."""

    users: int = 0
    decisions: int = 0
    failed: list[str] = []


class Settler:
    """Settles the users in `store` by `rules`. All methods raise the store's errors.

    Any number may run at once: each step is a transaction on what one user has by then, so nothing is booked twice.
    """

    def __init__(self, rules: Rules, store: Store) -> None:
        self._rules = rules
        self._store = store
        loops = (plan for plan in rules.plans.values() if plan.loop.default_reward is not None)
        # Whose models may have to learn: read at once, they cost no round trip of their own.
        self._policies = list(dict.fromkeys(policy.id for plan in loops for policy in plan.policies))

    async def waiting(self) -> tuple[int, int]:
        """Redis's clock (ms), and how many users are due by then."""
        by = await self._store.due.now()
        return by, await self._store.due.count(by)

    async def all(self, by: int | None, progress: Callable[[int], object] = lambda _: None) -> Settled:
        """Settle users until none is due: at the moment `by` (ms), or with None at the time of each look.

        `progress` gets the number of users each time some are done.
        """
        done = Settled()
        before: Sequence[Waiting] = ()
        while True:
            until = await self._store.due.now() if by is None else by
            users = await self._store.due.users(_GROUP, until)
            # A user who is still due is being changed by another request, or does not exist.
            if not users or users == before:
                return done
            await self._settle(users, until, done)
            progress(len(users))
            before = users

    async def some(self, most: int) -> Settled:
        """Settle at most `most` users who are due, each up to the decisions that are read at once."""
        done = Settled()
        by = await self._store.due.now()
        await self._settle(await self._store.due.users(most, by), by, done)
        return done

    async def _settle(self, users: Sequence[Waiting], by: int, done: Settled) -> None:
        """Settle these users, some at once, so that memory does not grow with their number."""
        for at in range(0, len(users), _AT_ONCE):
            await all_results(self._user(one.user, by, done) for one in users[at : at + _AT_ONCE])

    async def _user(self, user_id: str, by: int, done: Settled) -> None:
        done.users += 1
        try:
            count, damaged = await self._step(user_id)
        except ConflictError:
            return  # the first caller settles what is due
        except CorruptState as error:
            done.failed.append(str(error))
            await self._put_off(user_id, by)
        else:
            done.decisions += count
            done.failed += damaged

    async def _step(self, user_id: str) -> tuple[int, list[str]]:
        wanted = reads(self._rules, user_id, (), self._policies)
        return await transact(
            self._rules, user_id, wanted, lambda ledger: ledger.change((ledger.settled, ledger.damaged))
        )

    async def _put_off(self, user_id: str, by: int) -> None:
        """Look at a user later, unless the user's next moment has changed."""
        due = Score(self._store.due.key(user_id), user_id.encode())

        def step(values: Values) -> Change[None]:
            at = values[due.place]
            if at is None or at > by:
                return Change(None)
            return Change(None, (Schedule(due.key, {due.member: by + LATER_MS}),))

        # What changes a user's decisions changes this key, so its own moment is never overwritten.
        await self._store.update(user_id, (Watched(keys.shared(user_id)), due), step)
