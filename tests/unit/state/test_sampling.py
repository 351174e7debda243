"""A sample of users: who is in it, that it is stable, and how little is read for it."""

import hashlib

import numpy as np
import pytest

from state import keys
from state.errors import StoreUnavailable
from state.sampling import Sample
from state.values import record
from state.values.record import Meta, Record
from tests.unit.state.wire import CUT, Wire

pytestmark = pytest.mark.anyio


def fits(meta: Meta) -> bool:
    return meta.reward_count >= 5


def hash_of(user: str) -> bytes:
    return hashlib.blake2b(user.encode(), digest_size=8).digest()


async def write(wire: Wire, rewards: dict[str, int], policy: str = "p") -> None:
    for user, count in rewards.items():
        fields = record.encode(Record(np.eye(1), np.zeros(1), Meta(reward_count=count)))
        await wire.ask(("HSET", keys.record(user, policy), *(part for pair in fields.items() for part in pair)))


async def draw(wire: Wire, most: int) -> Sample:
    sample = Sample("p", most, fits)
    counts = [count async for count in sample.draw(wire, patience=1.0)]
    assert sum(counts) == 500 * sum(names == ["SCAN"] for names in wire.sent)
    wire.sent.clear()
    return sample


async def test_those_with_the_smallest_hash() -> None:
    """Of the users with enough rewards, in the order of their hashes, whatever the order in which they are found."""
    wire = Wire()
    rewards = {f"ü {number}": number % 7 for number in range(1_500)}
    await write(wire, rewards)
    for most in (1, 30, 2_000):
        expected = sorted((user for user, count in rewards.items() if count >= 5), key=hash_of)[:most]
        sample = await draw(wire, most)
        assert sample.users == expected
        assert sample.seen == 1_500


async def test_few_models_are_read() -> None:
    """Once the sample is full, only the counters of users who might come into it are read."""
    wire = Wire()
    await write(wire, {f"u{number}": 9 for number in range(3_000)})
    sample = Sample("p", 10, fits)
    async for _ in sample.draw(wire, patience=1.0):
        pass
    assert 10 <= sum(names.count("HMGET") for names in wire.sent) < 1_500
    assert {name for names in wire.sent for name in names} == {"SCAN", "HMGET"}


async def test_it_is_stable() -> None:
    """Who goes is followed by the next, and the others stay."""
    wire = Wire()
    users = sorted((f"u{number}" for number in range(50)), key=hash_of)
    await write(wire, dict.fromkeys(users, 9))
    before = (await draw(wire, 20)).users
    assert before == users[:20]
    await wire.ask(("DEL", keys.record(users[3], "p")))
    assert (await draw(wire, 20)).users == [*users[:3], *users[4:21]]


async def test_what_is_no_model_of_the_policy() -> None:
    """Keys of other policies, idempotency keys whose end looks like the policy, keys of no user, of another type, and
    damaged counters."""
    wire = Wire()
    await write(wire, {"ann": 9})
    await write(wire, {"bea": 9}, "q:once:p")
    await write(wire, {"cy": 9}, "pp")
    await wire.ask(
        ("SET", keys.record("dora", "p"), "text"),
        ("HSET", keys.record("emil", "p"), b"meta", b"odd"),
        ("HSET", keys.record("fay", "p"), b"A", b""),
        ("HSET", "oo:{}:p", b"meta", b"odd"),
    )
    sample = await draw(wire, 10)
    assert sample.users == ["ann"]
    assert sample.seen == 4


async def test_a_user_twice() -> None:
    """SCAN may name a key twice, also in one page; the user is taken once."""
    wire = Wire()
    users = sorted(["ann", "bea", "cy", "dora"], key=hash_of)
    await write(wire, dict.fromkeys(users, 9))
    sample = Sample("p", 2, fits)
    async with wire.connection("") as connection:
        for places in ([3, 3, 2], [1, 1, 3], [0, 1]):
            await sample._consider(connection, [users[place] for place in places], 1.0)
    assert sample.users == users[:2]


async def test_redis_fails() -> None:
    """It is said; so is a cluster whose slots moved meanwhile."""
    wire = Wire()
    wire.on("SCAN", CUT)
    with pytest.raises(StoreUnavailable):
        await draw(wire, 1)
    wire = Wire()
    wire.shares = ["a", "b"]
    with pytest.raises(StoreUnavailable, match="slots of the cluster moved"):
        await draw(wire, 1)
