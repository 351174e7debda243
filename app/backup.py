"""The file that `export` writes and `restore` reads: gzip over JSON Lines, described in docs/moving.md.

It says what a key means, not how Redis or this version lays it out, so that it outlives both.
"""

import gzip
import io
import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from app import __version__
from app.bandit.registry import policies
from state import keys, record
from state.errors import CorruptState
from state.transfer import Stored

__all__ = ["VERSION", "BadBackup", "Writer", "read"]

T = TypeVar("T")
VERSION: Final = 1
# Models are nearly random bytes: more effort would take three times as long and save a few per cent.
_EFFORT: Final = 1
_MARKERS: Final = "idempotency"
_LONGEST_LINE: Final = 2**26
# Features of the models, by policy: such a model has as many numbers.
_SIZES: Final = {policy.id: policy.d for policy in policies(alpha=1.0, epsilon=0.1).values()}
_TYPES: Final = {keys.HISTORY: list, keys.SYNC: dict} | dict.fromkeys(_SIZES, dict)


class BadBackup(ValueError):
    """A file is no backup, or not a whole one; the message is one line that says where."""


class _Blob(msgspec.Struct, frozen=True):
    base64: bytes


_Text = str | _Blob
_User = Annotated[str, Meta(min_length=1, max_length=256)]


class _Format(msgspec.Struct, frozen=True):
    """What is read of the first line: a later version may have another rest."""

    format: Literal["oo-serving state"]
    version: Annotated[int, Meta(ge=1)]


class _Header(_Format, frozen=True):
    service: str
    exported_at: str


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key. Just one of `blobs`, `texts`, `entries` and `text` is there."""

    user: _User
    kind: Annotated[str, Meta(pattern=r"^[\x21-\x7e]+$")]
    blobs: dict[str, bytes] | None = None
    texts: dict[str, _Text] | None = None
    entries: list[_Text] | None = None
    text: _Text | None = None
    # Redis takes no time that ends after 2^63 - 1.
    expires_in_ms: Annotated[int, Meta(ge=1, le=2**53)] | None = None


class _Footer(msgspec.Struct, frozen=True):
    keys: dict[str, int]


_encode: Final = msgspec.json.Encoder().encode
_read_header: Final = msgspec.json.Decoder(_Format).decode
_read_line: Final = msgspec.json.Decoder(_Line).decode
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
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._append(_encode(_Header("oo-serving state", VERSION, __version__, now)) + b"\n")

    def write(self, found: list[Stored]) -> list[str]:
        """Append keys; the names of those that are left out, since `read` would take them for damage."""
        lines = []
        left_out = []
        for stored in found:
            try:
                _check(stored)
                lines.append(_encode(_line_of(stored)) + b"\n")
            except (CorruptState, UnicodeDecodeError):
                left_out.append(keys.of(stored.user, stored.kind))
            else:
                self.counts[_kind_of(stored)] += 1
        self._append(b"".join(lines))
        return left_out

    def finish(self) -> int:
        """Close the file and give it its name; its size in bytes."""
        self._append(_encode(_Footer(dict(sorted(self.counts.items())))) + b"\n")
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


def read(file: BinaryIO) -> Iterator[Stored]:
    """The keys in a backup, one after the other. Raises BadBackup, at the latest when the file ends too early."""
    lines = _lines(file)
    header = _decoded(_read_header, 1, next(lines, b""))
    if header.version > VERSION:
        raise BadBackup(f"is of version {header.version}, and this service reads versions up to {VERSION}")
    counts: Counter[str] = Counter()
    last = b""
    number = 1
    for number, line in enumerate(lines, 2):
        if last:
            stored = _stored_of(_decoded(_read_line, number - 1, last), number - 1)
            counts[_kind_of(stored)] += 1
            yield stored
        last = line
    footer = _decoded(_read_footer, number, last)
    if footer.keys != counts:
        raise BadBackup(f"has {counts.total()} keys, and its last line counts {sum(footer.keys.values())}")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    try:
        with io.BufferedReader(gzip.GzipFile("", "rb", fileobj=file), 2**20) as unpacked:
            while line := unpacked.readline(_LONGEST_LINE):
                yield line
    except EOFError:
        raise BadBackup("ends too early") from None
    except (gzip.BadGzipFile, zlib.error):
        raise BadBackup("is damaged, or no backup") from None


def _decoded(decode: Callable[[bytes], T], number: int, line: bytes) -> T:
    try:
        return decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadBackup(f"line {number}: {error}") from None


def _kind_of(stored: Stored) -> str:
    """What a key counts as; idempotency keys have names of their own each."""
    return _MARKERS if keys.is_marker(stored.kind) else stored.kind


def _text(value: bytes) -> _Text:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _Blob(value)


def _bytes(text: _Text) -> bytes:
    return text.encode() if isinstance(text, str) else text.base64


def _line_of(stored: Stored) -> _Line:
    user, kind, value, expires = stored.user, stored.kind, stored.value, stored.expires_ms
    if isinstance(value, bytes):
        return _Line(user, kind, text=_text(value), expires_in_ms=expires)
    if isinstance(value, list):
        return _Line(user, kind, entries=[_text(entry) for entry in value])
    if kind == keys.SYNC:
        return _Line(user, kind, texts={name.decode(): _text(field) for name, field in value.items()})
    return _Line(user, kind, blobs={name.decode(): field for name, field in value.items()})


def _stored_of(line: _Line, number: int) -> Stored:
    value: dict[bytes, bytes] | list[bytes] | bytes | None = None
    if line.text is not None:
        value = _bytes(line.text)
    elif line.entries is not None:
        value = [_bytes(entry) for entry in line.entries]
    elif line.texts is not None:
        value = {name.encode(): _bytes(field) for name, field in line.texts.items()}
    elif line.blobs is not None:
        value = {name.encode(): field for name, field in line.blobs.items()}
    values = (line.blobs, line.texts, line.entries, line.text)
    if not value or sum(one is not None for one in values) > 1 or keys.is_passing(line.kind):
        raise BadBackup(f"line {number}: is of no kind that a backup has")
    stored = Stored(line.user, line.kind, value, line.expires_in_ms)
    try:
        _check(stored)
    except CorruptState as error:
        raise BadBackup(f"line {number}: {error}") from None
    return stored


def _check(stored: Stored) -> None:
    """Raise CorruptState unless the value is such as its kind has; kinds of a later version may have any."""
    kind, value = stored.kind, stored.value
    key = keys.of(stored.user, kind)
    if not isinstance(value, bytes if keys.is_marker(kind) else _TYPES.get(kind, object)):
        raise CorruptState(key, "holds a value of another kind")
    if stored.expires_ms is not None and not isinstance(value, bytes):
        raise CorruptState(key, "only a text expires")
    if kind in _SIZES and isinstance(value, dict):
        blobs = [value.get(name) for name in record.FIELDS]
        if record.decode(key, _SIZES[kind], blobs) is None:
            raise CorruptState(key, "has none of A, b and meta")
