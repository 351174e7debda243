"""Whole users over the embedded store: read and written at one moment, or not at all."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from state import keys, parts, users
from state.errors import ConflictError, StoreUnavailable
from state.users import Found, Users
from state.values.stored import Stored
from tests.support.waiting import PATIENCE_SECONDS
from tests.unit.state.wire import CUT, Wire

pytestmark = pytest.mark.anyio

FIXED = keys.fixed(["p"])


def whole(user: str, marker: str = "p:once:k") -> list[Stored]:
    return [
        Stored(user, "p", {b"A": b"1"}),
        Stored(user, keys.HISTORY, [b"1", b"2"]),
        Stored(user, marker, b"r", 60_000),
    ]


def through(wire: Wire) -> Users:
    return Users(wire, patience=PATIENCE_SECONDS, fixed=FIXED)


async def read(wire: Wire, *wanted: str, strays: tuple[str, ...] = ()) -> list[Found]:
    pages: AsyncIterator[list[Found]] = through(wire).read([(user, strays) for user in wanted])
    return [one for page in pages_of(await collect(pages)) for one in page]


async def collect(pages: AsyncIterator[list[Found]]) -> list[list[Found]]:
    return [page async for page in pages]


def pages_of(pages: list[list[Found]]) -> list[list[Found]]:
    assert all(len(page) <= 32 for page in pages)
    return pages


async def marked(wire: Wire, user: str, marker: str) -> None:
    """Another writer adds an idempotency key."""
    await wire.ask(("SET", keys.of(user, marker), "r", "EX", 60), ("ZADD", keys.index(user), 1, marker))


async def test_written_and_read_back() -> None:
    """All keys of each user, found by name and by the index that came with them; a user without keys is left out."""
    wire = Wire()
    assert await through(wire).write([whole("a"), whole("b")], strays=None) == [True, True]
    found = await read(wire, "a", "nobody", "b")
    assert [(one.user, [item.kind for item in one.stored], one.odd) for one in found] == [
        (user, ["p", "history", "p:once:k"], []) for user in ("a", "b")
    ]
    [ttl] = await wire.ask(("TTL", keys.index("a")))
    assert ttl > 3_600


@pytest.mark.parametrize("there", ["p", "history", "sync", "once", "p:once:k"])
async def test_a_user_with_any_key_is_left_alone(there: str) -> None:
    """One key of a user, fixed, a marker of the same name, or the index, keeps all of the file's from being written."""
    wire = Wire()
    command = ("ZADD", keys.of("a", there), 1, "x") if there == "once" else ("SET", keys.of("a", there), "x")
    await wire.ask(command)
    assert await through(wire).write([whole("a"), whole("b")], strays=None) == [False, True]
    assert await wire.ask(("KEYS", "oo:{a}:*")) == [[keys.of("a", there).encode()]]


async def test_overwritten_as_a_whole() -> None:
    """With strays nothing of what a user had is left: fixed keys, those of the index, and the strays."""
    wire = Wire()
    await wire.ask(("HSET", keys.of("a", "sync"), "x", 1), ("SET", keys.of("a", "p:once:stray"), "r"))
    await marked(wire, "a", "p:once:old")
    assert await through(wire).write([whole("a")], strays=[["p:once:stray"]]) == [True]
    [names] = await wire.ask(("KEYS", "oo:{a}:*"))
    assert sorted(names) == sorted(keys.of("a", kind).encode() for kind in ("p", "history", "p:once:k", "once"))


async def test_strays_and_keys_of_the_wrong_type() -> None:
    """A key in no index is read when it is named; what has the wrong type is named, the index too."""
    wire = Wire()
    await wire.ask(
        ("SET", keys.of("a", "p:once:s"), "r"), ("SET", keys.of("a", "p"), "x"), ("SET", keys.index("a"), "x")
    )
    [found] = await read(wire, "a", strays=("p:once:s",))
    assert [item.kind for item in found.stored] == ["p:once:s"]
    assert found.odd == [keys.of("a", "p"), keys.index("a")]


async def test_a_key_added_while_a_user_is_read() -> None:
    """The read starts over, so a reward and its key are both in it."""
    wire = Wire()
    await through(wire).write([whole("a")], strays=None)
    wire.on("EXEC", partial(marked, wire, "a", "p:once:new"))
    [found] = await read(wire, "a")
    assert {"p:once:k", "p:once:new"} < {item.kind for item in found.stored}


