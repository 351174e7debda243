"""The one rule of what may be stored under a key of a user."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from state import keys, parts
from state.errors import CorruptState
from state.values import decision, record
from state.values.decision import Part, Shadow, User
from state.values.record import Meta, Record
from state.values.stored import (
    LONGEST_HISTORY,
    LONGEST_LIFE_MS,
    Stored,
    check,
    check_decisions,
    gathered,
    is_of_decisions,
)

SIZES = {"p": 2}
ENTRY = b'[1,"t",0.5,1,false,0.0,1,"p"]'
MODEL = record.encode(Record(np.eye(2), np.zeros(2), Meta()))
PRINT = b"0123456789abcdef" * 2
TERMS = decision.Terms(-1.0, 1.0, None, discards=False, adds=False)
SHADOWS = [Shadow("p", [1.0])]
OPEN = decision.Record(b"", "tips", "p", "open", 0, 5, 7, TERMS, ["a"], [1.0], 0, 0.5, 1, SHADOWS, ["one"], [1.0])
SHARED = Stored("u", keys.SHARED, decision.encode_user(User(b"e", 2, 5, 1, 2)))
MADE = Stored(
    "u",
    keys.DECISIONS,
    {b"x": decision.encode(OPEN), b"y": decision.encode(msgspec.structs.replace(OPEN, status="cancelled"))},
)
AGENDA = Stored("u", keys.AGENDA, ((b"y", 7.0), (b"x", 7.5)))


def made_with(**fields: Any) -> Stored:
    return Stored("u", keys.DECISIONS, {b"x": decision.encode(msgspec.structs.replace(OPEN, **fields))})


@pytest.mark.parametrize(
    "stored",
    [
        Stored("u", "p", MODEL),
        Stored("x" * 256, "p", MODEL),
        Stored("u", keys.HISTORY, [ENTRY] * LONGEST_HISTORY),
        Stored("u", keys.SYNC, {"é".encode(): b"1"}),
        Stored("u", "p:once:k", PRINT, 1),
        Stored("u", "p:once:k", PRINT, LONGEST_LIFE_MS),
        SHARED,
        MADE,
        AGENDA,
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
        (Stored("u", "q", MODEL | {b"columns": b"f"}), "names unknown columns"),
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
        (Stored("u", keys.SHARED, b""), "another type"),
        (Stored("u", keys.SHARED, {b"epoch": b"e"}), "lacks one of epoch, seq"),
        (Stored("u", keys.SHARED, {**SHARED.value, b"open": b"-1"}), "not a count"),  # type: ignore[dict-item]
        (Stored("u", keys.SHARED, {**SHARED.value, b"epoch": b""}), "lacks one of"),  # type: ignore[dict-item]
        (Stored("u", keys.DECISIONS, []), "another type"),
        (Stored("u", keys.DECISIONS, {b"a b": b""}), "not the id of a decision"),
        (Stored("u", keys.DECISIONS, {b"x": b"{}"}), "d x: is not a decision"),
        (made_with(x=[math.inf]), "not finite"),
        (made_with(reward=math.nan), "not finite"),
        (made_with(parts={"a": Part(1.0, math.inf)}), "not finite"),
        (Stored("u", keys.AGENDA, {b"x": b""}), "another type"),
        (Stored("u", keys.AGENDA, ((b"x", math.inf),)), "with its moment"),
        (Stored("u", keys.AGENDA, ((b"", 1.0),)), "with its moment"),
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


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        ([], None),
        ([Stored("u", "p", MODEL)], None),
        ([SHARED, MADE, AGENDA], None),
        ([Stored("u", keys.SHARED, decision.encode_user(User(b"e")))], None),
        ([MADE, AGENDA], "u: is missing"),
        ([SHARED, MADE], "does not have just the decisions"),
        ([SHARED, AGENDA], "does not have just the decisions"),
        ([SHARED, MADE, Stored("u", keys.AGENDA, ((b"x", 1.0), (b"z", 2.0)))], "does not have just the decisions"),
        ([SHARED], "counts other decisions"),
        ([Stored("u", keys.SHARED, decision.encode_user(User(b"e", 1, 1, 2, 2))), MADE, AGENDA], "counts other"),
    ],
)
def test_decisions_fit_together(stored: list[Stored], problem: str | None) -> None:
    """What is shared, the decisions and the agenda are all there, and tell of the same decisions."""
    if problem is None:
        check_decisions(stored)
        return
    with pytest.raises(CorruptState, match=problem):
        check_decisions(stored)


def test_decisions_of_large_loops() -> None:
    """They are in parts, each where it belongs, and count with the others."""
    assert isinstance(MADE.value, dict)
    spread = [Stored("u", parts.of(keys.DECISIONS, name), {name: blob}) for name, blob in MADE.value.items()]
    shared = msgspec.structs.replace(SHARED, value={**SHARED.value, parts.FIELD: b"256"})  # type: ignore[dict-item]
    for one in (shared, *spread):
        check(one, SIZES)
        assert is_of_decisions(one.kind)
    check_decisions([shared, *spread, AGENDA])
    check_decisions([shared, msgspec.structs.replace(spread[0], kind=keys.DECISIONS), spread[1], AGENDA])
    assert gathered([shared, *spread]) == [shared, MADE]
    with pytest.raises(CorruptState, match="does not say that there are parts"):
        check_decisions([SHARED, *spread, AGENDA])
    with pytest.raises(CorruptState, match="does not have just the decisions"):
        check_decisions([shared, spread[0], AGENDA])
    with pytest.raises(CorruptState, match="is not where b'x' belongs"):
        check(msgspec.structs.replace(spread[0], kind=spread[1].kind), SIZES)
    assert not is_of_decisions("d:256")
