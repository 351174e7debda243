"""A user's decisions while a step runs: what is due of them, and what will be written. Pure."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from app.decision_log.lines import What
from app.ledger.records import Records
from app.ledger.rules import Rules
from state import keys
from state.errors import CorruptState
from state.update.agenda import Next, moved
from state.update.changes import AGENDA, FEW, Agenda, Change, More, Schedule, Values, Write
from state.values.decision import Record

__all__ = ["LATER_MS", "Ledger"]

# What is damaged must not be looked at again and again, nor keep the rest of a user from being changed.
LATER_MS: Final = 3_600_000
_MANY: Final = 128  # of large loops are settled at once, where more than usual are due


class Ledger(Records):
    """The decisions of `user_id` in `values`, and what time does to them."""

    def __init__(self, rules: Rules, user_id: str, values: Values, epoch: Callable[[], bytes]) -> None:
        super().__init__(rules, user_id, values, epoch)
        self._agenda = keys.agenda(user_id)
        self._waiting: Next = values[self._agenda]  # the decisions that must be looked at next, as they were read
        # Whose window is over without an outcome, or had to make room: the loop, and how it ended.
        self.ended: list[tuple[str, str]] = []
        self.settled = 0
        self.damaged: list[str] = []

    def current(self, local: str) -> Record | None:
        """A decision, after what is due of it. Raises More and CorruptState."""
        found = self.record(local)
        return None if found is None else self._passed(local, found)

    def settle(self) -> None:
        """Do what is due by now, in order: book default rewards, let old records go; `settled` counts the decisions.

        What is damaged is left for later, and named in `damaged`. Raises More for what was not read.
        """
        waiting = self._waiting.members
        if waiting and waiting[0][1] <= self.now:
            try:
                self._settle()
            except More as more:
                raise More(more.reads, for_all=True) from None

    def _settle(self) -> None:
        due = [name for name, at in self._waiting.members if at <= self.now]
        self._see(_MANY if self.user.parts and len(due) >= AGENDA else AGENDA)
        self._need(due)
        for name in due:
            with self._put_off_if_damaged(name):
                found = self.record(name.decode())
                if found is None:  # a record that someone removed by hand
                    self._scores[name] = None
                else:
                    self._scores[name] = self._next(found)
                    self._passed(name.decode(), found)
                self.settled += 1

    @contextmanager
    def _put_off_if_damaged(self, name: bytes) -> Iterator[None]:
        """Undo what was done within if something is damaged: the record, or a model that has to learn."""
        models = dict(self._saved)
        user, writes = msgspec.structs.replace(self.user), len(self._writes)
        ended, told = len(self.ended), len(self._lines)
        try:
            yield
        except CorruptState as error:
            self.damaged.append(str(error))
            self._saved, self.user, self._taught, self._learned = models, user, {}, {}
            del self._writes[writes:], self.ended[ended:], self._lines[told:]
            self._kept.pop(name, None)
            self._scores[name] = self.now + LATER_MS

    def _see(self, most: int) -> None:
        """Raise More if fewer of the first decisions were read, and there may be others."""
        if self._waiting.asked < most and self._waiting.end < math.inf:
            raise More((Agenda(self._agenda, most),))

    def _passed(self, local: str, found: Record) -> Record | None:
        """A decision after the time that has passed had its effect; None if it is gone."""
        if found.deadline > self.now:
            return found
        if self._waits(found):
            found = self.end(local, found)
        if found.deadline + self._rules.grace > self.now:
            return found
        self.drop(local, found)
        return None

    def end(self, local: str, found: Record, *, early: bool = False) -> Record:
        """End a decision's window: its default reward is booked, or what was never shown is void; the record then.

        One that ends early does not count as open any more, but its outcome may still come.
        """
        default, how = found.terms.default, "early" if early else "void"
        what: What = "early" if early else "expired"
        if found.status == "open" and default is not None:
            taught, _ = self.teach(found, default, self.now // 1_000)
            moment = min(found.deadline, self.now)
            after = msgspec.structs.replace(taught, status="defaulted", rewarded=moment, n=found.n + 1, early=early)
            what, how = ("early", "early") if early else ("default", "default")
        elif early:
            after = msgspec.structs.replace(found, early=True)
        else:
            after = msgspec.structs.replace(found, status="void", held=None, n=found.n + 1)
        self.ended.append((found.loop, how))
        self.put(local, found, after, what, reward=after.reward)
        return after

    def first(self, most: int) -> dict[str, Record]:
        """At most so many of the decisions that must be looked at next, in order. Raises More and CorruptState."""
        if most > FEW:
            self._see(AGENDA)
        names = [name for name, _ in self._waiting.members[:most]]
        self._need(names)
        found: dict[str, Record] = {}
        for local in map(bytes.decode, names):
            one = self.record(local)
            if one is not None:
                found[local] = one
        return found

    def ahead(self) -> Next:
        """The decisions that must be looked at next, after all changes so far."""
        return moved(self._waiting, self._scores)

    def _look(self) -> int | None:
        """When (ms) the first of them must be looked at, or earlier; None if there are none."""
        found = self._waiting.end  # there may be others beyond it
        for name, at in self._waiting.members:
            if name not in self._scores:
                found = at
                break
        for score in self._scores.values():
            if score is not None and score < found:
                found = score
        return None if found == math.inf else int(found)

    def change(self, result: Any, *more: Write) -> Change[Any]:
        """The result of the step, and all that must be written."""
        records = self._rewritten()
        writes = [*self._writes, *more, *records]
        if self._scores:
            writes.append(Schedule(self._agenda, self._scores))
        # A user without decisions or a log has nothing to share.
        if writes and (records or self._lines or not self._is_new):
            writes += self._written()
        user_id, look = self._user_id, self._look()
        # Always with a change of the agenda, and else, if it was read, to mend the index: a change made meanwhile wins.
        if self._scores or look != self._values.get(self._rules.due(user_id).place, look):
            writes.append(Schedule(self._rules.models.due(user_id), {user_id.encode(): look}))
        return Change(result, tuple(writes))
