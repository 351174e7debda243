"""Backups are read whole or refused with one line, and users come with what is wrong with them."""

import gzip
import io
import json
from typing import Any

import pytest

from app.backup.reader import BadBackup, read, version
from tests.unit.app.commands.samples import ENTRY

HEADER = {"format": "oo-serving state", "version": 3, "service": "0.1.0", "exported_at": "2026-11-23T12:47:24Z"}
HISTORY = {"kind": "history", "entries": [ENTRY.decode()]}
USER = {"user": "ann", "keys": [HISTORY]}
FOOTER = {"keys": {"history": 1}, "users": 1}


def file(*rows: object) -> io.BytesIO:
    return io.BytesIO(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows)))


def test_users_are_read() -> None:
    """Each line between the first and the last is a user; asking for the version does not move the file."""
    backup = file(HEADER, USER, FOOTER)
    assert version(backup) == 3
    [found] = read(backup)
    assert (found.problem, [stored.kind for stored in found.stored]) == (None, ["history"])
    assert found.stored[0].value == [ENTRY]


def test_a_user_with_a_wrong_key_is_told_with_the_line() -> None:
    """Such a user comes with a problem, and the others come as they are."""
    wrong = {"user": "bea", "keys": [{"kind": "history", "entries": ["{}"]}]}
    one, other = read(file(HEADER, wrong, USER, {"keys": {"history": 2}, "users": 2}))
    assert (one.problem or "").startswith("line 2: oo:{bea}:history: entry 0: ")
    assert other.problem is None


def test_version_1_is_sorted_by_user() -> None:
    """Its keys come in no order; each user's are put together."""
    rows: list[dict[str, Any]] = [
        {"user": "bea", **HISTORY},
        {"user": "ann", "kind": "sync", "texts": {"a": "1"}},
        {"user": "bea", "kind": "sync", "texts": {"a": "1"}},
    ]
    users = list(read(file({**HEADER, "version": 1}, *rows, {"keys": {"history": 1, "sync": 2}})))
    assert [[(one.user, one.kind) for one in user.stored] for user in users] == [
        [("ann", "sync")],
        [("bea", "history"), ("bea", "sync")],
    ]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([HEADER, USER], "line 2: Expected `object`, got `array` - at `$.keys`"),
        ([HEADER, USER, {**FOOTER, "users": 2}], "has 1 keys, and its last line counts 1"),
        ([HEADER, USER, USER, FOOTER], "has 2 keys, and its last line counts 1"),
        ([{**HEADER, "version": 5}, FOOTER], "is of version 5, and this service reads versions up to 4"),
        ([HEADER, "x" * 2**25, FOOTER], "line 2: is longer than 33,554,432 bytes"),
    ],
)
def test_other_files_are_refused(rows: list[object], reason: str) -> None:
    """A file that is incomplete, later or something else is refused with a reason."""
    with pytest.raises(BadBackup) as refused:
        list(read(file(*rows)))
    assert str(refused.value).startswith(reason)


def test_damage_is_refused() -> None:
    """A file that is cut off, or not gzip, is refused."""
    whole = file(HEADER, USER, FOOTER).getvalue()
    for content, reason in ((whole[:-12], "ends too early"), (b"no gzip", "is damaged, or not a backup")):
        with pytest.raises(BadBackup, match=reason):
            list(read(io.BytesIO(content)))
