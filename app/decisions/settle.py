"""Settle what is due: before whatever else a transaction does to a user, and for the users who never return."""

import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from app.bandit.policy import Policy
from app.decisions.desk import Desk
from app.decisions.ledger import LATER_MS, Ledger
from app.decisions.rules import Rules, reads
from state import keys
from state.due import Waiting
from state.errors import ConflictError, CorruptState
from state.store import Store
from state.transfer import all_results
from state.update.changes import Change, Hash, Once, Read, Schedule, Score, Values, Watched, place
from state.values import record

__all__ = ["Settled", "Settler", "touch", "transact"]

T = TypeVar("T")

_log: Final = logging.getLogger("oo.decisions")

_AT_ONCE: Final = 8
_GROUP: Final = 100


class _Passed(msgspec.Struct, frozen=True):
    """What is told of a transaction: Redis's clock (ms), the loops of decisions that ended, and what is damaged."""

    clock: int
    ended: list[tuple[str, str]]
    damaged: list[str]


async def transact(
    rules: Rules,
    user_id: str,
    wanted: tuple[Read, ...],
    act: Callable[[Ledger], Change[T]],
    *,
    once: Once[T] | None = None,
) -> T:
    """Settle what is due of a user, then do what `act` does with the rest, in one transaction; its result.

    `wanted` are `reads`, and what else `act` needs. Raises what `act` raises, and the store's errors.
    """
    epoch = secrets.token_hex(8).encode()

    def step(values: Values) -> Change[tuple[T, _Passed | None]]:
        ledger = Ledger(rules, user_id, values, epoch)
        ledger.settle()
        change = act(ledger)
        passed = _Passed(ledger.clock, ledger.ended, ledger.damaged) if change.writes else None
        return Change((change.result, passed), change.writes)

    seen: Once[tuple[T, _Passed | None]] | None = None
    if once is not None:
        seen = Once(once.key, once.request, (once.seen, None))
    result, passed = await rules.models.update(user_id, wanted, step, once=seen)
    if passed is not None:
        rules.observer.clock(passed.clock)
        for loop, how in passed.ended:
            rules.observer.ended(loop, how)
        for problem in passed.damaged:
            _log.warning("a decision cannot be settled: %s", problem)
    return result


async def touch(
    rules: Rules,
    user_id: str,
    policy: Policy,
    act: Callable[[Desk], Change[T]],
    *,
    more: tuple[Read, ...] = (),
    once: Once[T] | None = None,
) -> T:
    """The same for what knows no decisions, only the model of a `policy`: where time alone changes no model, nothing
    else is read."""
    if rules.plans.books:
        return await transact(rules, user_id, (*reads(rules, user_id, None, [policy.id]), *more), act, once=once)
    model = Hash(keys.record(user_id, policy.id), record.FIELDS)
    return await rules.models.update(
        user_id, (model, *more), lambda values: act(Desk(rules, user_id, values)), once=once
    )


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
            # Whoever is still due as before is being changed by others, or is no user at all.
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
            return  # whoever comes first settles what is due
        except CorruptState as error:
            done.failed.append(str(error))
            await self._put_off(user_id, by)
        else:
            done.decisions += count
            done.failed += damaged

    async def _step(self, user_id: str) -> tuple[int, list[str]]:
        wanted = reads(self._rules, user_id, None, self._policies)
        return await transact(
            self._rules, user_id, wanted, lambda ledger: ledger.change((ledger.settled, ledger.damaged))
        )

    async def _put_off(self, user_id: str, by: int) -> None:
        """Look at a user later, unless the user's next moment has changed."""
        due = Score(self._store.due.key(user_id), user_id.encode())

        def step(values: Values) -> Change[None]:
            at = values[place(due)]
            if at is None or at > by:
                return Change(None)
            return Change(None, (Schedule(due.key, {due.member: by + LATER_MS}),))

        # What changes a user's decisions changes this key, so its own moment is never overwritten.
        await self._store.update(user_id, (Watched(keys.shared(user_id)), due), step)
