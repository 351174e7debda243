"""One line of a backup: a key, or a user with all keys, converted between JSON and what Redis holds.

A line says what a key means, not how Redis or this version stores it, so that later versions can read it.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from app.backup.decision import Decision
from app.messages.basics import UserId
from app.policies.catalog import SIZES
from state import keys
from state.errors import CorruptState
from state.values import decision
from state.values.columns import Columns
from state.values.stored import NAMED, Members, Stored, check, check_decisions, is_part

__all__ = ["Key", "KeyOfUser", "User", "flaw", "key_of", "kind_of", "stored_of"]

_MARKERS: Final = "idempotency"


class Blob(msgspec.Struct, frozen=True):
    """Bytes that are not UTF-8."""

    base64: bytes


Text = str | Blob


class Key(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A key. Exactly one of `decisions`, `scores`, `blobs`, `texts`, `entries` and `text` is set.

    `columns` are those that decisions name, by fingerprint, each in the form of a model's.
    """

    kind: str
    decisions: dict[str, Decision] | None = None
    columns: dict[str, bytes] | None = None
    scores: dict[str, float] | None = None
    blobs: dict[str, bytes] | None = None
    texts: dict[str, Text] | None = None
    entries: list[Text] | None = None
    text: Text | None = None
    # Redis refuses a time that ends after 2^63 - 1.
    expires_in_ms: Annotated[int, Meta(ge=1, le=2**53)] | None = None


class KeyOfUser(Key, frozen=True, omit_defaults=True, kw_only=True):
    """A line of version 1."""

    user: UserId


class User(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of version 2: all keys of a user at one moment; since version 4 the next line may have `more` of them."""

    user: UserId
    keys: list[Key]
    more: bool = False


def flaw(stored: Sequence[Stored], columns: Mapping[bytes, Columns]) -> str | None:
    """Why the service could not have written these keys of one user, whose models name `columns`; None if it could."""
    if not stored:
        return "there is no key of this user"
    try:
        for one in stored:
            check(one, SIZES, columns)
        check_decisions(stored)
    except CorruptState as error:
        return str(error)
    if len({one.kind for one in stored}) < len(stored):
        return f"{keys.of(stored[0].user, '')}: a key comes twice"
    return None


def kind_of(kind: str) -> str:
    """The kind under which a key is counted; idempotency keys, whose names all differ, are one kind, as are parts."""
    if is_part(kind):
        return keys.DECISIONS
    return _MARKERS if keys.is_marker(kind) else kind


def key_of(stored: Stored, columns: Mapping[bytes, Columns]) -> Key:
    """The key for a line. There, a model has its columns themselves instead of their fingerprint.

    Raises UnicodeDecodeError for a field whose name is not UTF-8, and CorruptState for a value that is not a decision.
    """
    kind, value = stored.kind, stored.value
    if isinstance(value, bytes):
        return Key(kind=kind, text=_text(value), expires_in_ms=stored.expires_ms)
    if isinstance(value, list):
        return Key(kind=kind, entries=[_text(entry) for entry in value])
    if isinstance(value, tuple):
        return Key(kind=kind, scores={name.decode(): score for name, score in value})
    if kind == keys.DECISIONS or is_part(kind):
        return _decisions(stored.user, kind, value, columns)
    if kind in (keys.SYNC, keys.SHARED):
        return Key(kind=kind, texts={name.decode(): _text(field) for name, field in value.items()})
    if NAMED in value:
        value = value | {NAMED: columns[value[NAMED]].encode()}
    return Key(kind=kind, blobs={name.decode(): field for name, field in value.items()})


def stored_of(user: str, key: Key, columns: dict[bytes, Columns]) -> Stored:
    """The key for Redis; the columns of a model are added to `columns`.

    Raises CorruptState unless it has exactly one value, and for invalid columns.
    """
    value = _value(key, columns)
    values = (key.decisions, key.scores, key.blobs, key.texts, key.entries, key.text)
    if not value or sum(one is not None for one in values) > 1:
        raise CorruptState(ascii(key.kind), "does not have one value")
    return Stored(user, key.kind, value, key.expires_in_ms)


def _value(key: Key, columns: dict[bytes, Columns]) -> dict[bytes, bytes] | list[bytes] | Members | bytes | None:
    if key.text is not None:
        return _bytes(key.text)
    if key.entries is not None:
        return [_bytes(entry) for entry in key.entries]
    if key.scores is not None:
        return tuple((name.encode(), score) for name, score in key.scores.items())
    if key.decisions is not None:
        for text in (key.columns or {}).values():
            _learn(key.kind, text, columns)
        try:
            return {name.encode(): made.encode() for name, made in key.decisions.items()}
        except OverflowError:
            raise CorruptState(ascii(key.kind), "has a number of more than 64 bits") from None
    if key.texts is not None:
        return {name.encode(): _bytes(field) for name, field in key.texts.items()}
    value = {name.encode(): field for name, field in (key.blobs or {}).items()}
    if NAMED in value:
        value[NAMED] = _learn(key.kind, value[NAMED], columns)
    return value


def _learn(kind: str, text: bytes, columns: dict[bytes, Columns]) -> bytes:
    """Add what `text` says to `columns`; its fingerprint."""
    named = Columns.decode(ascii(kind), text)
    columns[named.fingerprint] = named
    return named.fingerprint


def _decisions(user: str, kind: str, fields: Mapping[bytes, bytes], columns: Mapping[bytes, Columns]) -> Key:
    key = keys.of(user, kind)
    made = {name.decode(): decision.decode(f"{key} {name.decode()}", blob) for name, blob in fields.items()}
    named = {learned.columns for one in made.values() for learned in one.learned}
    # If columns are missing, those rewards cannot be corrected any more; nothing else depends on them.
    known = {name.decode(): columns[name].encode() for name in sorted(named) if name in columns}
    return Key(
        kind=kind,
        decisions={local: Decision.of(one) for local, one in made.items()},
        columns=known or None,
    )


def _text(value: bytes) -> Text:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return Blob(value)


def _bytes(text: Text) -> bytes:
    return text.encode() if isinstance(text, str) else text.base64
