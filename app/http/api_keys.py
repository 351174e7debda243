"""API keys: how they are made, written down and read."""

import hashlib
import re
import secrets
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec

from app.settings import SettingsError

__all__ = ["ROLES", "Key", "Role", "bearer_digest", "make_key", "read_keys"]

Role = Literal["client", "reader", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
_LINE: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,64}):(?P<role>client|reader|admin):(?P<digest>[0-9a-f]{64})")


class Key(msgspec.Struct, frozen=True):
    """A key's name, role and SHA-256 (32 bytes); the key itself is known to its owner only."""

    name: str
    role: Role
    digest: bytes


def make_key(name: str, role: str) -> tuple[str, str]:
    """A new key, and the line to put into API_KEYS. Raises SettingsError for a name or role that cannot be."""
    key = secrets.token_urlsafe(32)
    line = f"{name}:{role}:{hashlib.sha256(key.encode()).hexdigest()}"
    if not _LINE.fullmatch(line):
        raise SettingsError(f"a key has a name of 1 to 64 letters, digits or ._- and a role: {', '.join(ROLES)}")
    return key, line


def read_keys(setting: str) -> list[Key]:
    """The keys of API_KEYS: lines `name:role:sha256`, or the path of a file with such lines.

    A line may hold several, with commas between them; from a # on it is a comment. Raises SettingsError, naming the
    line by its number.
    """
    text = setting
    if setting.startswith(("/", "./", "../")):
        try:
            text = Path(setting).read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SettingsError(f"API_KEYS: the file it names cannot be read: {why}") from None
    found_keys: list[Key] = []
    entries = ((number, entry) for number, line in enumerate(text.splitlines(), 1) for entry in _entries(line))
    for number, entry in entries:
        found = _LINE.fullmatch(entry)
        if found is None:
            raise SettingsError(f"API_KEYS: line {number} is not name:role:sha256 with a role of {', '.join(ROLES)}")
        role: Any = found["role"]
        key = Key(found["name"], role, bytes.fromhex(found["digest"]))
        if any(known.digest == key.digest for known in found_keys):
            raise SettingsError(f"API_KEYS: line {number} is a key that another line has already")
        found_keys.append(key)
    return found_keys


def _entries(line: str) -> list[str]:
    return [stripped for entry in line.partition("#")[0].split(",") if (stripped := entry.strip())]


def bearer_digest(header: str) -> bytes:
    """The SHA-256 of the bearer token in a header Authorization, to compare in constant time; b"" if it has none."""
    scheme, _, token = header.partition(" ")
    stripped = token.strip(" \t")
    return hashlib.sha256(stripped.encode("latin-1")).digest() if stripped and scheme.lower() == "bearer" else b""