async def test_a_key_added_while_a_user_is_written() -> None:
    """Nothing was written when another writer came first: looked at again, the user is left alone."""
    wire = Wire()
    wire.on("EXEC", partial(wire.ask, ("HSET", keys.of("a", "p"), "n", 1)))
    assert await through(wire).write([whole("a"), whole("b")], strays=None) == [False, True]
    assert await wire.ask(("KEYS", "oo:{a}:*")) == [[b"oo:{a}:p"]]


async def test_lost_races_alone_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After three lost races each user has a transaction alone, and at last it is an error."""
    monkeypatch.setattr(users, "_TRIES_ALONE", 2)
    wire = Wire()
    for number in range(3):
        wire.on("EXEC", partial(marked, wire, "a", f"p:once:{number}"))
    assert await through(wire).write([whole("a"), whole("b")], strays=[[], []]) == [True, True]
    assert len(wire.sent) == 2 * (3 + 2)
    for number in range(5):
        wire.on("EXEC", partial(marked, wire, "a", f"p:once:{number + 3}"))
    with pytest.raises(ConflictError):
        await through(wire).write([whole("a"), whole("b")], strays=[[], []])


async def test_large_users_are_read_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction has a bound of history entries and keys, and of users."""
    monkeypatch.setattr(users, "_ITEMS", 10)
    monkeypatch.setattr(users, "_TOGETHER", 4)
    wire = Wire()
    for user, entries in [("a", 6), ("b", 4), ("c", 1), ("d", 20), *((f"e{n}", 0) for n in range(5))]:
        await wire.ask(
            ("HSET", keys.of(user, "p"), "n", 1), *[("RPUSH", keys.history(user), *["x"] * entries)] * bool(entries)
        )
    groups = await through(wire)._groups([(user, ()) for user in ["a", "b", "c", "d", *(f"e{n}" for n in range(5))]])
    assert [[user for user, _ in group] for group in groups] == [
        ["a", "b"],
        ["c"],
        ["d"],
        ["e0", "e1", "e2", "e3"],
        ["e4"],
    ]


async def test_a_user_with_a_model_alone() -> None:
    """The first of a group may have neither a history nor idempotency keys, as after an import."""
    wire = Wire()
    await wire.ask(("HSET", keys.of("a", "p"), "A", "1"))
    [found] = await read(wire, "a")
    assert found.stored == [Stored("a", "p", {b"A": b"1"})]


async def test_on_a_cluster_each_user_is_alone() -> None:
    """A transaction there cannot span users."""
    wire = Wire(spans_users=False)
    assert await through(wire).write([whole("a"), whole("b")], strays=None) == [True, True]
    assert len(await read(wire, "a", "b")) == 2
    assert max(names.count("EXEC") for names in wire.sent) == 1
    assert len(wire.sent) == 8


async def test_a_write_refused_within_the_transaction() -> None:
    """Redis does not undo the others, so it is an error and not a user that was written."""
    wire = Wire()
    with pytest.raises(StoreUnavailable, match="Redis refuses"):
        await through(wire).write([[*whole("a"), Stored("a", "p", [b"x"])]], strays=None)


@pytest.mark.parametrize(("failure", "words"), [(CUT, "reached"), (NoPermissionError("NOPERM"), "refuses")])
async def test_failures_are_told(failure: str | ResponseError, words: str) -> None:
    """Neither a read nor a write is tried again after a failure."""
    wire = Wire()
    wire.on("EXEC", failure, failure)
    with pytest.raises(StoreUnavailable, match=words):
        await through(wire).write([whole("a")], strays=None)
    with pytest.raises(StoreUnavailable, match=words):
        await read(wire, "a")
    assert await read(wire, "a") == []


async def test_parts_of_large_loops() -> None:
    """They come with the user whose hash says so, also one that was made after all keys were listed."""
    wire = Wire()
    first, second = (Stored("a", parts.of(keys.DECISIONS, name), {name: b"r"}) for name in (b"x", b"y"))
    shared = Stored("a", keys.SHARED, {b"epoch": b"e", parts.FIELD: b"256"})

    async def decided(one: Stored = second) -> None:
        await wire.ask(
            ("HSET", keys.shared("a"), "epoch", "e", "parts", 256),
            ("HSET", keys.of("a", one.kind), *next(iter(one.value.items()))),  # type: ignore[union-attr]
        )

    await wire.ask(("HSET", keys.of("a", "p"), "A", "1"))
    wire.on("EXEC", decided)
    [found] = await read(wire, "a")
    assert found.stored == [whole("a")[0], shared, second]
    await decided(first)
    # What is replaced goes as a whole.
    assert await through(wire).write([[shared, second]], strays=[[]]) == [True]
    [found] = await read(wire, "a")
    assert found.stored == [shared, second]
