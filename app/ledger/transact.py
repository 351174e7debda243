"""One transaction of a user: what is due is settled before whatever else is done."""

import logging
import secrets
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from app.bandit.policy import Policy
from app.ledger.desk import Desk
from app.ledger.ledger import Ledger
from app.ledger.rules import Rules, reads
from state import keys
from state.update.changes import Asking, Change, Hash, Once, Read, Values
from state.values import record

__all__ = ["touch", "transact"]

T = TypeVar("T")

_log: Final = logging.getLogger("oo.decisions")


class _Passed(msgspec.Struct, frozen=True):
    """What is told of a transaction: Redis's clock (ms), the loops of decisions that ended, what is damaged, and if the
    user has decisions of large loops."""

    clock: int
    ended: list[tuple[str, str]]
    damaged: list[str]
    large: bool


async def transact(
    rules: Rules,
    user_id: str,
    wanted: tuple[Read, ...],
    act: Callable[[Ledger], Change[T] | Asking[Change[T]]],
    *,
    once: Once[T] | None = None,
) -> T:
    """Settle what is due of a user, then do what `act` does with the rest, in one transaction; its result.

    `wanted` are `reads`, and what else `act` needs. Raises what `act` raises, and the store's errors.
    """
    drawn: list[bytes] = []

    def epoch() -> bytes:
        if not drawn:  # once: the step may run again, and must do the same
            drawn.append(secrets.token_hex(8).encode())
        return drawn[0]

    def step(values: Values) -> "Asking[Change[tuple[T, _Passed | None]]]":  # quoted, or each call evaluates it
        ledger = Ledger(rules, user_id, values, epoch)
        ledger.settle()
        made = act(ledger)
        change = made if isinstance(made, Change) else (yield from made)
        if not change.writes:
            return Change((change.result, None))
        passed = _Passed(ledger.clock, ledger.ended, ledger.damaged, ledger.user.parts > 0)
        return Change((change.result, passed), change.writes)

    seen: Once[tuple[T, _Passed | None]] | None = None
    if once is not None:
        seen = Once(once.key, once.request, (once.seen, None))
    result, passed = await rules.models.update(user_id, wanted, step, once=seen)
    if passed is not None:
        rules.observer.clock(passed.clock)
        if passed.large:
            rules.large.note(user_id)
        for loop, how in passed.ended:
            rules.observer.ended(loop, how)
        for problem in passed.damaged:
            _log.warning("a decision cannot be settled: %s", problem)
    return result


async def touch(
    rules: Rules,
    user_id: str,
    policy: Policy,
    act: Callable[[Desk], Change[T] | Asking[Change[T]]],
    *,
    more: tuple[Read, ...] = (),
    once: Once[T] | None = None,
) -> T:
    """The same for what knows no decisions, only the model of a `policy`: where time alone changes no model, nothing
    else is read."""
    if rules.plans.books or rules.logs:
        return await transact(rules, user_id, (*reads(rules, user_id, (), [policy.id]), *more), act, once=once)
    model = Hash(keys.record(user_id, policy.id), record.FIELDS)
    return await rules.models.update(
        user_id, (model, *more), lambda values: act(Desk(rules, user_id, values)), once=once
    )
