"""The decisions of a user while a step runs: as they were read, and as the step leaves them. Pure."""

from collections.abc import Callable, Iterable
from itertools import starmap

import msgspec

from app.decision_log.lines import Outcome, What
from app.ledger.journal import Journal
from app.ledger.rules import Rules
from app.ledger.telling import Became, Name, outcome
from state import keys, parts
from state.update.changes import Drop, Entry, Fields, More, Values, Write, entry
from state.values import decision
from state.values.decision import Record

__all__ = ["Records"]


class _Kept(msgspec.Struct):
    """A decision: the hash in which it is, its bytes, what they say, if that was looked at, and whether they are new;
    no bytes: it is not there."""

    home: str
    blob: bytes | None = None
    record: Record | None = None
    altered: bool = False


class Records(Journal):
    """The decisions of `user_id` in `values`, beside all that a Journal has."""

    def __init__(self, rules: Rules, user_id: str, values: Values, epoch: Callable[[], bytes]) -> None:
        super().__init__(rules, user_id, values, epoch)
        self._decisions = keys.decisions(user_id)
        self._kept: dict[bytes, _Kept] = {}  # those that were read or made
        self._left: list[tuple[str, bytes]] = []  # where one went, and another of its name is kept elsewhere
        self._scores: dict[bytes, int | None] = {}  # when they must be looked at

    def record(self, local: str) -> Record | None:
        """A decision; None if there is none. Raises More for one that was not read, and CorruptState."""
        kept = self._of(local.encode())
        if kept.record is None and kept.blob is not None:
            kept.record = decision.decode(f"{kept.home} {local}", kept.blob)
        return kept.record

    def _of(self, name: bytes) -> _Kept:
        """A decision, as it is now. Raises More."""
        kept = self._kept.get(name)
        if kept is not None:
            return kept
        kept = _Kept(self._decisions)
        for home in self._places(name):
            place = entry(home, name)
            if place not in self._values:
                self._need([name])
            if self._values[place] is not None:
                kept = _Kept(home, self._values[place])
                break
        self._kept[name] = kept
        return kept

    def _places(self, name: bytes) -> tuple[str, ...]:
        """The hashes in which a decision may be: of a large loop or of another one."""
        return (parts.of(self._decisions, name), self._decisions) if self.user.parts else (self._decisions,)

    def add(self, local: str, new: Record, *, large: bool = False) -> None:
        """Keep a new decision, of which no record is there, of a `large` loop or another one. Raises More."""
        name, home = local.encode(), self._decisions
        if large:
            home = parts.of(home, name)
            self.user.parts = parts.COUNT
            if not {entry(home, name), entry(home, parts.stand_in(name))} & self._values.keys():
                raise More((Entry(home, name),))
        before = self._kept.get(name)
        if before is not None and before.altered and before.home != home:
            self._left.append((before.home, name))
        kept = self._kept[name] = _Kept(home)
        self._keep(name, kept, new, 1, 1)

    def put(
        self, local: str, old: Record, new: Record, what: What | None, *, reward: float | None = None, part: str = ""
    ) -> None:
        """Keep what became of a decision, and tell of it, unless nothing is to be told yet."""
        name = local.encode()
        self._keep(name, self._of(name), new, new.is_open - old.is_open, 0)
        if what is not None:

            def line(called: Name) -> Outcome:
                whole = old.born < self.user.logged
                return outcome(called, local, Became(old, new, what, reward, part), self.taken(), whole=whole)

            self.tell(line, old.loop)

    def drop(self, local: str, old: Record) -> None:
        """Let a decision go."""
        name = local.encode()
        self._keep(name, self._of(name), None, -old.is_open, -1)

    def _keep(self, name: bytes, kept: _Kept, new: Record | None, opened: int, records: int) -> None:
        blob = None if new is None else decision.encode(new)
        self._count(opened, records, len(blob or b"") - len(kept.blob or b""))
        kept.blob, kept.record, kept.altered = blob, new, True
        self._scores[name] = None if new is None else self._next(new)

    def _next(self, kept: Record) -> int:
        """When a decision must be looked at again: when its time is over, or when it may go.

        So those that are open come first, where room is made.
        """
        waits = kept.is_open and self.now < kept.deadline
        return kept.deadline + (0 if waits or self._waits(kept) else self._rules.grace)

    def _waits(self, found: Record) -> bool:
        """Whether the end of its window changes a decision."""
        return found.status == "deferred" or (found.status == "open" and found.terms.default is not None)

    def _need(self, names: Iterable[bytes]) -> None:
        """Raise More for decisions that were not read."""
        lacking = []
        for name in names:
            lacking += [Entry(home, name) for home in self._places(name) if entry(home, name) not in self._values]
        if lacking:
            raise More(tuple(lacking))

    def _rewritten(self) -> list[Write]:
        """The writes of the decisions that changed, by the hash in which they are."""
        kept: dict[str, dict[bytes, bytes]] = {}
        gone: dict[str, list[bytes]] = {}
        for home, name in self._left:
            gone.setdefault(home, []).append(name)
        for name, one in self._kept.items():
            if one.altered:
                if one.blob is None:
                    gone.setdefault(one.home, []).append(name)
                else:
                    kept.setdefault(one.home, {})[name] = one.blob
        return [*starmap(Fields, kept.items()), *map(Drop, gone, map(tuple, gone.values()))]
