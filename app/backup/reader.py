"""Reads the file that `export` writes: gzip over JSON Lines, described in docs/run/moving.md."""

import gzip
import io
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from typing import Annotated, BinaryIO, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from app.backup.lines import Key, KeyOfUser, User, flaw, kind_of, stored_of
from app.policies.catalog import SIZES
from state.errors import CorruptState
from state.sorter import Sorter
from state.values.columns import Columns
from state.values.stored import Stored, check

__all__ = ["LONGEST_LINE", "MOST_LINES", "VERSION", "BadBackup", "Footer", "Header", "Read", "read", "version"]

T = TypeVar("T")
VERSION: Final = 4
# Enough for 10,000 history entries of 2 kB as JSON within JSON (a tip's id has up to 256 characters), a synchronisation
# of 256 KiB, and 60,000 idempotency keys of 180 bytes.
LONGEST_LINE: Final = 2**25
# Lines of one user, who has so many only with the decisions of a large loop.
MOST_LINES: Final = 64


class BadBackup(ValueError):
    """A file is not a complete backup; the message is one line that says where."""


class _Format(msgspec.Struct, frozen=True):
    """The part of the first line that every version has."""

    format: Literal["oo-serving state"]
    version: Annotated[int, Meta(ge=1)]


class Header(_Format, frozen=True):
    """The first line."""

    service: str
    exported_at: str


class Footer(msgspec.Struct, frozen=True):
    """The last line; version 1 did not count users."""

    keys: dict[str, int]
    users: int | None = None


class Read(msgspec.Struct, frozen=True):
    """A user in a backup: all keys, the columns that models name, the approximate size in bytes, and why the user must
    not be restored, if so."""

    stored: list[Stored]
    columns: dict[bytes, Columns]
    size: int
    problem: str | None = None


_read_header: Final = msgspec.json.Decoder(_Format).decode
_read_key: Final = msgspec.json.Decoder(KeyOfUser).decode
_read_user: Final = msgspec.json.Decoder(User).decode
_read_footer: Final = msgspec.json.Decoder(Footer).decode


def version(file: BinaryIO) -> int:
    """The version of a backup, whose position is at its beginning before and after. Raises BadBackup."""
    found = _version(next(_lines(file), b""))
    file.seek(0)
    return found


def read(file: BinaryIO) -> Iterator[Read]:
    """The users in a backup, one after the other.

    Raises BadBackup, for a file that is cut off only at its end. A file of version 1 has keys in no order, so its users
    come after all of it was read and sorted; raises OSError if there is no disk space for that.
    """
    lines = _lines(file)
    if _version(next(lines, b"")) == 1:
        yield from _sorted_by_user(_numbered(lines))
    else:
        yield from _users(_numbered(lines))


def _version(line: bytes) -> int:
    header = _decoded(_read_header, 1, line)
    if header.version > VERSION:
        raise BadBackup(f"is of version {header.version}, and this service reads versions up to {VERSION}")
    return header.version


def _numbered(lines: Iterator[bytes]) -> Iterator[tuple[int, bytes, bool]]:
    """The lines after the first, each with its number and whether it is the last."""
    number, held = 1, None
    for number, line in enumerate(lines, 2):
        if held is not None:
            yield number - 1, held, False
        held = line
    yield number, held or b"", True


def _users(lines: Iterator[tuple[int, bytes, bool]]) -> Iterator[Read]:
    counts: Counter[str] = Counter()
    users = 0
    held: list[Key] = []  # of a user whose last line has not come
    size = many = 0
    for number, line, last in lines:
        if last:
            _check_footer(number, line, counts, users)
            return
        found = _decoded(_read_user, number, line)
        counts.update(kind_of(key.kind) for key in found.keys)
        held, size, many = held + found.keys, size + len(line), many + 1
        if many > MOST_LINES:
            raise BadBackup(f"line {number}: is more than the {MOST_LINES} of one user")
        if found.more:
            continue
        columns: dict[bytes, Columns] = {}
        try:
            stored = [stored_of(found.user, key, columns) for key in held]
            problem = flaw(stored, columns)
        except CorruptState as error:
            stored, problem = [], str(error)
        yield Read(stored, columns, size, None if problem is None else f"line {number}: {problem}")
        users, held, size, many = users + 1, [], 0, 0


def _sorted_by_user(lines: Iterator[tuple[int, bytes, bool]]) -> Iterator[Read]:
    counts: Counter[str] = Counter()
    with Sorter() as sorter:
        for number, line, last in lines:
            if last:
                _check_footer(number, line, counts, None)
                break
            key = _decoded(_read_key, number, line)
            counts[kind_of(key.kind)] += 1
            try:
                check(stored_of(key.user, key, {}), SIZES)
            except CorruptState as error:
                sorter.add(key.user, key.kind, f"line {number}: {error}".encode())
            else:
                sorter.add(key.user, key.kind, line)
        for user, rows in sorter:
            # A line is a JSON object; any other text is the reason why the user is refused.
            problem = next((line.decode() for _, line in rows if not line.startswith(b"{")), None)
            stored = [] if problem else [stored_of(user, _read_key(line), {}) for _, line in rows]
            yield Read(stored, {}, sum(len(line) for _, line in rows), problem)


def _check_footer(number: int, line: bytes, counts: Counter[str], users: int | None) -> None:
    footer = _decoded(_read_footer, number, line)
    if footer.keys != counts or footer.users != users:
        raise BadBackup(f"has {counts.total()} keys, and its last line counts {sum(footer.keys.values())}")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    try:
        with io.BufferedReader(gzip.GzipFile("", "rb", fileobj=file), 2**20) as unpacked:
            for number in count(1):
                line = unpacked.readline(LONGEST_LINE + 1)
                if len(line) > LONGEST_LINE:
                    raise BadBackup(f"line {number}: is longer than {LONGEST_LINE:,} bytes")
                if not line:
                    return
                yield line
    except EOFError:
        raise BadBackup("ends too early") from None
    except (gzip.BadGzipFile, zlib.error):
        raise BadBackup("is damaged, or not a backup") from None


def _decoded(decode: Callable[[bytes], T], number: int, line: bytes) -> T:
    try:
        return decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadBackup(f"line {number}: {error}") from None
