"""History entries, byte by byte."""

import msgspec
import pytest

from state.errors import CorruptState
from state.values import history

ENTRY = history.Entry(1_700_000_000, "tip-5f3a9c2e", 0.8312947123456789, 14, True, 3.5, 2, "egreedy-v2", 3, False)


def test_an_entry_is_a_compact_array() -> None:
    """One decision is a JSON array in a fixed order, and a typical one has at most 128 bytes."""
    text = b'[1700000000,"tip-5f3a9c2e",0.8312947123456789,14,true,3.5,2,"egreedy-v2",3,false]'
    assert history.encode(ENTRY) == text
    assert len(text) <= 128
    assert history.decode("key", [text, text]) == [ENTRY, ENTRY]


def test_older_and_newer_entries_are_read() -> None:
    """Fields that may be absent are; those that a newer version appended are passed over."""
    older = b'[1,"t",0.5,1,false,0.0,1,"linucb-v1"]'
    newer = b'[1,"t",0.5,1,false,0.0,1,"linucb-v1",null,null,0.25]'
    [one, other] = history.decode("key", [older, newer])
    assert (
        one
        == other
        == history.Entry(1, "t", 0.5, 1, is_overdue=False, task_age_days=0.0, priority=1, policy="linucb-v1")
    )


def entry_at(ts: int) -> bytes:
    return history.encode(msgspec.structs.replace(ENTRY, ts=ts))


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'[1,"t"]',
        b'["x"]',
        b"\xff",
        b'[1,"\xff",0]',
        b"[" * 9_999,
        entry_at(-1),
        entry_at(253_402_300_800),
    ],
)
def test_a_damaged_entry_names_the_key_and_its_place(entry: bytes) -> None:
    """An item that is not an entry is an error, not a gap."""
    with pytest.raises(CorruptState, match=r"^oo:\{u\}:history: entry 1: "):
        history.decode("oo:{u}:history", [history.encode(ENTRY), entry])
