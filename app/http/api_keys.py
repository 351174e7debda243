"""API keys: how they are made, written and read."""

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
    """The name, role and SHA-256 (32 bytes) of a key. Only its owner knows the key itself."""

    name: str
    role: Role
    digest: bytes


def make_key(name: str, role: str) -> tuple[str, str]:
    """A new key, and the line to put into API_KEYS. Raises SettingsError for an invalid name or role."""
    key = secrets.token_urlsafe(32)
    line = f"{name}:{role}:{hashlib.sha256(key.encode()).hexdigest()}"
    if not _LINE.fullmatch(line):
        raise SettingsError(f"a key has a name of 1 to 64 letters, digits or ._- and a role: {', '.join(ROLES)}")
    return key, line


def read_keys(setting: str) -> list[Key]:
    """The keys of API_KEYS: lines `name:role:sha256`, or the path of a file with such lines.

    A line may hold several keys separated by commas; a # begins a comment. Raises SettingsError with the number of the
    line.
    """
    text = setting
    if setting.startswith(("/", "./", "../")):
        try:
            text = Path(setting).read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SettingsError(f"API_KEYS: cannot read the file: {why}") from None
    read: list[Key] = []
    entries = ((number, entry) for number, line in enumerate(text.splitlines(), 1) for entry in _entries(line))
    for number, entry in entries:
        match = _LINE.fullmatch(entry)
        if match is None:
            raise SettingsError(f"API_KEYS: line {number} is not name:role:sha256 with a role of {', '.join(ROLES)}")
        role: Any = match["role"]
        key = Key(match["name"], role, bytes.fromhex(match["digest"]))
        if any(known.digest == key.digest for known in read):
            raise SettingsError(f"API_KEYS: line {number} repeats a key of another line")
        read.append(key)
    return read


def _entries(line: str) -> list[str]:
    return [stripped for entry in line.partition("#")[0].split(",") if (stripped := entry.strip())]


def bearer_digest(header: str) -> bytes:
    """The SHA-256 of the bearer token in an Authorization header, or b"" without one. Compare it in constant time."""
    scheme, _, token = header.partition(" ")
    stripped = token.strip(" \t")
    return hashlib.sha256(stripped.encode("latin-1")).digest() if stripped and scheme.lower() == "bearer" else b""
