"""Writes the file that `restore` reads: gzip over JSON Lines, described in docs/run/moving.md."""

import gzip
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec

from app import __version__
from app.backup.lines import Key, User, key_of, kind_of
from app.backup.reader import LONGEST_LINE, MOST_LINES, VERSION, Footer, Header
from app.policies.catalog import SIZES
from state import keys
from state.errors import CorruptState
from state.users import Found
from state.values.columns import Columns
from state.values.stored import Stored, check, check_decisions, is_of_decisions

__all__ = ["ODD", "Writer"]

# Models are nearly random bytes: more effort would take three times as long and save a few per cent.
_EFFORT: Final = 1
ODD: Final = "it holds what this service never writes"

_encode: Final = msgspec.json.Encoder().encode


class Writer:
    """Writes a backup to `path`, readable by its owner only. Until it is complete its name ends in `.part`.

    A context manager, which removes the incomplete file. `begin` creates it within the block: a signal may end the
    export at any moment, also just after the file was created.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._begun = False
        self._open = ExitStack()
        self._raw: BinaryIO
        self._file: gzip.GzipFile
        self.counts: Counter[str] = Counter()
        self.users = 0
        # By the fingerprint that models name; callers add the columns before they write the user.
        self.columns: dict[bytes, Columns] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            with suppress(OSError):  # a full disk was reported when it was met
                self._open.close()
        finally:
            if self._begun:
                self._part.unlink(missing_ok=True)

    def begin(self) -> None:
        """Create the file and write its first line."""
        self._begun = True
        # A file that is there may be a link to another one, or readable by others.
        self._part.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self._raw = self._open.enter_context(os.fdopen(os.open(self._part, flags, 0o600), "wb"))
        # From Python 3.12 on a GzipFile that is never closed complains when it is collected.
        self._file = self._open.enter_context(gzip.GzipFile("", "wb", _EFFORT, self._raw))
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._append(_encode(Header("oo-serving state", VERSION, __version__, now)) + b"\n")

    def write(self, found: Found) -> list[str]:
        """Append a user; one line for each key that is left out, with the reason for which a restore would refuse it.

        The idempotency keys of a model that is left out are left out too: they would have its rewards ignored when they
        are sent again.
        """
        left_out = [f"{name}: left out: {ODD}" for name in found.odd]
        lost = {keys.kind_of(name) for name in found.odd}
        whole: list[Stored] = []
        for stored in found.stored:
            try:
                check(stored, SIZES, self.columns)
            except CorruptState as error:
                left_out.append(f"{keys.of(stored.user, stored.kind)}: left out: {error.problem}")
                lost.add(stored.kind)
            else:
                whole.append(stored)
        if problem := _problem_of_decisions(found.user, whole, lost):
            left_out.append(problem)
            lost.update(one.kind for one in whole if is_of_decisions(one.kind))
        kept = [stored for stored in whole if stored.kind not in lost and _policy(stored) not in lost]
        left_out += [
            f"{keys.of(found.user, one.kind)}: left out, as its model is"
            for one in whole
            if one not in kept and not is_of_decisions(one.kind)
        ]
        if kept:
            lines = _lines(found.user, [key_of(stored, self.columns) for stored in kept])
            if len(lines) > MOST_LINES or (longest := max(map(len, lines))) > LONGEST_LINE:
                size = f"{len(lines):,} lines" if len(lines) > MOST_LINES else f"a line of {longest:,} bytes"
                return [*left_out, f"{keys.of(found.user, '*')}: left out: would be {size}"]
            for line in lines:
                self._append(line)
            self.users += 1
            self.counts.update(kind_of(stored.kind) for stored in kept)
        return left_out

    def finish(self) -> int:
        """Complete the file and give it its name; its size in bytes."""
        self._append(_encode(Footer(dict(sorted(self.counts.items())), self.users)) + b"\n")
        with self._named():
            self._file.close()
            self._raw.flush()
            os.fsync(self._raw.fileno())
            size = self._raw.tell()
            self._raw.close()
        self._part.replace(self._path)
        return size

    def _append(self, data: bytes) -> None:
        with self._named():
            self._file.write(data)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Let an error that writing raises name the file."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from None


def _lines(user: str, kept: Sequence[Key]) -> list[bytes]:
    """The lines with these keys (at least one), each as long as it may be."""
    groups: list[list[Key]] = [[]]
    room = LONGEST_LINE - len(_encode(User(user, [], more=True)))
    left = room
    for key in kept:
        size = len(_encode(key)) + 1
        if size > left and groups[-1]:
            groups.append([])
            left = room
        groups[-1].append(key)
        left -= size
    more = [True] * (len(groups) - 1) + [False]
    return [_encode(User(user, group, rest)) + b"\n" for group, rest in zip(groups, more, strict=True)]


def _problem_of_decisions(user: str, whole: Iterable[Stored], lost: Iterable[str]) -> str | None:
    """Why the keys of a user's decisions are left out, all of them, though each that is in `whole` is valid by itself;
    None if they are not."""
    there = [one for one in whole if is_of_decisions(one.kind)]
    if not there:
        return None
    if any(map(is_of_decisions, lost)):
        return f"{keys.decisions(user)}: left out, with all that is about decisions"
    try:
        check_decisions(there)
    except CorruptState as error:
        return f"{error}: left out, with all that is about decisions"
    return None


def _policy(stored: Stored) -> str | None:
    """The policy of an idempotency key."""
    parts = keys.marker_parts(stored.kind)
    return parts[0] if parts else None
