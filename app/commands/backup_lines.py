"""One line of a backup: a key, or a user with all keys, converted between JSON and what Redis holds.

A line says what a key means, not how Redis or this version stores it, so that later versions can read it.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from app.messages.basics import UserId
from app.policies.catalog import SIZES
from state import keys
from state.errors import CorruptState
from state.values.columns import Columns
from state.values.stored import NAMED, Stored, check

__all__ = ["Key", "KeyOfUser", "User", "flaw", "key_of", "kind_of", "stored_of"]

_MARKERS: Final = "idempotency"


class Blob(msgspec.Struct, frozen=True):
    """Bytes that are not UTF-8."""

    base64: bytes


Text = str | Blob


class Key(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A key. Exactly one of `blobs`, `texts`, `entries` and `text` is set."""

    kind: str
    blobs: dict[str, bytes] | None = None
    texts: dict[str, Text] | None = None
    entries: list[Text] | None = None
    text: Text | None = None
    # Redis refuses a time that ends after 2^63 - 1.
    expires_in_ms: Annotated[int, Meta(ge=1, le=2**53)] | None = None


class KeyOfUser(Key, frozen=True, omit_defaults=True, kw_only=True):
    """A line of version 1."""

    user: UserId


class User(msgspec.Struct, frozen=True):
    """A line of version 2: all keys of a user at one moment."""

    user: UserId
    keys: list[Key]


def flaw(stored: Sequence[Stored], columns: Mapping[bytes, Columns]) -> str | None:
    """Why the service could not have written these keys of one user, whose models name `columns`; None if it could."""
    if not stored:
        return "there is no key of this user"
    try:
        for one in stored:
            check(one, SIZES, columns)
    except CorruptState as error:
        return str(error)
    if len({one.kind for one in stored}) < len(stored):
        return f"{keys.of(stored[0].user, '')}: a key comes twice"
    return None


def kind_of(kind: str) -> str:
    """The kind under which a key is counted; idempotency keys, whose names all differ, are one kind."""
    return _MARKERS if keys.is_marker(kind) else kind


def key_of(stored: Stored, columns: Mapping[bytes, Columns]) -> Key:
    """The key for a line, in which a model has its columns themselves and not their fingerprint.

    Raises UnicodeDecodeError for a field whose name is not UTF-8.
    """
    kind, value = stored.kind, stored.value
    if isinstance(value, bytes):
        return Key(kind=kind, text=_text(value), expires_in_ms=stored.expires_ms)
    if isinstance(value, list):
        return Key(kind=kind, entries=[_text(entry) for entry in value])
    if kind == keys.SYNC:
        return Key(kind=kind, texts={name.decode(): _text(field) for name, field in value.items()})
    if NAMED in value:
        value = value | {NAMED: columns[value[NAMED]].encode()}
    return Key(kind=kind, blobs={name.decode(): field for name, field in value.items()})


def stored_of(user: str, key: Key, columns: dict[bytes, Columns]) -> Stored:
    """The key for Redis; the columns of a model are added to `columns`.

    Raises CorruptState unless it has exactly one value, and for columns that are none.
    """
    value: dict[bytes, bytes] | list[bytes] | bytes | None = None
    if key.text is not None:
        value = _bytes(key.text)
    elif key.entries is not None:
        value = [_bytes(entry) for entry in key.entries]
    elif key.texts is not None:
        value = {name.encode(): _bytes(field) for name, field in key.texts.items()}
    elif key.blobs is not None:
        value = {name.encode(): field for name, field in key.blobs.items()}
        if NAMED in value:
            named = Columns.decode(ascii(key.kind), value[NAMED])
            value[NAMED] = named.fingerprint
            columns[named.fingerprint] = named
    values = (key.blobs, key.texts, key.entries, key.text)
    if not value or sum(one is not None for one in values) > 1:
        raise CorruptState(ascii(key.kind), "does not have one value")
    return Stored(user, key.kind, value, key.expires_in_ms)


def _text(value: bytes) -> Text:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return Blob(value)


def _bytes(text: Text) -> bytes:
    return text.encode() if isinstance(text, str) else text.base64
