"""The file that `export` writes and `restore` reads: gzip over JSON Lines, described in docs/run/moving.md."""

import gzip
import io
import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from app import __version__
from app.bandit.catalog import SIZES
from app.commands.backup_lines import KeyOfUser, User, flaw, key_of, kind_of, stored_of
from state import keys
from state.errors import CorruptState
from state.sorter import Sorter
from state.users import Found
from state.values.stored import Stored, check

__all__ = ["ODD", "VERSION", "BadBackup", "Read", "Writer", "read", "version"]

T = TypeVar("T")
VERSION: Final = 2
# Models are nearly random bytes: more effort would take three times as long and save a few per cent.
_EFFORT: Final = 1
# 10,000 history entries, each at most 2 kB as JSON within JSON (the id of a tip has up to 256 characters), a
# synchronisation of 256 KiB, and 60,000 idempotency keys of 180 bytes; with usual ids, or a usual history, many more.
_LONGEST_LINE: Final = 2**25
ODD: Final = "it holds what this service never writes"


class BadBackup(ValueError):
    """A file is not a backup, or not a whole one; the message is one line that says where."""


class _Format(msgspec.Struct, frozen=True):
    """What is read of the first line: a later version may have another rest."""

    format: Literal["oo-serving state"]
    version: Annotated[int, Meta(ge=1)]


class _Header(_Format, frozen=True):
    service: str
    exported_at: str


class _Footer(msgspec.Struct, frozen=True):
    """The last line; version 1 did not count users."""

    keys: dict[str, int]
    users: int | None = None


class Read(msgspec.Struct, frozen=True):
    """A user in a backup: all keys, about how many bytes they take, and why they are not to be restored, if so."""

    stored: list[Stored]
    size: int
    problem: str | None = None


_encode: Final = msgspec.json.Encoder().encode
_read_header: Final = msgspec.json.Decoder(_Format).decode
_read_key: Final = msgspec.json.Decoder(KeyOfUser).decode
_read_user: Final = msgspec.json.Decoder(User).decode
_read_footer: Final = msgspec.json.Decoder(_Footer).decode


class Writer:
    """Writes a backup to `path`, readable by its owner only. As long as it is not complete it is called `.part`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        # Never what is there already: it may be a link to another file, or readable by others.
        self._part.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self._raw: BinaryIO = os.fdopen(os.open(self._part, flags, 0o600), "wb")
        self._file = gzip.GzipFile("", "wb", _EFFORT, self._raw)
        self.counts: Counter[str] = Counter()
        self.users = 0
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._append(_encode(_Header("oo-serving state", VERSION, __version__, now)) + b"\n")

    def write(self, found: Found) -> list[str]:
        """Append a user; one line for each key that is left out, since `read` would refuse it, which says why.

        The idempotency keys of a model go with it: without its rewards they must not be remembered.
        """
        left_out = [f"{name}: left out: {ODD}" for name in found.odd]
        lost = {keys.kind_of(name) for name in found.odd}
        whole: list[Stored] = []
        for stored in found.stored:
            try:
                check(stored, SIZES)
            except CorruptState as error:
                left_out.append(f"{keys.of(stored.user, stored.kind)}: left out: {error.problem}")
                lost.add(stored.kind)
            else:
                whole.append(stored)
        kept = [stored for stored in whole if _policy(stored) not in lost]
        left_out += [f"{keys.of(found.user, one.kind)}: left out, as its model is" for one in whole if one not in kept]
        if kept:
            line = _encode(User(found.user, [key_of(stored) for stored in kept])) + b"\n"
            if len(line) > _LONGEST_LINE:
                return [*left_out, f"{keys.everything(found.user)}: left out: would be a line of {len(line):,} bytes"]
            self._append(line)
            self.users += 1
            self.counts.update(kind_of(stored.kind) for stored in kept)
        return left_out

    def finish(self) -> int:
        """Close the file and give it its name; its size in bytes."""
        self._append(_encode(_Footer(dict(sorted(self.counts.items())), self.users)) + b"\n")
        with self._named():
            self._file.close()
            self._raw.flush()
            os.fsync(self._raw.fileno())
            size = self._raw.tell()
            self._raw.close()
        self._part.replace(self._path)
        return size

    def give_up(self) -> None:
        """Remove what was written, unless it is finished."""
        try:
            with suppress(OSError):  # a full disk has been told of
                # From Python 3.12 on a GzipFile that is never closed complains when it is collected.
                self._file.close()
            with suppress(OSError):
                self._raw.close()
        finally:
            self._part.unlink(missing_ok=True)

    def _append(self, data: bytes) -> None:
        with self._named():
            self._file.write(data)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """What goes wrong in writing names the file."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from None


def _policy(stored: Stored) -> str | None:
    """The policy of an idempotency key."""
    parts = keys.marker_parts(stored.kind)
    return parts[0] if parts else None


def version(file: BinaryIO) -> int:
    """The version of a backup, which is left as it was. Raises BadBackup."""
    found = _version(next(_lines(file), b""))
    file.seek(0)
    return found


def read(file: BinaryIO) -> Iterator[Read]:
    """The users in a backup, one after the other. Raises BadBackup, at the latest when the file ends too early.

    A file of version 1 has keys in no order: its users come after its end. Raises OSError if there is no room to sort.
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
    for number, line, last in lines:
        if last:
            _check_footer(number, line, counts, number - 2)
            return
        found = _decoded(_read_user, number, line)
        counts.update(kind_of(key.kind) for key in found.keys)
        try:
            stored = [stored_of(found.user, key) for key in found.keys]
            problem = flaw(stored)
        except CorruptState as error:
            stored, problem = [], str(error)
        yield Read(stored, len(line), None if problem is None else f"line {number}: {problem}")


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
                check(stored_of(key.user, key), SIZES)
            except CorruptState as error:
                sorter.add(key.user, key.kind, f"line {number}: {error}".encode())
            else:
                sorter.add(key.user, key.kind, line)
        for user, rows in sorter:
            # A line is a JSON object; anything else is why the user is refused.
            problem = next((line.decode() for _, line in rows if not line.startswith(b"{")), None)
            stored = [] if problem else [stored_of(user, _read_key(line)) for _, line in rows]
            yield Read(stored, sum(len(line) for _, line in rows), problem)


def _check_footer(number: int, line: bytes, counts: Counter[str], users: int | None) -> None:
    footer = _decoded(_read_footer, number, line)
    if footer.keys != counts or footer.users != users:
        raise BadBackup(f"has {counts.total()} keys, and its last line counts {sum(footer.keys.values())}")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    try:
        with io.BufferedReader(gzip.GzipFile("", "rb", fileobj=file), 2**20) as unpacked:
            for number in count(1):
                line = unpacked.readline(_LONGEST_LINE + 1)
                if len(line) > _LONGEST_LINE:
                    raise BadBackup(f"line {number}: is longer than {_LONGEST_LINE:,} bytes")
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
