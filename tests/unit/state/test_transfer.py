"""Keys in bulk over the embedded store."""

import asyncio

import pytest
from redis.exceptions import NoPermissionError

from state import keys
from state.errors import StoreUnavailable
from state.sorter import Sorter
from state.transfer import Transfer, all_results, decode_replies, read_commands, write_command
from state.values.stored import LONGEST_HISTORY, Stored
from tests.support.waiting import PATIENCE_SECONDS
from tests.unit.state.wire import CUT, Wire

pytestmark = pytest.mark.anyio

FIXED = keys.fixed(["p"])
MODEL = Stored("u", "p", {b"A": b"1", b"b": b"2"})
PAST = Stored("u", keys.HISTORY, [b"1", b"2"])
MARKER = Stored("u", "p:once:k", b"r", 60_000)


def transfer(wire: Wire) -> Transfer:
    return Transfer(wire, patience=PATIENCE_SECONDS)


async def write(wire: Wire, *stored: Stored) -> None:
    await wire.ask(*(write_command(keys.of(item.user, item.kind), item) for item in stored))


@pytest.mark.parametrize("stored", [MODEL, PAST, MARKER, Stored("u", keys.SYNC, {b"a": b"b"})])
async def test_each_kind_is_written_and_read_back(stored: Stored) -> None:
    """A hash, a list, and a string with its life."""
    wire = Wire()
    await write(wire, stored)
    replies = await wire.ask(*read_commands("u", stored.kind))
    [found], odd = decode_replies("u", [stored.kind], iter(replies))
    assert odd == []
    assert (found.user, found.kind, found.value) == (stored.user, stored.kind, stored.value)
    assert (found.expires_ms is None) == (stored.expires_ms is None)
    assert found.expires_ms is None or 59_000 < found.expires_ms <= 60_000


async def test_a_history_is_never_too_long() -> None:
    """What two replicas have appended at the same time to one that was nearly full leaves the oldest entries out."""
    wire = Wire()
    entries = [b"[%d]" % number for number in range(LONGEST_HISTORY + 2)]
    await wire.ask(("RPUSH", keys.history("u"), *entries))
    [found] = (await transfer(wire).fetch("u", [keys.HISTORY])).found
    assert found.value == entries[2:]


def test_what_is_not_there() -> None:
    """A missing key, and a marker that expires between GET and PTTL, are left out; one without a life has none."""
    kinds = ["p", keys.HISTORY, "p:once:a", "p:once:b", "p:once:c"]
    found, odd = decode_replies("u", kinds, iter([[], [], b"r", -2, b"r", -1, b"r", 0]))
    assert [(item.kind, item.expires_ms) for item in found] == [("p:once:b", None), ("p:once:c", 1)]
    assert odd == []


async def test_a_page_of_one_user() -> None:
    """What exists, and the names of keys of the wrong type."""
    wire = Wire()
    await write(wire, MODEL, MARKER)
    await wire.ask(("SET", keys.history("u"), "text"))
    page = await transfer(wire).fetch("u", [*FIXED, "p:once:k"])
    assert [item.kind for item in page.found] == ["p", "p:once:k"]
    assert page.odd == [keys.history("u")]


async def test_list_all() -> None:
    """Every user once; keys that are neither fixed nor indexed by name; operation ids of 0.1.0 and moments of
    expiry are passed over."""
    wire = Wire()
    await write(wire, MODEL, MARKER, Stored("v", "p:once:x", b"r", 60_000), Stored("w", "p", {b"A": b"1"}))
    await wire.ask(
        ("ZADD", keys.index("u"), 1, "p:once:k"), ("SET", "oo:{gone}:flight:x", "1"), ("SET", "oo:{}:p", "x")
    )
    await wire.ask(("SET", keys.of("w", keys.SEEN), "1"))
    with Sorter() as sorter:
        pages = [page async for page in transfer(wire).list_all(sorter, FIXED)]
        assert [(user, [kind for kind, _ in rows]) for user, rows in sorter] == [
            ("u", []),
            ("v", ["p:once:x"]),
            ("w", []),
        ]
    assert sum(count for count, _ in pages) == 8
    assert [name for _, names in pages for name in names] == ["oo:{}:p"]
    assert await transfer(wire).count() == 8


async def test_slots_that_move_meanwhile() -> None:
    """What may have missed keys is an error."""
    wire = Wire()
    wire.shares = ["a 1", "a 2"]
    with Sorter() as sorter, pytest.raises(StoreUnavailable, match="moved"):
        _ = [page async for page in transfer(wire).list_all(sorter, FIXED)]


async def test_written_or_left() -> None:
    """Without `overwrite` a key that exists stays as it is; with it nothing of the old value is left."""
    wire = Wire()
    await wire.ask(("HSET", "oo:{u}:p", "old", 1))
    assert await transfer(wire).present([MODEL, PAST]) == 1
    assert await transfer(wire).write([MODEL, PAST], overwrite=False) == 1
    assert await wire.ask(("HGETALL", "oo:{u}:p")) == [[b"old", b"1"]]
    assert await transfer(wire).write([MODEL, PAST], overwrite=True) == 2
    assert await wire.ask(("HGETALL", "oo:{u}:p"), ("LLEN", "oo:{u}:history")) == [[b"A", b"1", b"b", b"2"], 2]
    assert await wire.ask(("KEYS", "*draft*")) == [[]]


@pytest.mark.parametrize(("spans_users", "transactions"), [(True, 2), (False, 200)])
async def test_groups(spans_users: bool, transactions: int) -> None:
    """A transaction has at most 128 keys, on a cluster those of one user."""
    wire = Wire(spans_users=spans_users)
    many = [Stored(f"u{number}", "p", {b"A": b"1"}) for number in range(200)]
    assert await transfer(wire).write(many, overwrite=True) == 200
    assert len(wire.sent) == transactions


@pytest.mark.parametrize(
    ("failure", "words"), [(CUT, "cannot be reached"), (NoPermissionError("NOPERM"), "Redis refuses")]
)
async def test_failures_are_not_tried_again(failure: object, words: str) -> None:
    """Each is told at once, without an address."""
    wire = Wire()
    wire.on("DBSIZE", failure)  # type: ignore[arg-type]  # either
    with pytest.raises(StoreUnavailable, match=words):
        await transfer(wire).count()
    assert wire.sent == [["DBSIZE"]]


async def test_all_results_waits_for_all() -> None:
    """The first error is raised, but not before the rest has ended."""
    ended = []

    async def work(number: int) -> int:
        await asyncio.sleep(0)
        if number == 1:
            raise ZeroDivisionError
        await asyncio.sleep(0)
        ended.append(number)
        return number

    assert await all_results(map(work, (2, 3))) == [2, 3]
    with pytest.raises(ZeroDivisionError):
        await all_results(map(work, range(3)))
    assert ended == [2, 3, 0, 2]
