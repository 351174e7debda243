"""Hash tags lead to their slots, as redis-py computes them too."""

from redis.crc import key_slot

from state.tags import slot, tags


def test_each_slot_has_a_tag() -> None:
    """All 16,384, each with a tag of its own; a key without braces has the slot of its text."""
    found = tags()
    assert sorted(found) == list(range(16_384))
    assert len(set(found.values())) == 16_384
    for number in (0, 1, 9_999, 16_383):
        assert key_slot(f"oo:outbox:{{{found[number]}}}".encode()) == number
    assert key_slot(b"oo:loops") == slot("oo:loops")
