"""Where the log is kept, and the error of a place that cannot be written or read."""

from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

__all__ = ["STREAM", "PlaceError", "place_of"]

STREAM: Final = "nats"


class PlaceError(Exception):
    """The place of the log cannot be used now. The message is one line for an operator, without a secret."""


def place_of(setting: str) -> Path | Literal["nats"] | None:
    """What DECISION_LOG names: a directory, the stream in NATS JetStream, or nothing. Raises ValueError."""
    text = setting.strip()
    if not text:
        return None
    if text == STREAM:
        return STREAM
    parts = urlsplit(text)
    path = unquote(parts.path)
    plain = not (parts.netloc or parts.query or parts.fragment) and "\0" not in path
    if parts.scheme != "file" or not plain or not path.startswith("/") or path.strip("/") == "":
        raise ValueError("takes file:///directory or nats, or nothing for no log")
    return Path(path)
