"""The decision that a request would get, without making it: no record, no count, no line of the log."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from app.bandit.context import Context
from app.bandit.policy import Policy
from app.bandit.ridge import Matrix, Vector
from app.decisions.asked import Asked, Conditions
from app.decisions.choose import Wanted, chosen
from app.decisions.explain import Explanation, explain
from app.learning.fit import naming
from app.ledger.ledger import Ledger
from app.ledger.rules import Rules, reads
from app.ledger.transact import transact
from state import keys
from state.update.changes import AGENDA, Asking, Change
from state.values.decision import Record

__all__ = ["Preview", "Row", "Waiting"]


class Row(msgspec.Struct, frozen=True):
    """What a policy would do where one field of the context has this `value`: the scores of the candidates that may be
    chosen, and their propensities."""

    value: Any
    scores: list[float]
    propensities: list[float]


class Waiting(msgspec.Struct, frozen=True):
    """How many decisions for a user are open, how many are kept, and by local id those that are open among the first
    few dozen of which something becomes next."""

    open: int
    records: int
    first: list[tuple[str, Record]]


class Preview:
    """Decides by `rules` what is not kept. All methods raise BadDecision and the store's errors."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def decide(self, asked: Asked, seed: int) -> tuple[Record, Explanation]:
        """The record that a decision would have now under this seed, and its explanation."""
        plan = asked.plan(self._rules.plans)
        asked.check(plan)
        allowed = asked.allowed()
        base, missing = await asked.encoded(allowed, plan)
        one = Wanted(asked=asked, allowed=allowed, base=base, missing=missing, digest=b"", seed=seed)

        def act(ledger: Ledger) -> Asking[Change[Record]]:
            made, _ = yield from chosen(ledger, plan, one, allowed, Conditions.of(plan.loop))
            return Change(made)  # without the writes of the ledger

        wanted = reads(self._rules, asked.user_id, (), [policy.id for policy in plan.policies])
        made = await transact(self._rules, asked.user_id, wanted, act)
        found = explain(made, self._rules.policies)
        assert found is not None  # noqa: S101  # there is no outcome yet
        return made, found

    async def waiting(self, user_id: str) -> Waiting:
        """The decisions of a user that are still open, after those that are due were settled."""

        def act(ledger: Ledger) -> Change[Waiting]:
            first = [(local, made) for local, made in ledger.first(AGENDA).items() if made.is_open]
            return Change(Waiting(ledger.user.open, ledger.user.records, first))

        return await transact(self._rules, user_id, reads(self._rules, user_id, (), []), act)

    async def across(
        self,
        asked: Asked,
        policy: Policy,
        field: str,
        *,
        values: Sequence[Any],
        seed: int,
        pause: Callable[[], Awaitable[None]],
    ) -> list[Row]:
        """What `policy` alone would do for each of the `values` of a context's field; `pause` comes before each."""
        plan = asked.plan(self._rules.plans)
        asked.check(plan)
        seen = asked.seen(asked.allowed(), plan)

        def act(ledger: Ledger) -> Change[tuple[Matrix, Vector]]:
            return Change(ledger.effective([policy], [ledger.model(policy)])[0])

        a, b = await transact(self._rules, asked.user_id, reads(self._rules, asked.user_id, (), [policy.id]), act)
        rows = []
        for value in values:
            await pause()
            context = Context({**asked.context.moment, field: value}, asked.context.user)
            with naming(keys.record(asked.user_id, policy.id)):
                odds = policy.odds(a, b, policy.see(context, seen), seed)
            rows.append(Row(value, odds.scores.tolist(), odds.propensities))
        return rows
