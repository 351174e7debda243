"""A user's decisions while a step runs: what was read, what is due, and what will be written. Pure."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from app.decisions.desk import Desk
from app.decisions.rules import Rules
from app.policies.loop import Loop
from state import keys
from state.errors import CorruptState
from state.update.changes import (
    AGENDA,
    MOMENT,
    Agenda,
    Change,
    Drop,
    Entry,
    Fields,
    More,
    Next,
    Schedule,
    Values,
    Write,
    entry,
    moved,
    place,
)
from state.values import decision
from state.values.decision import Record

__all__ = ["LATER_MS", "Ledger"]

# How long one user's time may be ahead of Redis's clock, which has jumped back, before that is an error of the data.
_FOREVER: Final = 253_402_300_799_999
# What is damaged must not be looked at again and again, nor keep the rest of a user from being changed.
LATER_MS: Final = 3_600_000
# Records of a user for each that may be open.
_RECORDS: Final = 4


class Ledger(Desk):
    """The decisions of `user_id` in `values`; a user's first one gets the `epoch`."""

    def __init__(self, rules: Rules, user_id: str, values: Values, epoch: bytes) -> None:
        super().__init__(rules, user_id, values)
        self._shared, self._decisions = keys.shared(user_id), keys.decisions(user_id)
        self.user = decision.decode_user(self._shared, list(values[self._shared]), epoch)
        self._is_new = values[self._shared][0] is None
        seconds, micros = values[MOMENT]
        # What Redis's clock says (ms). It may jump back, a user's time does not.
        self.clock = int(seconds) * 1_000 + int(micros) // 1_000
        self.now = min(max(self.clock, self.user.last), _FOREVER)
        # Whose window is over without an outcome, or had to make room: the loop, and how it ended.
        self.ended: list[tuple[str, str]] = []
        self.settled = 0
        self.damaged: list[str] = []
        self._records: dict[bytes, Record | None] = {}
        self._scores: dict[bytes, int | None] = {}

    def record(self, local: str) -> Record | None:
        """A decision; None if there is none. Raises More for one that was not read, and CorruptState."""
        name = local.encode()
        if name in self._records:
            return self._records[name]
        where = entry(self._decisions, name)
        if where not in self._values:
            raise More((Entry(self._decisions, name),))
        blob: bytes | None = self._values[where]
        return None if blob is None else decision.decode(f"{self._decisions} {local}", blob)

    def current(self, local: str) -> Record | None:
        """A decision, after what is due of it. Raises More and CorruptState."""
        found = self.record(local)
        if found is not None:
            self._pass(local, found)
        return self.record(local)

    def add(self, local: str, new: Record) -> None:
        """Keep a new decision."""
        self.user = msgspec.structs.replace(
            self.user, open=self.user.open + 1, records=self.user.records + 1, last=self.now
        )
        self._keep(local, new)

    def put(self, local: str, old: Record, new: Record) -> None:
        """Keep what became of a decision."""
        closed = old.is_open - new.is_open
        self.user = msgspec.structs.replace(self.user, open=max(self.user.open - closed, 0), last=self.now)
        self._keep(local, new)

    def _keep(self, local: str, new: Record) -> None:
        self._records[local.encode()] = new
        self._scores[local.encode()] = self._next(new)

    def _next(self, kept: Record) -> int:
        """When a decision must be looked at again: when its time is over, or when it may go."""
        return kept.deadline + (0 if self._waits(kept) else self._rules.grace)

    def _waits(self, found: Record) -> bool:
        """Whether the end of its window changes a decision."""
        return found.status == "deferred" or (found.status == "open" and found.terms.default is not None)

    def _drop(self, local: str) -> None:
        old = self.record(local)
        assert old is not None  # noqa: S101  # who drops it has seen it
        self._records[local.encode()] = None
        self._scores[local.encode()] = None
        self.user = msgspec.structs.replace(
            self.user,
            open=max(self.user.open - old.is_open, 0),
            records=max(self.user.records - 1, 0),
            last=self.now,
        )

    def settle(self) -> None:
        """Do what is due by now, in order: book default rewards, let old records go; `settled` counts the decisions.

        What is damaged is left for later, and named in `damaged`. Raises More for decisions that were not read.
        """
        due = [name for name, at in self._agenda() if at <= self.now]
        if due:
            self._see_all()
        self._need(due)
        for name in due:
            with self._put_off_if_damaged(name):
                found = self.record(name.decode())
                if found is None:  # a record that someone removed by hand
                    self._scores[name] = None
                else:
                    self._scores[name] = self._next(found)
                    self._pass(name.decode(), found)
                self.settled += 1

    @contextmanager
    def _put_off_if_damaged(self, name: bytes) -> Iterator[None]:
        """Undo what was done within if something is damaged: the record, or a model that has to learn."""
        models = {policy: dict(fields) for policy, fields in self._models.items()}
        before = (self.user, len(self._writes), len(self.ended))
        try:
            yield
        except CorruptState as error:
            self.damaged.append(str(error))
            self._models, self.user = models, before[0]
            del self._writes[before[1] :], self.ended[before[2] :]
            self._records.pop(name, None)
            self._scores[name] = self.now + LATER_MS

    def _see_all(self) -> None:
        """Raise More if only the first decisions were read."""
        found: Next = self._values[keys.agenda(self._user_id)]
        if found.asked < AGENDA and found.end < math.inf:
            raise More((Agenda(keys.agenda(self._user_id), AGENDA),))

    def _need(self, names: Sequence[bytes]) -> None:
        """Raise More for decisions that were not read."""
        lacking = [name for name in names if entry(self._decisions, name) not in self._values]
        if lacking:
            raise More(tuple(Entry(self._decisions, name) for name in lacking))

    def _pass(self, local: str, found: Record) -> None:
        """Let the time that has passed have its effect on a decision."""
        if self._waits(found) and found.deadline <= self.now:
            self._end(local, found)
        if found.deadline + self._rules.grace <= self.now:
            self._drop(local)

    def _end(self, local: str, found: Record, *, early: bool = False) -> None:
        """End a decision's window: its default reward is booked, or what was never shown is void.

        One that ends early does not count as open any more, but its outcome may still come.
        """
        default = found.terms.default
        if found.status == "open" and default is not None:
            taught, _ = self.teach(found, default, self.now // 1_000)
            self.ended.append((found.loop, "default"))
            moment = min(found.deadline, self.now)
            ended = msgspec.structs.replace(taught, status="defaulted", rewarded=moment, n=found.n + 1, early=early)
        elif early:
            ended = msgspec.structs.replace(found, early=True)
        else:
            self.ended.append((found.loop, "void"))
            ended = msgspec.structs.replace(found, status="void", held=None, n=found.n + 1)
        if early:
            self.ended.append((found.loop, "early"))
        self.put(local, found, ended)

    def _agenda(self) -> Sequence[tuple[bytes, float]]:
        """The next decisions that must be looked at, and when."""
        found: Next = self._values[keys.agenda(self._user_id)]
        return found.members

    def next_look(self) -> float | None:
        """When the first decision must be looked at (ms), or a moment before; None if there are no decisions."""
        return moved(self._values[keys.agenda(self._user_id)], self._scores).first

    def make_room(self, loop: Loop) -> None:
        """Let go of old decisions, so that one more is within the loop's limits. Raises More and CorruptState."""
        most = _RECORDS * loop.open_max
        if self.user.open < loop.open_max and self.user.records < most:
            return
        self._see_all()
        names = [name for name, _ in self._agenda()]
        self._need(names)
        found = {name.decode(): self.record(name.decode()) for name in names}
        kept = {local: each for local, each in found.items() if each is not None}
        opened = [local for local, each in kept.items() if each.is_open]
        for local in opened[: max(self.user.open - loop.open_max + 1, 0)]:
            self._end(local, kept[local], early=True)
        # Those that are not open go first, and all of them if they hide the open ones.
        hides = self.user.open >= loop.open_max
        for local in sorted(kept, key=lambda local: local in opened):
            if self.user.records >= most or hides:
                self.ended.append((kept[local].loop, "dropped"))
                self._drop(local)

    def change(self, result: Any, *more: Write) -> Change[Any]:
        """The result of the step, and all that must be written."""
        writes = [*self._writes, *more]
        kept = {name: decision.encode(each) for name, each in self._records.items() if each is not None}
        gone = tuple(name for name, each in self._records.items() if each is None)
        if kept:
            writes.append(Fields(self._decisions, kept))
        if gone:
            writes.append(Drop(self._decisions, gone))
        if self._scores:
            writes.append(Schedule(keys.agenda(self._user_id), self._scores))
        # A user without decisions has nothing to share.
        if writes and (self._records or not self._is_new):
            self.user = msgspec.structs.replace(self.user, seq=self.user.seq + 1, last=self.now)
            writes.append(Fields(self._shared, decision.encode_user(self.user)))
        due, look = self._rules.due(self._user_id), self.next_look()
        # Always with a change of the agenda, and else only to mend the index: a change that was made meanwhile wins.
        if self._scores or look != self._values[place(due)]:
            writes.append(Schedule(due.key, {due.member: None if look is None else int(look)}))
        return Change(result, tuple(writes))
