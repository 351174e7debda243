"""The one rule of what may be stored under a key of a user."""

import numpy as np
import pytest

from state import keys
from state.errors import CorruptState
from state.values import record
from state.values.record import Meta, Record
from state.values.stored import LONGEST_HISTORY, LONGEST_LIFE_MS, Stored, check

SIZES = {"p": 2}
ENTRY = b'[1,"t",0.5,1,false,0.0,1,"p"]'
MODEL = record.encode(Record(np.eye(2), np.zeros(2), Meta()))
PRINT = b"0123456789abcdef" * 2


@pytest.mark.parametrize(
    "stored",
    [
        Stored("u", "p", MODEL),
        Stored("x" * 256, "p", MODEL),
        Stored("u", keys.HISTORY, [ENTRY] * LONGEST_HISTORY),
        Stored("u", keys.SYNC, {"é".encode(): b"1"}),
        Stored("u", "p:once:k", PRINT, 1),
        Stored("u", "p:once:k", PRINT, LONGEST_LIFE_MS),
    ],
    ids=lambda stored: f"{stored.user[:1]} {stored.kind} {stored.expires_ms}",
)
def test_valid(stored: Stored) -> None:
    """What the service writes, up to its limits."""
    check(stored, SIZES)


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        (Stored("", "p", MODEL), "not a key of a user"),
        (Stored("x" * 257, "p", MODEL), "not a key of a user"),
        (Stored("\ud800", "p", MODEL), "not Unicode"),
        (Stored("u", "a b", MODEL), "not a key of a user"),
        (Stored("u", "q", MODEL), "does not know"),
        (Stored("u", "flight:1", b""), "does not know"),
        (Stored("u", "p", [b""]), "another type"),
        (Stored("u", "p", {}), "none of A, b and meta"),
        (Stored("u", "p", {b"A": b""}), "is missing"),
        (Stored("u", "p", {**MODEL, b"A": (0.5 * np.eye(2)).tobytes()}), "less than the identity"),
        (Stored("u", "p", MODEL, 1), "only an idempotency key expires"),
        (Stored("u", keys.HISTORY, b""), "another type"),
        (Stored("u", keys.HISTORY, [ENTRY] * (LONGEST_HISTORY + 1)), "more than 10,000"),
        (Stored("u", keys.HISTORY, [b"{}"]), "entry 0"),
        (Stored("u", keys.SYNC, [b""]), "another type"),
        (Stored("u", keys.SYNC, {b"a": b"\xff"}), "not UTF-8"),
        (Stored("u", keys.SYNC, {b"\xff": b"a"}), "not UTF-8"),
        (Stored("u", "q:once:k", PRINT, 1), "idempotency key under a policy"),
        (Stored("u", "p:once:", PRINT, 1), "idempotency key under a policy"),
        (Stored("u", "p:once:k", PRINT[1:], 1), "fingerprint"),
        (Stored("u", "p:once:k", PRINT.upper(), 1), "fingerprint"),
        (Stored("u", "p:once:k", {}, 1), "fingerprint"),
        (Stored("u", "p:once:k", PRINT), "expire within a year"),
        (Stored("u", "p:once:k", PRINT, 0), "expire within a year"),
        (Stored("u", "p:once:k", PRINT, LONGEST_LIFE_MS + 1), "expire within a year"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_invalid(stored: Stored, problem: str) -> None:
    """Anything else is refused, with its key."""
    with pytest.raises(CorruptState, match=problem):
        check(stored, SIZES)
