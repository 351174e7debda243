"""What the changes of a user share while a step runs: time, their count, and what the log is told of them. Pure."""

from collections.abc import Callable
from typing import Final

from app.decision_log import lines
from app.decision_log.lines import LONGEST, Line, LongLine, Snapshot
from app.ledger.desk import Desk
from app.ledger.rules import Rules
from app.ledger.telling import Name, begun
from state import keys
from state.update.changes import MOMENT, Emit, Fields, Hash, More, Values, Write
from state.update.idle import milliseconds
from state.values import decision, record

__all__ = ["Journal"]

# How long one user's time may be ahead of Redis's clock, which has jumped back, before that is an error of the data.
_FOREVER: Final = 253_402_300_799_999


class Journal(Desk):
    """The models of `user_id` in `values` and what the changes share; a user's first change gets an `epoch`."""

    def __init__(self, rules: Rules, user_id: str, values: Values, epoch: Callable[[], bytes]) -> None:
        super().__init__(rules, user_id, values)
        self._shared = keys.shared(user_id)
        shared = values[self._shared]
        self._is_new = shared[0] is None
        self.user = decision.User(epoch()) if self._is_new else decision.decode_user(self._shared, shared, b"")
        self._had = self.user.logged, self.user.parts
        # What Redis's clock says (ms). It may jump back, a user's time does not.
        self.clock = milliseconds(values[MOMENT])
        self.now = min(max(self.clock, self.user.last), _FOREVER)
        self._lines: list[tuple[str, Line]] = []
        if rules.logs and not self.user.logged:
            self._begin()

    def seconds(self, now: int) -> int:
        """The user's time, in Unix seconds."""
        return self.now // 1_000

    def tell(self, line: Callable[[Name], Line], loop: str = "") -> None:
        """Count a change, and have the log tell of it."""
        self.user.seq += 1
        if self._rules.logs:
            name = Name(self._user_id, self.user.epoch.decode(errors="replace"), self.user.seq, self.now)
            self._lines.append((loop, line(name)))

    def _begin(self) -> None:
        """Have the log tell which models were there before it. Raises More for those that were not read."""
        models = {policy: keys.record(self._user_id, policy) for policy in self._rules.policies}
        if unread := [key for key in models.values() if key not in self._values]:
            raise More(tuple(Hash(key, record.FIELDS) for key in unread))
        there: dict[str, Snapshot] = {}
        lacking, size = [], 0
        for policy, key in models.items():
            a, b, meta, columns = self._values[key]
            if a is not None and b is not None and meta is not None:
                own = columns or self._rules.models.fingerprint(self._rules.policies[policy])
                size += 2 * (len(a) + len(b) + len(meta))  # base64, and something around it
                if size > LONGEST:
                    lacking.append(policy)
                else:
                    there[policy] = Snapshot(a, b, meta, own.decode())
        self.user.logged = self.user.seq + 1
        if there or lacking or self.user.seq:
            self.tell(lambda name: begun(name, there, lacking))

    def _count(self, opened: int, records: int, size: int) -> None:
        """Count decisions that are open, all, and their bytes: so many more, or fewer."""
        user = self.user
        user.open = max(user.open + opened, 0)
        user.records = max(user.records + records, 0)
        user.bytes = max(user.bytes + size, 0)

    def _written(self) -> list[Write]:
        """The writes of what the changes share, and of the lines."""
        user = self.user
        user.last = self.now
        user.logged = user.logged if self._rules.logs else 0
        moved = not self._is_new and self._had == (user.logged, user.parts)
        written: list[Write] = [Fields(self._shared, decision.encode_user(user, moved=moved))]
        if self._lines:
            outbox = self._rules.models.outbox(self._user_id)
            written += [Emit(outbox, loop, _encoded(line)) for loop, line in self._lines]
        return written


def _encoded(line: Line) -> bytes:
    """The line as bytes. Raises LongLine."""
    text = lines.encode(line)
    if len(text) > LONGEST:
        raise LongLine(f"its line in the log would have {len(text):,} bytes, more than {LONGEST:,}")
    return text
