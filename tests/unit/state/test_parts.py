"""Hash tags lead to their slots, as redis-py computes them too; and each field of a large hash has its part."""

from redis.crc import key_slot

from app.messages.decision_ids import made
from state.parts import COUNT, every, is_part, of, slot, stand_in, tags


def test_each_slot_has_a_tag() -> None:
    """All 16,384, each with a tag of its own; a key without braces has the slot of its text."""
    found = tags()
    assert sorted(found) == list(range(16_384))
    assert len(set(found.values())) == 16_384
    for number in (0, 1, 9_999, 16_383):
        assert key_slot(f"oo:outbox:{{{found[number]}}}".encode()) == number
    assert key_slot(b"oo:loops") == slot("oo:loops")


def test_parts() -> None:
    """Fields are spread evenly, ids of the service by their chance: the part is known before their time is."""
    names = [b"client-%d" % number for number in range(8 * COUNT)]
    found = [of("k", name) for name in names]
    assert set(found) <= set(every("k"))
    assert max(found.count(part) for part in every("k")) < 24
    assert len({of("k", made(1_800_000_000_000, chance).encode()) for chance in range(COUNT)}) > COUNT / 2
    for name in (made(1_800_000_000_000, 99).encode(), b"mail-1", b"x" * 23):
        assert of("k", stand_in(name)) == of("k", name)
    assert stand_in(made(5, 99).encode()) == stand_in(made(9, 99).encode()) == made(0, 99).encode()
    assert of("k", b"mail-1") == "k:194"  # it never changes: decisions are looked for there
    assert [is_part(name, "d") for name in ("d:0", "d:255", "d:256", "d:00", "d:", "d", "e:0")] == [True] * 2 + [
        False
    ] * 5
