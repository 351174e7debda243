"""What decisions go by, who is told of them, and what a step about one of them must read."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol, Self

import msgspec

from app.bandit.policy import Policy
from app.learning.models import Models
from app.learning.priors import Priors
from app.policies.catalog import Catalog
from app.policies.plan import Plans
from state import keys, parts
from state.store import Store
from state.update.changes import AGENDA, FEW, Agenda, Backlog, Entry, Hash, Moment, Read, Register, Score
from state.values import record
from state.values.decision import SHARED

__all__ = ["NOBODY", "Large", "Nobody", "Observer", "Rules", "reads"]


class Observer(Protocol):
    """Gets what has happened, after it was written."""

    def decided(self, policy: str, *, explored: bool) -> None:
        """A policy chose."""

    def entered(self, loop: str) -> None:
        """A decision with an id was made."""

    def rewarded(self, policy: str, reward: float, *, replayed: bool) -> None:
        """A reward (-1..1) without an id was learned, or had been learned before."""

    def lacked(self, loop: str, features: Iterable[str]) -> None:
        """These features had no value in a decision."""

    def taught_twice(self, policy: str) -> None:
        """A user taught a policy by an id and by the first system's way, within a day."""

    def became(self, loop: str, outcome: str) -> None:
        """What was told of a decision had this outcome."""

    def ended(self, loop: str, how: str) -> None:
        """A decision's window ended without an outcome, or it made room: "default", "void", "early" or "dropped"."""

    def clock(self, at: int) -> None:
        """Redis's clock said `at` (ms) a moment ago."""


class Nobody:
    """An observer that takes no notice."""

    def decided(self, policy: str, *, explored: bool) -> None: ...

    def entered(self, loop: str) -> None: ...

    def rewarded(self, policy: str, reward: float, *, replayed: bool) -> None: ...

    def lacked(self, loop: str, features: Iterable[str]) -> None: ...

    def taught_twice(self, policy: str) -> None: ...

    def became(self, loop: str, outcome: str) -> None: ...

    def ended(self, loop: str, how: str) -> None: ...

    def clock(self, at: int) -> None: ...


NOBODY = Nobody()
_REMEMBERED: Final = 4_096
_NOW: Final = Moment()


class Large:
    """Users who have decisions of large loops, as far as this process has seen: the most recent ones."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict()

    def note(self, user_id: str) -> None:
        """Note one of them."""
        self._seen[user_id] = None
        self._seen.move_to_end(user_id)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._seen


class Rules(msgspec.Struct, frozen=True):
    """What decisions go by: models, policies and loops by name; a record outlives its window by `grace` (ms).

    With `logs`, each change writes a line that tells of it.
    """

    models: Models
    priors: Priors
    policies: Mapping[str, Policy]
    plans: Plans
    grace: int
    observer: Observer = NOBODY
    logs: bool = False
    large: Large = msgspec.field(default_factory=Large)

    @classmethod
    def of(cls, store: Store, catalog: Catalog, grace: int, observer: Observer = NOBODY, *, logs: bool = False) -> Self:
        """The rules of a catalog that does not change, for the users in `store`."""
        models, priors = Models(store, catalog.policies), Priors(store.shared, catalog.policies)
        return cls(models, priors, catalog.policies, Plans(lambda: catalog), grace, observer, logs)

    def due(self, user_id: str) -> Score:
        """When the user's decisions must be looked at, as the index of all users has it."""
        return Score(self.models.due(user_id), user_id.encode())


def reads(
    rules: Rules, user_id: str, local: Iterable[str], policies: Sequence[str], *, large: bool = False
) -> tuple[Read, ...]:
    """What a ledger needs for decisions of a user, of a `large` loop or perhaps not, and the models of `policies`."""
    models = [Hash(keys.record(user_id, policy), record.FIELDS) for policy in policies]
    whole = keys.decisions(user_id)
    own = [Entry(whole, each.encode()) for each in local]
    large = large or user_id in rules.large
    if large:  # which of both places it is in is not known yet
        own += [Entry(parts.of(whole, one.field), one.field) for one in own]
    # Of many decisions something is mostly due.
    shared, agenda = Hash(keys.shared(user_id), SHARED), Agenda(keys.agenda(user_id), AGENDA if large else FEW)
    outbox = (Backlog(rules.models.outbox(user_id)),) if rules.logs else ()
    # Who changes a decision writes when to look at the user's next one, whatever the index said.
    due = Register(rules.models.due(user_id)) if own else rules.due(user_id)
    return (shared, *own, agenda, due, _NOW, *outbox, *models)
