"""The state directory of the first system: one JSON file per user and policy, named after the user id.

The end of the name tells the policy. Each character of the user id that a file name could not have became `_`, so one
name may stand for several users; a list of the true ids tells which.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np
from msgspec import Meta

from app.bandit.policy import ClassicPolicy
from state.errors import CorruptState
from state.values import record
from state.values.record import Record
from state.values.stored import Stored, check

__all__ = ["Ids", "Imported", "Unusable", "files", "read", "read_ids"]

_REPLACED: Final = re.compile(r"[^A-Za-z0-9_-]")
_JSON: Final = ".json"
_LONGEST_FILE: Final = 1_048_576
_YEAR_10000: Final = 253_402_300_800


class Unusable(ValueError):
    """A file must be left out; the message says why."""


class Imported(msgspec.Struct, frozen=True):
    """A model to store, and a note for the operator where its file name can be read in two ways."""

    stored: Stored
    note: str | None = None


class Ids(msgspec.Struct, frozen=True):
    """True ids: the id by file name (None for a name of several), the file name by id, and problems of the list."""

    names: Mapping[str, str | None]
    name_of: Mapping[str, str]
    problems: list[str]


_Count = Annotated[int, Meta(ge=0, le=2**53)]


class _Counters(msgspec.Struct, frozen=True):
    pulls: _Count = 0
    explore_count: _Count = 0
    reward_count: _Count = 0
    cumulative_reward: float = 0.0
    last_updated: str | float | None = None


class _File(msgspec.Struct, frozen=True):
    A: list[list[float]]
    b: list[float]
    meta: _Counters


_decode: Final = msgspec.json.Decoder(_File, strict=False).decode


def read_ids(lines: Iterator[str]) -> Ids:
    """Read the list of true ids: on each line an id, or the name of its files, a tab and the id."""
    names: dict[str, str | None] = {}
    name_of: dict[str, str] = {}
    problems = []
    for number, line in enumerate(lines, 1):
        name, tab, user_id = line.rstrip("\r\n").rpartition("\t")
        if not user_id.strip():
            continue
        if not tab:
            name = _REPLACED.sub("_", user_id)
        if len(user_id) > 256:
            problems.append(f"line {number}: a user id has 1 to 256 characters")
        elif name_of.setdefault(user_id, name) != name:
            problems.append(f"line {number}: {user_id!r} has files of two names, {name_of[user_id]!r} and {name!r}")
            names[name] = names[name_of[user_id]] = None
        elif names.setdefault(name, user_id) != user_id:
            problems.append(f"line {number}: {user_id!r} and others have files of the same name, {name!r}")
            names[name] = None
    return Ids(names, name_of, problems)


def files(directory: Path) -> Iterator[Path]:
    """All entries of the directory whose names end in .json, in no order."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(_JSON):
                yield Path(entry.path)


def read(path: Path, policies: Mapping[str, ClassicPolicy], ids: Ids | None) -> Imported:
    """The model in a file, for the user that the file name stands for. Raises Unusable.

    The number of features decides the policy: `x_egreedy.json` with five is LinUCB's model of a user `x_egreedy`.
    """
    try:
        found = _decode(_content(path))
    except OSError as error:
        raise Unusable(error.strerror or "cannot be read") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unusable(str(error)) from None
    policy = next((policy for policy in policies.values() if policy.d == len(found.b)), None)
    if policy is None:
        raise Unusable(f"b has {len(found.b)} numbers, which no policy has")
    suffix = policy.classic.suffix
    stem = path.name.removesuffix(_JSON)
    if not stem.endswith(suffix):
        raise Unusable(f"b has {len(found.b)} numbers, so its name should end in {suffix}.json")
    user_id = _user(stem.removesuffix(suffix), ids)
    stored = Stored(user_id, policy.id, record.encode(_record(found)))
    try:
        check(stored, {policy.id: policy.d})
    except CorruptState as error:
        raise Unusable(error.problem) from None
    odd = not suffix and stem.endswith(tuple(row.classic.suffix for row in policies.values() if row.classic.suffix))
    return Imported(stored, f"has five features, so it is {policy.id} of a user {user_id!r}" if odd else None)


def _content(path: Path) -> bytes:
    """The content of a regular file. Links are not followed, and opening a pipe does not wait for its writer."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Unusable("is a link") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise Unusable("is not a regular file")
        with open(number, "rb", closefd=False) as file:
            return file.read(_LONGEST_FILE)
    finally:
        os.close(number)


def _user(name: str, ids: Ids | None) -> str:
    if ids is not None and name in ids.names:
        user_id = ids.names[name]
        if user_id is None:
            raise Unusable("its name stands for several users")
        return user_id
    if ids is not None and "_" in name:
        raise Unusable("its name may stand for another user id, and the list has none for it")
    if ids is not None and name in ids.name_of:
        raise Unusable("the list has another name for the user id that it would be")
    if not 1 <= len(name) <= 256 or not name.isprintable():
        raise Unusable("the file name is not a valid user id")
    return name


def _record(found: _File) -> Record:
    d, meta = len(found.b), found.meta
    if len(found.A) != d or any(len(row) != d for row in found.A):
        raise Unusable(f"A is not {d} x {d}, as b wants it")
    a, b = np.array(found.A, "<f8"), np.array(found.b, "<f8")
    counters = record.Meta(
        meta.pulls,
        meta.explore_count,
        meta.reward_count,
        meta.cumulative_reward,
        _seconds(meta.last_updated),
        weight=None if meta.reward_count else 0.0,
    )
    return Record(a, b, counters)


def _seconds(when: str | float | None) -> int:
    """Unix seconds of a time given as text or number; 0 (never) if there is none."""
    try:
        if isinstance(when, str) and when:
            moment = datetime.fromisoformat(when)
            when = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        seconds = int(when or 0)
    except (ValueError, OverflowError):
        raise Unusable("last_updated is not a time") from None
    if not 0 <= seconds < _YEAR_10000:
        raise Unusable("last_updated is not a time")
    return seconds
