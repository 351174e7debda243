"""A user's decisions while a step runs: what is due, what must be read, and what is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from app.bandit.context import Context
from app.ledger.ledger import LATER_MS, Ledger
from app.ledger.room import make_room
from app.ledger.rules import Rules, reads
from app.ledger.telling import first_score
from app.policies.catalog import catalog
from state import keys
from state.redis.connect import open_servers
from state.store import Store
from state.update.agenda import Next
from state.update.changes import (
    AGENDA,
    MOMENT,
    Agenda,
    Drop,
    Entry,
    Fields,
    Hash,
    Moment,
    More,
    Register,
    Schedule,
    entry,
)
from state.values import decision
from state.values.decision import Record, Shadow, Terms
from state.values.record import FIELDS
from tests.support.decisions import POLICIES

CATALOG = catalog(POLICIES)
GRACE = 1_000
DEADLINE = 50_000
HASH = keys.decisions("u")
DUE = keys.due(None)
BOOKS = Terms(-8.0, 8.0, -2.0, discards=False, adds=False)
PLAIN = msgspec.structs.replace(BOOKS, default=None)
OPEN = Record(
    request=b"r",
    loop="books",
    policy="serves",
    status="open",
    born=0,
    decided=40_000,
    deadline=DEADLINE,
    terms=BOOKS,
    ids=["a"],
    propensities=[1.0],
    chosen=0,
    score=0.0,
    seed=1,
    by_policy=[Shadow("serves", [1.0])],
    labels=["size"],
    x=[1.0],
)


@contextmanager
def rules(*, logs: bool = False) -> Iterator[Rules]:
    store = Store(open_servers("memory://", size=1, timeout=1.0), timeout=1.0, history_size=1, marker_seconds=1)
    found = Rules.of(store, CATALOG, GRACE, logs=logs)
    for policy in CATALOG.policies.values():
        columns = found.models._own(policy).columns
        found.models._known[columns.fingerprint] = columns
    yield found


def values(now: int, records: dict[str, Record], user: decision.User | None = None) -> dict[str, Any]:
    """What is read of a user with these decisions, in the order of their deadlines."""
    opened = sum(each.status in ("open", "deferred") for each in records.values())
    fields = decision.encode_user(user or decision.User(b"e", 1, 0, opened, len(records)))
    agenda = [(name.encode(), float(each.deadline)) for name, each in records.items()]
    found: dict[str, Any] = {
        keys.shared("u"): [fields.get(name) for name in decision.SHARED],
        MOMENT: [b"%d" % (now // 1_000), b"%d" % (now % 1_000 * 1_000)],
        keys.agenda("u"): Next(agenda[:AGENDA], agenda[AGENDA - 1][1] if len(agenda) >= AGENDA else float("inf")),
        entry(DUE, b"u"): agenda[0][1] if agenda else None,
        **{entry(HASH, name.encode()): decision.encode(each) for name, each in records.items()},
    }
    return found | {keys.record("u", name): [None] * len(FIELDS) for name in CATALOG.policies}


def ledger(rules: Rules, found: dict[str, Any]) -> Ledger:
    return Ledger(rules, "u", found, lambda: b"new")


def after(found: Record | None, **fields: Any) -> bool:
    assert found is not None
    got = {name: getattr(found, name) for name in fields}
    assert got == fields
    return True


def test_what_is_read() -> None:
    """One entry, the agenda, the type of the index, the clock, what decisions share, and the models."""
    with rules() as found:
        wanted = reads(found, "u", ["x"], ["p"])
    assert wanted == (
        Hash(keys.shared("u"), decision.SHARED),
        Entry(HASH, b"x"),
        Agenda(keys.agenda("u")),
        Register(found.models.due("u")),
        Moment(),
        Hash(keys.record("u", "p"), FIELDS),
    )


@pytest.mark.parametrize(("last", "now"), [(0, 5_123), (5_122, 5_123), (9_999, 9_999), (10**17, 253_402_300_799_999)])
def test_time_never_runs_back(last: int, now: int) -> None:
    """It is the later of Redis's clock and the user's last moment, within what can be stored."""
    with rules() as known:
        assert ledger(known, values(5_123, {}, decision.User(b"e", last=last))).now == now


def test_what_was_not_read_is_asked_for() -> None:
    """A decision, a model, and what is due."""
    found = values(DEADLINE, {"x": OPEN})
    model = CATALOG.policies["serves"]
    with rules() as known:
        with pytest.raises(More) as more:
            ledger(known, found).record("y")
        assert more.value.reads == (Entry(HASH, b"y"),)
        del found[keys.record("u", "serves")]
        with pytest.raises(More) as more:
            ledger(known, found).model(model)
        assert more.value.reads == (Hash(keys.record("u", "serves"), FIELDS),)
        del found[entry(HASH, b"x")]
        with pytest.raises(More) as more:
            ledger(known, found).settle()
        assert more.value.reads == (Entry(HASH, b"x"),)


@pytest.mark.parametrize(
    ("change", "now", "status"),
    [
        ({}, DEADLINE - 1, "open"),
        ({}, DEADLINE, "defaulted"),
        ({}, DEADLINE + GRACE - 1, "defaulted"),
        ({}, DEADLINE + GRACE, None),
        ({"terms": PLAIN}, DEADLINE, "open"),
        ({"terms": PLAIN}, DEADLINE + GRACE, None),
        ({"loop": "removed"}, DEADLINE, "defaulted"),
        ({"status": "deferred"}, DEADLINE - 1, "deferred"),
        ({"status": "deferred", "held": 3.0}, DEADLINE, "void"),
        ({"status": "rewarded", "reward": 1.0}, DEADLINE, "rewarded"),
        ({"status": "cancelled"}, DEADLINE + GRACE, None),
    ],
)
def test_what_time_does(change: dict[str, Any], now: int, status: str | None) -> None:
    """The same whether the decision is asked for or its turn comes; what was settled is not settled again."""
    kept = msgspec.structs.replace(OPEN, **change)
    with rules() as known:
        for settled in (True, False):
            found = ledger(known, values(now, {"x": kept}))
            if settled:
                found.settle()
            current = found.current("x")
            assert (current.status if current else None) == status
            assert found.current("x") == current
            if current is not None and current.status == "void":
                assert current.held is None
            assert found.user.records == (status is not None)
            assert found.user.open == (status in ("open", "deferred"))


def test_a_default_is_booked_before_the_record_goes() -> None:
    """However late it is noticed."""
    with rules() as known:
        found = ledger(known, values(DEADLINE + GRACE, {"x": OPEN}))
        found.settle()
        assert (found.settled, found.ended) == (1, [("books", "default")])
        writes = found.change(None).writes
    assert [type(write) for write in writes] == [Fields, Drop, Schedule, Fields, Schedule]
    assert writes[0].key == keys.record("u", "serves")
    assert writes[1:3] == (Drop(HASH, (b"x",)), Schedule(keys.agenda("u"), {b"x": None}))
    assert writes[4] == Schedule(DUE, {b"u": None})


def test_at_most_so_many_at_once() -> None:
    """Those with the first deadlines, in their order."""
    many = {f"x{place}": msgspec.structs.replace(OPEN, deadline=DEADLINE + place) for place in range(AGENDA + 8)}
    with rules() as known:
        found = ledger(known, values(DEADLINE + 900, many))
        found.settle()
        assert found.settled == AGENDA
        assert found.user.open == 8
        assert after(found.record("x0"), rewarded=DEADLINE, reward=-2.0, n=1)
        assert after(found.record(f"x{AGENDA}"), status="open")


def test_nothing_is_written_for_nothing() -> None:
    """Not even a new user."""
    with rules() as known:
        assert ledger(known, values(1, {"x": OPEN})).change("seen").writes == ()


def test_a_record_that_was_removed_by_hand() -> None:
    """Its turn comes, and it is forgotten."""
    found = values(DEADLINE, {"x": OPEN})
    found[entry(HASH, b"x")] = None
    with rules() as known:
        one = ledger(known, found)
        one.settle()
        assert one.change(None).writes[0] == Schedule(keys.agenda("u"), {b"x": None})


def test_damage_keeps_nothing_else_from_being_settled() -> None:
    """A record that cannot be read and one whose model cannot learn stay as they are, and their turn comes later."""
    there = {"x": OPEN, "y": msgspec.structs.replace(OPEN, by_policy=[Shadow("fades", [1.0]), Shadow("serves", [1.0])])}
    found = values(DEADLINE, {**there, "z": msgspec.structs.replace(OPEN, by_policy=[Shadow("watches", [1.0])])})
    found[entry(HASH, b"x")] = b"damage"
    found[keys.record("u", "serves")] = [b"damage", *[None] * (len(FIELDS) - 1)]
    with rules() as known:
        one = ledger(known, found)
        one.settle()
        writes = one.change(None).writes
    assert [problem.partition(": ")[0] for problem in one.damaged] == [f"{HASH} x", keys.record("u", "serves")]
    assert [write.key for write in writes if isinstance(write, Fields)] == [
        keys.record("u", "watches"),
        HASH,
        keys.shared("u"),
    ]
    later = DEADLINE + LATER_MS
    assert Schedule(keys.agenda("u"), {b"x": later, b"y": later, b"z": DEADLINE + GRACE}) in writes
    assert one.ended == [("books", "default")]


def test_what_a_damaged_one_taught_is_undone() -> None:
    """A model goes on from what it had learned before that."""
    both = msgspec.structs.replace(OPEN, by_policy=[Shadow("fades", [1.0]), Shadow("serves", [1.0])])
    alone = msgspec.structs.replace(OPEN, by_policy=[Shadow("fades", [1.0])])
    found = values(DEADLINE, {"x": alone, "y": both, "z": alone})
    found[keys.record("u", "serves")] = [b"damage", *[None] * (len(FIELDS) - 1)]
    with rules() as known:
        one = ledger(known, found)
        one.settle()
        assert len(one.damaged) == 1
        assert one.model(CATALOG.policies["fades"]).meta.updates == 2


def test_who_has_no_decisions_shares_nothing() -> None:
    """What a model learns writes the model only; of a user with decisions it is one more change."""
    model = CATALOG.policies["serves"]
    for user, written in ((None, 1), (decision.User(b"e", 7), 2)):
        found = values(1, {}, user)
        if user is None:
            found[keys.shared("u")] = [None] * len(decision.SHARED)
        with rules() as known:
            one = ledger(known, found)
            one.learn(model, model.see(Context({}, {}), [{}])[0], 1.0, 1)
            one.tell(lambda name: first_score(name, "serves", explored=False))
            writes = one.change(None).writes
        assert len(writes) == written
    assert isinstance(writes[1], Fields)
    assert writes[1].values[b"seq"] == b"8"


@pytest.mark.parametrize("due", [False, True])
def test_more_is_read_only_when_something_is_due(due: bool) -> None:
    """Two are enough to see that nothing is due; otherwise, and to make room, the first ones of all are read."""
    many = {f"x{place}": msgspec.structs.replace(OPEN, deadline=DEADLINE + place) for place in range(5)}
    found = values(DEADLINE if due else 1, many)
    known: Next = found[keys.agenda("u")]
    found[keys.agenda("u")] = Next(known.members[:2], known.members[1][1], 2)
    with rules() as some:
        kept = ledger(some, found)
        if not due:
            kept.settle()
            assert kept.settled == 0
            assert kept.soonest() == b"x0"
            kept.user = msgspec.structs.replace(kept.user, open=10_000)
            with pytest.raises(More) as asked:
                make_room(kept, some.plans["plain"].loop)
        else:
            with pytest.raises(More) as asked:
                kept.settle()
    assert asked.value.reads == (Agenda(keys.agenda("u"), AGENDA),)


def test_more_are_settled_at_once_of_large_loops() -> None:
    """Where all that was read is due, others may be: of a user with parts they are read too."""
    found = values(DEADLINE, {f"x{number}": OPEN for number in range(AGENDA + 5)})
    with rules() as known:
        found[keys.shared("u")][-1] = b"256"
        with pytest.raises(More) as more:
            ledger(known, found).settle()
        assert (more.value.reads, more.value.for_all) == ((Agenda(keys.agenda("u"), 128),), True)
        found[keys.shared("u")][-1] = None
        one = ledger(known, found)
        one.settle()
        assert one.settled == AGENDA
