"""Keys keep their meaning on the way to a line of a backup and back."""

import msgspec
import pytest

from app.backup.lines import Key, User, flaw, key_of, kind_of, stored_of
from state.errors import CorruptState
from state.values.columns import Columns
from state.values.stored import Stored
from tests.unit.app.commands.samples import (
    COLUMNS,
    HISTORY,
    MARKER,
    NAMED,
    REWARDED,
    broken_model,
    decided,
    decisions,
    model,
)

SYNC = Stored("ann", "sync", {b"list": "Einkäufe".encode(), b"raw": b"\xff\x00"})


KEYS = decisions(a=REWARDED, columns=decided())


@pytest.mark.parametrize("stored", [model("ann"), HISTORY, MARKER, SYNC, NAMED, *KEYS])
def test_a_key_comes_back(stored: Stored) -> None:
    """Bytes, text, lists and times survive JSON, also where they are not UTF-8."""
    line = msgspec.json.encode(User("ann", [key_of(stored, {COLUMNS.fingerprint: COLUMNS})]))
    [key] = msgspec.json.decode(line, type=User).keys
    columns: dict[bytes, Columns] = {}
    assert stored_of("ann", key, columns) == stored
    assert list(columns.values()) == [COLUMNS] * (stored in (NAMED, KEYS[1]))


def test_a_model_brings_its_columns() -> None:
    """Not the name under which this Redis knows them; what is no list of columns is refused."""
    key = key_of(NAMED, {COLUMNS.fingerprint: COLUMNS})
    assert (key.blobs or {})["columns"] == COLUMNS.encode()
    assert flaw([NAMED], {COLUMNS.fingerprint: COLUMNS}) is None
    assert "names unknown columns" in (flaw([NAMED], {}) or "")
    with pytest.raises(CorruptState, match="'push-v1': is not a list of columns"):
        stored_of("ann", Key(kind="push-v1", blobs={"columns": b"{}"}), {})


def test_text_stays_readable() -> None:
    """Only what is not UTF-8 is base64."""
    assert b"Eink\xc3\xa4ufe" in msgspec.json.encode(key_of(SYNC, {}))


def test_a_key_has_just_one_value() -> None:
    """None and two are refused."""
    for key in (Key(kind="sync"), Key(kind="sync", text="a", entries=["a"]), Key(kind="history", entries=[])):
        with pytest.raises(CorruptState, match="does not have one value"):
            stored_of("ann", key, {})


def test_flaws_of_a_user() -> None:
    """No key, a key twice and a wrong value are flaws of the whole user."""
    assert flaw([model("ann"), HISTORY, MARKER], {}) is None
    assert flaw([], {}) == "there is no key of this user"
    assert flaw([HISTORY, HISTORY], {}) == "oo:{ann}:: a key comes twice"
    assert "A is less than the identity" in (flaw([HISTORY, broken_model("ann")], {}) or "")


def test_decisions_of_a_user_fit_together() -> None:
    """All three keys or none; columns that nobody knows keep no decision from being moved."""
    assert flaw(KEYS, {}) is None
    assert "does not have just the decisions" in (flaw(KEYS[:2], {}) or "")
    assert key_of(KEYS[1], {}).columns is None


def test_a_number_that_redis_cannot_hold() -> None:
    """Is a flaw of its user."""
    key = key_of(decisions(a=decided(seed=0))[1], {})
    assert key.decisions is not None
    made = msgspec.structs.replace(key.decisions["a"], seed=2**64)
    with pytest.raises(CorruptState, match="more than 64 bits"):
        stored_of("ann", Key(kind="d", decisions={"a": made}), {})


def test_idempotency_keys_count_as_one_kind() -> None:
    """They have names of their own each; other keys count under their kind."""
    assert (kind_of(MARKER.kind), kind_of("history")) == ("idempotency", "history")
