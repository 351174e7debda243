"""A user's decisions while a step runs: what was read, what is due, and what will be written. Pure."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import msgspec

from app.decision_log.lines import What
from app.ledger.journal import Journal
from app.ledger.rules import Rules
from app.ledger.telling import Became, outcome
from state import keys, parts
from state.errors import CorruptState
from state.update.agenda import Next, moved
from state.update.changes import (
    AGENDA,
    FEW,
    Agenda,
    Change,
    Drop,
    Entry,
    Fields,
    More,
    Schedule,
    Values,
    Write,
    entry,
    place,
)
from state.values import decision
from state.values.decision import Record

__all__ = ["LATER_MS", "Ledger"]

# What is damaged must not be looked at again and again, nor keep the rest of a user from being changed.
LATER_MS: Final = 3_600_000
_MANY: Final = 128  # of large loops are settled at once, where more than usual are due


class Ledger(Journal):
    """The decisions of `user_id` in `values`, beside all that a Journal has."""

    def __init__(self, rules: Rules, user_id: str, values: Values, epoch: bytes) -> None:
        super().__init__(rules, user_id, values, epoch)
        self._decisions = keys.decisions(user_id)
        # Whose window is over without an outcome, or had to make room: the loop, and how it ended.
        self.ended: list[tuple[str, str]] = []
        self.settled, self.damaged = 0, list[str]()
        self._blobs: dict[bytes, bytes | None] = {}
        self._records: dict[bytes, Record] = {}  # those that were read or made, as they are in their blobs
        self._home: dict[bytes, str] = {}  # the hash in which a decision is
        self._scores: dict[bytes, int | None] = {}

    def record(self, local: str) -> Record | None:
        """A decision; None if there is none. Raises More for one that was not read, and CorruptState."""
        name = local.encode()
        if name in self._records:
            return self._records[name]
        blob = self._blob(name)
        if blob is None:
            return None
        found = self._records[name] = decision.decode(f"{self._home[name]} {local}", blob)
        return found

    def _blob(self, name: bytes) -> bytes | None:
        if name not in self._blobs:
            self._need([name])
            there = [key for key in self._places(name) if self._values[entry(key, name)] is not None]
            if not there:
                return None
            self._home[name] = there[0]
            return cast("bytes", self._values[entry(there[0], name)])
        return self._blobs[name]

    def _places(self, name: bytes) -> tuple[str, ...]:
        """The hashes in which a decision may be: of a large loop or of another one."""
        return (parts.of(self._decisions, name), self._decisions) if self.user.parts else (self._decisions,)

    def current(self, local: str) -> Record | None:
        """A decision, after what is due of it. Raises More and CorruptState."""
        found = self.record(local)
        if found is not None:
            self._pass(local, found)
        return self.record(local)

    def add(self, local: str, new: Record, *, large: bool = False) -> None:
        """Keep a new decision, of which no record is there, of a `large` loop or another one. Raises More."""
        name = local.encode()
        self._blobs[name], self._home[name] = None, self._decisions
        if large:
            self._home[name] = home = parts.of(self._decisions, name)
            self.user.parts = parts.COUNT
            if not {entry(home, name), entry(home, parts.stand_in(name))} & self._values.keys():
                raise More((Entry(home, name),))
        self._keep(local, new, opened=1, records=1)

    def put(
        self, local: str, old: Record, new: Record, what: What | None, *, reward: float | None = None, part: str = ""
    ) -> None:
        """Keep what became of a decision, and tell of it, unless nothing is to be told yet."""
        self._keep(local, new, opened=new.is_open - old.is_open)
        if what is not None:
            event, taught = Became(old, new, what, reward, part), self.taken()
            whole = old.born < self.user.logged
            self.tell(lambda name: outcome(name, local, event, taught, whole=whole), old.loop)

    def _keep(self, local: str, new: Record, *, opened: int, records: int = 0) -> None:
        name, blob = local.encode(), decision.encode(new)
        self._changed(opened=opened, records=records, size=len(blob) - len(self._blob(name) or b""))
        self._blobs[name], self._records[name] = blob, new
        self._scores[name] = self._next(new)

    def _next(self, kept: Record) -> int:
        """When a decision must be looked at again: when its time is over, or when it may go.

        So those that are open come first, where room is made.
        """
        waits = kept.is_open and self.now < kept.deadline
        return kept.deadline + (0 if waits or self._waits(kept) else self._rules.grace)

    def _waits(self, found: Record) -> bool:
        """Whether the end of its window changes a decision."""
        return found.status == "deferred" or (found.status == "open" and found.terms.default is not None)

    def drop(self, local: str, old: Record) -> None:
        """Let a decision go."""
        name = local.encode()
        self._changed(opened=-old.is_open, records=-1, size=-len(self._blob(name) or b""))
        self._blobs[name] = self._scores[name] = None
        self._records.pop(name, None)

    def settle(self) -> None:
        """Do what is due by now, in order: book default rewards, let old records go; `settled` counts the decisions.

        What is damaged is left for later, and named in `damaged`. Raises More for what was not read.
        """
        try:
            self._settle()
        except More as more:
            raise More(more.reads, for_all=True) from None

    def _settle(self) -> None:
        due = [name for name, at in self._agenda() if at <= self.now]
        if due:
            self._see(_MANY if self.user.parts and len(due) >= AGENDA else AGENDA)
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
        models = dict(self._models)
        user, writes = msgspec.structs.replace(self.user), len(self._writes)
        ended, told = len(self.ended), len(self._lines)
        try:
            yield
        except CorruptState as error:
            self.damaged.append(str(error))
            self._models, self.user, self._taught = models, user, {}
            del self._writes[writes:], self.ended[ended:], self._lines[told:]
            self._blobs.pop(name, None)
            self._records.pop(name, None)
            self._scores[name] = self.now + LATER_MS

    def _see(self, most: int) -> None:
        """Raise More if fewer of the first decisions were read, and there may be others."""
        found: Next = self._values[keys.agenda(self._user_id)]
        if found.asked < most and found.end < math.inf:
            raise More((Agenda(keys.agenda(self._user_id), most),))

    def _need(self, names: Sequence[bytes]) -> None:
        """Raise More for decisions that were not read."""
        wanted = [Entry(key, name) for name in names for key in self._places(name)]
        if lacking := tuple(one for one in wanted if place(one) not in self._values):
            raise More(lacking)

    def _pass(self, local: str, found: Record) -> None:
        """Let the time that has passed have its effect on a decision."""
        if self._waits(found) and found.deadline <= self.now:
            found = self.end(local, found)
        if found.deadline + self._rules.grace <= self.now:
            self.drop(local, found)

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

    def _agenda(self) -> Sequence[tuple[bytes, float]]:
        """The next decisions that must be looked at, and when."""
        found: Next = self._values[keys.agenda(self._user_id)]
        return found.members

    def first(self, most: int) -> dict[str, Record]:
        """At most so many of the decisions that must be looked at next, in order. Raises More and CorruptState."""
        if most > FEW:
            self._see(AGENDA)
        names = [name for name, _ in self._agenda()][:most]
        self._need(names)
        found = {name.decode(): self.record(name.decode()) for name in names}
        return {local: each for local, each in found.items() if each is not None}

    def ahead(self) -> Next:
        """The decisions that must be looked at next, after all changes so far; `first`: when (ms), or earlier."""
        return moved(self._values[keys.agenda(self._user_id)], self._scores)

    def change(self, result: Any, *more: Write) -> Change[Any]:
        """The result of the step, and all that must be written."""
        writes = [*self._writes, *more]
        for key in dict.fromkeys(self._home[name] for name in self._blobs):
            there = {name: blob for name, blob in self._blobs.items() if self._home[name] == key}
            if kept := {name: blob for name, blob in there.items() if blob is not None}:
                writes.append(Fields(key, kept))
            if gone := there.keys() - kept.keys():
                writes.append(Drop(key, tuple(name for name in there if name in gone)))
        if self._scores:
            writes.append(Schedule(keys.agenda(self._user_id), self._scores))
        # A user without decisions or a log has nothing to share.
        if writes and (self._blobs or self._lines or not self._is_new):
            writes += self._written()
        due, look = self._rules.due(self._user_id), self.ahead().first
        # Always with a change of the agenda, and else only to mend the index: a change that was made meanwhile wins.
        if self._scores or look != self._values[place(due)]:
            writes.append(Schedule(due.key, {due.member: None if look is None else int(look)}))
        return Change(result, tuple(writes))
