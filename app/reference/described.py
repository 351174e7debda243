"""What a row of the OpenAPI document has: a route's purpose, examples and errors, and the errors that many share."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

__all__ = [
    "AGAIN",
    "BUSY",
    "NO_USER",
    "ODD",
    "STORE_AWAY",
    "TOO_LONG",
    "UNREADABLE",
    "Described",
    "Failure",
    "Tag",
]

Tag = Literal["decisions", "generation", "operation", "reference"]


class Failure(msgspec.Struct, frozen=True):
    """An error: its status, what that means, the `detail` of one such answer, and all of it if there is more."""

    status: int
    meaning: str
    detail: str
    answer: msgspec.Struct | None = None


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """One route.

    `reads` and `answers` are examples; an answer that is not a message is given by its media type. `errors` has one row
    per status. `unwell` is an example of what answers 503 instead of an error. `name` is the operation's id where the
    path does not say what it does. `place` is the example of the path's parameter, and `query` are parameters after it.
    """

    tag: Tag
    summary: str
    name: str = ""
    reads: msgspec.Struct | None = None
    answers: msgspec.Struct | str
    errors: tuple[Failure, ...] = ()
    unwell: msgspec.Struct | None = None
    idempotent: bool = False
    place: str = "ann"
    query: tuple[Mapping[str, Any], ...] = ()


UNREADABLE: Final = "The request is not valid; nothing was changed."
ODD: Final = "A key in Redis holds a value that this service never writes. It is left as it is."
AGAIN: Final = (
    "Redis is not available or too slow, or there are too many requests: try again. A write that was cut short may "
    "have happened nevertheless; a reward with an Idempotency-Key can be sent again safely."
)

TOO_LONG: Final = Failure(413, "The body is longer than MAX_BODY_BYTES.", "the body is longer than 2097152 bytes")
NO_USER: Final = Failure(422, UNREADABLE, "the user id in the path must have 1 to 256 characters")
STORE_AWAY: Final = Failure(503, AGAIN, "Redis cannot be reached")
BUSY: Final = Failure(503, "There are too many requests: try again.", "too many requests at once")
